"""What a model would write next: the probabilities of a few tokens, in one forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError


class Reader:
    """Reads the next token of many rows at once; `judge` is the name that errors tell."""

    def __init__(self, judge: str, model: PreTrainedModel) -> None:
        self._judge, self._model = judge, model.eval()
        # what the model can read; None where its configuration does not say
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)

    @property
    def dtype(self) -> str:
        """The type of the weights, such as bfloat16."""
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def attention(self) -> str:
        """The implementation of attention, such as sdpa or eager."""
        return str(self._model.config._attn_implementation)

    @torch.inference_mode()
    def log_probabilities(
        self, rows: Sequence[Sequence[int]], tokens: Sequence[int], forced: Sequence[int] = ()
    ) -> torch.Tensor:
        """Natural log-probabilities, over the whole vocabulary, that `tokens` come next.

        rows: of token ids, none empty; `forced` is put after each. Result: rows x tokens, float64
        on CPU. Padded on the left, masked, and with positions that count real tokens only, so
        that a row's values do not hang on the others. GroundedError for logits that are NaN.
        """
        full = [[*row, *forced] for row in rows]
        longest = max(map(len, full))
        device = self._model.device
        # a padded place is masked, so any token will do there
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in full], device=device)
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in full], device=device)
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]
        if logits.isnan().any():
            raise GroundedError(f"judge {self._judge}: logits: found NaN, wanted numbers")
        return logits.double().log_softmax(-1)[:, list(tokens)].cpu()


def single(judge: str, tokenizer: PreTrainedTokenizerBase, label: str) -> int:
    """The one token that is the label, without a space before it.

    GroundedError where the tokenizer writes the label as several.
    """
    token: int | None = tokenizer.get_vocab().get(label)
    if token is None:
        raise _not_single(judge, tokenizer, label)
    return token


def forms(judge: str, tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    """Every token that reads as the word, case and a space before it aside, by id.

    The space is the mark of sentencepiece or of byte-level BPE. As Granite Guardian's own code
    adds up its answers; the others need it because it is not known which form they write.
    GroundedError where there is none.
    """
    found = sorted(
        token
        for piece, token in tokenizer.get_vocab().items()
        if piece.lstrip("\u2581\u0120").lower() == word.lower()
    )
    if not found:
        raise _not_single(judge, tokenizer, word)
    return found


def continuation(
    judge: str, tokenizer: PreTrainedTokenizerBase, before: str, text: str
) -> list[int]:
    """The tokens of `text` as it follows `before`, which must keep its own tokens.

    GroundedError where the tokenizer would melt the two together.
    """
    first = _plain(tokenizer, before)
    both = _plain(tokenizer, before + text)
    if both[: len(first)] != first:
        raise GroundedError(
            f"judge {judge}: forced text: found one whose tokens melt into what comes before it, "
            "wanted one that stands alone"
        )
    return both[len(first) :]


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def _not_single(judge: str, tokenizer: Any, label: str) -> GroundedError:
    tokens = _plain(tokenizer, label)
    return GroundedError(
        f"judge {judge}: label {label!r}: found {len(tokens)} tokens of its tokenizer "
        f"({tokenizer.convert_ids_to_tokens(tokens)}), wanted one that it knows"
    )
