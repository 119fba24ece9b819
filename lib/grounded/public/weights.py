"""A real model's weights in memory, and a head that is not copied once a row."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded import loading


def load(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As `grounded.loading.load`, with `whole_head`."""
    model, words = loading.load(folder, dtype)
    return whole_head(model), words


def whole_head(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, whose head gets its input in one piece.

    Where logits are kept at the last places alone (`logits_to_keep`), the head's input is a slice,
    and PyTorch then multiplies row by row with a copy of the head for each: at 80 rows and 49,152
    words 4.5 GB in 16 bits, and nine seconds of CPU in place of 16 milliseconds.
    """

    def in_one_piece(_: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return given[0].contiguous(), *given[1:]

    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(in_one_piece)
    return model
