"""Which checkpoint is at a goal: measured ones alone, and none for a run that jumps over it."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded import anchor
from grounded.errors import GroundedError
from grounded.study.anchoring import Goals, read

GOALS = Goals(model="m", task="t", base=0.2, capability=0.6, loss=0.5, update_norm=2.0, epoch=3)
accuracies = st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("accuracy", "step"),
    [
        ({2: 0.2, 4: 0.5, 6: 0.58, 8: 0.61}, 6),  # the first within the tolerance, not the nearest
        ({2: 0.2, 4: 0.54, 6: 0.9}, 4),  # .06 away is within .06
        ({2: 0.2, 4: 0.53, 6: 0.7}, None),  # jumps over it
        ({2: 0.2, 4: 0.3, 6: 0.4}, None),  # never comes so far
        ({2: 0.9, 4: 0.62, 6: 0.3}, 4),  # falls back to it
    ],
)
def test_at_the_capability_goal(accuracy, step):
    assert anchor.at_capability(accuracy, 0.6, 0.06) == step


@given(accuracies, st.integers(0, 100), st.integers(1, 10))
def test_what_is_at_the_goal_was_measured_there_and_nothing_before_it_was(found, goal, tolerance):
    course = {2 * i: value for i, value in enumerate(found, start=1)}
    step = anchor.at_capability(course, goal / 100, tolerance / 100)
    near = [s for s in course if abs(round(100 * course[s]) - goal) <= tolerance]
    assert step == (near[0] if near else None)


def test_the_order_in_which_steps_are_given_makes_no_difference():
    steps = {2: 0.3, 4: 0.55, 6: 0.61, 8: 0.9}
    draw = random.Random(0)
    for some in itertools.islice(itertools.permutations(steps.items()), 10):
        loss = {s: 1 - a for s, a in some}
        norm = {s: 3 * a for s, a in draw.sample(some, len(some))}
        found = anchor.steps(dict(some), loss, norm, GOALS, 0.06)
        assert found == {"capability": 4, "loss": 4, "update_norm": 8}


def test_a_run_that_never_comes_so_far_has_no_step_at_any_goal():
    found = anchor.steps({2: 0.1}, {2: 0.9}, {2: 0.3}, GOALS, 0.06)
    assert found == dict.fromkeys(anchor.ANCHORS)


LINE = "m,t,0.2,0.6,0.5,2.0,3"
HEAD = "model,task,base,capability,loss,update_norm,epoch"


def test_goals_are_read_by_model_and_task(tmp_path):
    (file := tmp_path / "goals.csv").write_text(f"{HEAD}\n{LINE}\n")
    assert read(file) == {("m", "t"): GOALS}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("m,t,0.2,1.6,0.5,2.0,3", "line 2: capability: found '1.6'"),
        ("m,t,0.2,0.6,low,2.0,3", "line 2: loss: found 'low'"),
        ("m,t,0.2,0.6,0.5", "line 2: update_norm: found None"),
    ],
)
def test_a_broken_goal_is_one_line_that_names_it(tmp_path, line, fault):
    (file := tmp_path / "goals.csv").write_text(f"{HEAD}\n{line}\n")
    with pytest.raises(GroundedError, match=fault) as raised:
        read(file)
    assert "\n" not in str(raised.value) and "goals.csv" in str(raised.value)
    with pytest.raises(GroundedError, match="found No such file"):
        read(tmp_path / "none.csv")
