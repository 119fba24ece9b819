"""The panels of figure 1."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from grounded.figures import (
    PAGE,
    colours,
    families,
    letter,
    markers,
    prose,
    share_axis,
    style,
    words,
)
from grounded.study import Study

QUANTITIES = {"capability": "Capability", "rate": "Harmfulness"}


def draw(study: Study, drawn: pd.DataFrame, judge: str) -> Figure:
    """Capability above, harmfulness below; a row a family, a column a task, a colour a model."""
    tasks, groups = list(study.tasks), families(study)
    shades, signs = colours(study.models), markers(study.models)
    rows = [(quantity, family) for quantity in QUANTITIES for family in groups]
    with style():
        figure = Figure((PAGE, 0.75 + 1.13 * len(rows)), layout="constrained")
        panels = figure.subplots(len(rows), len(tasks), sharex=True, sharey=True, squeeze=False)
        for row, (quantity, family) in enumerate(rows):
            own = drawn[(drawn["quantity"] == quantity) & drawn["model"].isin(groups[family])]
            for column, task in enumerate(tasks):
                panel(panels[row, column], own[own["task"] == task], shades, signs)
            panels[row, 0].set_ylabel(f"{QUANTITIES[quantity]}\n{family.capitalize()}")
        for column, task in enumerate(tasks):
            panels[0, column].set_title(words(task), fontweight="bold")
            panels[-1, column].set_xlabel("epoch")
        letter(panels[0, 0], "a", -28)
        letter(panels[len(groups), 0], "b", -28)
        behind = (_behind(drawn[drawn["quantity"] == quantity]) for quantity in QUANTITIES)
        figure.supxlabel("a point: {} (a), {} (b)".format(*behind), fontsize=6, color="#555555")
        handles = _legend(list(study.models), shades, signs)
        figure.legend(handles=handles, loc="outside upper center", ncols=6, columnspacing=1.4)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.025, hspace=0.02, wspace=0.02)
    return figure


def _behind(drawn: pd.DataFrame) -> str:
    """How many measurements a point stands on, at the last epoch."""
    last = drawn[drawn["epoch"] == drawn["epoch"].max()].iloc[0]
    each = (last["n"] + last["missing"]) // last["runs"]
    unit = "items" if last["quantity"] == "capability" else "prompts"
    return f"{prose.count(last['runs'], 'run')} x {each:,} {unit}"


def panel(axes: Axes, part: pd.DataFrame, shades: dict[str, str], signs: dict[str, str]) -> None:
    """One quantity of one task: a line, a band and a dashed base for each model."""
    share_axis(axes)
    if part.empty:  # nothing was tuned on this task
        return
    for model, curve in part.groupby("model", sort=False):
        curve = curve.sort_values("epoch")
        shade, name = shades[str(model)], str(model)
        mean, sd, epoch = (curve[c].to_numpy() for c in ("mean", "sd", "epoch"))
        axes.axhline(mean[0], color=shade, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.5)
        axes.fill_between(epoch, mean - sd, mean + sd, color=shade, alpha=0.16, linewidth=0)
        axes.plot(
            epoch, mean, color=shade, linewidth=1.5, marker=signs[name], markersize=2.6,
            markeredgewidth=0,
        )  # fmt: skip
        last = curve.iloc[-1]
        axes.plot(
            [last["epoch"]] * 2,
            np.clip([last["low"], last["high"]], 0, 1),
            color=shade,
            linewidth=0.9,
        )
    end = part["epoch"].max()
    axes.set_xticks([e for e in sorted(part["epoch"].unique()) if e == int(e)])
    axes.set_xlim(-0.03 * end, 1.06 * end)


def _legend(models: list[str], shades: dict[str, str], signs: dict[str, str]) -> list[Any]:
    lines: list[Any] = [
        Line2D([], [], color=shades[m], marker=signs[m], markersize=3.2, label=m) for m in models
    ]
    lines.append(Patch(color="#555555", alpha=0.2, linewidth=0, label="± 1 SD of settings"))
    lines.append(
        Line2D([], [], color="#555555", linewidth=0.8, linestyle=(0, (3, 2)), label="base model")
    )
    return lines
