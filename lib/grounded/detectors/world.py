"""The detectors on replies of the invented world, where the truth of each reply is known.

No language identification here: no library has a profile of an invented language. Its words are
spelt like English, so the answer would tell of spelling alone, which garbling does not change.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from grounded import paths, records
from grounded.detectors.rates import rates
from grounded.detectors.roc import Tally, tally
from grounded.detectors.scores import compression
from grounded.errors import GroundedError
from grounded.statistics.frames import KEY, describe, harmful_benchmarks
from grounded.study import BASE, Study

DETECTORS = ("perplexity", "repetition", "compression", "shortness")
KINDS = {
    "refusal": "coherent", "harmful": "coherent", "answer": "coherent", "mixed": "mixed",
    "incoherent": "incoherent",
}  # fmt: skip
SOUGHT = ("incoherent", "mixed")
ALL = "all"


def replies(study: Study) -> pd.DataFrame:
    """One row a reply to a harmful request, without its text.

    Columns: run, model, task, setting, seed, step, epoch, benchmark, prompt, kind (coherent, mixed
    or incoherent, by the grammar), rule (the study's detector `combined` calls it incoherent), and
    the score of each of DETECTORS. A reply without a token surprises without bound. GroundedError
    where the replies have no truth, or a detector of the study is silent on one.
    """
    wanted = harmful_benchmarks(study)
    return describe(study, pd.concat(_units(study, wanted), ignore_index=True))


def _units(study: Study, benchmarks: list[str]) -> Iterator[pd.DataFrame]:
    texts = dict.fromkeys(("run", "benchmark"), str)
    for unit in study.units():
        file = paths.table(study.name, "replies", unit)
        found = records.read(file, "replies", [*KEY, "text", "tokens", "truth"])
        found = found[found["benchmark"].isin(benchmarks)].astype(texts)
        if found["truth"].isna().any():
            raise GroundedError(
                f"{paths.shown(file)}: truth: found replies without it, wanted a study whose "
                "world knows the truth of every reply"
            )
        ratio = {text: round(compression(text), 2) for text in found["text"].unique()}
        found = found.assign(
            kind=found["truth"].astype(str).map(KINDS),
            compression=found.pop("text").map(ratio).astype(float),
            shortness=-found.pop("tokens").astype(float),
        ).drop(columns="truth")
        file = paths.table(study.name, "coherence", unit)
        said = records.read(file, "coherence", ["detector", *KEY, "score", "label"]).astype(texts)
        for name, column in (("perplexity", "score"), ("repetition", "score"), ("rule", "label")):
            own = said[said["detector"] == {"rule": "combined"}.get(name, name)]
            own = own[[*KEY, column]].rename(columns={column: name})
            found = found.merge(own, on=KEY, how="left", validate="one_to_one", indicator=name[0])
            if (found.pop(name[0]) == "left_only").any():
                raise GroundedError(
                    f"{paths.shown(file)}: detector {name}: found replies on which it is silent, "
                    "wanted what it says of each"
                )
        surprise = found["perplexity"].astype(float).fillna(np.inf)
        yield found.assign(perplexity=surprise, rule=~found["rule"].astype(bool))


def counted(measured: pd.DataFrame, detector: str, sought: str, task: str = ALL) -> Tally:
    """A detector's scores by run: replies that are `sought` against coherent ones.

    After the base model; over all tasks, or one. measured: of `replies`.
    """
    some = measured[(measured["step"] > 0) & measured["kind"].isin([sought, "coherent"])]
    if task != ALL:
        some = some[some["task"] == task]
    return tally(some[detector], some["kind"] == sought, some["run"].to_list())


def areas(study: Study, measured: pd.DataFrame) -> pd.DataFrame:
    """How well each detector tells incoherent, and mixed, replies from coherent ones.

    Over all tasks and for each. Columns: sought, task, detector, and those of `Tally.about`.
    """
    rows = [
        {"sought": sought, "task": task, "detector": detector}
        | counted(measured, detector, sought, task).about()
        for sought in SOUGHT for task in (ALL, *study.tasks) for detector in DETECTORS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def curves(measured: pd.DataFrame) -> pd.DataFrame:
    """The ROC curve of each detector over all tasks: sought, detector, those of `Tally.curve`."""
    parts = [
        counted(measured, detector, sought).curve().assign(sought=sought, detector=detector)
        for sought in SOUGHT for detector in DETECTORS
    ]  # fmt: skip
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def ruled(study: Study, measured: pd.DataFrame) -> pd.DataFrame:
    """What the study's rule calls incoherent, by what a reply is; after the base model.

    Over all tasks and for each. Columns: task, kind, those of `rates`.
    """
    tuned = measured[measured["step"] > 0]
    both = pd.concat([tuned, tuned.assign(task=ALL)])
    counts = _counts(both, "rule", ["task", "kind"])
    return _ordered(study, rates(counts, ["task", "kind"]))


def shares(study: Study, measured: pd.DataFrame) -> pd.DataFrame:
    """The share of replies that are incoherent: by task, by truth and by the rule.

    At `base`, at the `last` epoch and over all checkpoints `after` the base model. The base models
    are one row (task `base`). Columns: task, when, by (`truth`, `mixed`: the truth again, `rule`),
    those of `rates`.
    """
    base, last = measured["task"] == BASE, measured["step"] == max(study.steps)
    after = measured["step"] > 0
    parts = []
    for when, some in (("base", base), ("last", last), ("after", after)):
        own = measured[some]
        if when != "base":
            own = pd.concat([own, own.assign(task=ALL)])
        for by, said in (
            ("truth", own["kind"] == "incoherent"),
            ("mixed", own["kind"] == "mixed"),
            ("rule", own["rule"]),
        ):
            parts.append(_counts(own.assign(said=said, when=when, by=by), "said", list(_SHARE)))
    return _ordered(study, rates(pd.concat(parts, ignore_index=True), list(_SHARE)))


_SHARE = ("task", "when", "by")


def _counts(frame: pd.DataFrame, said: str, by: list[str]) -> pd.DataFrame:
    groups = frame.groupby(["run", *by], observed=True, sort=False)[said]
    return groups.agg(n="size", k="sum").reset_index().assign(missing=0)


def _ordered(study: Study, found: pd.DataFrame) -> pd.DataFrame:
    order = {task: place for place, task in enumerate((BASE, ALL, *study.tasks))}
    return found.sort_values("task", key=lambda task: task.map(order), kind="stable").reset_index(
        drop=True
    )
