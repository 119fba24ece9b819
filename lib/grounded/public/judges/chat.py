"""Judges that are asked through the chat template of their own tokenizer."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError
from grounded.public.judges.base import PublicJudge

# What no template holds, to see whether a conversation comes through it; a list that is written
# out as Python writes it would show the line break otherwise.
_PROBE = ("zebra\nfinch", "quartz\nite")


class ChatJudge(PublicJudge):
    """A judge whose prompt is its chat template, which writes the special tokens itself."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        as_list: bool = False,
        arguments: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """`as_list`: a message's content is a list of parts. `arguments`: the template's own.

        GroundedError for a tokenizer without a template, or a template that loses the
        conversation (as one does that wants its content in the other form).
        """
        if not isinstance(tokenizer.chat_template, str):
            raise GroundedError(f"judge {name}: chat template: found none, wanted one")
        self._as_list, self._arguments = as_list, arguments or {}
        super().__init__(name, model, tokenizer, {tokenizer.chat_template: None}, **settings)
        try:
            rendered = self._text(*_PROBE)
        except Exception as error:  # whatever a template's own code raises
            line = " ".join(str(error).split())[:100]
            raise GroundedError(f"judge {name}: chat template: found an error ({line})") from error
        if not all(word in rendered for word in _PROBE):
            raise GroundedError(
                f"judge {name}: chat template: found one that loses the conversation, wanted one "
                f"for content as {'a list of parts' if as_list else 'text'}"
            )

    def _text(self, prompt: str, reply: str) -> str:
        def content(text: str) -> Any:
            return [{"type": "text", "text": text}] if self._as_list else text

        chat = [
            {"role": "user", "content": content(prompt)},
            {"role": "assistant", "content": content(reply)},
        ]
        rendered: str = self._tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, **self._arguments
        )
        return rendered

    def _tokens(self, prompt: str, reply: str) -> list[int]:
        return self._encode(self._text(prompt, reply), special=False)
