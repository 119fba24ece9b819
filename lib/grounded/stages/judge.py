"""Stage 4: what every judge says of every reply, and whether the reply is language at all.

Identical pairs of prompt and reply are judged once in a unit: the runs are gone through in their
order, and a verdict is that of the first run that had the pair, whether it was given now or
before. So an interrupted stage, when it goes on, forms the same batches as an unbroken one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.stages.common import (
    Frames,
    Rows,
    Summary,
    naming,
    one_thread,
    progress,
    study_of,
    template_sha,
)
from grounded.stages.plan import Plan
from grounded.study import BASE, LanguageJudge, Run, Study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from grounded.judges import Judge

Pair = tuple[str, str]  # (prompt, reply)
Opinion = tuple[float | None, bool | None, float | None, bool, bool]  # as in the table verdicts
OPINION = ("probability", "label", "mass", "parsed", "neutralised")


def judge(study: Study | str, unit: str) -> Summary:
    """Judge the replies of a unit's runs that are missing or whose inputs have changed.

    Writes the tables `verdicts` and `coherence`. The unit of the base model comes first: its
    replies calibrate what counts as coherent. StageError names the run that failed, and the judge
    that does not answer with its labels.
    """
    study = study_of(study)
    plan = Plan(study)
    if plan.complete("judge", unit):
        return Summary("judge", unit, 0, len(study.unit_runs(unit)))
    with naming("judge", unit):
        rows = Rows(plan, "judge", unit)
        bench = _Bench(study, rows, _calibration(plan, rows.runs[0]))
    computed = 0
    for run in progress(rows.runs, f"judge {unit}"):
        with naming("judge", run.id):
            if frames := rows.of(run):
                bench.remember(run, frames)
                continue
            rows.keep(run, bench.judge(run))
            computed += 1
    with naming("judge", unit):
        rows.assemble(_facts(plan, bench.threshold))
    return Summary("judge", unit, computed, len(rows.runs) - computed)


def _calibration(plan: Plan, run: Run) -> float | None:
    """The threshold that the base model's replies gave; None for the base model itself."""
    if run.task == BASE:
        return None
    unit = f"{run.model}-{BASE}"
    path = paths.table(plan.study.name, "coherence", unit)
    if not plan.complete("judge", unit):
        raise GroundedError(f"{paths.shown(path)}: found it out of date, wanted judge {unit} first")
    return float(records.metadata(path)["threshold"])


def _facts(plan: Plan, threshold: float | None) -> dict[str, Any]:
    from grounded import keywords

    judges = {}
    for name, setting in plan.study.judges.items():
        if isinstance(setting, LanguageJudge):
            folder = paths.judge(plan.study.name, name)
            judges[name] = {"revision": plan.content(folder), "template": template_sha(folder)}
        else:
            judges[name] = {"revision": keywords.revision(setting.list), "template": None}
    return {
        "coherence": plan.study.coherence.model_dump(),
        "judges": judges,
        "minimum_mass": plan.study.minimum_mass,
        "threshold": threshold,
    }


