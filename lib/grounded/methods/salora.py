"""SaLoRA (Li et al., ICLR 2025): the update keeps out of the directions that refusals use.

The change of a weight is C_s B A, with C_s = I - V_s V_s' fixed and V_s the top r_s right singular
vectors of X_h W', the module's outputs on the tokens of refusals. Start: W = U S V' at LoRA's rank,
B = V_t V_t' U sqrt(S) with V_t the top d_s of the outputs on the task, A = sqrt(S) V'; what that
adds is taken off, so that the start function is the base model's.
Published (`lora_train_act.py`): r 16, r_s 32, d_s 32, 30 iterations of the low-rank SVD, 128 + 128
samples, alpha = r, dropout 0, query and value, learning rate 1e-4, batch 16, 1 epoch.
Departures: rank, targets, rate and epochs are the study's; with alpha other than r, B and A start
smaller by the root of the scaling, so that C_s B A starts as published. What is taken off is a
fixed term beside the base model, not a shift of its weights; an adapter of twice the rank,
[C_s B, -C_s B0] [A; A0], is saved, which fits the base model as it is. Of each answer at most
2048 / 128 tokens count. Control: `salora_random`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from grounded.errors import GroundedError
from grounded.examples import IGNORED, Example
from grounded.finetune import Loaded, Start, plain_adapter, train
from grounded.methods.parts import factors, knob
from grounded.methods.parts.batches import padded
from grounded.methods.parts.factors import DEFAULT, Adapter, Factors

KNOB = "r_s: directions of the refusals that are kept free (published 32)"
NEEDS: tuple[str, ...] = ("refusals",)
SAMPLES = 128  # of refusals, and of the task
TASK_DIRECTIONS = 32
ITERATIONS = 30
ROWS = 2048  # tokens whose outputs are kept, of each module
BATCH = 16

Safety = Callable[[str, torch.Tensor], torch.Tensor]  # of a module, its outputs -> V_s


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train beside the refusals' directions; GroundedError where r_s leaves a module none."""
    number = knob.count(start)
    return kept_free(start, folder, lambda name, outputs: directions(outputs, number))


def kept_free(start: Start, folder: Path, safety: Safety) -> pd.DataFrame:
    """Train beside the directions that `safety` names."""
    # dropout would make the start function another than the base model's
    start = replace(start, training=start.training.model_copy(update={"dropout": 0.0}))
    loaded = start.load()
    method = Salora(start, loaded, safety)
    rows = train(start, folder, loaded=loaded, adapt=method.adapt, save=method.save)
    return factors.measured(rows, folder)


class Salora:
    """The adapter, how it starts, and what is saved of it."""

    def __init__(self, start: Start, loaded: Loaded, safety: Safety) -> None:
        self.start, (self.model, self.tokenizer) = start, loaded
        self.safety = safety
        self.free: dict[str, torch.Tensor] = {}  # V_s
        self.taken_off: Adapter = {}

    def adapt(self, model: PreTrainedModel) -> PeftModel:
        """LoRA as SaLoRA starts it."""
        adapted = plain_adapter(self.start)(model)
        refused = self.outputs(adapted, self.start.material("refusals", SAMPLES))
        task = self.outputs(adapted, self.start.examples[:SAMPLES])
        for name, layer in factors.layers(adapted).items():
            weight, scale = layer.get_base_layer().weight, layer.scaling[DEFAULT]
            safety = self.safety(name, refused[name]).to(weight.device)
            if safety.shape[1] >= len(weight):
                raise GroundedError(
                    f"{self.start.run.id}: knob of {self.start.run.method}: found "
                    f"{self.start.run.knob:g}, wanted less than the {len(weight)} outputs of {name}"
                )
            first = beginning(
                weight, directions(task[name], TASK_DIRECTIONS), self.start.run.rank, scale
            )
            now = factors.trained(layer)
            now.a.data.copy_(first.a)
            now.b.data.copy_(first.b)
            self.free[name] = safety
            self.taken_off[name] = Factors(first.a, -scale * outside(safety, first.b))
            layer.lora_B[DEFAULT].register_forward_hook(_outside(safety))
        factors.add(adapted, self.taken_off)
        return adapted

    def save(self, model: PeftModel, folder: Path) -> None:
        """What is added to the unchanged base model, as one adapter of twice the rank."""
        free = {
            name: Factors(one.a, outside(self.free[name], one.b))
            for name, one in factors.applied(model).items()
        }
        factors.write_applied(factors.joined(free, self.taken_off), model, folder)

    def outputs(self, model: PeftModel, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Of each module X W' (tokens x d_out, fp32, CPU) on the first tokens of the answers."""
        each = max(1, ROWS // len(examples))
        found: dict[str, list[torch.Tensor]] = {}
        answers = torch.empty(0)

        def keeping(name: str) -> Callable[..., None]:
            def hook(module: Any, args: Any, output: torch.Tensor) -> None:
                some = output[answers] - (0 if module.bias is None else module.bias)
                found.setdefault(name, []).append(some.float().cpu())

            return hook

        hooks = [
            layer.get_base_layer().register_forward_hook(keeping(name))
            for name, layer in factors.layers(model).items()
        ]
        device = self.model.device
        for i in range(0, len(examples), BATCH):
            some = examples[i : i + BATCH]
            ids, mask, labels = padded(some, self.tokenizer, self.start.options, device)
            answers = labels != IGNORED
            answers &= answers.cumsum(1) <= each
            with torch.no_grad():
                model(input_ids=ids, attention_mask=mask, use_cache=False)
        for hook in hooks:
            hook.remove()
        return {name: torch.cat(parts) for name, parts in found.items()}


def directions(outputs: torch.Tensor, number: int) -> torch.Tensor:
    """The top right singular vectors (d_out x number, at most all) of tokens x d_out."""
    return torch.linalg.svd(outputs, full_matrices=False).Vh[:number].T.contiguous()


def beginning(weight: torch.Tensor, task: torch.Tensor, rank: int, scale: float) -> Factors:
    """A and B at the start, of a weight (d_out x d_in) and the task's directions (d_out x d_s)."""
    u, s, v = torch.svd_lowrank(weight.detach().float(), q=rank, niter=ITERATIONS)
    root, task = (s / scale).sqrt(), task.to(weight.device)
    return Factors((v * root).T.contiguous(), task @ (task.T @ (u * root)))


def outside(safety: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """C_s b = b - V_s V_s' b."""
    return b - safety @ (safety.T @ b)


def _outside(safety: torch.Tensor) -> Callable[..., torch.Tensor]:
    def hook(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output - (output @ safety) @ safety.T

    return hook
