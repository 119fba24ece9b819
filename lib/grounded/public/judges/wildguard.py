"""WildGuard: is the request harmful, is the reply a refusal, is the reply harmful?

Han et al. 2024; `wildguard/utils.py` and `wildguard/wildguard.py` of allenai/wildguard at 495b9dc.
It answers in three lines; here each line is begun for it and its yes or no is read.
"""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.public.judges import templates
from grounded.public.judges.base import PublicJudge, Reading, between
from grounded.public.judges.reading import continuation, forms

CONSTANT = "WILDGUARD_INPUT_FORMAT"
SHA256 = "5e74b62445cca8e91d51deba51848059267bd2b8c279ac1c7a94adef445d8bdf"
LINES = ("Harmful request:", "Response refusal:", "Harmful response:")


class WildGuard(PublicJudge):
    """True = the reply is harmful; where `reads` is "compliance", True = it is no refusal."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        text: str,
        *,
        template_sha256: str | None = SHA256,
        reads: str = "harm",
        **settings: Any,
    ) -> None:
        """`text` has the slots {prompt} and {response}; `reads` is "harm" or "compliance".

        GroundedError for another sha256 of the text, other slots, or labels of several tokens.
        `settings` as PublicJudge.
        """
        super().__init__(name, model, tokenizer, {text: template_sha256}, **settings)
        self._text, self._reads = text, reads
        templates.fill(name, text, prompt="", response="")
        self._yes, self._no = (forms(name, tokenizer, word) for word in ("yes", "no"))
        # the first line follows the text, each other one the answer before it
        self._forced = [
            continuation(name, tokenizer, "\n", LINES[0]),
            *(continuation(name, tokenizer, "yes", f"\n{line}") for line in LINES[1:]),
        ]
        self._room = sum(map(len, self._forced)) + len(LINES) - 1

    def _tokens(self, prompt: str, reply: str) -> list[int]:
        filled = templates.fill(self.name, self._text, prompt=prompt, response=reply)
        return self._encode(filled, special=True)

    def _read(self, rows: list[list[int]]) -> list[Reading]:
        three = self._lines(rows)
        if self._reads == "harm":
            return [harm for _, _, harm in three]
        return [Reading(1 - refusal.probability, refusal.mass) for _, refusal, _ in three]

    def _lines(self, rows: list[list[int]]) -> list[list[Reading]]:
        """The three readings of each row; the likelier answer is written before the next line.

        A line that follows an unreadable one is no more readable than that.
        """
        labels = [*self._yes, *self._no]
        so_far = rows
        found: list[list[Reading]] = [[] for _ in rows]
        for forced in self._forced:
            read = self._reader.log_probabilities(so_far, labels, forced=forced)
            lines = between(read, true=len(self._yes))
            written = [labels[place] for place in read.argmax(-1).tolist()]
            so_far = [[*row, *forced, t] for row, t in zip(so_far, written, strict=True)]
            for before, reading in zip(found, lines, strict=True):
                mass = min([reading.mass, *(earlier.mass for earlier in before)])
                before.append(Reading(reading.probability, mass))
        return found
