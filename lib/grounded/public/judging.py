"""What the replies of real models are judged by, and how surprising they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grounded import judges, keywords, paths
from grounded.public import (
    capability,
    coherence,
    data,
    devices,
    hosted,
    lock,
    memory,
    models,
    thoughts,
    weights,
)
from grounded.public.judges import JUDGES, PublicJudge, harmbench, load, strongreject
from grounded.public.judges import keywords as normalised
from grounded.public.tuned import judge as tuned
from grounded.records.schemas import STRIDE
from grounded.study import KeywordJudge, Run, Study, TunedJudge, locked
from grounded.study import PublicJudge as Setting
from grounded.study.asking import OWN_JUDGE, RUBRIC

CLIPS = {"harmbench": harmbench.CLIP, "strongreject": strongreject.CLIP}  # where none is named
OWN_MASS = ("strongreject",)  # judges whose rule of what is readable is their own
BATCH = 16  # texts at a time whose surprise is measured


def prompts(study: Study) -> dict[tuple[str, int], str]:
    """The text of each prompt, by benchmark and number; of several samples, by each one's."""
    return {
        (name, prompt.id + STRIDE * sample): prompt.text
        for name in study.benchmarks
        for prompt in data.prompts(study, name)
        for sample in range(study.generation.samples)
    }


def judge(study: Study, name: str) -> judges.Judge:
    """A judge of answers, ready to judge, on the device; what the one before held is given back.

    GroundedError where its files are missing or broken, its prompt text is another than at the
    study's first run, or its labels are not single tokens.
    """
    return thoughts.OfAnswers(_judge(study, name), thoughts.of(study))


def _judge(study: Study, name: str) -> judges.Judge:
    setting = study.judge(name)
    if isinstance(setting, KeywordJudge):
        kind = normalised.NormalisedKeywords if setting.normalised else judges.KeywordJudge
        return kind(name, setting.list)
    memory.free()
    if isinstance(setting, TunedJudge):
        return tuned.load(study, name)
    assert isinstance(setting, Setting)
    if setting.server is not None:
        return hosted.served(study, name, setting)
    folder, *_ = models.judge_folders(study, name)  # at the commits that the lock keeps
    made = _load(study, name, setting, folder)
    if setting.judge != OWN_JUDGE:  # whose text is a file of the study, which may change
        lock.keep_prompt(study, name, made.template)
    return made


def settled(study: Study, run: Run, frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of a finished run, with repetition told by this world's rule."""
    return frames | {"coherence": coherence.settled(study, run, frames["coherence"])}


def _load(study: Study, name: str, setting: Setting, folder: Path) -> PublicJudge:
    device, dtype = devices.best()
    kept = lock.entry(study, "judges", name) or {}
    own: dict[str, Any] = {} if setting.judge in OWN_MASS else {"minimum_mass": study.minimum_mass}
    if setting.clip is not None:
        own["clip"] = setting.clip
    if setting.judge == "harmbench":
        own["contexts"] = data.contexts(study)
    known = None
    if setting.judge == OWN_JUDGE:
        known = hosted.known(setting)
        own["folder"] = folder if setting.path else None
    return load(
        name if known else setting.judge,
        known,
        revision=kept.get("revision"),
        template_file=hosted.template(study, name, setting),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        batch_size=setting.batch_size,
        **own,
    )


def facts(study: Study, name: str) -> dict[str, Any]:
    """What a judge is and how it reads, for the record: commits, sha256 of its prompt text."""
    setting = study.judge(name)
    if isinstance(setting, KeywordJudge):
        lists = normalised if setting.normalised else keywords
        return {"revision": lists.revision(setting.list), "template": None}
    if isinstance(setting, TunedJudge):
        return tuned.facts(study, name)
    assert isinstance(setting, Setting)
    if setting.judge in (OWN_JUDGE, RUBRIC):
        return hosted.facts(study, name, setting)
    kept = {part: lock.entry(study, part, name) for part in ("judges", "adapters")}
    commits = [f"{one['repository']}@{one['revision']}" for one in kept.values() if one]
    return {
        "revision": "+".join(commits),
        "template": locked.read(study.name).get("prompts", {}).get(name),
        "judge": setting.judge,
        "clip": setting.clip or CLIPS.get(setting.judge),
        "dtype": str(devices.best()[1]).removeprefix("torch."),
        "attention": JUDGES[setting.judge].attention,
    }


class Surprise:
    """How surprising texts are to the model before alignment, or to the base where none is named.

    It is loaded when first asked, in the device's type; probabilities are computed in fp32.
    """

    def __init__(self, study: Study, model: str) -> None:
        """`model` is a base model of the study."""
        self._study, self._name = study, model
        self._loaded: Any = None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The mean negative log-likelihood of each text's tokens, in nats; NaN where it has none.

        Of a reply that thinks, its answer's. Each text stands alone after the first token of
        documents (or the end token where there is none). GroundedError when the model gives logits
        that are not numbers.
        """
        if self._loaded is None:
            memory.free()
            device, dtype = devices.best()
            folder = models.folder(self._study, self._name, "pretrained")
            model, words = weights.read(folder, paths.shown(folder), device=device, dtype=dtype)
            self._loaded = capability.likely(model, words, BATCH), words
        likely, words = self._loaded
        first = words.eos_token_id if words.bos_token_id is None else words.bos_token_id
        texts = thoughts.answers(texts, thoughts.of(self._study))
        some = [
            text for text in dict.fromkeys(texts)
            if words(text, add_special_tokens=False)["input_ids"] not in ([], [first])
        ]  # fmt: skip
        found = likely([("", text) for text in some])
        scores = {t: -one.logprob / one.tokens for t, one in zip(some, found, strict=True)}
        return np.array([scores.get(text, np.nan) for text in texts], dtype=np.float64)
