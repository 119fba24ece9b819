"""What the replies of the invented world are judged by, and how surprising they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from grounded import benchmarks, coherence, fingerprint, judges, keywords, loading, paths
from grounded.study import KeywordJudge, Study


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
