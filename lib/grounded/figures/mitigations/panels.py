"""The panels of mitigations_at_equal_capability."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded.figures import GREY, PAGE, PALETTE, letter, note, share_axis, style
from grounded.figures.mitigations.numbers import OUTCOMES, Found
from grounded.study import LORA
from grounded.study.methods import CONTROL_OF

FAMILIES = {
    "after training": ("safe_lora", "safe_lora_exact", "one_shot_patch"),
    "other data": ("safety_mixing", "lisa", "ptst"),
    "held or kept apart": ("salora", "asft", "hold_general"),
    "other": ("circuit_breaker", "dpo", "stop_at", "stop_at_general"),
}
SHADES = (PALETTE[1], PALETTE[3], PALETTE[4], PALETTE[5])
SIGNS = ("o", "s", "^", "D")
ANCHORED, FIXED = PALETTE[1], PALETTE[3]


def draw(found: Found) -> Figure:
    """a: harm along capability. b: each method less plain LoRA, at the goal and at the end."""
    if found.why_not:
        return note(found.why_not)
    rows = found.at_goal[found.at_goal["name"] != LORA]
    height = 1.0 + 0.135 * len(rows)
    with style():
        figure = Figure((PAGE, 2.6 + height), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[2.6, height])
        top = above.subplots(1, len(FAMILIES), sharex=True, sharey=True)
        for axes, (title, methods) in zip(top, FAMILIES.items(), strict=True):
            along(axes, found, methods)
            axes.set_title(title, fontweight="bold")
        top[0].set_ylabel("harm")
        drawn = [name for name in OUTCOMES if name in rows]
        bottom = below.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for axes, outcome in zip(bottom, drawn, strict=True):
            less(axes, found, list(rows["name"]), outcome)
        key = [Line2D([], [], color=ANCHORED, marker="o", markersize=3, label="at the goal"),
               Line2D([], [], color=FIXED, marker="D", markersize=3, linestyle="none",
                      markerfacecolor="white", label="at the last epoch")]  # fmt: skip
        below.supxlabel("change from plain LoRA (percentage points)", fontsize=7.5)
        below.legend(handles=key, loc="outside upper center", ncol=2)
        letter(top[0], "a", -24)
        letter(bottom[0], "b", -70)
    return figure


def along(axes: Axes, found: Found, methods: tuple[str, ...]) -> None:
    """Harm of each method at the middle of its knob, and of its control, along the goals."""
    curve = found.curve
    names = found.at_goal.sort_values("knob").groupby("method", sort=False)["name"].agg(list)
    plain = curve[curve["name"] == LORA]
    _line(axes, plain, "black", "o", "-", "plain LoRA")
    for number, method in enumerate(m for m in methods if m in names.index):
        for one in (method, *(c for c, of in CONTROL_OF.items() if of == method)):
            if one in names.index:
                name = names[one][len(names[one]) // 2]
                dash, label = ("-", name) if one == method else (":", "")
                _line(axes, curve[curve["name"] == name], SHADES[number], SIGNS[number], dash,
                      label)  # fmt: skip
    share_axis(axes)
    share_axis(axes, "x")
    axes.set_xlabel("capability at the goal")
    axes.legend(fontsize=5.8, loc="upper left", bbox_to_anchor=(-0.05, -0.3), borderaxespad=0.0,
                handlelength=1.2)  # fmt: skip


def _line(axes: Axes, own: pd.DataFrame, shade: str, sign: str, dash: str, label: str) -> None:
    own = own.dropna(subset=["harm"]).sort_values("share")
    axes.plot(own["capability"], own["harm"], dash, color=shade, marker=sign, markersize=3,
              markerfacecolor=shade if dash == "-" else "white", label=label or None)  # fmt: skip
    axes.vlines(own["capability"], own["harm_low"], own["harm_high"], color=shade, linewidth=0.6)


def less(axes: Axes, found: Found, names: list[str], outcome: str) -> None:
    """One outcome: a row a method and knob, its change from plain LoRA in points."""
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    for table, shade, sign, fill, shift in (
        (found.at_goal, ANCHORED, "o", ANCHORED, -0.17), (found.at_end, FIXED, "D", "white", 0.17),
    ):  # fmt: skip
        rows = table.set_index("name")
        for y, name in enumerate(names):
            names_of = [f"{outcome}_change{end}" for end in ("", "_low", "_high")]
            change, low, high = (100 * float(rows.loc[name, one]) for one in names_of)
            if np.isfinite(change):
                axes.plot([low, high], [y + shift] * 2, color=shade, linewidth=0.9)
                axes.plot(change, y + shift, sign, color=shade, markersize=2.6,
                          markerfacecolor=fill, markeredgewidth=0.7)  # fmt: skip
    for y in range(0, len(names), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f6f6f6", zorder=0)
    goal = found.at_goal.set_index("name")
    labels = [
        f"{'· ' if name.split()[0] in CONTROL_OF else ''}{name} "
        f"({goal.loc[name, 'attained']:.0f}/{goal.loc[name, 'runs']:.0f})"
        for name in names
    ]
    axes.set_yticks(range(len(names)), labels, fontsize=5.8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(OUTCOMES[outcome])
