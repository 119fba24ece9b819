"""The panels of what_is_incoherence: detectors against the truth of the invented world."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded.detectors.world import ALL, DETECTORS, SOUGHT
from grounded.figures import GREY, PAGE, letter, note, share_axis, style, words
from grounded.figures.incoherence.numbers import NO_TRUTH, Parts
from grounded.study import BASE, Study

Look = tuple[str, str]  # colour and marker
LOOKS: dict[str, Look] = {
    "perplexity": ("#0072B2", "o"),
    "repetition": ("#E69F00", "s"),
    "compression": ("#009E73", "^"),
    "shortness": ("#D55E00", "v"),
    "language": ("#CC79A7", "D"),
}
RULE: Look = ("#000000", "X")
BY: dict[str, tuple[str, Look]] = {
    "truth": ("truth", ("#000000", "D")),
    "rule": ("the study's rule", ("#56B4E9", "o")),
}
RULED: dict[str, tuple[str, Look]] = {
    "incoherent": ("of incoherent replies", ("#D55E00", "s")),
    "coherent": ("of coherent replies", ("#0072B2", "o")),
}


def draw(study: Study, parts: Parts) -> Figure:
    """a, b: ROC curves. c: areas by task. d: shares of incoherent replies. e: the rule by task."""
    if not parts:
        return note(NO_TRUTH)
    tasks = [ALL, *study.tasks]
    with style():
        figure = Figure((PAGE, 3.2 + 1.0 + 0.28 * len(tasks)), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[3.2, 1.0 + 0.28 * len(tasks)])
        for part in (upper, lower):
            part.set_facecolor("none")
        panels = upper.subplots(1, 2, sharey=True)
        for axes, sought in zip(panels, SOUGHT, strict=True):
            own = parts["curves"][parts["curves"]["sought"] == sought]
            roc(axes, own, DETECTORS)
            _rule(axes, parts["rule"], sought)
            counts = parts["areas"].query(f"sought == '{sought}' and task == '{ALL}'").iloc[0]
            axes.set_title(
                f"{sought} replies (n = {counts['n_sought']:,})\n"
                f"against coherent ones (n = {counts['n_other']:,})",
                fontweight="bold",
            )
        panels[0].set_ylabel("share of them found")
        key(upper, {name: (name, LOOKS[name]) for name in DETECTORS}
            | {"rule": ("the study's rule", RULE)})  # fmt: skip
        left, middle, right = lower.subplots(1, 3, sharey=False, width_ratios=[1.15, 1, 1])
        own = parts["areas"][parts["areas"]["sought"] == "incoherent"]
        dots(left, own, tasks, "detector", "auc", {name: LOOKS[name] for name in DETECTORS})
        left.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
        left.set_xlabel("AUC, incoherent\nagainst coherent")
        shares = parts["shares"]
        last = shares[(shares["when"] != "after") & (shares["by"] != "mixed")]
        dots(middle, last, [BASE, *tasks], "by", "rate", {k: v[1] for k, v in BY.items()})
        middle.set_xlabel("share incoherent,\nlast epoch")
        key_in(middle, BY)
        own = parts["rule"][parts["rule"]["kind"].isin(list(RULED))]
        dots(right, own, tasks, "kind", "rate", {k: v[1] for k, v in RULED.items()})
        right.set_xlabel("share called incoherent\nby the rule")
        key_in(right, RULED)
        for axes, text, at in zip(
            (panels[0], panels[1], left, middle, right), "abcde", (-30, -12, -78, -78, -78),
            strict=True,
        ):  # fmt: skip
            letter(axes, text, at)
    return figure


def roc(axes: Axes, curves: pd.DataFrame, detectors: Sequence[str]) -> None:
    """A curve a detector, its 95% band shaded; dotted where a coin would be."""
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for name in detectors:
        own = curves[curves["detector"] == name]
        if own.empty:
            continue
        shade = LOOKS[name][0]
        x = np.concatenate([[0.0], own["false"]])
        y = np.concatenate([[0.0], own["found"]])
        axes.fill_between(
            own["false"], own["found_low"], own["found_high"], color=shade, alpha=0.18, linewidth=0
        )
        axes.plot(x, y, color=shade, linewidth=1.1)
        marked = own.iloc[[i for i, at in enumerate(own["false"]) if at in (0.25, 0.5, 0.75)]]
        axes.plot(
            marked["false"], marked["found"], LOOKS[name][1], color=shade, markersize=3, linewidth=0
        )
    if curves.empty:
        axes.text(0.97, 0.05, "nothing to tell apart", ha="right", color=GREY)
    share_axis(axes, "x")
    share_axis(axes)
    axes.set_xlabel("share of the others called so")


def _rule(axes: Axes, ruled: pd.DataFrame, sought: str) -> None:
    """The study's rule as a point, with its interval in both directions."""
    own = ruled[ruled["task"] == ALL].set_index("kind")
    if not {sought, "coherent"} <= set(own.index):
        return
    x, y = own.loc["coherent"], own.loc[sought]
    axes.plot([x["low"], x["high"]], [y["rate"]] * 2, color=RULE[0], linewidth=1.1)
    axes.plot([x["rate"]] * 2, [y["low"], y["high"]], color=RULE[0], linewidth=1.1)
    axes.plot(x["rate"], y["rate"], RULE[1], color=RULE[0], markersize=4.5, zorder=4)


def dots(
    axes: Axes,
    frame: pd.DataFrame,
    tasks: Sequence[str],
    mark: str,
    value: str,
    looks: Mapping[str, Look],
) -> None:
    """A row a task, a mark a value of the column `mark`, each with its interval."""
    bounds = ("low", "high") if value == "rate" else (f"{value}_low", f"{value}_high")
    for one in frame[frame["task"].isin(list(tasks))].to_dict("records"):
        if one[mark] not in looks:
            continue
        shade, sign = looks[one[mark]]
        place = list(looks).index(one[mark]) - (len(looks) - 1) / 2
        y = list(tasks).index(one["task"]) + 0.19 * place
        axes.plot([one[bounds[0]], one[bounds[1]]], [y, y], color=shade, linewidth=1.1)
        axes.plot(one[value], y, sign, color=shade, markersize=3)
    share_axis(axes, "x")
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    names = {ALL: "all tasks", BASE: "base model"}
    axes.set_yticks(range(len(tasks)), [names.get(task, words(task)) for task in tasks])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    for edge in np.arange(0.5, len(tasks) - 1):
        axes.axhline(edge, color="#ececec", linewidth=0.5, zorder=0)


def key(part: Any, labels: Mapping[str, tuple[str, Look]], title: str = "") -> None:
    """A legend above a row of panels."""
    part.legend(
        handles=_handles(labels), loc="outside upper center", ncols=len(labels),
        title=title or None, title_fontsize=7,
    )  # fmt: skip


def key_in(axes: Axes, labels: Mapping[str, tuple[str, Look]]) -> None:
    """A legend above one panel."""
    axes.legend(
        handles=_handles(labels), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1,
        fontsize=6.5, borderaxespad=0.2,
    )  # fmt: skip


def _handles(labels: Mapping[str, tuple[str, Look]]) -> list[Line2D]:
    return [
        Line2D([], [], color=shade, marker=sign, linewidth=1.1, markersize=3.6, label=text)
        for text, (shade, sign) in labels.values()
    ]
