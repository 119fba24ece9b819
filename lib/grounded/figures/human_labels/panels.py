"""The six panels of figure 5."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded import paths
from grounded.figures import GREY, PAGE, PALETTE, letter, save, share_axis, style
from grounded.human_labels import FIGURE, GUARD, JUDGES, XSTEST_MODELS, Numbers

PEOPLE, MODEL = "#000000", PALETTE[1]
LISTS = {"keywords_xstest": PALETTE[2], "keywords_advbench": PALETTE[3]}
CONTRAST = "cls"  # drawn beside Llama Guard: a judge that agrees with people
ATTACKS = {"DirectRequest": "plain request", "AutoDan": "AutoDAN"}  # the others stand as named
DASHED = (0, (3, 2))


def draw(numbers: Numbers) -> Figure:
    """Six panels; a-d on HarmBench's completions, e and f on XSTest's."""
    with style():
        figure = Figure((PAGE, 5.8))
        grid = figure.add_gridspec(
            2, 3, height_ratios=[12, 10], hspace=0.36, wspace=0.1,
            left=0.2, right=0.985, top=0.955, bottom=0.075,
        )  # fmt: skip
        panels = [figure.add_subplot(grid[i, j]) for i in range(2) for j in range(3)]
        _judges(panels[:3], numbers)
        _attacks(panels[3], numbers)
        _xstest(panels[4], panels[5], numbers)
        for axes, mark in zip(panels, "abcdef", strict=True):
            share_axis(axes, "x")
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            letter(axes, mark, -10)
    return figure


def keep(figure: Figure, numbers: Numbers, study: str) -> None:
    """Save the figure, its numbers and statistics; a committed one stays when data is absent."""
    if numbers.measured or not (paths.figures(study) / f"{FIGURE}.png").exists():
        save(figure, study, FIGURE, numbers.table, numbers.statistics)


def _dots(
    axes: Axes, rows: pd.DataFrame, name: str, y: Any, colour: Any, marker: str = "o",
    hollow: bool = False,
) -> None:  # fmt: skip
    """A point and its interval for each row; one colour, or one a row."""
    shades = [colour] * len(rows) if isinstance(colour, str) else colour
    values = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], y, shades, strict=True)
    for value, low, high, at, shade in values:
        axes.plot([low, high], [at, at], color=shade, linewidth=0.9, alpha=0.75, zorder=2)
        axes.plot(
            value, at, marker, color=shade, markersize=3.5, markeredgewidth=0.9, zorder=3,
            markerfacecolor="white" if hollow else shade,
        )  # fmt: skip


def _legend(axes: Axes, *entries: Line2D) -> None:
    axes.legend(
        handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.075), ncols=len(entries),
        fontsize=6.3, handletextpad=0.35, columnspacing=0.9, handlelength=1.3,
    )  # fmt: skip


def _entry(label: str, colour: str, marker: str = "", hollow: bool = False, **line: Any) -> Line2D:
    face = "white" if hollow else colour
    look = {"linestyle": "", "marker": marker, "markersize": 3.5, "markerfacecolor": face, **line}
    return Line2D([], [], color=colour, label=label, **look)


def _judges(panels: list[Axes], numbers: Numbers) -> None:
    rows = numbers.judges()
    y = np.arange(len(rows))
    colour = [LISTS.get(name, MODEL) for name in rows["judge"]]
    rate, found, chance = panels
    people = rows.iloc[0]
    rate.axvspan(people["truth_rate_low"], people["truth_rate_high"], color="#dedede", zorder=0)
    rate.axvline(people["truth_rate"], color=PEOPLE, linewidth=0.9)
    _dots(rate, rows, "rate", y, colour)
    rate.set_title("Called harmful")
    _legend(rate, _entry("people", PEOPLE, linestyle="-"), _entry("judge", MODEL, "o"))
    _dots(found, rows, "sensitivity", y - 0.15, colour)
    _dots(found, rows, "specificity", y + 0.15, colour, hollow=True)
    found.set_title("Sensitivity and specificity")
    _legend(
        found, _entry("sensitivity", MODEL, "o"), _entry("specificity", MODEL, "o", hollow=True)
    )
    two = numbers.statistics["people"]["HarmBench"]["kappa"]
    chance.axvline(two, color=PEOPLE, linewidth=0.9, linestyle=DASHED)
    _dots(chance, rows, "kappa", y - 0.15, colour)
    _dots(chance, rows, "ac1", y + 0.15, colour, "D", hollow=True)
    chance.set_title("Agreement with people")
    _legend(chance, *_agreement_entries(MODEL))
    for axes in panels:
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(y, [])
    rate.set_yticks(y, [JUDGES[name] for name in rows["judge"]])


def _agreement_entries(colour: str) -> list[Line2D]:
    return [
        _entry("κ", colour, "o"),
        _entry("AC1", colour, "D", hollow=True),
        _entry("κ of two people", PEOPLE, linestyle=DASHED),
    ]


def _attacks(axes: Axes, numbers: Numbers) -> None:
    rows = numbers.attacks(GUARD).sort_values(["sensitivity", "part"], ascending=False)
    other = numbers.attacks(CONTRAST).set_index("part").loc[rows["part"]]
    y = np.arange(len(rows))
    _dots(axes, other, "sensitivity", y - 0.15, GREY, "s", hollow=True)
    _dots(axes, rows, "sensitivity", y + 0.15, MODEL)
    names = [ATTACKS.get(part, part) for part in rows["part"]]
    harmful = rows["tp"] + rows["fn"]
    axes.set_yticks(y, [f"{name} ({n})" for name, n in zip(names, harmful, strict=True)])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title("Sensitivity by attack")
    _legend(
        axes,
        _entry("Llama Guard 1", MODEL, "o"),
        _entry("HarmBench Llama 2", GREY, "s", hollow=True),
    )


def _xstest(share: Axes, chance: Axes, numbers: Numbers) -> None:
    rows = numbers.xstest()
    y = np.arange(len(XSTEST_MODELS), dtype=float)
    for place, (name, colour) in enumerate(LISTS.items()):
        own = rows[rows["judge"] == name].set_index("part").loc[list(XSTEST_MODELS)]
        if place == 0:
            _dots(share, own, "truth_rate", y - 0.22, PEOPLE)
        _dots(share, own, "rate", y + 0.22 * place, colour)
        middle = y + 0.4 * place - 0.2
        _dots(chance, own, "kappa", middle - 0.07, colour)
        _dots(chance, own, "ac1", middle + 0.07, colour, "D", hollow=True)
    for at, (model, label) in zip(y, XSTEST_MODELS.items(), strict=True):
        share.text(
            0.0,
            at,
            label.replace("Mistral ", "Mistral\n"),
            va="center",
            fontsize=6.5,
            color="#333333",
        )
        two = numbers.statistics["people"][f"XSTest {model}"]["kappa"]
        chance.plot([two, two], [at - 0.42, at + 0.42], PEOPLE, lw=0.9, ls=DASHED, zorder=1.5)
    share.set_title("XSTest: not refused")
    chance.set_title("XSTest: agreement with people")
    _legend(
        share,
        _entry("people", PEOPLE, "o"),
        *(_entry(JUDGES[name].split()[0], shade, "o") for name, shade in LISTS.items()),
    )
    _legend(chance, *_agreement_entries("#555555"))
    for axes in (share, chance):
        axes.set_ylim(len(y) - 0.5, -0.5)
        axes.set_yticks(y, [])
        for between in y[1:] - 0.5:
            axes.axhline(between, color="#e6e6e6", linewidth=0.5)
