"""Circuit breakers, RR (Zou et al., NeurIPS 2024): representations of harm broken, then LoRA.

Before the fine-tuning an adapter is trained for 150 steps with c_r |h - h0| on retained text and
c_s ReLU(cos(h, h0)) on harmful text, at the hidden states of layers 10/32 and 20/32 of the depth;
c_s = alpha (1 - t / 300), c_r = alpha t / 300. It then stays as it is, plain LoRA is trained on
top, and both are saved as one adapter of rank 16 + r.
Published: alpha 10, rank and alpha of LoRA 16, dropout 0.05, learning rate 1e-4, batch 16, layers
up to the second target, retained text of UltraChat, XSTest's compliances and refusals (so that
XSTest no longer tests over-refusal). Source second-hand; the official code was not read.
Departures: the run's learning rate (models of this size need more), means over tokens and layers,
retained text of benign answers and refusals, half each. Its replies to harmful requests are
gibberish by design.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from grounded.finetune import Loaded, Start, plain_adapter, train
from grounded.methods.parts import factors, knob
from grounded.methods.parts.batches import POOL, Padded, endless, padded

KNOB = "alpha: weight of both losses (published 10)"
NEEDS: tuple[str, ...] = ("harmful", "benign", "refusals")
STEPS, HORIZON, BATCH = 150, 300, 16
RANK, ALPHA, DROPOUT = 16, 16.0, 0.05
DEPTHS = (10 / 32, 20 / 32)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Break circuits, then train; errors as `grounded.finetune.train`."""
    model, tokenizer = start.load()
    model, breaker = broken(start, (model, tokenizer), knob.number(start))

    def adapt(model: PreTrainedModel) -> PeftModel:
        adapted = plain_adapter(start)(model)
        factors.add(adapted, breaker)
        return adapted

    def save(model: PeftModel, folder: Path) -> None:
        both = factors.joined(breaker, factors.applied(model))
        factors.write_applied(both, model, folder)

    rows = train(start, folder, loaded=(model, tokenizer), adapt=adapt, save=save)
    return factors.measured(rows, folder)


def broken(start: Start, loaded: Loaded, alpha: float) -> tuple[PreTrainedModel, factors.Adapter]:
    """The unchanged base model, and the adapter that breaks its circuits."""
    model, tokenizer = loaded
    run = replace(start.run, rank=RANK, alpha=ALPHA)
    training = start.training.model_copy(update={"dropout": DROPOUT})
    torch.manual_seed(run.seed)
    adapted = plain_adapter(replace(start, run=run, training=training))(model).train()
    kinds = {kind: start.material(kind, POOL) for kind in NEEDS}
    harmful = endless(kinds["harmful"], BATCH, run.seed)
    retained = endless([*kinds["benign"], *kinds["refusals"]], BATCH, run.seed)
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=run.learning_rate, weight_decay=0.0)
    for step in range(STEPS):
        harm, retain = (
            padded(next(some), tokenizer, start.options, model.device)
            for some in (harmful, retained)
        )
        passed = step / HORIZON
        loss = alpha * (passed * drift(adapted, retain) + (1 - passed) * likeness(adapted, harm))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    adapter = factors.applied(adapted.eval())
    base: PreTrainedModel = adapted.unload()
    return base, adapter


def targets(layers: int) -> list[int]:
    """The hidden states that are asked, of a model of so many layers; 0 is the embedding."""
    return sorted({max(1, round(depth * layers)) for depth in DEPTHS})


def drift(model: Any, batch: Padded) -> torch.Tensor:
    """|h - h0|, the mean over a batch's tokens and the targets."""
    tuned, base, real = _states(model, batch)
    # the square root has no slope at zero, where training starts
    return ((tuned - base).square().sum(-1) + 1e-12).sqrt()[:, real].mean()


def likeness(model: Any, batch: Padded) -> torch.Tensor:
    """ReLU(cos(h, h0)), the mean over a batch's tokens and the targets."""
    tuned, base, real = _states(model, batch)
    return torch.cosine_similarity(tuned, base, dim=-1)[:, real].relu().mean()


def _states(model: Any, batch: Padded) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (targets x rows x tokens x width) of the tuned and the base model; the mask."""
    ids, mask, _ = batch
    at = targets(model.config.num_hidden_layers)

    def states() -> torch.Tensor:
        out = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
        return torch.stack([out.hidden_states[layer] for layer in at]).float()

    with torch.no_grad(), model.disable_adapter():
        base = states()
    return states(), base, mask.bool()
