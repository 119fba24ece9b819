"""The model held to its base on a general set: L + weight * KL(base || tuned).

What it holds: the base model's distribution over the next token, at each token of the answers to
general prompts (teacher-forced, mean over tokens, nats). It does not hold what the model says
freely, nor any prompt of another kind, refusals included. Ours: a pool of 128 prompts, a batch as
large as the task's; the task is seen as often and in the same order as by plain LoRA.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from grounded.examples import IGNORED
from grounded.finetune import Start, train
from grounded.methods.parts import knob
from grounded.methods.parts.batches import POOL, Padded, beside, device_batch, endless, padded

KNOB = "weight of the divergence"
NEEDS: tuple[str, ...] = ("general",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train with the divergence; errors as `grounded.finetune.train`."""
    weight, loaded = knob.number(start), start.load()
    model, tokenizer = loaded
    drawn = endless(start.material("general", POOL), device_batch(start), start.run.seed)

    def held(tuned: torch.nn.Module) -> torch.Tensor:
        return divergence(tuned, padded(next(drawn), tokenizer, start.options, model.device))

    return train(start, folder, loaded=loaded, loss=beside(start, weight, held))


def divergence(model: Any, batch: Padded) -> torch.Tensor:
    """KL(base || tuned) in nats, the mean over a batch's answer tokens, of a PEFT model."""
    ids, mask, labels = batch
    answers = labels[:, 1:] != IGNORED
    with torch.no_grad(), model.disable_adapter():
        base = _spread(model, ids, mask)[answers]
    tuned = _spread(model, ids, mask)[answers]
    return (base.exp() * (base - tuned)).sum(-1).mean()


def _spread(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    return logits.float().log_softmax(-1)
