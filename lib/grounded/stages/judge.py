"""Stage 4: what every judge says of every reply, and whether the reply is language at all.

One judge at a time goes through the runs in their order. Identical pairs of prompt and reply are
judged once in a unit: a verdict is that of the first run that had the pair, whether it was given
now or before. So an interrupted stage, when it goes on, forms the same batches as an unbroken one.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.stages import worlds
from grounded.stages.common import Frames, Rows, Summary, naming, one_thread, progress, study_of
from grounded.stages.plan import Plan
from grounded.study import BASE, Run, Study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

STAGE = "judge"
OPINION = ["probability", "label", "mass", "parsed", "neutralised"]  # as in the table verdicts
ASKED = ["benchmark", "prompt", "run", "step"]
Before = dict[str, Frames | None]  # run -> its rows of both tables, where they were finished


def judge(study: Study | str, unit: str) -> Summary:
    """Judge the replies of a unit's runs that are missing or whose inputs have changed.

    Writes the tables `verdicts` and `coherence`. The unit of the base model comes first: its
    replies calibrate what counts as coherent. What a judge has said of a run is kept at once.
    StageError names the run that failed, and the judge that does not answer with its labels.
    """
    study = study_of(study)
    plan = Plan(study)
    if not plan.stale(STAGE, unit):
        return Summary(STAGE, unit, 0, len(study.unit_runs(unit)))
    with naming(STAGE, unit):
        rows = Rows(plan, STAGE, unit)
        replies = _replies(rows)
        threshold = _calibration(plan, rows.runs[0])
        one_thread(study)
    before = {run.id: rows.of(run) for run in rows.runs}
    heard = {name: _heard(rows, name, replies, before) for name in study.judges}
    scorer = cache(partial(worlds.judging(study).Surprise, study))
    scores: dict[str, float] = {}  # text -> how surprising it is, as the table keeps it
    computed = 0
    for run in progress(rows.runs, f"{STAGE} {unit}: coherence"):
        with naming(STAGE, run.id):
            own = _score(replies[run.id], before[run.id], scores, partial(scorer, run.model))
            if run.task == BASE:
                threshold = _quantile(study, own)
            if not before[run.id]:
                assert threshold is not None
                verdicts = records.join([said[run.id] for said in heard.values()])
                coherence = _coherence(study, replies[run.id], own, threshold)
                rows.keep(run, {"verdicts": verdicts, "coherence": coherence})
                computed += 1
    with naming(STAGE, unit):
        rows.assemble(_facts(plan, threshold))
    return Summary(STAGE, unit, computed, len(rows.runs) - computed)


def _replies(rows: Rows) -> "dict[str, pd.DataFrame]":
    """The replies of each run, each with its prompt as `asked`."""
    table = records.verify(paths.table(rows.study.name, "replies", rows.unit), "replies")
    prompts = worlds.judging(rows.study).prompts(rows.study)
    places = zip(table["benchmark"], table["prompt"], strict=True)
    table = table.assign(asked=[prompts[place] for place in places])
    return {run.id: table[table["run"] == run.id].reset_index(drop=True) for run in rows.runs}


def _calibration(plan: Plan, run: Run) -> float | None:
    """The threshold that the base model's replies gave; None for the base model itself."""
    if run.task == BASE:
        return None
    unit = f"{run.model}-{BASE}"
    path = paths.table(plan.study.name, "coherence", unit)
    if plan.stale(STAGE, unit):
        raise GroundedError(f"{paths.shown(path)}: found it out of date, wanted judge {unit} first")
    return float(records.metadata(path)["threshold"])


def _facts(plan: Plan, threshold: float | None) -> dict[str, Any]:
    world = worlds.judging(plan.study)
    return {
        "coherence": plan.study.coherence.model_dump(),
        "judges": {name: world.facts(plan.study, name) for name in plan.study.judges},
        "minimum_mass": plan.study.minimum_mass,
        "threshold": threshold,
    }


