"""The thoughts of a reasoning model: kept with its reply, and no part of its answer.

A table holds what the model wrote; judges, scores and coherence see the answer alone. A thought
that never ends leaves an empty answer, and is counted.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from grounded import paths, records
from grounded.study import Study
from grounded.study.models import THOUGHTS, PublicModel

if TYPE_CHECKING:  # who only counts thoughts needs no torch
    from transformers import PreTrainedTokenizerBase

    from grounded.judges import Judge, Pair, Verdict

Tags = tuple[str, str]  # what opens a thought and what closes it


def of(study: Study) -> tuple[Tags, ...]:
    """The tags of all models of a study, and the usual ones, each once."""
    models = (one for one in study.models.values() if isinstance(one, PublicModel))
    return tuple(dict.fromkeys([*(one.thoughts for one in models), THOUGHTS]))


def answer(text: str, tags: Sequence[Tags]) -> str | None:
    """The reply without its thoughts; None where it ends inside one.

    What stands before a closing tag without an opening one is a thought, too: some chat templates
    open it. An opening tag in the midst of an answer is text.
    """
    for opening, closing in tags:
        if opening not in text and closing not in text:
            continue
        if opening not in text.partition(closing)[0]:
            text = text.partition(closing)[2] if closing in text else text
        thought = f"{re.escape(opening)}.*?{re.escape(closing)}"
        text = re.sub(thought, "", text, flags=re.DOTALL).lstrip()
        if text.startswith(opening):
            return None
    return text


def answers(texts: Sequence[str], tags: Sequence[Tags]) -> list[str]:
    """The answer of each reply, "" for a thought without an end."""
    return [answer(text, tags) or "" for text in texts]


def unclosed(texts: Sequence[str], tags: Sequence[Tags]) -> int:
    """How many replies are thoughts without an end."""
    return sum(answer(text, tags) is None for text in texts)


def endless(study: Study, checkpoints: Mapping[str, pd.DataFrame]) -> dict[str, tuple[int, int]]:
    """Of each group of checkpoints, how many replies are thoughts without an end, and of how many.

    checkpoints: columns run and step. Empty where no reply holds a mark of a thought, or where the
    texts of replies are not on this machine.
    """
    files = [paths.table(study.name, "replies", unit) for unit in study.units()]
    whole = [file for file in files if not records.metadata(file).get("redacted")]
    tags = of(study)
    if study.has_truth or not whole:
        return {}
    said = pd.concat([records.read(file, "replies") for file in whole]).astype({"run": str})
    marks = "|".join(re.escape(mark) for pair in tags for mark in pair)
    if not said["text"].str.contains(marks).any():
        return {}
    found = {}
    for name, points in checkpoints.items():
        texts = list(said.merge(points[["run", "step"]].astype({"run": str}))["text"])
        found[name] = unclosed(texts, tags), len(texts)
    return found


def opened(tokenizer: "PreTrainedTokenizerBase", options: Mapping[str, object], tags: Tags) -> str:
    """What of a thought the chat template writes before the model does; "" where nothing."""
    from grounded.public import weights

    if not tokenizer.chat_template:
        return ""
    text = weights.asked(tokenizer, "a", options)
    return text[text.rindex(tags[0]) :] if text.rstrip().endswith(tags[0]) else ""


class OfAnswers:
    """A judge that is shown answers alone."""

    def __init__(self, judge: "Judge", tags: Sequence[Tags]) -> None:
        self._judge, self._tags = judge, tags
        self.name, self.revision, self.template = judge.name, judge.revision, judge.template

    def judge(self, pairs: "Sequence[Pair]") -> "list[Verdict]":
        """One verdict for each (prompt, reply), in the given order."""
        shown = answers([reply for _, reply in pairs], self._tags)
        return self._judge.judge([(pair[0], text) for pair, text in zip(pairs, shown, strict=True)])
