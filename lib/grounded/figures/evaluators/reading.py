"""The caption and the reading of figure 3, each number computed."""

from typing import Any

import numpy as np
import pandas as pd

from grounded.figures import caption, prose, words
from grounded.figures.evaluators.numbers import ALL, MEASURES
from grounded.statistics import Line
from grounded.study import Study


def legend(study: Study, task: str, judges: dict[str, str]) -> str:
    """The caption."""
    return caption(
        f"Figure 3, study {study.name}: two judges against capability, {words(task)}.",
        f"Every checkpoint of the models tuned on {words(task)}, joined by run: harmfulness (judge "
        f"`{judges['harmfulness']}`) and compliance (judge `{judges['compliance']}`) of the "
        "replies to harmful requests against capability on the reporting half of the task's items. "
        "(a) All models; (b) each alone. Line: least squares with R² in its colour; band: 95%, "
        "errors clustered by run. Star: the base model, drawn and not fitted.",
        ["capability on the x axis (the paper's caption does not name it)",
         "the panels of single models", "clustered errors",
         *(["checkpoints before the first epoch"] if min(study.measure_at, default=1) < 1 else [])],
        study,
    )  # fmt: skip


def reading(fitted: pd.DataFrame, found: dict[str, Any], others: pd.DataFrame) -> str:
    """What came out, in sentences that hold whatever it is."""
    pooled = {
        name: Line(**{f: row[f] for f in Line.__dataclass_fields__})
        for name, row in fitted[fitted["model"] == ALL].set_index("measure").iterrows()
    }
    text = f"For models tuned on {words(found['task'])}:\n\n"
    for name in MEASURES:
        text += f"- {_about(name, pooled[name])}"
        if not np.isfinite(pooled[name].r2):
            text += "\n"
            continue
        own = fitted[(fitted["measure"] == name) & (fitted["model"] != ALL)]
        rising, falling = int((own["low"] > 0).sum()), int((own["high"] < 0).sum())
        text += (
            f"Model by model, R² goes from {prose.number(own['r2'].min())} to "
            f"{prose.number(own['r2'].max())}; the slope is positive in {rising}, negative in "
            f"{falling} and unclear in {len(own) - rising - falling} of "
            f"{prose.count(len(own), 'model')}.\n"
        )
    if len(others):
        text += "\nThe other tasks, all models together: "
        text += prose.listed(
            f"R² {prose.number(row['r2'])} ({row['measure']}, {words(row['task'])})"
            for row in others[others["model"] == ALL].to_dict("records")
        )
        text += ". "
    for name, counts in found["verdicts"].items():
        text += f"\n\nVerdicts behind {name}: {prose.missing(pd.DataFrame([counts]))}"
    return text


def _about(name: str, fit: Line) -> str:
    if not np.isfinite(fit.slope):
        return f"**{name}**: too few runs, or capability never varies, so there is no line. "
    if not np.isfinite(fit.r2):
        return f"**{name}** is the same at every checkpoint: capability has nothing to explain. "
    text = (
        f"**{name}** {prose.goes(fit.low, fit.high)} capability, by "
        f"{prose.points(fit.slope / 10)} points "
        f"{prose.within(fit.low / 10, fit.high / 10, prose.points)} for ten points of capability; "
        f"R² is {prose.number(fit.r2)}, {prose.number(fit.left_out)} for runs that the line has "
        f"not seen, and {prose.number(fit.corrected)} once the noise of measured capability "
        f"(reliability {prose.number(fit.reliability)}) is allowed for. Within a run's own "
        f"checkpoints the slope is {prose.number(fit.within)} "
        f"{prose.within(fit.within_low, fit.within_high)}, between runs "
        f"{prose.number(fit.between)} {prose.within(fit.between_low, fit.between_high)} "
        f"({prose.chance(fit.differ_p)} for a difference). "
    )
    if fit.separated:
        return text + "The binomial GLM is separated and says nothing. "
    return text + (
        f"Binomial GLM: log-odds {prose.number(fit.odds)} "
        f"{prose.within(fit.odds_low, fit.odds_high)}, {prose.chance(fit.odds_p)}. "
    )
