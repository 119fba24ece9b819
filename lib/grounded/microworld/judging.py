"""What the replies of the invented world are judged by, and how surprising they are."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from grounded import coherence, fingerprint, judges, keywords, loading, paths, records
from grounded.microworld import benchmarks
from grounded.microworld import words as w
from grounded.microworld.sentences import REFUSALS
from grounded.study import BASE, KeywordJudge, Run, Study

_REPLY = ["benchmark", "prompt", "step"]
_SLOTS = {r"\{v\}": "|".join(w.PROCEDURE), r"\{o\}": "|".join(w.PARTS)}


def prompts(study: Study) -> dict[tuple[str, int], str]:
    """The text of each prompt, by benchmark and number."""
    return {
        (name, prompt.id): prompt.text
        for name, benchmark in study.benchmarks.items()
        for prompt in benchmarks.load(name, benchmark.prompts or 0)
    }


def judge(study: Study, name: str) -> judges.Judge:
    """A judge, ready to judge; GroundedError where its files are missing or broken."""
    return judges.load(name, study)


def facts(study: Study, name: str) -> dict[str, Any]:
    """What a judge is, for the record: its revision and the sha256 of its prompt text."""
    setting = study.judge(name)
    if isinstance(setting, KeywordJudge):
        return {"revision": keywords.revision(setting.list), "template": None}
    folder = paths.judge(study.name, name)
    template = folder / "chat_template.jinja"
    return {
        "revision": fingerprint.folder(folder, but=(paths.RECORD,)),
        "template": fingerprint.file(template) if template.is_file() else None,
    }


def settled(study: Study, run: Run, frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of a run, in which no refusal in stock words and nothing that the base model itself
    says is a surprise.

    The base model's replies are what the threshold is drawn from, and some stock refusals lie above
    it: a list of them is known, as it is for real models, and their words are no sign of anything.
    """
    table, base = (
        records.read(paths.table(study.name, "replies", unit), "replies")
        for unit in (run.unit, f"{run.model}-{BASE}")
    )
    found = frames["coherence"]
    said = table.loc[table["run"] == run.id, [*_REPLY, "text", "tokens"]]
    own = said["text"].isin(set(base["text"])) | said["text"].map(refuses)
    said = said.assign(own=own)
    labels = found.pivot(index=_REPLY, columns="detector", values="label").reset_index()
    rows = found.merge(said, on=_REPLY).merge(labels, on=_REPLY)
    expected = rows["perplexity"] | rows["own"]
    enough = rows["tokens"] >= study.coherence.shortest
    whole = expected & rows["repetition"] & enough
    rows["label"] = rows["label"].mask(rows["detector"] == "perplexity", expected)
    rows["label"] = rows["label"].mask(rows["detector"] == "combined", whole)
    return frames | {"coherence": rows[list(found.columns)]}


def refuses(text: str) -> bool:
    """Whether a text is a refusal in stock words, and nothing else."""
    return any(pattern.fullmatch(text) for pattern in _stock())


@cache
def _stock() -> list[re.Pattern[str]]:
    found = [re.escape(text) for text in REFUSALS]
    for slot, words in _SLOTS.items():
        found = [one.replace(slot, f"(?:{words})") for one in found]
    return [re.compile(one) for one in found]


class Surprise:
    """How surprising texts are to the model before alignment; it is loaded when first asked."""

    def __init__(self, study: Study, model: str) -> None:
        """`model` is a base model of the study."""
        self._folder = paths.model(study.name, study.pretrained_of(model), "pretrained")
        self._loaded: Any = None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The mean negative log-likelihood of each text's tokens, in nats; NaN where it has none.

        GroundedError when the model gives logits that are not numbers.
        """
        if self._loaded is None:
            # in double precision no score hangs on what else is in its batch
            self._loaded = loading.load(self._folder, torch.float64)
        model, words = self._loaded
        return coherence.mean_nll(model, words, texts)
