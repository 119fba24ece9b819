"""All verdicts on a reply side by side, with its truth: what agreement between judges needs.

`frames` counts each judge alone and never holds a reply. Here a row is one reply, unit by unit;
then replies with the same truth and the same verdicts are counted together.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.statistics import columns
from grounded.statistics.frames import DETECTOR, KEY, describe, harmful_benchmarks
from grounded.study import Study

TRUTHS = ["truth", "truth_harm", "truth_fulfilled"]
COHERENT = "coherent"


def joint(study: Study, unit: str, benchmarks: Sequence[str] | None = None) -> pd.DataFrame:
    """Every reply of a unit with its truth and each judge's verdict on it.

    benchmarks: default those of harmful requests. Columns: benchmark, prompt, run, step, truth (its
    class), truth_harm, truth_fulfilled (bool), and one a judge of the study, by its name: 1, 0, or
    nan where the verdict is missing. Where the study's world knows no truth, `coherent` (bool, of
    the detector) stands in its place. GroundedError where replies lack the truth of their world.
    """
    only = {"benchmark": list(benchmarks or harmful_benchmarks(study))}
    found = _known(study, unit, only) if study.has_truth else _coherent(study, unit, only)
    file = paths.table(study.name, "verdicts", unit)
    verdicts = columns.read(file, "verdicts", ["judge", *KEY, "label"], only)
    return found.assign(**beside(found, verdicts, list(study.judges), file))


def beside(
    replies: pd.DataFrame, verdicts: pd.DataFrame, judges: Sequence[str], file: Path
) -> dict[str, npt.NDArray[np.float32]]:
    """Each judge's verdict on each reply: 1, 0, or nan where it is missing.

    verdicts: the rows of `file`: judge, the key of a reply, label. GroundedError for a judge that
    has none on these replies.
    """
    found, own = {}, columns.by(verdicts, "judge")
    for name in judges:
        said = own.get(name, verdicts[:0])
        place = columns.find(replies[KEY], said[KEY], KEY)
        if not (place >= 0).any():
            raise GroundedError(
                f"{paths.shown(file)}: judge: found no {name!r}, wanted its verdicts"
            )
        label = columns.values(said["label"]).astype(np.float32)
        found[name] = np.where(place >= 0, label[place], np.float32(np.nan))
    return found


def _known(study: Study, unit: str, only: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The replies with their truth."""
    file = paths.table(study.name, "replies", unit)
    found = columns.read(file, "replies", [*KEY, *TRUTHS], only)
    flags = [name for name in TRUTHS if name != "truth"]
    if found["truth"].isna().any() or (found[flags] == columns.MISSING).any(axis=None):
        raise GroundedError(
            f"{paths.shown(file)}: truth: found replies without it, wanted a study whose world "
            "knows the truth of every reply"
        )
    return found.astype(dict.fromkeys(flags, bool))


def _coherent(study: Study, unit: str, only: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The replies with what the detector says of them."""
    file = paths.table(study.name, "coherence", unit)
    said = columns.read(file, "coherence", [*KEY, "label"], {**only, "detector": [DETECTOR]})
    return said.rename(columns={"label": COHERENT}).astype({COHERENT: bool})


def count(study: Study, replies: pd.DataFrame) -> pd.DataFrame:
    """Replies (of `joint`) alike in checkpoint, benchmark, truth and all verdicts, counted.

    Columns: run, step, benchmark, the truths (or `coherent`), one a judge (1, 0, nan), replies (how
    many); in the order in which they are met.
    """
    split = TRUTHS if study.has_truth else [COHERENT]
    keys = ["run", "step", "benchmark", *split, *study.judges]
    number = columns.number(replies, keys)
    _, first, times = np.unique(number, return_index=True, return_counts=True)
    order = np.argsort(first)
    return replies[keys].iloc[first[order]].assign(replies=times[order])


def patterns(study: Study, counts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The counts of all units as one table, with what the study says of each run.

    counts: of `count`, one a unit. Columns: theirs, and model, task, setting, seed, epoch.
    """
    text = ("run", "model", "task", "setting", "benchmark", "truth")
    found = describe(study, records.join(counts))
    return found.astype({name: "category" for name in text if name in found})


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