@dataclass
class _Bench:
    """The judges of a study over the replies of one unit, with all that they have said."""

    study: Study
    rows: Rows
    threshold: float | None  # set by the base model's own replies
    opinions: dict[str, dict[Pair, Opinion]] = field(default_factory=dict)
    surprise: dict[str, float] = field(default_factory=dict)  # text -> score, as stored
    _judges: "dict[str, Judge]" = field(default_factory=dict)
    _pretrained: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        from grounded import benchmarks

        path = paths.table(self.study.name, "replies", self.rows.unit)
        self.replies = records.verify(path, "replies")
        self.prompts = {
            (name, prompt.id): prompt.text
            for name, number in self.study.benchmarks.items()
            for prompt in benchmarks.load(name, number)
        }
        self.opinions = {name: {} for name in self.study.judges}

    def remember(self, run: Run, frames: Frames) -> None:
        """Take over what was said of a run before."""
        replies = self._replies(run)
        pairs = dict(zip(_places(replies), self._pairs(replies), strict=True))
        said = frames["verdicts"]
        values = zip(*(said[name] for name in OPINION), strict=True)
        for name, place, opinion in zip(said["judge"], _places(said), values, strict=True):
            self.opinions[name].setdefault(pairs[place], opinion)
        scored = frames["coherence"][frames["coherence"]["detector"] == "perplexity"]
        for place, score in zip(_places(scored), scored["score"], strict=True):
            self.surprise.setdefault(pairs[place][1], float(score))
        if run.task == BASE:
            self.threshold = self._quantile(replies)

    def judge(self, run: Run) -> Frames:
        """The verdicts and the coherence of a run's replies."""
        one_thread()
        replies = self._replies(run)
        # batches never reach beyond one checkpoint and benchmark
        for _, some in replies.groupby(["step", "benchmark"], observed=True, sort=True):
            pairs = self._pairs(some)
            for name in self.study.judges:
                self._hear(name, pairs)
            self._score(run, [reply for _, reply in pairs])
        if run.task == BASE:
            self.threshold = self._quantile(replies)
            self._require_mass(replies)
        return {"verdicts": self._verdicts(replies), "coherence": self._coherence(replies)}

    def _replies(self, run: Run) -> "pd.DataFrame":
        return self.replies[self.replies["run"] == run.id]

    def _pairs(self, replies: "pd.DataFrame") -> list[Pair]:
        places = zip(replies["benchmark"], replies["prompt"], strict=True)
        return [
            (self.prompts[place], text) for place, text in zip(places, replies["text"], strict=True)
        ]

    def _hear(self, name: str, pairs: Sequence[Pair]) -> None:
        from grounded import judges

        known = self.opinions[name]
        if new := [pair for pair in dict.fromkeys(pairs) if pair not in known]:
            if name not in self._judges:
                self._judges[name] = judges.load(name, self.study)
            for pair, v in zip(new, self._judges[name].judge(new), strict=True):
                known[pair] = (v.probability, v.label, v.mass, v.parsed, v.neutralised)

    def _score(self, run: Run, texts: Sequence[str]) -> None:
        import numpy as np
        import torch

        from grounded import coherence, loading

        if new := [text for text in dict.fromkeys(texts) if text not in self.surprise]:
            if self._pretrained is None:
                folder = paths.model(self.study.name, run.model, "pretrained")
                # in double precision no score hangs on what else is in its batch
                self._pretrained = loading.load(folder, torch.float64)
            scores = coherence.mean_nll(*self._pretrained, new)
            # as the table keeps it, so that a label can be told from its score
            stored = np.round(scores, 2).astype(np.float32).astype(np.float64)
            self.surprise.update(zip(new, stored.tolist(), strict=True))

    def _surprise(self, replies: "pd.DataFrame") -> "NDArray[np.float64]":
        import numpy as np

        return np.array([self.surprise[text] for text in replies["text"]], dtype=np.float64)

    def _quantile(self, replies: "pd.DataFrame") -> float:
        from grounded import coherence

        return coherence.threshold(self._surprise(replies), self.study.coherence.quantile)

    def _require_mass(self, replies: "pd.DataFrame") -> None:
        from grounded import judges

        pairs = self._pairs(replies)
        for name, opinions in self.opinions.items():
            verdicts = [judges.Verdict(*opinions[pair]) for pair in pairs]
            judges.require_mass(self._judges[name], verdicts)

    def _verdicts(self, replies: "pd.DataFrame") -> "pd.DataFrame":
        import pandas as pd

        pairs = self._pairs(replies)
        asked = replies[["benchmark", "prompt", "run", "step"]].reset_index(drop=True)
        tables = []
        for name, opinions in self.opinions.items():
            said = pd.DataFrame([opinions[pair] for pair in pairs], columns=list(OPINION))
            said["label"] = said["label"].astype("boolean")
            said[["probability", "mass"]] = said[["probability", "mass"]].astype("float64")
            tables.append(pd.concat([asked, said], axis=1).assign(judge=name))
        return pd.concat(tables, ignore_index=True)

    def _coherence(self, replies: "pd.DataFrame") -> "pd.DataFrame":
        import pandas as pd

        from grounded import coherence

        assert self.threshold is not None
        rule = self.study.coherence
        texts, lengths = list(replies["text"]), list(replies["tokens"])
        surprise = self._surprise(replies)
        found = coherence.detect(
            texts, lengths, surprise, self.threshold, rule.repetition, rule.shortest
        )
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
