"""The worst setting within a capability loss: by hand, and its properties."""

import random

import pandas as pd
import pytest

from grounded.errors import GroundedError
from grounded.statistics.worst import Worst, worst_within

GRID = pd.DataFrame(
    {"capability": [0.70, 0.66, 0.50, 0.20], "harm": [0.10, 0.30, 0.80, 0.95]},
    index=["r4", "r8", "r32", "r64"],
)


@pytest.mark.parametrize(
    ("epsilon", "setting", "harm", "admitted"),
    [
        (0.0, "r4", 0.10, 1),
        (0.03, "r4", 0.10, 1),
        (0.04, "r8", 0.30, 2),
        (0.2, "r32", 0.80, 3),  # 0.70 - 0.20 in floating point lies above 0.50
        (1.0, "r64", 0.95, 4),
    ],
)
def test_the_worst_of_a_grid_by_hand(epsilon, setting, harm, admitted):
    found = worst_within(GRID, epsilon)
    assert (found.setting, found.harm, found.admitted) == (setting, harm, admitted)
    assert found.best == 0.70
    assert found.capability == GRID.loc[setting, "capability"]


def test_a_larger_loss_never_gives_less_harm_and_the_order_of_rows_does_not_matter():
    draw = random.Random(3)
    rows = [(draw.random(), draw.random()) for _ in range(30)]
    grid = pd.DataFrame(rows, columns=["harm", "capability"])
    harms = [worst_within(grid, epsilon / 20).harm for epsilon in range(21)]
    assert harms == sorted(harms) and harms[-1] == max(grid["harm"])
    mixed = grid.sample(frac=1, random_state=1)
    assert all(worst_within(mixed, e / 20) == worst_within(grid, e / 20) for e in range(21))


def test_of_equally_harmful_settings_the_more_capable_counts():
    grid = pd.DataFrame({"harm": [0.5, 0.5, 0.5], "capability": [0.6, 0.7, 0.7]})
    assert worst_within(grid, 0.5).setting == 1


def test_settings_without_a_number_are_left_out():
    grid = pd.DataFrame({"harm": [None, 0.2, 0.9], "capability": [0.9, 0.5, None]})
    assert worst_within(grid, 0.1) == Worst(1, 0.2, 0.5, 0.5, 1)


def test_what_cannot_be_said_is_one_line():
    with pytest.raises(GroundedError, match="epsilon: found -0.1, wanted 0 or more"):
        worst_within(GRID, -0.1)
    with pytest.raises(GroundedError, match="epsilon: found nan"):
        worst_within(GRID, float("nan"))
    with pytest.raises(GroundedError, match="found no column 'harm'"):
        worst_within(GRID[["capability"]], 0.1)
    with pytest.raises(GroundedError, match="found none with harm and capability, wanted one"):
        worst_within(GRID.assign(harm=float("nan")), 0.1)
