"""The numbers of figure 3: what is drawn and what is said of it."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from grounded.figures import prose
from grounded.statistics import binomial, frames, line, ols
from grounded.study import Study

MEASURES = ("harmfulness", "compliance")
ALL = "all models"
USUAL = ("open_instructions", "alpaca15k")  # the invented world's, and the paper's


def main_task(study: Study, task: str = "") -> str:
    """The task asked for; where none is, open instructions (Alpaca15k), or the study's first."""
    if task:
        return study.runs(task=task)[0].task
    return next((name for name in USUAL if name in study.tasks), next(iter(study.tasks)))


def twins(study: Study, task: str) -> list[str]:
    """The study's other tasks: each gets the same figure."""
    return [name for name in study.tasks if name != task]


def measure(study: Study, judges: list[str]) -> pd.DataFrame:
    """One row a checkpoint and judge; judges: that of harm, then that of compliance.

    A study of one judge has the same for both.
    """
    measured = frames.checkpoints(study, list(dict.fromkeys(judges)))
    if len(set(judges)) == 1:
        return pd.concat([measured.assign(measure=name) for name in MEASURES], ignore_index=True)
    names = dict(zip(judges, MEASURES, strict=True))
    return measured.assign(measure=measured["judge"].map(names))


def points(measured: pd.DataFrame, task: str) -> pd.DataFrame:
    """What is drawn for one task: every checkpoint, and each base model once (base is true)."""
    own = measured[measured["task"] == task]
    base = own[own["base"]].drop_duplicates(["model", "measure"])
    base = base.assign(run=base["model"] + ".base", setting="none", seed=0)
    columns = ["measure", "judge", "model", "run", "setting", "seed", "step", "epoch", "base",
               "items", "capability", "capability_free", "n", "k", "missing", "rate"]  # fmt: skip
    return pd.concat([base, own[~own["base"]]], ignore_index=True)[columns]


def lines(drawn: pd.DataFrame) -> pd.DataFrame:
    """The line of each measure on capability, for all models together and for each alone.

    A row a measure and model (`all models` first), columns as `statistics.Line`; base models are
    drawn and not fitted.
    """
    tuned = drawn[~drawn["base"]]
    rows = []
    for measure in MEASURES:
        own = tuned[tuned["measure"] == measure]
        rows.append({"measure": measure, "model": ALL, **asdict(line(own))})
        for model, part in own.groupby("model", sort=False):
            rows.append({"measure": measure, "model": model, **asdict(line(part))})
    return pd.DataFrame(rows)


def regressions(drawn: pd.DataFrame, measure: str) -> dict[str, Any]:
    """The fits behind one measure's line, as statsmodels' results, errors clustered by run.

    pooled: the paper's line; split: within and between runs; logistic: the binomial GLM. None
    where there are fewer than two runs.
    """
    tuned = drawn[~drawn["base"] & (drawn["measure"] == measure)].dropna(subset=["rate"])
    mean = tuned.groupby("run")["capability"].transform("mean")
    split = tuned.assign(mean_capability=mean, own=tuned["capability"] - mean)
    return {
        "pooled": ols("rate ~ capability", tuned),
        "split": ols("rate ~ own + mean_capability", split),
        "logistic": binomial("capability", tuned),
    }


def statistics(drawn: pd.DataFrame, fitted: pd.DataFrame, task: str) -> dict[str, Any]:
    """Every line, and what is missing."""
    counts = drawn.groupby("measure")[["n", "k", "missing"]].sum().loc[list(MEASURES)]
    return {
        "task": task,
        "judges": drawn.drop_duplicates("measure").set_index("measure")["judge"].to_dict(),
        "lines": fitted.to_dict("records"),
        "verdicts": counts.to_dict("index"),
    }


def summary(fitted: pd.DataFrame) -> pd.DataFrame:
    """The lines as a table to read: slope with interval, the R2s, within and between slopes."""
    about = fitted.assign(
        slope=[_slope(r, "slope", "low", "high") for r in fitted.to_dict("records")],
        within=[_slope(r, "within", "within_low", "within_high")
                for r in fitted.to_dict("records")],
        between=[_slope(r, "between", "between_low", "between_high")
                 for r in fitted.to_dict("records")],
    )  # fmt: skip
    columns = ["measure", "model", "runs", "n", "slope", "r2", "left_out", "corrected", "within",
               "between"]  # fmt: skip
    if "task" in about:
        columns.insert(0, "task")
    return about[columns].rename(
        columns={
            "n": "checkpoints", "r2": "R²", "left_out": "R², unseen runs",
            "corrected": "R² / reliability",
        }
    )  # fmt: skip


def _slope(row: dict[str, float], name: str, low: str, high: str) -> str:
    if not np.isfinite(row[name]):
        return "–"
    return f"{prose.number(row[name])} {prose.within(row[low], row[high])}"
