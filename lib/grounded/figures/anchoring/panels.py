"""The panels of does_anchoring_help."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grounded.figures import (
    GREY,
    PAGE,
    PALETTE,
    colours,
    letter,
    markers,
    note,
    ratio_axis,
    share_axis,
    style,
    words,
)
from grounded.figures.anchoring.measure import Found
from grounded.study import Study

FIXED, ANCHORED = PALETTE[3], PALETTE[1]
SHADES = {"H1": "#000000", "control": PALETTE[2], "choice": PALETTE[0], "depth": PALETTE[4]}


def draw(study: Study, found: Found) -> Figure:
    """a: spread of harm in both arms. b: ratios of variances. c: H2 to H5. d: alignment depth."""
    if found.why_not:
        return note(found.why_not)
    parts = found.parts
    cells, rows = parts["cells"], ratios(parts)
    some = cells[cells["counts"].notna()]
    height = 1.1 + 0.17 * max(len(some), len(rows))
    with style():
        figure = Figure((PAGE, height + 2.5), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[height, 2.5])
        left, right = above.subplots(1, 2, width_ratios=[1, 1.1])
        spread(left, some)
        forest(right, rows)
        shares, tau, depth = below.subplots(1, 3, width_ratios=[1.3, 0.8, 1.2])
        differences(shares, parts["secondary"], ["H2", "H3", "H5"])
        differences(tau, parts["secondary"], ["H4"])
        by_depth(depth, parts["depths"])
        for axes, text in ((left, "a"), (right, "b"), (shares, "c"), (depth, "d")):
            letter(axes, text, -20)
    return figure


def ratios(parts: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """The rows of panel b: name, kind, ratio, low, high, n (runs)."""
    found: list[dict[str, Any]] = []
    for kind, table, name in (
        ("H1", "primary", None), ("control", "controls", "about"),
        ("depth", "depths", "depth"), ("choice", "sensitivities", "value"),
    ):  # fmt: skip
        for row in parts[table].to_dict("records"):
            if row.get("course") == "capability" or row.get("task", "all") != "all":
                continue
            label = {"H1": "H1: capability", "depth": f"depth: {row.get('depth')} steps"}.get(
                kind, f"{row.get('choice', 'on')}: {row[name] if name else ''}"
            )
            found.append({"name": label, "kind": kind, **row})
    return [row for row in found if np.isfinite(row["ratio"])]


def spread(axes: Axes, cells: pd.DataFrame) -> None:
    """A row a cell: standard deviation of harm over its runs, fixed and anchored, in points."""
    for y, row in enumerate(cells.to_dict("records")):
        ends = [100 * row["sd_fixed"], 100 * row["sd_anchored"]]
        axes.plot(ends, [y, y], color=GREY, linewidth=0.8, zorder=1)
        axes.plot(ends[0], y, "D", color=FIXED, markersize=3.5, label="fixed epoch" * (y == 0))
        axes.plot(ends[1], y, "o", color=ANCHORED, markersize=3.5, label="anchored" * (y == 0))
    names = [f"{row['model']}, {words(row['task'])} ({row['attained']})"
             for row in cells.to_dict("records")]  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("sd of harm over runs (points)")
    if len(names):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncol=2, borderaxespad=0.1)


def forest(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """A row a ratio of variances with its 95% interval, on a logarithmic axis."""
    axes.axvline(1, color=GREY, linestyle=":", linewidth=1)
    for y, row in enumerate(rows):
        colour = SHADES[row["kind"]]
        if row["kind"] == "H1":
            axes.axhspan(y - 0.45, y + 0.45, color="#f0f0f0", zorder=0)
        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.2)
        axes.plot(row["ratio"], y, "o", color=colour, markersize=3.5)
    ratio_axis(axes)
    names = [f"{row['name']} ({row['cells']:.0f}, {row['runs']:.0f})" for row in rows]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("variance anchored over fixed")
    axes.set_title("(cells, runs)")


def differences(axes: Axes, table: pd.DataFrame, wanted: list[str]) -> None:
    """Anchored less fixed, with 95% intervals: shares in points, tau as it is."""
    rows = table[table["hypothesis"].isin(wanted)].to_dict("records")
    scale = 1 if wanted == ["H4"] else 100
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    for y, row in enumerate(rows):
        if not np.isfinite(row["difference"]):
            axes.text(0, y, "not measured", fontsize=6, ha="center", va="center", color=GREY)
            continue
        axes.plot([scale * row["low"], scale * row["high"]], [y, y], color="black")
        axes.plot(scale * row["difference"], y, "o", color="black", markersize=4)
    short = {
        "H2": "incoherence", "H3": "judges differ", "H4": "ranking",
        "H5": "spread over\nbenchmarks\nand judges",
    }  # fmt: skip
    axes.set_yticks(
        range(len(rows)),
        [f"{row['hypothesis']}: {short[row['hypothesis']]}\n(n = {row['runs']})" for row in rows],
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("anchored less fixed\n" + ("(Kendall's τ)" if scale == 1 else "(points)"))


def by_depth(axes: Axes, table: pd.DataFrame) -> None:
    """Harm at the goal by alignment depth, a line a task; open marks: the fixed epoch."""
    rows = table[table["task"] != "all"] if len(table) else table
    if not len(rows) or rows["harm"].isna().all():
        axes.text(0.5, 0.5, "no other depth\nhas runs enough", transform=axes.transAxes,
                  ha="center", va="center", color=GREY)  # fmt: skip
        axes.set_axis_off()
        return
    tasks = list(dict.fromkeys(rows["task"]))
    shade, sign = colours(tasks), markers(tasks)
    depths = sorted(rows["depth"].unique())
    for number, task in enumerate(tasks):
        own = rows[rows["task"] == task].sort_values("depth")
        x = np.array([depths.index(d) for d in own["depth"]]) + 0.12 * (number - 1)
        axes.vlines(x, own["harm_low"], own["harm_high"], color=shade[task], linewidth=1)
        ends = dict.fromkeys(f"{n:.0f}" for n in (own["attained"].min(), own["attained"].max()))
        axes.plot(x, own["harm"], f"{sign[task]}-", color=shade[task], markersize=4,
                  label=f"{words(task)} (n = {'–'.join(ends)})")  # fmt: skip
        axes.plot(x, own["harm_fixed"], sign[task], color=shade[task], markersize=4,
                  markerfacecolor="white")  # fmt: skip
    axes.set_xticks(range(len(depths)), [f"{d:,.0f}" for d in depths])
    axes.set_xlim(-0.4, len(depths) - 0.6)
    axes.set_xlabel("alignment depth (steps)")
    share_axis(axes)
    axes.set_ylabel("harm at the goal")
    axes.set_title(" ")  # room for the letter beside the key
    axes.legend(fontsize=5.8, loc="lower left", bbox_to_anchor=(0.08, 1.0), borderaxespad=0.1)
