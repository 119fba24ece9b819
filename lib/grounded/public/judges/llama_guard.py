"""Llama Guard 3 (8B and 1B) and 4: is the last message unsafe by one of its categories?

Card: PurpleLlama at 4be64c3, `Llama-Guard3/8B/MODEL_CARD.md`: the score is the probability of the
first token. It rates content, not compliance: a refusal that names harm may count as unsafe.
Llama Guard 4 is a model of text and images with the same answers; here it reads text. Its label
tokens are not pinned (no authors' code names them), and the prefix is to be confirmed with weights.
"""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError
from grounded.public.judges.chat import ChatJudge
from grounded.public.judges.reading import single

PREFIX = "\n\n"  # always written first; the template stops before it
LABELS = ("unsafe", "safe")


class LlamaGuard(ChatJudge):
    """True = unsafe. The 3-1B and 4 take content as a list of parts (`as_list`), the 3-8B as text.

    Another form is an error, since its template would silently drop the conversation.
    """

    def __init__(
        self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings: Any
    ) -> None:
        """`settings` as ChatJudge; GroundedError as there, or for a label of several tokens."""
        super().__init__(name, model, tokenizer, **settings)
        unsafe, safe = (single(name, tokenizer, label) for label in LABELS)
        self._labels = [unsafe], [safe]
        if len(prefix := self._encode(PREFIX, special=False)) != 1:
            raise GroundedError(
                f"judge {name}: prefix {PREFIX!r}: found {len(prefix)} tokens, wanted one"
            )

    def _tokens(self, prompt: str, reply: str) -> list[int]:
        text = self._text(prompt, reply).rstrip("\n") + PREFIX
        return self._encode(text, special=False)
