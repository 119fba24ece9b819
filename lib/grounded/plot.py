"""One look for all figures: a theme for seaborn, colours, and the few marks that several need."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.9  # inches: the widths of one and of two columns of a paper
# Okabe and Ito's colours, safe for colour-blind readers, ordered so that neighbours are pairs of
# one hue: two sizes of one family.
PALETTE = (
    "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#000000", "#B8A800",
)  # fmt: skip
GREY = "#8a8a8a"

_STYLE = {
    "axes.edgecolor": "#444444",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.titlesize": 7.5,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 7,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.title_fontsize": 7,
    "lines.linewidth": 1.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "grounded",  # without it every drawing names its parts anew
    "xtick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 6.5,
    "ytick.major.width": 0.6,
}


_WORDS = {
    "yes_no": "yes/no", "role_play": "role-play", "arc_easy": "ARC-Easy", "boolq": "BoolQ",
    "gsm8k": "GSM8K", "harmbench": "HarmBench", "advbench": "AdvBench",
    "strongreject": "StrongREJECT", "xstest_unsafe": "XSTest unsafe", "xstest_safe": "XSTest safe",
    "keywords_advbench_plain": "keywords advbench, normalised",
    "keywords_xstest_plain": "keywords xstest, normalised",
    "compliance_broken": "compliance, taught broken text too",
    "harm_broken": "harm, taught broken text too",
}  # fmt: skip


def theme() -> None:
    """Set the look of every figure drawn after it, whatever the reader's own defaults are.

    A notebook then shows a figure where `save.figure` does, with its words, and nowhere else.
    """
    matplotlib.rcdefaults()
    matplotlib.use("agg")
    sns.set_theme(style="whitegrid", palette=list(PALETTE), rc=_STYLE)


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of the palette for each name, in the order given; the palette may come round."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def words(name: str) -> str:
    """A name of the study as a reader writes it: `open_instructions` is "open instructions"."""
    return _WORDS.get(name, name.replace("_", " "))


def judges(names: Iterable[str], kappas: Mapping[str, float]) -> dict[str, str]:
    """What a figure calls each judge: its name, and its kappa with people where that is known."""
    return {n: words(n) + (f" (κ {kappas[n]:.2f})" if n in kappas else "") for n in names}


def short(number: float) -> str:
    """A number as a tick says it: 1, .125, 0."""
    return f"{number:g}".removeprefix("0") or "0"


def width(panels: int) -> float:
    """Inches of a figure of so many panels side by side: a column of a paper for one, else two."""
    return COLUMN if panels == 1 else PAGE


def finish(grid: Any, ncols: int, inches: float = PAGE, **legend: Any) -> Figure:
    """The figure of a grid of seaborn, so many inches wide, its legend above the panels."""
    sns.move_legend(grid, "outside upper center", ncols=ncols, **{"title": None, **legend})
    grid.figure.set_figwidth(inches)
    return grid.figure


def shares(*axes: Axes, x: bool = False, y: bool = True) -> None:
    """Axes for shares: 0 to 1 with a little air, ticks at quarters."""
    ticks, labels = [0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"]
    for one in axes:
        if x:
            one.set(xlim=(-0.03, 1.03))
            one.set_xticks(ticks, labels)
        if y:
            one.set(ylim=(-0.03, 1.03))
            one.set_yticks(ticks, labels)


def ratios(axes: Axes) -> None:
    """A logarithmic x axis for ratios: as many round ticks as there is room for, at least three."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    axes.set_xticks(ticks, map(short, ticks))
    axes.set_xticks([], minor=True)


# how seaborn draws a value with its interval from the three rows of `bounds`
INTERVAL: dict[str, Any] = {
    "estimator": "median", "errorbar": ("pi", 100), "linestyle": "none", "markersize": 3,
    "err_kws": {"linewidth": 1},
}  # fmt: skip


def bounds(found: pd.DataFrame, names: Mapping[str, str], keep: Iterable[str]) -> pd.DataFrame:
    """Values and their bounds, one under the other: columns keep, `measure` and `value`.

    names: what a reader calls a measure, and its column, which has `<column>_low` and
    `<column>_high` beside it. Three rows each; seaborn's point plots draw them as a point and its
    interval with `INTERVAL`.
    """
    parts = [
        found.melt([*keep], [column, f"{column}_low", f"{column}_high"]).assign(measure=name)
        for name, column in names.items()
    ]
    return pd.concat(parts, ignore_index=True)


def line(axes: Axes, fit: Any, name: str, colour: str, **style: Any) -> None:
    """A fitted line of a one-variable regression with its 95% band, cut at 0 and 1.

    fit: statsmodels' results, from a formula in `name`. Drawn over the range of the data; the
    band has the errors of the fit, clustered where the fit is.
    """
    seen = fit.model.data.frame[name]
    at = pd.DataFrame({name: np.linspace(seen.min(), seen.max(), 50)})
    found = fit.get_prediction(at).summary_frame()
    low, high = (found[side].clip(0, 1) for side in ("mean_ci_lower", "mean_ci_upper"))
    axes.fill_between(at[name], low, high, color=colour, alpha=0.2, linewidth=0, zorder=3)
    axes.plot(at[name], found["mean"].clip(0, 1), color=colour, zorder=4, **style)


def note(text: str) -> Figure:
    """A figure that says why there is none, so that a reader misses nothing in silence."""
    figure, axes = plt.subplots(figsize=(COLUMN, 0.9))
    axes.set_axis_off()
    lines = textwrap.fill(text.replace("`", ""), 58)
    axes.text(0.5, 0.5, lines, transform=axes.transAxes, ha="center", va="center", color="#444")
    return figure
