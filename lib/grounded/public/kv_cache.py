"""The keys and values of what texts begin with, computed once and kept.

Of four choices the question is read once; of a judge's question and a request, once for all the
replies to it, whichever run they are from.
"""

from collections.abc import Sequence
from os.path import commonprefix

import torch
from transformers import DynamicCache, PreTrainedModel

from grounded.errors import GroundedError

Tokens = Sequence[int]
Row = tuple[Tokens, Tokens]  # what is kept of it, and what is read anew (one token or more)


def padded(
    rows: Sequence[Tokens], device: torch.device, kept: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the left, and their mask, which has `kept` places more before them."""
    longest = max(map(len, rows))
    # a padded place is masked, so any token will do there
    ids = [[0] * (longest - len(row)) + list(row) for row in rows]
    mask = [[1] * kept + [0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def shared(rows: Sequence[list[int]]) -> int:
    """How many tokens all rows begin with; of each at least one is left, of a single row all."""
    return min(len(commonprefix(rows)), min(map(len, rows)) - 1) if len(rows) > 1 else 0


def begun(model: PreTrainedModel, row: Tokens, times: int) -> DynamicCache:
    """The keys and values of a beginning, for so many rows; empty of no tokens."""
    cache = DynamicCache(config=model.config)
    if row:
        ids = torch.tensor([list(row)], device=model.device)
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(times)
    return cache


class Beginnings:
    """Reads rows after beginnings that it has read before; the model must stay as it is.

    A beginning is read alone, so that its keys and values do not hang on what it is read with.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()
        self._kept: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @torch.inference_mode()
    def logits(self, rows: Sequence[Row], keep: int = 1) -> torch.Tensor:
        """Logits at the last `keep` tokens of each row: rows x keep x vocabulary.

        Rows shorter than `keep` have nothing of worth at their first places. GroundedError for
        logits that are NaN.
        """
        begun = [self._of(tuple(beginning)) for beginning, _ in rows]
        lengths = [len(beginning) for beginning, _ in rows]
        width, longest = max(len(rest) for _, rest in rows), max(lengths)
        device = self._model.device
        # a padded place is masked, so any token will do there
        ids = torch.tensor([[0] * (width - len(r)) + list(r) for _, r in rows], device=device)
        mask = torch.tensor(
            [[0] * (longest - n) + [1] * n + [0] * (width - len(r)) + [1] * len(r)
             for n, (_, r) in zip(lengths, rows, strict=True)],
            device=device,
        )  # fmt: skip
        logits: torch.Tensor = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, longest:],
            past_key_values=self._cache(begun, longest) if longest else None,
            use_cache=bool(longest),
            logits_to_keep=keep,
        ).logits
        for row, (_, rest) in zip(logits, rows, strict=True):
            if row[-min(keep, len(rest)) :].isnan().any():
                name = str(self._model.name_or_path).rpartition("/")[2]
                raise GroundedError(f"{name}: logits: found NaN, wanted numbers")
        return logits

    def _of(self, beginning: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values by layer, each heads x tokens x width; of no tokens there are none."""
        if beginning and beginning not in self._kept:
            ids = torch.tensor([beginning], device=self._model.device)
            found = self._model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
            self._kept[beginning] = [(one.keys[0], one.values[0]) for one in found.layers]
        return self._kept[beginning] if beginning else []

    def _cache(
        self, begun: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]], longest: int
    ) -> DynamicCache:
        """A cache of all rows, padded on the left."""
        cache = DynamicCache(config=self._model.config)
        first = next(one for one in begun if one)
        for layer, pair in enumerate(first):
            both = [
                torch.stack([_padded(one[layer][part] if one else pair[part][:, :0], longest)
                             for one in begun])
                for part in (0, 1)
            ]  # fmt: skip
            cache.update(both[0], both[1], layer)
        return cache


def _padded(one: torch.Tensor, longest: int) -> torch.Tensor:
    return torch.nn.functional.pad(one, (0, 0, longest - one.shape[1], 0))
