"""The thoughts of a reasoning model: kept with its reply, and no part of its answer.

A table holds what the model wrote; judges, scores and coherence see the answer alone. A thought
that never ends leaves an empty answer, and is counted.
"""

import re
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from grounded.judges import Judge, Pair, Verdict
from grounded.public import weights
from grounded.study import Study
from grounded.study.models import THOUGHTS, PublicModel

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


def opened(tokenizer: PreTrainedTokenizerBase, options: Mapping[str, object], tags: Tags) -> str:
    """What of a thought the chat template writes before the model does; "" where nothing."""
    if not tokenizer.chat_template:
        return ""
    text = weights.asked(tokenizer, "a", options)
    return text[text.rindex(tags[0]) :] if text.rstrip().endswith(tags[0]) else ""


class OfAnswers:
    """A judge that is shown answers alone."""

    def __init__(self, judge: Judge, tags: Sequence[Tags]) -> None:
        self._judge, self._tags = judge, tags
        self.name, self.revision, self.template = judge.name, judge.revision, judge.template

    def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """One verdict for each (prompt, reply), in the given order."""
        shown = answers([reply for _, reply in pairs], self._tags)
        return self._judge.judge([(pair[0], text) for pair, text in zip(pairs, shown, strict=True)])
