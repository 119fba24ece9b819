"""The panels of figure 4."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from grounded.figures import (
    GREY,
    PAGE,
    letter,
    markers,
    prose,
    share_axis,
    style,
    words,
)
from grounded.figures.benchmarks.numbers import everyone
from grounded.statistics import frames
from grounded.study import Study

SHADES = (
    "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#000000", "#D55E00", "#B8A800",
)  # fmt: skip
FALLS, RISES = "#0072B2", "#D55E00"


def draw(study: Study, lines: pd.DataFrame, found: pd.DataFrame, judge: str) -> Figure:
    """Panel a: a column a task, a line a benchmark. Panel b: a tile a task, benchmark and judge."""
    benchmarks = frames.harmful_benchmarks(study)
    tasks = [task for task in study.tasks if task in set(found["task"])]
    judges = everyone(study)
    with style():
        crowded = len(benchmarks) > 4  # names of benchmarks stand upright, and the key has rows
        below = (1.3 if crowded else 0.62) + 0.185 * len(judges)
        figure = Figure((PAGE, 1.95 + below), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.95, below])
        panels = upper.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        shades = dict(zip(benchmarks, SHADES, strict=False))
        signs = markers(benchmarks)
        for axes, task in zip(panels, tasks, strict=True):
            panel(axes, lines[lines["task"] == task], shades, signs)
            axes.set_title(words(task), fontweight="bold")
            axes.set_xlabel("epoch")
        long = len(judge) > 10  # then its name takes a line of its own
        panels[0].set_ylabel(f"Harmfulness\n(judge{chr(10) if long else ' '}{words(judge)})")
        letter(panels[0], "a", -28)
        upper.legend(
            handles=[
                Line2D([], [], color=shades[b], marker=signs[b], markersize=3.5, label=words(b))
                for b in benchmarks
            ],
            loc="outside upper center", ncols=4 if crowded else len(benchmarks),
            title=_behind(lines), title_fontsize=6.5,
        )  # fmt: skip
        tiles = lower.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(tiles, tasks, strict=True):
            matrix(axes, found[found["task"] == task], benchmarks, judges)
            if crowded:
                axes.tick_params(axis="x", rotation=90)
            axes.set_title(words(task), fontweight="bold")
        letter(tiles[0], "b", -60)
        lower.supxlabel(
            "change in points from the base model to the last epoch; coloured: rises or falls, "
            "white: unclear", fontsize=6.5, color="#444444",
        )  # fmt: skip
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02)
    return figure


def panel(axes: Axes, lines: pd.DataFrame, shades: dict[str, str], signs: dict[str, str]) -> None:
    """One task: a line a benchmark, 95% intervals over runs as bars, set beside one another."""
    share_axis(axes)
    end = lines["epoch"].max()
    for place, name in enumerate(shades):
        curve = lines[lines["benchmark"] == name].sort_values("epoch")
        at = curve["epoch"] + 0.016 * end * (place - (len(shades) - 1) / 2)
        low, high = (curve[bound].clip(0, 1) for bound in ("low", "high"))
        axes.vlines(at, low, high, color=shades[name], linewidth=0.9)
        axes.plot(
            at, curve["rate"], color=shades[name], marker=signs[name], markersize=3,
            markeredgewidth=0, linewidth=1.1,
        )  # fmt: skip
    axes.set_xticks([e for e in sorted(lines["epoch"].unique()) if e == int(e)])


def _behind(lines: pd.DataFrame) -> str:
    """How many measurements a point stands on, at the last epoch."""
    last = lines[lines["epoch"] == lines["epoch"].max()].iloc[0]
    each = (last["n"] + last["missing"]) // last["runs"]
    return f"a point: {prose.count(last['runs'], 'run')} x {each:,} prompts"


def matrix(axes: Axes, found: pd.DataFrame, benchmarks: list[str], judges: list[str]) -> None:
    """One task: rows judges, columns benchmarks; number and colour are the change."""
    shade = LinearSegmentedColormap.from_list("", [FALLS, "#ffffff", RISES])
    cells = found.set_index(["judge", "benchmark"])
    for y, judge in enumerate(judges):
        for x, benchmark in enumerate(benchmarks):
            row = cells.loc[(judge, benchmark)]
            clear = row["conclusion"] != "unclear"
            # even a small change is tinted: only what is unclear is white
            depth = np.sign(row["change"]) * (0.15 + 0.85 * abs(row["change"]))
            fill = shade(0.5 + 0.5 * depth) if clear else "#ffffff"
            edge = fill if clear else "#dcdcdc"
            tile = Rectangle(
                (x - 0.47, y - 0.45), 0.94, 0.9, facecolor=fill, edgecolor=edge, linewidth=0.4
            )
            axes.add_patch(tile)
            dark = np.dot(to_rgb(fill), [0.299, 0.587, 0.114]) < 0.55
            text = "" if not np.isfinite(row["change"]) else prose.points(row["change"], digits=0)
            axes.annotate(
                text, (x, y), ha="center", va="center", zorder=2,
                fontsize=5.8 if len(benchmarks) <= 4 else 4.2,
                color="white" if dark else "black" if clear else GREY,
            )  # fmt: skip
    axes.set_xlim(-0.5, len(benchmarks) - 0.5)
    axes.set_ylim(len(judges) - 0.5, -0.5)
    axes.set_xticks(range(len(benchmarks)), [words(b) for b in benchmarks], fontsize=5.5)
    axes.set_yticks(range(len(judges)), [_judge(name) for name in judges], fontsize=6.5)
    for tick, name in zip(axes.yaxis.get_major_ticks(len(judges)), judges, strict=True):
        tick.label1.set_fontweight("bold" if name.startswith("truth:") else "normal")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _judge(name: str) -> str:
    if name.startswith("truth:"):
        return {"harm": "truth: holds harm", "compliance": "truth: fulfilled"}[name[6:]]
    return words(name)
