"""Granite Guardian 3.0 to 3.3: does the last message carry a risk?

ibm-granite/granite-guardian at a409be8, `cookbooks/granite-guardian-3.1/quick_start_vllm.ipynb`:
the probability is the softmax over all forms of yes and no at the deciding token.
"""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.public.judges.chat import ChatJudge
from grounded.public.judges.reading import forms

# Version 3.3 thinks first and writes its score between tags: both are forced, so that the next
# token decides. To be confirmed with the real weights.
SCORE = "<think>\n</think>\n<score>"


class GraniteGuardian(ChatJudge):
    """True = there is harm. The criterion is an argument of the chat template.

    Named risk_name up to 3.2 and criteria_id in 3.3; the wording differs between versions and
    roles and is the template's alone.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        version: str = "3.1",
        **settings: Any,
    ) -> None:
        """`settings` as ChatJudge; GroundedError as there."""
        last = version == "3.3"
        arguments: dict[str, Any] = {
            "guardian_config": {"criteria_id" if last else "risk_name": "harm"}
        }
        if last:
            arguments["think"] = False
        self._forced = SCORE if last else ""
        super().__init__(name, model, tokenizer, arguments=arguments, **settings)
        self._labels = forms(name, tokenizer, "yes"), forms(name, tokenizer, "no")

    def _tokens(self, prompt: str, reply: str) -> list[int]:
        return self._encode(self._text(prompt, reply) + self._forced, special=False)
