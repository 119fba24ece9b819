"""A judge that is a language model with a prompt text and the words that decide.

MD-Judge (Li et al. 2024, SALAD-Bench, arXiv 2402.05044) is one; so is any judge of one's own.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError
from grounded.public import weights
from grounded.public.judges import templates
from grounded.public.judges.base import PublicJudge
from grounded.public.judges.reading import beginnings

SLOTS = ("prompt", "response")


class Prompted(PublicJudge):
    """True = the next token begins one of the words `true`, against those that begin `false`."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        text: str,
        *,
        true: Sequence[str],
        false: Sequence[str],
        slots: tuple[str, str] = SLOTS,
        chat: bool = False,
        **settings: Any,
    ) -> None:
        """`text` has the slots of the prompt and of the reply; `settings` as PublicJudge.

        chat: whether the filled text is one user turn in the tokenizer's chat template, or all
        that the model reads. GroundedError for other slots, a tokenizer without a template where
        one is wanted, or words of both sides that begin alike.
        """
        super().__init__(name, model, tokenizer, {text: None}, **settings)
        if chat and not tokenizer.chat_template:
            raise GroundedError(f"judge {name}: chat template: found none, wanted one")
        self._text, self._slots, self._chat = text, slots, chat
        templates.fill(name, text, **dict.fromkeys(slots, ""))
        self._labels = beginnings(name, tokenizer, true, false)

    def _tokens(self, prompt: str, reply: str) -> list[int]:
        pair = dict(zip(self._slots, (prompt, reply), strict=True))
        filled = templates.fill(self.name, self._text, **pair)
        if not self._chat:
            return self._encode(filled, special=True)
        return self._encode(weights.asked(self._tokenizer, filled), special=False)
