"""A real model's weights in memory, and a head that is not copied once a row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from grounded import loading
from grounded.errors import GroundedError


def load(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As `grounded.loading.load`, with `whole_head`."""
    model, words = loading.load(folder, dtype)
    return whole_head(model), words


def read(
    folder: Path,
    said: str,
    adapter: Path | None = None,
    device: torch.device | str = "cpu",
    kind: Any = AutoModelForCausalLM,
    **how: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model that need not chat, with its tokenizer and `whole_head`, on the device.

    said: what an error calls it. adapter: a folder of its fine-tuned part, and of the tokenizer.
    kind: its class in transformers. how: the type of its weights, and of attention.
    No code of its own is run, and weights are read from safetensors alone. GroundedError for a
    broken folder.
    """
    loading.quiet()
    try:
        model = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, **how
        )
        words = AutoTokenizer.from_pretrained(
            adapter or folder, local_files_only=True, trust_remote_code=False
        )
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter)
        return whole_head(model.to(device).eval()), words
    except Exception as error:  # what a broken folder raises differs from file to file
        line = " ".join(str(error).split())[:200]
        raise GroundedError(
            f"{said}: found no readable model ({line}), wanted config, tokenizer and safetensors "
            "weights"
        ) from error


def asked(words: PreTrainedTokenizerBase, prompt: str, options: Mapping[str, object] = {}) -> str:
    """A prompt as one user turn in the chat template, up to where the answer begins.

    options: what the template is told beside the turn.
    """
    turn = [{"role": "user", "content": prompt}]
    return str(
        words.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, **options)
    )


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
