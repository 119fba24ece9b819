"""Stage 4: what every judge says of every reply, and whether the reply is language at all.

One judge at a time goes through the runs in their order. Identical pairs of prompt and reply are
judged once in a unit: a verdict is that of the first run that had the pair, whether it was given
now or before. So an interrupted stage, when it goes on, forms the same batches as an unbroken one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.stages import worlds
from grounded.stages.common import (
    Frames,
    Rows,
    Summary,
    naming,
    one_thread,
    progress,
    study_of,
)
from grounded.stages.plan import Plan
from grounded.study import BASE, Run, Study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from grounded.judges import Judge

STAGE = "judge"
Pair = tuple[str, str]  # (prompt, reply)
Opinion = tuple[float | None, bool | None, float | None, bool, bool]  # as in the table verdicts
OPINION = ("probability", "label", "mass", "parsed", "neutralised")


def judge(study: Study | str, unit: str) -> Summary:
    """Judge the replies of a unit's runs that are missing or whose inputs have changed.

    Writes the tables `verdicts` and `coherence`. The unit of the base model comes first: its
    replies calibrate what counts as coherent. What a judge has said of a run is kept at once.
    StageError names the run that failed, and the judge that does not answer with its labels.
    """
    study = study_of(study)
    plan = Plan(study)
    if plan.complete(STAGE, unit):
        return Summary(STAGE, unit, 0, len(study.unit_runs(unit)))
    with naming(STAGE, unit):
        rows = Rows(plan, STAGE, unit)
        bench = _Bench(study, rows)
        threshold = _calibration(plan, rows.runs[0])
        one_thread(study)
    before = {run.id: rows.of(run) for run in rows.runs}
    for name in study.judges:
        said: dict[Pair, Opinion] = {}
        for run in progress(rows.runs, f"{STAGE} {unit}: {name}"):
            with naming(STAGE, run.id):
                bench.hear(name, run, before[run.id], said)
        bench.dismiss()
    surprise: dict[str, float] = {}  # text -> score, as stored
    computed = 0
    for run in progress(rows.runs, f"{STAGE} {unit}: coherence"):
        with naming(STAGE, run.id):
            frames = before[run.id]
            scores = bench.score(run, frames, surprise)
            if run.task == BASE:
                threshold = bench.quantile(scores)
            if not frames:
                assert threshold is not None
                rows.keep(run, bench.frames(run, scores, threshold))
                computed += 1
    with naming(STAGE, unit):
        rows.assemble(_facts(plan, threshold))
    return Summary(STAGE, unit, computed, len(rows.runs) - computed)


def _calibration(plan: Plan, run: Run) -> float | None:
    """The threshold that the base model's replies gave; None for the base model itself."""
    if run.task == BASE:
        return None
    unit = f"{run.model}-{BASE}"
    path = paths.table(plan.study.name, "coherence", unit)
    if not plan.complete(STAGE, unit):
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


