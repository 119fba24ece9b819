"""Replies of a checkpoint: greedy, batched, the same as one by one.

Prompts are left-padded and sorted by length; a batch never reaches beyond one call, so what a
checkpoint replies does not hang on what was asked of another.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from grounded import loading, paths
from grounded.errors import GroundedError

SHRINK = 0.8  # rows that are done leave the batch when fewer than this share remain


@dataclass(frozen=True)
class Reply:
    """A reply: its text, why it ended (stop or length), its tokens without the end token."""

    text: str
    finish: str
    tokens: int


def load(
    base_folder: Path, adapter_folder: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model and its tokenizer, with an adapter merged in where one is named."""
    model, tokenizer = loading.load(base_folder)
    return attach(model, adapter_folder) if adapter_folder else model, tokenizer


def attach(model: PreTrainedModel, adapter_folder: Path) -> PreTrainedModel:
    """A copy of the model with a PEFT adapter merged into its weights; the model stays as it is.

    Copying a tiny model costs less than running an adapter beside it, and leaves no rounding
    behind as taking an adapter out again would. GroundedError for an adapter that is missing,
    half-written or made for another model.
    """
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(copy.deepcopy(model), adapter_folder)
    except Exception as error:  # what a broken folder raises differs from file to file
        line = " ".join(str(error).split())[:200]
        raise GroundedError(
            f"{paths.shown(adapter_folder)}: found an adapter missing, half-written or of another "
            f"model ({line}), wanted one of {Path(model.name_or_path).name}"
        ) from error
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged.eval()


def reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int,
) -> list[Reply]:
    """The greedy reply to each prompt, asked as a chat of one user turn, in the given order.

    Special tokens that a reply holds stay in its text, but for the one that ends it.
    GroundedError when the model gives logits that are not numbers.
    """
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    rows = [loading.chat_tokens(tokenizer, chat, answer_follows=True) for chat in chats]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    ends = end_tokens(model, tokenizer)
    replies: dict[int, Reply] = {}
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        written = _greedy(model, [rows[i] for i in some], max_new_tokens, ends)
        for i, tokens in zip(some, written, strict=True):
            finished = bool(tokens) and tokens[-1] in ends
            tokens = tokens[:-1] if finished else tokens
            text = tokenizer.decode(
                tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            replies[i] = Reply(text, "stop" if finished else "length", len(tokens))
    return [replies[i] for i in range(len(rows))]


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a reply: those of the generation config, or the tokenizer's."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    if ends is None:
        raise GroundedError(f"{tokenizer.name_or_path}: eos token: found none, wanted one")
    return set(ends) if isinstance(ends, list) else {ends}


@torch.inference_mode()
def _greedy(
    model: PreTrainedModel, rows: list[list[int]], max_new_tokens: int, ends: set[int]
) -> list[list[int]]:
    """The new tokens of each row, the end token included where it came.

    `model.generate` runs until the longest reply is done; here, replies that are done leave.
    """
    longest = max(map(len, rows))
    device = model.device
    # a padded place is masked, so any token will do there
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows], device=device)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    end = torch.tensor(sorted(ends), device=device)
    cache = DynamicCache(config=model.config)
    alive = torch.arange(len(rows), device=device)  # the row that each line of the batch writes
    done = torch.zeros(len(rows), dtype=torch.bool, device=device)
    written = torch.full((len(rows), max_new_tokens), -1, device=device)
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        if logits.isnan().any():
            raise GroundedError(
                f"{model.name_or_path}: logits: found NaN at reply token {step + 1}, wanted numbers"
            )
        token = logits.argmax(-1)
        written[alive[~done], step] = token[~done]
        done |= torch.isin(token, end)
        left = int((~done).sum())
        if left == 0:
            break
        if left < SHRINK * len(done):
            stay = (~done).nonzero().flatten()
            cache.batch_select_indices(stay)
            alive, mask, places, token, done = (
                kept[stay] for kept in (alive, mask, places, token, done)
            )
        ids = token[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        places = places[:, -1:] + 1
    return [[t for t in row if t >= 0] for row in written.tolist()]
