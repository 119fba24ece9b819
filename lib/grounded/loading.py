"""Language models and their chats, as every stage reads them: on CPU, quiet, offline."""

import warnings
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    logging,
)

from grounded import paths
from grounded.errors import GroundedError


def load(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model (weights as `dtype`, in evaluation mode) and the tokenizer in a folder.

    Weights are read from safetensors alone, and no code that lies in the folder is run.

    GroundedError for a folder that is missing, half-written or without a chat template.
    """
    quiet()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # what a broken folder raises differs from file to file
        line = " ".join(str(error).split())[:200]
        raise GroundedError(
            f"{paths.shown(folder)}: found no readable model ({line}), wanted config, tokenizer "
            "and safetensors weights"
        ) from error
    if not tokenizer.chat_template:
        raise GroundedError(f"{paths.shown(folder)}: chat template: found none, wanted one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def quiet() -> None:
    """No progress bars and no advice from the libraries; what we find wrong is an error."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # peft 0.21 and trl 1.16 still ask transformers 5 for it by its old names
    warnings.filterwarnings("ignore", message="`(is_)?gradient_checkpointing` is deprecated")


def chat_tokens(
    tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]], answer_follows: bool
) -> list[int]:
    """A dialogue as a model reads it; with `answer_follows` up to where its answer begins."""
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=answer_follows)
    # the template writes the special tokens itself
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens
