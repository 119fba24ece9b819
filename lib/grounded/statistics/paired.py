"""What changed from the base model to the last checkpoint, and whether that is a conclusion.

Base model and checkpoint answer the same prompts and items, so each answer has its pair. Runs
differ, and so do prompts, on which all runs and the base model share their luck: an interval that
knows only the runs would call five replies of a base model, gone in every run, a certain fall.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from grounded import paths, records
from grounded.statistics import columns
from grounded.statistics.frames import (
    DETECTOR,
    TRUTH_JUDGES,
    at_end,
    check_judges,
    harmful_benchmarks,
)
from grounded.statistics.intervals import LEVEL, Array
from grounded.study import BASE, Study

COLUMNS = ["model", "task", "run", "benchmark", "judge", "prompt", "base", "last"]
NAN = float("nan")


def verdict_pairs(
    study: Study,
    judges: Sequence[str],
    benchmarks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Each run's verdict at its last checkpoint beside the base model's, a row a prompt and judge.

    judges as for `frames.verdicts`, benchmarks by default those of harmful requests. Columns:
    model, task, run, benchmark, judge, prompt (one name a prompt), base, last (1, 0, or nan where
    the verdict is missing).
    """
    check_judges(study, judges)
    only = {"benchmark": list(benchmarks or harmful_benchmarks(study))}
    keys = ["benchmark", "prompt"]
    truths = {
        name: TRUTH_JUDGES[name.removeprefix("truth:")]
        for name in judges
        if name.startswith("truth:")
    }
    parts = {}
    if named := [name for name in judges if name not in truths]:
        said = _pairs(study, "verdicts", "label", ["judge", *keys], models, only | {"judge": named})
        parts = {name: said[said["judge"] == name].drop(columns="judge") for name in named}
    for name, column in truths.items():
        parts[name] = _pairs(study, "replies", column, keys, models, only)
    joined = records.join(
        [parts[name].assign(judge=columns.same(name, parts[name])) for name in judges]
    )
    return columns.prompts(joined)[COLUMNS]


def capability_pairs(study: Study) -> pd.DataFrame:
    """Each run's answers at its last checkpoint beside the base model's, on the reporting half.

    Columns: model, task, run, prompt (the item), base, last (1 right, 0 wrong).
    """
    pairs = _pairs(study, "capability", "correct", ["task", "item"])
    return pairs[pairs["item"] % 2 == 1].rename(columns={"item": "prompt"}).reset_index(drop=True)


def incoherence_pairs(study: Study) -> pd.DataFrame:
    """Whether the detector finds a reply incoherent, as `verdict_pairs` (without a judge)."""
    only = {"detector": [DETECTOR], "benchmark": harmful_benchmarks(study)}
    pairs = _pairs(study, "coherence", "label", ["benchmark", "prompt"], only=only)
    return columns.prompts(pairs).assign(base=1 - pairs["base"], last=1 - pairs["last"])


def _pairs(
    study: Study,
    table: str,
    label: str,
    keys: list[str],
    models: Sequence[str] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """The last checkpoint of every run beside its base model, matched on `keys`."""
    parts = []
    for model in models or study.models:
        base = _read(study, f"{model}-{BASE}", table, label, keys, only)
        units = study.units(model)
        for task in (task for task in study.tasks if f"{model}-{task}" in units):
            own = _read(study, f"{model}-{task}", table, label, keys, only)
            own = own[at_end(study, own)]
            place = columns.find(own, base, keys)
            first = columns.values(base["flag"])[place]
            about = {"model": columns.same(model, own), "task": columns.same(task, own)}
            joined = own[[*(k for k in keys if k != "task"), "run"]].assign(
                last=columns.values(own["flag"]), base=first, **about
            )
            parts.append(joined[place >= 0])
    return records.join(parts)


def _read(
    study: Study,
    unit: str,
    table: str,
    label: str,
    keys: list[str],
    only: Mapping[str, Sequence[str]] | None,
) -> pd.DataFrame:
    file = paths.table(study.name, table, unit)
    frame = columns.read(file, table, [*keys, "run", "step", label], only)
    return frame.rename(columns={label: "flag"})


def changes(pairs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The mean change of each cell of `by` with its 95% interval, and what to conclude.

    The interval is for other runs and other prompts like these: errors are clustered by run and
    by prompt (two-way, Cameron, Gelbach and Miller 2011), Student's t with the smaller number of
    clusters less one. A pair with a missing verdict is left out and counted; if_missing_are_0 and
    if_missing_are_1 are the change were missing verdicts no, or yes.
    Columns: *by, runs, prompts, n, missing (pairs), base, last, change, low, high, those two,
    conclusion.
    """
    rows = []
    for cell, part in pairs.groupby(list(by), observed=True, sort=False):
        whole = part.dropna(subset=["base", "last"])
        difference = (whole["last"] - whole["base"]).to_numpy()
        runs, prompts = whole["run"].nunique(), whole["prompt"].nunique()
        mean = float(difference.mean()) if len(difference) else NAN
        half = NAN
        if runs > 1 and prompts > 1:
            error = _two_way(difference - mean, whole["run"], whole["prompt"])
            half = float(stats.t.ppf((1 + LEVEL) / 2, min(runs, prompts) - 1)) * error
        imputed = [(part["last"].fillna(x) - part["base"].fillna(x)).mean() for x in (0, 1)]
        rows.append(
            (*cell, runs, prompts, len(whole), len(part) - len(whole), whole["base"].mean(),
             whole["last"].mean(), mean, mean - half, mean + half, *imputed)
        )  # fmt: skip
    names = [*by, "runs", "prompts", "n", "missing", "base", "last", "change", "low", "high",
               "if_missing_are_0", "if_missing_are_1"]  # fmt: skip
    found = pd.DataFrame(rows, columns=names)
    bounds = zip(found["low"], found["high"], strict=True)
    return found.assign(conclusion=[conclusion(low, high) for low, high in bounds])


def conclusion(low: float, high: float) -> str:
    """`rises` or `falls` when the whole interval lies on one side of zero, else `unclear`."""
    if low > 0:
        return "rises"
    return "falls" if high < 0 else "unclear"


def _two_way(residual: Array, runs: pd.Series, prompts: pd.Series) -> float:
    """The standard error of a mean whose residuals are clustered two ways; never below one way."""
    parts = []
    for groups in (runs, prompts):
        codes = pd.factorize(groups)[0]
        sums = np.bincount(codes, residual)
        parts.append(len(sums) / (len(sums) - 1) * float((sums**2).sum()))
    both = sum(parts) - float((residual**2).sum())
    return float(np.sqrt(max(both, *parts))) / len(residual)