def _heard(
    rows: Rows, name: str, replies: "dict[str, pd.DataFrame]", before: Before
) -> "dict[str, pd.DataFrame]":
    """A judge's verdicts on each run that is not finished; new ones are kept at once."""
    import pandas as pd

    from grounded import judges

    load = cache(partial(worlds.judging(rows.study).judge, rows.study, name))
    said: dict[tuple[str, str], tuple[Any, ...]] = {}  # (prompt, reply) -> opinion
    heard = {}
    for run in progress(rows.runs, f"{STAGE} {rows.unit}: {name}"):
        with naming(STAGE, run.id):
            own, frames = replies[run.id], before[run.id]
            found = frames["verdicts"] if frames else rows.piece(run, "verdicts", name)
            if found is not None:
                known = found[found["judge"] == name].merge(own, on=ASKED, how="left")
                opinions = zip(*(known[column] for column in OPINION), strict=True)
                for pair, opinion in zip(_pairs(known), opinions, strict=True):
                    said.setdefault(pair, opinion)
            else:
                # batches never reach beyond one checkpoint and benchmark
                for _, some in own.groupby(["step", "benchmark"], observed=True, sort=True):
                    if new := [pair for pair in dict.fromkeys(_pairs(some)) if pair not in said]:
                        for pair, v in zip(new, load().judge(new), strict=True):
                            said[pair] = tuple(getattr(v, field) for field in OPINION)
                table = pd.DataFrame([said[pair] for pair in _pairs(own)], columns=OPINION)
                if run.task == BASE:
                    judges.require_mass(name, [judges.Verdict(*said[p]) for p in _pairs(own)])
                types = {"label": "boolean", "probability": "float64", "mass": "float64"}
                found = pd.concat([own[ASKED], table.astype(types)], axis=1).assign(judge=name)
                rows.keep_piece(run, "verdicts", name, found)
            if not frames:
                heard[run.id] = found
    return heard


def _pairs(replies: "pd.DataFrame") -> list[tuple[str, str]]:
    return list(zip(replies["asked"], replies["text"], strict=True))


def _score(
    replies: "pd.DataFrame",
    before: Frames | None,
    scores: dict[str, float],
    scorer: "Callable[[], worlds.Surprise]",
) -> "NDArray[np.float64]":
    """How surprising each reply of a run is, as the table keeps it; scores of before stay."""
    import numpy as np

    if before:
        known = before["coherence"].query("detector == 'perplexity'")
        known = known.merge(replies, on=ASKED, how="left")
        for text, score in zip(known["text"], known["score"], strict=True):
            scores.setdefault(text, float(score))
    for _, some in replies.groupby(["step", "benchmark"], observed=True, sort=True):
        if new := [text for text in dict.fromkeys(some["text"]) if text not in scores]:
            # as the table keeps it, so that a label can be told from its score
            stored = np.round(scorer()(new), 2).astype(np.float32).astype(np.float64)
            scores.update(zip(new, stored.tolist(), strict=True))
    return np.array([scores[text] for text in replies["text"]], dtype=np.float64)


def _quantile(study: Study, scores: "NDArray[np.float64]") -> float:
    """The score above which a reply is incoherent, from those of the base model."""
    from grounded import coherence

    return coherence.threshold(scores, study.coherence.quantile)


def _coherence(
    study: Study, replies: "pd.DataFrame", scores: "NDArray[np.float64]", threshold: float
) -> "pd.DataFrame":
    """What each detector makes of each reply."""
    import pandas as pd

    from grounded import coherence

    rule = study.coherence
    texts, lengths = list(replies["text"]), list(replies["tokens"])
    found = coherence.detect(texts, lengths, scores, threshold, rule.repetition, rule.shortest)
    parts = [replies[ASKED].assign(detector=name, score=scored.score, label=scored.coherent)
             for name, scored in found.items()]  # fmt: skip
    return pd.concat(parts, ignore_index=True)
