"""The figure of the_claims: every claim's estimate with its interval."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grounded.figures import GREY, PAGE, PALETTE, ratio_axis, style
from grounded.figures.claims.numbers import OPEN, POINTS, RATIO, REFUTED, SUPPORTED, TAU

SHADES = {SUPPORTED: PALETTE[1], REFUTED: PALETTE[3], OPEN: GREY}
SIGNS = {SUPPORTED: "o", REFUTED: "s", OPEN: "D"}
TITLES = {POINTS: "percentage points", RATIO: "ratio of\nvariances", TAU: "Kendall's τ"}


def draw(found: pd.DataFrame) -> Figure:
    """A row a claim, a column a unit; colour and mark say the verdict."""
    units = [unit for unit in TITLES if (found["unit"] == unit).any()]
    with style():
        figure = Figure((PAGE, 1.1 + 0.3 * len(found)), layout="constrained")
        widths = [3 if unit == POINTS else 1 for unit in units]
        panels = figure.subplots(1, len(units), sharey=True, squeeze=False, width_ratios=widths)[0]
        for axes, unit in zip(panels, units, strict=True):
            column(axes, found, unit)
        names = [f"{row['claim']}: {_wrapped(row['about'])}" for row in found.to_dict("records")]
        panels[0].set_yticks(range(len(names)), names, fontsize=6)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles = [
            panels[0].plot([], [], SIGNS[v], color=SHADES[v], markersize=4, label=v)[0]
            for v in SHADES
        ]
        figure.legend(handles=handles, loc="outside upper right", ncol=3)
    return figure


def _wrapped(text: str, width: int = 46) -> str:
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def column(axes: Axes, found: pd.DataFrame, unit: str) -> None:
    """The claims of one unit."""
    axes.axvline(1 if unit == RATIO else 0, color=GREY, linestyle=":", linewidth=1)
    for y, row in enumerate(found.to_dict("records")):
        if row["unit"] != unit or not np.isfinite(row["estimate"]):
            continue
        shade = SHADES[row["verdict"]]
        axes.plot([row["low"], row["high"]], [y, y], color=shade, linewidth=1.2)
        axes.plot(row["estimate"], y, SIGNS[row["verdict"]], color=shade, markersize=4)
    if unit == RATIO:
        ratio_axis(axes)
    axes.set_xlabel(TITLES[unit])