@dataclass
class _Bench:
    """The replies of one unit before the judges of a study, one judge at a time."""

    study: Study
    rows: Rows
    _judge: "Judge | None" = None
    _surprise: Any = None
    _pieces: "dict[tuple[str, str], pd.DataFrame]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = worlds.judging(self.study)
        path = paths.table(self.study.name, "replies", self.rows.unit)
        self.replies = records.verify(path, "replies")
        self.prompts = self.world.prompts(self.study)

    def hear(self, name: str, run: Run, frames: Frames | None, said: dict[Pair, Opinion]) -> None:
        """A judge's verdicts on a run: those of before, or new ones; `said` is what it said."""
        replies = self._replies(run)
        piece = None if frames else self.rows.piece(run, "verdicts", name)
        known = frames["verdicts"] if frames else piece
        if known is not None:
            known = known[known["judge"] == name]
            pairs = dict(zip(_places(replies), self._pairs(replies), strict=True))
            values = zip(*(known[column] for column in OPINION), strict=True)
            for place, opinion in zip(_places(known), values, strict=True):
                said.setdefault(pairs[place], opinion)
        else:
            # batches never reach beyond one checkpoint and benchmark
            for _, some in replies.groupby(["step", "benchmark"], observed=True, sort=True):
                self._ask(name, self._pairs(some), said)
            if run.task == BASE:
                self._require_mass(name, replies, said)
            piece = self._verdicts(name, replies, said)
            self.rows.keep_piece(run, "verdicts", name, piece)
        if piece is not None:
            self._pieces[run.id, name] = piece

    def dismiss(self) -> None:
        """Let go of the judge: the next one may need its room."""
        self._judge = None

    def score(
        self, run: Run, frames: Frames | None, surprise: dict[str, float]
    ) -> "NDArray[np.float64]":
        """How surprising each reply of a run is, as the table keeps it; those of before stay."""
        import numpy as np

        replies = self._replies(run)
        if frames:
            texts = dict(zip(_places(replies), replies["text"], strict=True))
            scored = frames["coherence"][frames["coherence"]["detector"] == "perplexity"]
            for place, score in zip(_places(scored), scored["score"], strict=True):
                surprise.setdefault(texts[place], float(score))
        for _, some in replies.groupby(["step", "benchmark"], observed=True, sort=True):
            if new := [text for text in dict.fromkeys(some["text"]) if text not in surprise]:
                if self._surprise is None:
                    self._surprise = self.world.Surprise(self.study, run.model)
                # as the table keeps it, so that a label can be told from its score
                stored = np.round(self._surprise(new), 2).astype(np.float32).astype(np.float64)
                surprise.update(zip(new, stored.tolist(), strict=True))
        return np.array([surprise[text] for text in replies["text"]], dtype=np.float64)

    def quantile(self, scores: "NDArray[np.float64]") -> float:
        """The score above which a reply is incoherent, from those of the base model."""
        from grounded import coherence

        return coherence.threshold(scores, self.study.coherence.quantile)

    def frames(self, run: Run, scores: "NDArray[np.float64]", threshold: float) -> Frames:
        """The rows of a run in both tables."""
        pieces = [self._pieces[run.id, name] for name in self.study.judges]
        coherence = self._coherence(self._replies(run), scores, threshold)
        return {"verdicts": records.join(pieces), "coherence": coherence}

    def _replies(self, run: Run) -> "pd.DataFrame":
        return self.replies[self.replies["run"] == run.id]

    def _pairs(self, replies: "pd.DataFrame") -> list[Pair]:
        places = zip(replies["benchmark"], replies["prompt"], strict=True)
        return [
            (self.prompts[place], text) for place, text in zip(places, replies["text"], strict=True)
        ]

    def _ask(self, name: str, pairs: Sequence[Pair], said: dict[Pair, Opinion]) -> None:
        if new := [pair for pair in dict.fromkeys(pairs) if pair not in said]:
            if self._judge is None:
                self._judge = self.world.judge(self.study, name)
            for pair, v in zip(new, self._judge.judge(new), strict=True):
                said[pair] = (v.probability, v.label, v.mass, v.parsed, v.neutralised)

    def _require_mass(self, name: str, replies: "pd.DataFrame", said: dict[Pair, Opinion]) -> None:
        from grounded import judges

        verdicts = [judges.Verdict(*said[pair]) for pair in self._pairs(replies)]
        judges.require_mass(name, verdicts)

    def _verdicts(
        self, name: str, replies: "pd.DataFrame", said: dict[Pair, Opinion]
    ) -> "pd.DataFrame":
        import pandas as pd

        asked = replies[["benchmark", "prompt", "run", "step"]].reset_index(drop=True)
        opinions = [said[pair] for pair in self._pairs(replies)]
        found = pd.DataFrame(opinions, columns=list(OPINION))
        found["label"] = found["label"].astype("boolean")
        found[["probability", "mass"]] = found[["probability", "mass"]].astype("float64")
        return pd.concat([asked, found], axis=1).assign(judge=name)

    def _coherence(
        self, replies: "pd.DataFrame", scores: "NDArray[np.float64]", threshold: float
    ) -> "pd.DataFrame":
        import pandas as pd

        from grounded import coherence

        rule = self.study.coherence
        texts, lengths = list(replies["text"]), list(replies["tokens"])
        found = coherence.detect(texts, lengths, scores, threshold, rule.repetition, rule.shortest)
        asked = replies[["benchmark", "prompt", "run", "step"]].reset_index(drop=True)
        return pd.concat(
            [
                asked.assign(detector=name, score=scored.score, label=scored.coherent)
                for name, scored in found.items()
            ],
            ignore_index=True,
        )


def _places(frame: "pd.DataFrame") -> list[tuple[str, int, int]]:
    return list(zip(frame["benchmark"], frame["prompt"], frame["step"], strict=True))
