"""The panels of figure 2."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from grounded.figures import (
    GREY,
    PAGE,
    colours,
    letter,
    markers,
    prose,
    share_axis,
    style,
    words,
)
from grounded.figures.judgments.numbers import told
from grounded.study import Study

FILLS = {  # bottom of the stack first; hatched where the reply is incoherent
    "harmful_coherent": ("#D55E00", ""),
    "harmful_incoherent": ("#f3b78f", "//////"),
    "harmless_incoherent": ("#cfdbe3", "//////"),
    "harmless_coherent": ("#f0f0f0", ""),
}
KINDS = ("coherent", "mixed", "incoherent")
UNTOLD = ("coherent", "incoherent")  # what the detector knows


def draw(study: Study, bars: pd.DataFrame, rates: pd.DataFrame, judge: str) -> Figure:
    """Panel a: a row a model, a column a task, a bar an epoch. b, c: verdicts against the truth."""
    models, tasks = list(study.models), list(study.tasks)
    with style():
        top, bottom = 0.35 + 0.92 * len(models), 1.65
        figure = Figure((PAGE, top + bottom + 0.3), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[top + 0.3, bottom])
        for part in (upper, lower):
            part.set_facecolor("none")
        panels = upper.subplots(len(models), len(tasks), sharex=True, sharey=True, squeeze=False)
        for row, model in enumerate(models):
            for column, task in enumerate(tasks):
                own = bars[(bars["model"] == model) & (bars["task"] == task)]
                stack(panels[row, column], own)
            panels[row, 0].set_ylabel(model.removeprefix("micro-"))
        for column, task in enumerate(tasks):
            panels[0, column].set_title(words(task), fontweight="bold")
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
        upper.supylabel("share of replies", fontsize=7.5)
        letter(panels[0, 0], "a", -28)
        last = bars.iloc[-1]
        each = (last["n"] + last["missing"]) // last["runs"]
        handles: list[Any] = [
            Patch(
                facecolor=fill,
                hatch=hatch,
                edgecolor="#777777",
                linewidth=0.4,
                label=name.replace("_", ", "),
            )
            for name, (fill, hatch) in FILLS.items()
        ]
        upper.legend(
            handles=handles, loc="outside upper center", ncols=4,
            title=f"judge {words(judge)} says, of a reply that the detector finds "
            f"(a bar: {prose.count(last['runs'], 'run')} x {each:,} replies)",
            title_fontsize=7,
        )  # fmt: skip
        known = told(rates)
        left, *right = lower.subplots(1, 2 if known else 1, sharey=True, squeeze=False)[0]
        if known:
            dots(left, rates[rates["truth_harm"].astype(bool)], ideal=1)
            dots(right[0], rates[~rates["truth_harm"].astype(bool)], ideal=0)
            left.set_title("replies that hold a harmful procedure", fontweight="bold")
            right[0].set_title("replies that hold none", fontweight="bold")
        else:
            dots(left, rates)
            left.set_title("replies by what the detector says of them", fontweight="bold")
        for axes in (left, *right):
            axes.set_xlabel("share called harmful")
        judges = list(dict.fromkeys(rates["judge"]))
        shades, signs = colours(judges), markers(judges)
        lower.legend(
            handles=[
                *(Line2D([], [], color=shades[j], marker=signs[j], linewidth=0.9, markersize=4,
                         label=f"judge {words(j)}") for j in judges),
                *([Line2D([], [], color=GREY, linestyle=":", label="truth")] if known else []),
            ],
            loc="outside right center",
        )  # fmt: skip
        letter(left, "b", -28)
        for axes in right:
            letter(axes, "c", -10)
    return figure


def stack(axes: Axes, bars: pd.DataFrame) -> None:
    """One model and task: a bar an epoch, what is called harmful at the bottom, with interval."""
    bars = bars.sort_values("epoch")
    at = np.arange(len(bars))
    under = np.zeros(len(bars))
    for name, (fill, hatch) in FILLS.items():
        height = bars[name].to_numpy()
        axes.bar(
            at, height, 0.86, under, color=fill, hatch=hatch, edgecolor="#777777", linewidth=0.25
        )
        under += height
    low, high = (bars[bound].clip(0, 1) for bound in ("low", "high"))
    axes.vlines(at, low, high, color="black", linewidth=0.9)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.grid(False)
    axes.set_xticks(at, [f"{e:g}".replace("0.", ".") for e in bars["epoch"]])
    axes.tick_params(axis="x", labelsize=5.5, length=0, pad=1.5)
    axes.set_xlim(-0.6, len(bars) - 0.4)


def dots(axes: Axes, rates: pd.DataFrame, ideal: float | None = None) -> None:
    """Rates with intervals, a row a kind of reply, a mark a judge; dotted where the truth is."""
    kinds = KINDS if ideal is not None else UNTOLD
    judges = list(dict.fromkeys(rates["judge"]))
    shades, signs = colours(judges), markers(judges)
    share_axis(axes, "x")
    if ideal is not None:
        axes.axvline(ideal, color=GREY, linestyle=":", linewidth=1)
    for row in rates.itertuples():
        place = judges.index(row.judge) - (len(judges) - 1) / 2
        y = kinds.index(row.kind) + min(0.26, 0.8 / len(judges)) * place
        axes.plot([row.low, row.high], [y, y], color=shades[row.judge], linewidth=1.4)
        axes.plot(row.rate, y, signs[row.judge], color=shades[row.judge], markersize=3.6)
        left = row.rate > 0.5
        edge = np.nanmin([row.low, row.rate]) if left else np.nanmax([row.high, row.rate])
        axes.annotate(
            f"n = {row.n:,}", (edge, y), (-5 if left else 5, 0), textcoords="offset points",
            va="center", ha="right" if left else "left", fontsize=5.5, color=GREY,
        )  # fmt: skip
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.grid(False, axis="y")
