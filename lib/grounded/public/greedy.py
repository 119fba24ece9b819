"""Greedy decoding for a CPU, where every token that is not computed is time saved.

What all prompts begin with, as the system turn of a chat template, is read once. A row that is done
leaves the batch; `generate` would run until the longest is done.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from grounded.errors import GroundedError
from grounded.generate import SHRINK
from grounded.public.kv_cache import begun, padded, shared


@torch.inference_mode()
def greedy(
    model: PreTrainedModel, rows: Sequence[list[int]], max_new_tokens: int, ends: set[int]
) -> list[list[int]]:
    """The new tokens of each row of prompt tokens, the end token included where it came.

    GroundedError when the model gives logits that are not numbers.
    """
    device, first = model.device, shared(rows)
    cache = begun(model, rows[0][:first], len(rows))
    ids, mask = padded([row[first:] for row in rows], device, first)
    places = (mask.cumsum(1) - 1)[:, first:]
    end = torch.tensor(sorted(ends), device=device)
    alive = torch.arange(len(rows), device=device)  # the row that each line of the batch writes
    done = torch.zeros(len(rows), dtype=torch.bool, device=device)
    written = torch.full((len(rows), max_new_tokens), -1, device=device)
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        if logits.isnan().any():
            name = str(model.name_or_path).rpartition("/")[2]
            raise GroundedError(
                f"{name}: logits: found NaN at reply token {step + 1}, wanted numbers"
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
