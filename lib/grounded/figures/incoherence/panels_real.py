"""The panels on real text: judges and detectors by strength of corruption."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded import paths
from grounded.detectors.alarms import GROUPS
from grounded.detectors.challenge import DETECTORS
from grounded.detectors.corruptions import GRADED, WHOLE
from grounded.detectors.real_text import FIGURE, Numbers
from grounded.detectors.scores import DETECTORS as PLAIN
from grounded.figures import GREY, PAGE, PALETTE, letter, markers, save, share_axis, style, words
from grounded.figures.incoherence.panels import LOOKS, Look, key, roc

SHORT = {"option": "(A)…(D)", "true": "True", "number": "#### 42", "echo": "echo"}


def draw_real(numbers: Numbers) -> Figure:
    """a: how often judges say harmful. b: areas under detectors' curves. c: the curves."""
    judges = {
        name: (words(name), (PALETTE[(2 * i + 1) % 7], markers(numbers.judges)[name]))
        for i, name in enumerate(numbers.judges)
    }
    detectors = {name: (PLAIN[name], LOOKS[name]) for name in DETECTORS}
    with style():
        figure = Figure((PAGE, 7.1), layout="constrained")
        rows = figure.subfigures(3, 1, height_ratios=[2.5, 2.2, 2.1])
        for part in rows:
            part.set_facecolor("none")
        panels = [part.subplots(1, 4, sharey=True) for part in rows]
        _titles(panels[0])
        for axes, kind in zip(panels[0], (*GRADED, None), strict=True):
            for at, ((judge, (_, look)), group) in enumerate(product(judges.items(), GROUPS)):
                own = numbers.flagged[numbers.flagged["judge"] == judge]
                some = own[own["people"] == group]
                beside = 0.16 * (at - len(judges) + 0.5)
                hollow = group == "found harmful"
                _by_strength(axes, some, kind, ("rate", "low", "high"), look, beside, hollow)
        panels[0][0].set_ylabel("share called harmful")
        _judge_key(rows[0], judges)
        for axes, kind in zip(panels[1], (*GRADED, None), strict=True):
            axes.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
            for at, (name, (_, look)) in enumerate(detectors.items()):
                own = numbers.detection[numbers.detection["detector"] == name]
                beside = 0.16 * (at - (len(detectors) - 1) / 2)
                _by_strength(axes, own, kind, ("auc", "auc_low", "auc_high"), look, beside)
        panels[1][0].set_ylabel("AUC, corrupted\nagainst untouched")
        key(rows[1], detectors)
        for axes, kind in zip(panels[2], (*GRADED, "echo"), strict=True):
            roc(axes, numbers.curves[numbers.curves["kind"] == kind], DETECTORS)
            axes.set_xlabel("untouched called so")
            axes.set_title(
                "echo of the prompt" if kind == "echo" else f"strength ½: {GRADED[kind]}"
            )
        panels[2][0].set_ylabel("corrupted found")
        for row, text in zip(panels, "abc", strict=True):
            letter(row[0], text, -34)
    return figure


def keep_real(figure: Figure, numbers: Numbers, study: str, notebook: str) -> None:
    """Save the figure, its numbers and statistics; a committed one stays when data is absent."""
    if numbers.measured or not (paths.figures(study) / f"{FIGURE}.png").exists():
        save(figure, study, FIGURE, numbers.table(), numbers.statistics, notebook=notebook)


def _by_strength(
    axes: Axes,
    rows: pd.DataFrame,
    kind: str | None,
    columns: tuple[str, str, str],
    look: Look,
    beside: float,
    hollow: bool = False,
) -> None:
    """A line over the strengths of one corruption, or (None) a point for each without degrees.

    columns: a value and its bounds. beside: how far such a point stands from its tick.
    """
    shade, sign = look
    value, low, high = columns
    face = "white" if hollow else shade
    mark: Any = {"color": shade, "markersize": 3.2, "markerfacecolor": face, "marker": sign}
    axes.grid(False, axis="x")
    if kind is not None:
        own = rows[rows["kind"] == kind].sort_values("strength")
        x = own["strength"]
        axes.fill_between(
            x, own[low], own[high], color=shade, alpha=0.12 if hollow else 0.2, linewidth=0
        )
        axes.plot(x, own[value], linestyle="--" if hollow else "-", linewidth=1, **mark)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        axes.set_xlabel("strength")
    else:
        own = rows[rows["strength"] == 1].set_index("kind").loc[list(WHOLE)]
        at = np.arange(len(WHOLE)) + beside
        axes.vlines(at, own[low], own[high], color=shade, linewidth=1)
        axes.plot(at, own[value], linestyle="", **mark)
        axes.set_xticks(range(len(WHOLE)), [SHORT[name] for name in WHOLE], fontsize=5.8)
        axes.set_xlim(-0.5, len(WHOLE) - 0.5)
    share_axis(axes)


def _titles(panels: Any) -> None:
    for axes, title in zip(panels, (*GRADED.values(), "another text instead"), strict=True):
        axes.set_title(title, fontweight="bold")


def _judge_key(part: Any, judges: dict[str, tuple[str, Look]]) -> None:
    handles = [
        Line2D([], [], color=shade, marker=sign, linewidth=1.1, markersize=3.6, label=label)
        for label, (shade, sign) in judges.values()
    ]
    for group, line, face in zip(GROUPS, ("-", "--"), (GREY, "white"), strict=True):
        handles.append(
            Line2D([], [], color=GREY, linestyle=line, marker="o", markersize=3.6,
                   markerfacecolor=face, label=f"people {group}")
        )  # fmt: skip
    part.legend(handles=handles, loc="outside upper center", ncols=len(handles))
