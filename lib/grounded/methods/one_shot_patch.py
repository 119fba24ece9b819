"""One-shot patching (arXiv 2601.01887): after fine-tuning, a few steps on one refused request.

From each checkpoint of plain LoRA, the adapter is trained `knob` steps on one (harmful request,
refusal), which the seed draws, so that seeds vary the pair. Ours: AdamW without weight decay at the
run's learning rate, dropout off. Source second-hand: no code was found. Control: `one_shot_benign`.
"""

from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Start, batch_loss, plain_adapter
from grounded.methods import plain
from grounded.methods.parts import factors, knob

KNOB = "steps on the pair"
NEEDS: tuple[str, ...] = ("refusals",)


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Plain LoRA's checkpoints, patched; errors as `grounded.finetune.train`."""
    return patched(start, folder, "refusals")


def patched(start: Start, folder: Path, kind: str) -> pd.DataFrame:
    """Plain LoRA's checkpoints, each trained on one example of a kind."""
    steps, pair = knob.count(start), start.material(kind, 1)
    base, tokenizer = start.load()
    model = plain_adapter(start)(base).eval()
    weights = {name: factors.trained(layer) for name, layer in factors.layers(model).items()}

    def change(adapter: factors.Adapter) -> factors.Adapter:
        for name, one in adapter.items():
            weights[name].a.data.copy_(one.a)
            weights[name].b.data.copy_(one.b)
        trained = [factor for one in weights.values() for factor in (one.a, one.b)]
        optimizer = torch.optim.AdamW(trained, lr=start.run.learning_rate, weight_decay=0.0)
        for _ in range(steps):
            optimizer.zero_grad()
            batch_loss(model, tokenizer, pair, start.options).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
        return {
            name: factors.Factors(one.a.detach().cpu().clone(), one.b.detach().cpu().clone())
            for name, one in weights.items()
        }

    return plain.changed(start, folder, change)
