"""All that does_anchoring_help computes of a study."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from grounded import anchors
from grounded.errors import GroundedError
from grounded.figures.anchoring import controls as other
from grounded.figures.anchoring import numbers
from grounded.figures.anchoring.secondary import secondary
from grounded.statistics import frames, regressions
from grounded.study import Study

DRAWS = 2000
NO_GOAL = (
    "This study names no capability goal: `anchoring` in its file would. Nothing is compared here."
)


@dataclass(frozen=True)
class Found:
    """The tables by name (primary, cells, secondary, controls, sensitivities, depths, rules).

    rates: capability and harm of every checkpoint, for the regression. why_not: why there is
    nothing else, else empty.
    """

    parts: dict[str, pd.DataFrame] = field(default_factory=dict)
    rates: pd.DataFrame = field(default_factory=pd.DataFrame)
    why_not: str = ""


def measure(study: Study, draws: int = DRAWS, whole: bool = True) -> Found:
    """Compare the study's runs anchored and at a fixed epoch, as registered.

    draws: of each bootstrap. whole: with the controls and all that is described, not tested.
    """
    if study.anchoring is None:
        return Found(why_not=NO_GOAL)
    asked = study.anchoring
    curves = anchors.curves(study, asked.anchor)
    try:
        both = numbers.arms(curves, asked.anchor)
    except GroundedError as error:
        return Found(why_not=f"Nothing can be compared at the goal. {error}.")
    truths = [f"truth:{kind}" for kind in frames.TRUTH_JUDGES if study.has_truth]
    judges = [*study.judges, *truths] if whole else [asked.judge, *study.language_judges]
    said = anchors.opinions(study, list(dict.fromkeys(judges)), both.chosen)
    parts = {
        "primary": numbers.primary(study, both, said[asked.judge], draws),
        "secondary": secondary(study, both, said),
    }
    if not whole:
        return Found(parts)
    harm = anchors.verdicts(study, asked.judge)
    parts |= {
        "controls": other.controls(study, both, harm, draws),
        "cells": numbers.cells(study, both, harm),
        "sensitivities": other.sensitivities(study, both, harm, said, draws),
        "depths": other.depths(study, draws),
        "rules": numbers.by_rule(study, curves, harm, asked.curve),
    }
    return Found(parts, _rates(curves, harm))


def _rates(curves: pd.DataFrame, harm: pd.DataFrame) -> pd.DataFrame:
    """A row a checkpoint after the base model: model, task, setting, run, epoch, capability, harm.

    cell: model and task in one word.
    """
    rate = harm.groupby(["run", "step"], observed=True)["value"].mean().rename("harm")
    rate = rate.reset_index().astype({"run": str, "step": int})
    found = curves[curves["step"] > 0].merge(rate, on=["run", "step"], how="left")
    found = found.assign(cell=found["model"] + " " + found["task"], capability=found["report"])
    return found[["model", "task", "cell", "setting", "run", "epoch", "capability", "harm"]]


def regression(found: Found) -> Any | None:
    """Harm on capability and epoch within cells, least squares, errors clustered by run.

    Does capability say something of harm that the epoch does not, and the other way round? None
    where nothing can be fitted.
    """
    if found.rates.empty:
        return None
    several = found.rates["cell"].nunique() > 1
    return regressions.ols(f"harm ~ capability + epoch{' + C(cell)' if several else ''}",
                           found.rates)  # fmt: skip


def statistics(found: Found) -> dict[str, Any]:
    """What the figure's JSON holds."""
    tables = {name: part.to_dict("records") for name, part in found.parts.items()}
    fit = regression(found)
    told = regressions.terms(fit) if fit is not None else pd.DataFrame()
    if len(told):
        told = told[told["term"].isin(["capability", "epoch"])]
    return {**tables, "regression": told.to_dict("records"), "why_not": found.why_not}


def data(found: Found) -> pd.DataFrame:
    """The numbers drawn, a panel a letter."""
    if found.why_not:
        return pd.DataFrame({"note": [found.why_not]})
    panels = {"a": "cells", "b": "primary", "c": "secondary", "d": "depths"}
    parts = [found.parts[name].assign(panel=at) for at, name in panels.items()]
    parts += [found.parts[name].assign(panel="b") for name in ("controls", "sensitivities")]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
