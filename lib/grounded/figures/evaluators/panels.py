"""The panels of figure 3."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded.figures import PAGE, letter, prose, save, share_axis, style, words
from grounded.figures.evaluators.numbers import ALL, MEASURES, lines, points, statistics, twins
from grounded.statistics import band
from grounded.study import Study

# harmfulness, compliance; the second line is dashed, for the two often lie on one another
SHADES, SIGNS, DASHES = ("#D55E00", "#0072B2"), ("o", "s"), ("-", (0, (3, 1.6)))
TABLES = ("verdicts", "capability")


def draw(study: Study, drawn: pd.DataFrame, fitted: pd.DataFrame) -> Figure:
    """Left, all models; right, each alone. R2 stands in the colour of its line."""
    models = [name for name in study.models if name in set(drawn["model"])]
    columns = int(np.ceil(len(models) / 2))
    with style():
        figure = Figure((PAGE, 3.5), layout="constrained")
        grid = figure.add_gridspec(2, 2 + columns)
        left = figure.add_subplot(grid[:, :2])
        panel(left, drawn, fitted[fitted["model"] == ALL], large=True)
        left.set_title(ALL, fontweight="bold")
        left.set_xlabel("capability (share of items right)")
        left.set_ylabel("share of replies to harmful requests")
        letter(left, "a", -28)
        for place, model in enumerate(models):
            axes = figure.add_subplot(grid[place // columns, 2 + place % columns])
            panel(axes, drawn[drawn["model"] == model], fitted[fitted["model"] == model])
            axes.set_title(model)
            axes.set_xlabel("capability" if place + columns >= len(models) else "")
            if place % columns:
                axes.tick_params(labelleft=False)
            if place == 0:
                letter(axes, "b", -16)
        judges = drawn.drop_duplicates("measure").set_index("measure")["judge"]
        handles = [
            Line2D([], [], color=shade, marker=sign, markersize=4, linewidth=1.4, linestyle=dash,
                   label=f"{name} (judge {words(judges[name])})")
            for name, shade, sign, dash in zip(MEASURES, SHADES, SIGNS, DASHES, strict=True)
        ]  # fmt: skip
        star = {"marker": "*", "linestyle": "", "markersize": 6}
        handles.append(Line2D([], [], color="black", label="base model", **star))
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def panel(axes: Axes, drawn: pd.DataFrame, fitted: pd.DataFrame, large: bool = False) -> None:
    """Checkpoints, joined by run; lines of least squares with bands clustered by run."""
    share_axis(axes)
    share_axis(axes, "x")
    fits = fitted.set_index("measure")
    for place, name in enumerate(MEASURES):
        own, shade = drawn[drawn["measure"] == name], SHADES[place]
        tuned = own[~own["base"]].sort_values(["run", "step"])
        for _, run in tuned.groupby("run", sort=False):
            axes.plot(run["capability"], run["rate"], color=shade, linewidth=0.35, alpha=0.16)
        full = {"color": shade, "linewidth": 0, "alpha": 0.4}
        empty = {"facecolor": "none", "edgecolor": shade, "linewidth": 0.5, "alpha": 0.7}
        axes.scatter(
            tuned["capability"], tuned["rate"], s=(7, 11)[place] * (1 if large else 0.7),
            marker=SIGNS[place], **(empty if place else full),
        )  # fmt: skip
        base = own[own["base"]]
        axes.scatter(
            base["capability"], base["rate"], s=38, marker="*", color=shade, edgecolor="black",
            linewidth=0.5, zorder=4,
        )  # fmt: skip
        fit = fits.loc[name]
        if np.isfinite(fit["slope"]):
            span = tuned["capability"]
            at = np.linspace(span.min(), span.max(), 50)
            middle, low, high = band(tuned, at)
            axes.fill_between(at, low, high, color=shade, alpha=0.2, linewidth=0, zorder=3)
            axes.plot(at, middle, color=shade, linewidth=1.6, linestyle=DASHES[place], zorder=3)
        r2 = prose.number(fit["r2"]) if np.isfinite(fit["r2"]) else "–"
        axes.annotate(
            f"R² = {r2}", (0.03, 0.97 - place * (0.055 if large else 0.12)),
            xycoords="axes fraction", color=shade, va="top", fontweight="bold",
            fontsize=7.5 if large else 6.5,
        )  # fmt: skip
    fit = fits.iloc[0]
    behind = f"{prose.count(int(fit['runs']), 'run')}, {prose.count(int(fit['n']), 'point')}"
    axes.set_title(behind, loc="right", fontsize=5.5, color="#555555")


def save_twins(study: Study, measured: pd.DataFrame, task: str) -> pd.DataFrame:
    """Draw and keep the figure of each other task; all their lines in one frame."""
    tables = [lines(points(measured, task).iloc[:0]).iloc[:0].assign(task="")]
    for twin in twins(study, task):
        drawn = points(measured, twin)
        fitted = lines(drawn)
        name = f"figure_3_evaluators_{twin}"
        found = statistics(drawn, fitted, twin)
        figure = draw(study, drawn, fitted)
        save(figure, study, name, drawn, found, TABLES, notebook="figure_3_evaluators")
        tables.append(fitted.assign(task=twin))
    return pd.concat(tables[1:] or tables, ignore_index=True)
