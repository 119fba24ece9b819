"""What a model would write next: the probabilities of a few tokens, in one forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError
from grounded.public.kv_cache import begun, padded, shared


class Reader:
    """Reads the next token of many rows at once; `judge` is the name that errors tell."""

    def __init__(self, judge: str, model: PreTrainedModel) -> None:
        self._judge, self._model = judge, model.eval()
        # what the model can read; None where its configuration does not say
        text = model.config.get_text_config()  # of a model that sees, too
        self.context: int | None = getattr(text, "max_position_embeddings", None)

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
        on CPU. What all rows begin with, such as the judge's instructions, is computed once.
        Padded on the left, masked, and with positions that count real tokens only, so that a row's
        values do not hang on the others. GroundedError for logits that are NaN.
        """
        full = [[*row, *forced] for row in rows]
        kept = shared(full)
        start = begun(self._model, full[0][:kept], len(full))
        ids, mask = padded([row[kept:] for row in full], self._model.device, kept)
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, kept:],
            past_key_values=start if kept else None,
            use_cache=bool(kept),
            logits_to_keep=1,
        ).logits[:, -1]
        if logits.isnan().any():
            raise GroundedError(f"judge {self._judge}: logits: found NaN, wanted numbers")
        return logits.double().log_softmax(-1)[:, list(tokens)].cpu()

    @torch.inference_mode()
    def written(self, rows: Sequence[Sequence[int]], number: int) -> list[list[int]]:
        """The tokens that the model writes greedily after each row, `number` at most."""
        ids, mask = padded(rows, self._model.device)
        config = self._model.generation_config
        told = GenerationConfig(
            max_new_tokens=number, do_sample=False, eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )  # fmt: skip
        made = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=told)
        new: list[list[int]] = made[:, ids.shape[1] :].tolist()
        return new


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


def openings(
    judge: str, tokenizer: PreTrainedTokenizerBase, before: str, words: Sequence[str]
) -> list[int]:
    """The first token of each word as it follows `before`.

    GroundedError where two words begin alike, so that no token tells them apart.
    """
    found = [continuation(judge, tokenizer, before, word)[0] for word in words]
    for place, token in enumerate(found):
        if token in found[:place]:
            raise _not_single(judge, tokenizer, words[place])
    return found


def beginnings(
    judge: str, tokenizer: PreTrainedTokenizerBase, true: Sequence[str], false: Sequence[str]
) -> tuple[list[int], list[int]]:
    """The tokens with which answers of either side begin.

    Of a word that the tokenizer knows whole, every form of it (as `forms`); of another one its
    first token, with and without a space before it. GroundedError where a token is of both sides.
    """
    sides = [sorted({t for word in side for t in _starts(judge, tokenizer, word)})
             for side in (true, false)]  # fmt: skip
    if both := set(sides[0]) & set(sides[1]):
        raise GroundedError(
            f"judge {judge}: label {true[0]!r}: found {len(both)} tokens that begin {false[0]!r} "
            "too, wanted one that it knows"
        )
    return sides[0], sides[1]


def _starts(judge: str, tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    try:
        return forms(judge, tokenizer, word)
    except GroundedError:
        return [_plain(tokenizer, text)[0] for text in (word, f" {word}")]


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
