"""The panels of how_far_to_trust_the_judges: judges against the truth, and among themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded.figures import GREY, PAGE, PALETTE, letter, markers, share_axis, style, words
from grounded.figures.trust import untold
from grounded.figures.trust.numbers import ALL, KINDS
from grounded.statistics import wilson
from grounded.study import Study

SHADES = {"coherent": "#0072B2", "mixed": "#E69F00", "incoherent": "#D55E00"}
SIGNS = {"coherent": "o", "mixed": "^", "incoherent": "s"}
PARTS = {
    "change": ("whole change", "#000000", "D"),
    "composition": ("from other kinds of reply", "#E69F00", "^"),
    "verdicts": ("from verdicts within a kind", "#0072B2", "o"),
}
METHODS = {
    "naive": ("#000000", "D"), "labels alone": ("#56B4E9", "o"), "PPI": ("#009E73", "s"),
    "Rogan-Gladen": ("#E69F00", "^"), "Rogan-Gladen, carried over": ("#D55E00", "v"),
}  # fmt: skip
AGAINST = {
    "sensitivity": "sensitivity", "specificity": "specificity", "kappa": "κ", "ac1": "AC1",
    "false_yes": "errors that\nsay yes", "bias": "bias of the\nrate (points)",
}  # fmt: skip


def plain(judge: str) -> str:
    """A judge as an axis names it; the truth in its place as such."""
    kind = judge.removeprefix("truth:")
    return f"truth ({kind})" if kind != judge else words(judge)


def draw(
    study: Study,
    truth: pd.DataFrame,
    moved: pd.DataFrame,
    mended: pd.DataFrame,
    task: str,
    labelled: int,
    draws: int,
) -> Figure:
    """a: judges against the truth. b: where each rate's change comes from. c: its correction.

    truth, moved, mended: of `reliability`, `shifts` and `correction` (so many labels and draws);
    task: the one of panel c. Where no truth is known: `untold.draw`.
    """
    judges = list(study.judges)
    if not study.has_truth:
        return untold.draw(study, truth)
    rows = list(dict.fromkeys(moved["judge"]))
    heights = [1.05 + 0.23 * len(judges), 0.95 + 0.18 * len(rows), 0.95 + 0.27 * len(judges)]
    with style():
        figure = Figure((PAGE, sum(heights)), layout="constrained")
        first, second, third = figure.subfigures(3, 1, height_ratios=heights)
        for part in (first, second, third):
            part.set_facecolor("none")
        top = first.subplots(1, len(AGAINST), sharey=True)
        for axes, (name, title) in zip(top, AGAINST.items(), strict=True):
            against(axes, truth, judges, name)
            axes.set_xlabel(title)
        n = truth[truth["judge"] == judges[0]].set_index("stratum")
        replies = n["n"] + n["missing"]
        labels = {k: f"{k} (n = {replies[k]:,})" for k in KINDS if k in n.index}
        _key(first, "replies that are", labels, {k: (SHADES[k], SIGNS[k]) for k in labels})
        middle = second.subplots(1, len(study.tasks), sharex=True, sharey=True, squeeze=False)[0]
        for axes, name in zip(middle, study.tasks, strict=True):
            shifted(axes, moved[moved["task"] == name], rows)
            axes.set_title(words(name), fontweight="bold")
        _points(middle[0], 100 * float(moved[[f"{part}_low" for part in PARTS]].min(axis=None)))
        second.supxlabel("change from the base model to the last epoch (percentage points)",
                         fontsize=7.5)  # fmt: skip
        _key(second, "change of the rate of yes,", {k: v[0] for k, v in PARTS.items()},
             {k: v[1:] for k, v in PARTS.items()})  # fmt: skip
        own = mended[mended["task"] == task]
        left, right = third.subplots(1, 2, sharey=True, width_ratios=[3, 1])
        corrected(left, right, own, judges, draws)
        left.set_xlabel("estimate less true rate (percentage points)")
        right.set_xlabel("coverage of the 95% interval")
        pool = int((own["n"] + own["missing"]).max())
        title = f"rate by ({labelled} labels, {words(task)}, last epoch, n = {pool:,} replies)"
        _key(third, title, {k: k for k in METHODS}, METHODS)
        for axes, text in ((top[0], "a"), (middle[0], "b"), (left, "c")):
            letter(axes, text, -70)
    return figure


def against(axes: Axes, truth: pd.DataFrame, judges: Sequence[str], name: str) -> None:
    """One measure: a row a judge, a mark a kind of reply, with the interval of resampling runs."""
    scale = 100 if name == "bias" else 1
    for row in truth[truth["stratum"] != ALL].to_dict("records"):
        y = judges.index(row["judge"]) + 0.25 * (KINDS.index(row["stratum"]) - 1)
        kind = row["stratum"]
        ends = [scale * row[f"{name}_low"], scale * row[f"{name}_high"]]
        axes.plot(ends, [y, y], color=SHADES[kind], linewidth=1.2)
        axes.plot(scale * row[name], y, SIGNS[kind], color=SHADES[kind], markersize=3)
    if name == "bias":
        axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
        _points(axes, 100 * float(truth["bias_low"].min()))
    elif name in ("kappa", "ac1"):
        axes.set_xlim(-1.06, 1.06)
        axes.set_xticks([-1, 0, 1], ["−1", "0", "1"])
    else:
        share_axis(axes, "x")
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    _rows(axes, judges)


def shifted(axes: Axes, moved: pd.DataFrame, judges: Sequence[str]) -> None:
    """One task: a row a judge (the truth among them), a mark a part of the change."""
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    for row in moved.to_dict("records"):
        for place, (part, (_, shade, sign)) in enumerate(PARTS.items()):
            y = judges.index(row["judge"]) + 0.25 * (place - 1)
            ends = [100 * row[f"{part}_low"], 100 * row[f"{part}_high"]]
            axes.plot(ends, [y, y], color=shade, linewidth=1.1)
            axes.plot(100 * row[part], y, sign, color=shade, markersize=2.6)
    for at, judge in enumerate(judges):
        if judge.startswith("truth:"):
            axes.axhspan(at - 0.5, at + 0.5, color="#f2f2f2", zorder=0)
    _rows(axes, judges)


def corrected(
    left: Axes, right: Axes, mended: pd.DataFrame, judges: Sequence[str], draws: int
) -> None:
    """A row a judge, a mark a method: its mean error with 95% of the draws, and its coverage."""
    left.axvline(0, color=GREY, linestyle=":", linewidth=1)
    right.axvline(0.95, color=GREY, linestyle=":", linewidth=1)
    for row in mended.to_dict("records"):
        shade, sign = METHODS[row["method"]]
        y = judges.index(row["judge"]) + 0.16 * (list(METHODS).index(row["method"]) - 2)
        ends = [100 * (row["low"] - row["truth"]), 100 * (row["high"] - row["truth"])]
        left.plot(ends, [y, y], color=shade, linewidth=1.2)
        left.plot(100 * row["bias"], y, sign, color=shade, markersize=2.8)
        given = round(draws * (1 - row["undefined"]))
        right.plot(wilson(row["coverage"] * given, given), [y, y], color=shade, linewidth=1.2)
        right.plot(row["coverage"], y, sign, color=shade, markersize=2.8)
    _points(left, wide=True)
    share_axis(right, "x")
    _rows(left, judges)
    _rows(right, judges)


def _points(axes: Axes, lowest: float = -100, wide: bool = False) -> None:
    """An axis for changes in points up to 100: linear within one point, then by tens.

    lowest: the least value drawn, which decides whether the axis goes down to −10 or to −100.
    wide: there is room for more ticks.
    """
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    least = -100 if lowest < -20 else -10
    ticks = [t for t in (-100, -10, 0, 10, 100) if t >= least]
    if wide:
        ticks += [-1, 1]
    elif least == -100:
        ticks = [-100, 0, 100]  # a narrow panel has no room for more
    axes.set_xticks(ticks, [f"{t}".replace("-", "−") for t in ticks])
    axes.set_xlim(1.8 * least, 180)
    axes.minorticks_off()


def draw_agreement(study: Study, agreed: pd.DataFrame, shares: pd.DataFrame) -> Figure:
    """a: AC1 of each pair of judges by benchmark. b: variance components of the verdicts."""
    agreed = agreed.assign(
        pair=[f"{plain(a)} – {plain(b)}"
              for a, b in zip(agreed["first"], agreed["second"], strict=True)]
    )  # fmt: skip
    names = list(dict.fromkeys(agreed["pair"]))
    benchmarks = [b for b in dict.fromkeys(agreed["benchmark"]) if b != ALL]
    with style():
        figure = Figure((PAGE, 0.8 + 0.17 * max(len(names), 11)), layout="constrained")
        parts = figure.subfigures(1, 2, width_ratios=[1.15, 1])
        for part in parts:
            part.set_facecolor("none")
        left, right = (part.subplots() for part in parts)
        signs = markers(benchmarks)
        looks = {b: (PALETTE[(2 * i + 1) % 7], signs[b]) for i, b in enumerate(benchmarks)}
        _dots(left, agreed[agreed["benchmark"] != ALL], names, "pair", "benchmark", "ac1", looks)
        if study.has_truth:
            left.axhspan(len(names) - 1.5, len(names) - 0.5, color="#f2f2f2", zorder=0)
        left.axvline(0, color=GREY, linestyle=":", linewidth=1)
        left.set_xlim(-1.04, 1.04)
        left.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−.5", "0", ".5", "1"])
        left.set_xlabel("AC1")
        columns = 3 if len(benchmarks) > 4 else 0
        _key(parts[0], "benchmark", {b: words(b) for b in benchmarks}, looks, columns)
        sets = {ALL: ("#0072B2", "o"), "trained": ("#D55E00", "s")}
        labels = {
            kind: f"{'all judges' if kind == ALL else 'without keyword lists'} (n = {part:,})"
            for kind, part in shares.groupby("judges", sort=False)["n"].first().items()
        }
        factors = list(dict.fromkeys(shares["factor"]))
        percent = shares.assign(
            **{c: 100 * shares[c] for c in ("share", "share_low", "share_high")}
        )
        _dots(right, percent, factors, "factor", "judges", "share", sets)
        right.axvline(0, color=GREY, linestyle=":", linewidth=1)
        right.set_xlabel("share of the variance of a verdict (%)")
        _key(parts[1], "", labels, {kind: sets[str(kind)] for kind in labels}, columns=1)
        letter(left, "a", -118)
        letter(right, "b", -90)
    return figure


def _dots(
    axes: Axes,
    frame: pd.DataFrame,
    rows: Sequence[str],
    row: str,
    mark: str,
    value: str,
    looks: dict[str, tuple[str, str]],
) -> None:
    """A row a value of `row`, a mark a value of `mark`, each with its interval."""
    for one in frame.to_dict("records"):
        shade, sign = looks[one[mark]]
        place = list(looks).index(one[mark]) - (len(looks) - 1) / 2
        y = rows.index(one[row]) + min(0.24, 0.8 / len(looks)) * place
        axes.plot([one[f"{value}_low"], one[f"{value}_high"]], [y, y], color=shade, linewidth=1.1)
        axes.plot(one[value], y, sign, color=shade, markersize=2.8)
    _rows(axes, rows)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from the top, a thin line between them."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [plain(name).replace(" x ", " × ") for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    for edge in np.arange(0.5, len(names) - 1):
        axes.axhline(edge, color="#ececec", linewidth=0.5, zorder=0)


def _key(
    part: Any, title: str, labels: dict[Any, str], looks: dict[str, Any], columns: int = 0
) -> None:
    handles = [
        Line2D([], [], color=looks[name][0], marker=looks[name][1], linewidth=1.1, markersize=3.6,
               label=label)
        for name, label in labels.items()
    ]  # fmt: skip
    part.legend(
        handles=handles, loc="outside upper center", ncols=columns or len(handles),
        title=title or None, title_fontsize=7,
    )  # fmt: skip
