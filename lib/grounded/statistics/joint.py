"""All verdicts on a reply side by side, with its truth: what agreement between judges needs.

`frames` counts each judge alone and never holds a reply. Here a row is one reply; in `patterns`
replies with the same truth and the same verdicts are counted together.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.statistics.frames import KEY, describe, harmful_benchmarks
from grounded.study import Study

TRUTHS = ["truth", "truth_harm", "truth_fulfilled"]


def joint(study: Study, benchmarks: Sequence[str] | None = None) -> pd.DataFrame:
    """Every reply with its truth and each judge's verdict on it.

    benchmarks: default those of harmful requests. Columns: benchmark, prompt, run, step, truth (its
    class), truth_harm, truth_fulfilled (bool), and one a judge of the study, by its name: 1, 0, or
    nan where the verdict is missing. GroundedError where the replies have no truth.
    """
    wanted = list(benchmarks or harmful_benchmarks(study))
    parts = [_unit(study, unit, wanted) for unit in study.units()]
    names = {"benchmark": "category", "run": "category", "truth": "category"}
    return pd.concat(parts, ignore_index=True).astype(names)


def _unit(study: Study, unit: str, benchmarks: Sequence[str]) -> pd.DataFrame:
    file = paths.table(study.name, "replies", unit)
    replies = records.read(file, "replies", [*KEY, *TRUTHS])
    if replies[TRUTHS].isna().any(axis=None):
        raise GroundedError(
            f"{paths.shown(file)}: truth: found replies without it, wanted a study whose world "
            "knows the truth of every reply"
        )
    texts = dict.fromkeys(("benchmark", "run"), str)
    flags = dict.fromkeys(("truth_harm", "truth_fulfilled"), bool)
    found = replies[replies["benchmark"].isin(benchmarks)].astype({**texts, **flags, "truth": str})
    file = paths.table(study.name, "verdicts", unit)
    verdicts = records.read(file, "verdicts", ["judge", *KEY, "label"])
    verdicts = verdicts[verdicts["benchmark"].isin(benchmarks)].astype(texts)
    label = verdicts["label"].astype("Float32").to_numpy(np.float32, na_value=np.nan)
    verdicts = verdicts.assign(label=label)
    for name in study.judges:
        own = verdicts.loc[verdicts["judge"] == name, [*KEY, "label"]]
        if own.empty:
            raise GroundedError(
                f"{paths.shown(file)}: judge: found no {name!r}, wanted its verdicts"
            )
        found = found.merge(own.rename(columns={"label": name}), on=KEY, how="left")
    return found


def patterns(study: Study, replies: pd.DataFrame) -> pd.DataFrame:
    """Replies counted by checkpoint, benchmark, truth and the verdicts of all judges together.

    replies: of `joint`. Columns: run, model, task, setting, seed, step, epoch, benchmark, the
    truths, one a judge (1, 0, nan), replies (how many).
    """
    keys = ["run", "step", "benchmark", *TRUTHS, *study.judges]
    counts = replies.groupby(keys, observed=True, dropna=False, sort=False).size()
    found = describe(study, counts.rename("replies").reset_index())
    return found.astype({"benchmark": str, "truth": str})


def of_judge(counts: pd.DataFrame, judge: str, by: Sequence[str]) -> pd.DataFrame:
    """One judge's verdicts (a column of `counts`, 0/1/nan) as n given, k of them yes, missing."""
    said = counts[judge]
    split = counts[list(by)].assign(
        n=counts["replies"].where(said.notna(), 0),
        k=counts["replies"].where(said == 1, 0),
        missing=counts["replies"].where(said.isna(), 0),
    )
    sums = split.groupby(list(by), observed=True, sort=False)[["n", "k", "missing"]].sum()
    return sums.reset_index()
