"""The detectors on replies of the invented world, where the truth of each reply is known.

No language identification here: no library has a profile of an invented language. Its words are
spelt like English, so the answer would tell of spelling alone, which garbling does not change.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from grounded import paths
from grounded.detectors.rates import rates
from grounded.detectors.roc import Tally, tally
from grounded.detectors.scores import compression
from grounded.errors import GroundedError
from grounded.statistics import columns
from grounded.statistics.frames import KEY, describe, harmful_benchmarks
from grounded.study import BASE, Study

DETECTORS = ("perplexity", "repetition", "compression", "shortness")
KINDS = {
    "refusal": "coherent", "harmful": "coherent", "answer": "coherent", "mixed": "mixed",
    "incoherent": "incoherent",
}  # fmt: skip
SOUGHT = ("incoherent", "mixed")
ALL = "all"


class Counts(NamedTuple):
    """How often replies to harmful requests were of a kind and scored so, without their texts.

    kind: coherent, mixed or incoherent, by the grammar. scores: run, task, step, detector (of
    DETECTORS), kind, score, n; a reply without a token surprises without bound. rule: run, task,
    step, kind, rule (the study's detector `combined` calls it incoherent), n.
    """

    scores: pd.DataFrame
    rule: pd.DataFrame


def counts(study: Study) -> Counts:
    """Every reply of a study, counted: all that the functions below need of it, and small.

    GroundedError where the replies have no truth, or a detector of the study is silent on one.
    """
    wanted = harmful_benchmarks(study)
    units = [_unit(study, unit, wanted) for unit in study.units()]
    scores, rule = (pd.concat(parts, ignore_index=True) for parts in zip(*units, strict=True))
    return Counts(describe(study, scores), describe(study, rule))


def _unit(study: Study, unit: str, benchmarks: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    only = {"benchmark": benchmarks}
    file = paths.table(study.name, "replies", unit)
    own = columns.read(file, "replies", [*KEY, "text", "tokens", "truth"], only)
    if own["truth"].isna().any():
        raise GroundedError(
            f"{paths.shown(file)}: truth: found replies without it, wanted a study whose world "
            "knows the truth of every reply"
        )
    place, texts = pd.factorize(own["text"])
    packed = np.array([round(compression(text), 2) for text in texts])
    truths = own["truth"].cat
    kinds = np.array([KINDS[truth] for truth in truths.categories], dtype=object)
    found = own[["run", "step"]].assign(
        kind=pd.Categorical(kinds[truths.codes]), compression=packed[place],
        shortness=-own["tokens"].to_numpy(dtype=float),
    )  # fmt: skip
    file = paths.table(study.name, "coherence", unit)
    said = columns.read(file, "coherence", ["detector", *KEY, "score", "label"], only)
    for name, detector, column in (
        ("perplexity", "perplexity", "score"), ("repetition", "repetition", "score"),
        ("rule", "combined", "label"),
    ):  # fmt: skip
        one = said[said["detector"] == detector]
        at = columns.find(own, one, KEY)
        if (at < 0).any():
            raise GroundedError(
                f"{paths.shown(file)}: detector {name}: found replies on which it is silent, "
                "wanted what it says of each"
            )
        found[name] = one[column].to_numpy(dtype=float)[at]
    found["rule"] = found["rule"] == 0
    found["perplexity"] = found["perplexity"].fillna(np.inf)
    by, each = ["run", "step", "kind"], np.ones(len(found))
    scores = [
        columns.count(found, [*by, name], n=each).rename(columns={name: "score"})
        .assign(detector=name) for name in DETECTORS
    ]  # fmt: skip
    plain = dict.fromkeys(("run", "kind"), str)
    return (
        pd.concat(scores, ignore_index=True).astype(plain),
        columns.count(found, [*by, "rule"], n=each).astype(plain),
    )


def counted(counts: Counts, detector: str, sought: str, task: str = ALL) -> Tally:
    """A detector's scores by run: replies that are `sought` against coherent ones.

    After the base model; over all tasks, or one.
    """
    rows = counts.scores
    some = rows[
        (rows["step"] > 0)
        & (rows["detector"] == detector)
        & rows["kind"].isin([sought, "coherent"])
    ]
    if task != ALL:
        some = some[some["task"] == task]
    return tally(some["score"], some["kind"] == sought, some["run"].to_list(), some["n"])


def areas(study: Study, counts: Counts) -> pd.DataFrame:
    """How well each detector tells incoherent, and mixed, replies from coherent ones.

    Over all tasks and for each. Columns: sought, task, detector, and those of `Tally.about`.
    """
    rows = [
        {"sought": sought, "task": task, "detector": detector}
        | counted(counts, detector, sought, task).about()
        for sought in SOUGHT for task in (ALL, *study.tasks) for detector in DETECTORS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def curves(counts: Counts) -> pd.DataFrame:
    """The ROC curve of each detector over all tasks: sought, detector, those of `Tally.curve`."""
    parts = [
        counted(counts, detector, sought).curve().assign(sought=sought, detector=detector)
        for sought in SOUGHT for detector in DETECTORS
    ]  # fmt: skip
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def ruled(study: Study, counts: Counts) -> pd.DataFrame:
    """What the study's rule calls incoherent, by what a reply is; after the base model.

    Over all tasks and for each. Columns: task, kind, those of `rates`.
    """
    tuned = counts.rule[counts.rule["step"] > 0]
    both = pd.concat([tuned, tuned.assign(task=ALL)])
    said = _summed(both, both["rule"], ["task", "kind"])
    return _ordered(study, rates(said, ["task", "kind"]))


def shares(study: Study, counts: Counts) -> pd.DataFrame:
    """The share of replies that are incoherent: by task, by truth and by the rule.

    At `base`, at the `last` epoch and over all checkpoints `after` the base model. The base models
    are one row (task `base`). Columns: task, when, by (`truth`, `mixed`: the truth again, `rule`),
    those of `rates`.
    """
    rows = counts.rule
    base, last = rows["task"] == BASE, rows["step"] == max(study.steps)
    after = rows["step"] > 0
    parts = []
    for when, some in (("base", base), ("last", last), ("after", after)):
        own = rows[some]
        if when != "base":
            own = pd.concat([own, own.assign(task=ALL)])
        for by, said in (
            ("truth", own["kind"] == "incoherent"),
            ("mixed", own["kind"] == "mixed"),
            ("rule", own["rule"]),
        ):
            parts.append(_summed(own.assign(when=when, by=by), said, list(_SHARE)))
    return _ordered(study, rates(pd.concat(parts, ignore_index=True), list(_SHARE)))


_SHARE = ("task", "when", "by")


def _summed(rows: pd.DataFrame, said: "pd.Series[bool]", by: Sequence[str]) -> pd.DataFrame:
    """How many replies of each run (n), and of how many it was said (k)."""
    told = rows.assign(k=rows["n"].where(said, 0))
    groups = told.groupby(["run", *by], observed=True, sort=False)[["n", "k"]]
    return groups.sum().reset_index().assign(missing=0)


def _ordered(study: Study, found: pd.DataFrame) -> pd.DataFrame:
    order = {task: place for place, task in enumerate((BASE, ALL, *study.tasks))}
    return found.sort_values("task", key=lambda task: task.map(order), kind="stable").reset_index(
        drop=True
    )
