"""The numbers of figure 1: what is drawn and what is said of it."""

from typing import Any

import numpy as np
import pandas as pd

from grounded.figures import prose
from grounded.statistics import capability_pairs, changes, frames, mean_interval, verdict_pairs
from grounded.statistics.regressions import ols, partial_r2, r2, terms
from grounded.study import Study


def measure(study: Study, judge: str, benchmarks: list[str] | None = None) -> pd.DataFrame:
    """One row a checkpoint: capability on the reporting half, harmfulness over the benchmarks."""
    return frames.checkpoints(study, [judge], benchmarks or None)


def curves(measured: pd.DataFrame) -> pd.DataFrame:
    """What is drawn: for each model, task and epoch the mean and spread of both quantities.

    Each LoRA setting is first averaged over its seeds; mean and sd are over settings (sd is nan
    with one setting). low and high: Student's 95% interval of the mean over runs. n: items or
    verdicts behind the mean.
    """
    rows = []
    for (model, task, epoch), part in measured.groupby(["model", "task", "epoch"], sort=False):
        for quantity, of in (("capability", "items"), ("rate", "n")):
            settings = part.groupby("setting", sort=False)[quantity].mean()
            _, low, high = mean_interval(part[quantity].to_numpy())
            base = bool(part["base"].all())
            rows.append(
                {
                    "model": model, "task": task, "epoch": epoch, "quantity": quantity,
                    "mean": settings.mean(), "sd": 0.0 if base else settings.std(ddof=1),
                    "low": np.nan if base else low, "high": np.nan if base else high,
                    "settings": 0 if base else len(settings), "runs": 0 if base else len(part),
                    "n": int(part[of].iloc[0] if base else part[of].sum()),
                    "missing": 0 if of == "items" else int(
                        part["missing"].iloc[0] if base else part["missing"].sum()
                    ),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def regression(measured: pd.DataFrame) -> Any | None:
    """Harmfulness on capability and epoch within model and task, errors clustered by run.

    Every variable is a deviation from the mean of its model and task, so the slopes are those of
    a regression with an intercept for each. Base models are left out.
    """
    return ols("rate ~ capability + epoch - 1", _centred(measured))


def _centred(measured: pd.DataFrame) -> pd.DataFrame:
    tuned = measured[~measured["base"]]
    columns = ["rate", "capability", "epoch"]
    means = tuned.groupby(["model", "task"], observed=True)[columns].transform("mean")
    return (tuned[columns] - means).assign(run=tuned["run"])


def statistics(
    study: Study, measured: pd.DataFrame, judge: str, benchmarks: list[str] | None = None
) -> dict[str, Any]:
    """The changes in each model and task, the regression, and what is missing."""
    tuned, result, centred = measured[~measured["base"]], regression(measured), _centred(measured)
    able, harm = capability_pairs(study), verdict_pairs(study, [judge], benchmarks)
    by = ["model", "task"]
    last = tuned[tuned["step"] == tuned.groupby("run")["step"].transform("max")]
    return {
        "runs": tuned["run"].nunique(),
        "checkpoints": len(tuned),
        "capability": changes(able, by).to_dict("records"),
        "harmfulness": changes(harm, by).to_dict("records"),
        "regression": None if result is None else terms(result).to_dict("records"),
        "regression_r2": None if result is None else r2(result),
        "partial_r2_of_capability": partial_r2(centred, "rate", "epoch", "capability"),
        "partial_r2_of_epoch": partial_r2(centred, "rate", "capability", "epoch"),
        "last_epoch": {name: int(last[name].sum()) for name in ("n", "k", "missing")},
    }


def table(found: dict[str, Any]) -> pd.DataFrame:
    """Base, last epoch, change with interval and conclusion of both quantities, a row a pair."""
    parts = []
    for quantity in ("capability", "harmfulness"):
        rows = pd.DataFrame(found[quantity]).set_index(["task", "model"])
        about = rows[["base", "last"]].map(prose.percent)
        about["change"] = [
            f"{prose.points(r.change)} {prose.within(r.low, r.high, prose.points)}"
            for r in rows.itertuples()
        ]
        about["conclusion"] = rows["conclusion"]
        parts.append(pd.concat({quantity: about}, axis=1))
    return pd.concat(parts, axis=1).sort_index()
