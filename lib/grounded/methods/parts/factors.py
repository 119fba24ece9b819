"""Adapters as what they are: for each adapted module two thin factors, whose product is added.

No product is ever formed: norms and inner products come from matrices of rank by rank.
"""

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from grounded import fingerprint
from grounded.finetune import WEIGHTS

CONFIG = "adapter_config.json"
DEFAULT = "default"  # PEFT's name of the adapter that is trained
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Factors:
    """b (d_out x r) times a (r x d_in) is added to a module's weight (d_out x d_in)."""

    a: torch.Tensor
    b: torch.Tensor


Adapter = dict[str, Factors]  # by the module's name in the base model


def inner(one: Factors, other: Factors) -> float:
    """The inner product of two updates, <B A, B' A'> = sum of (B' B) * (A A')."""
    b, a = one.b.double().T @ other.b.double(), one.a.double() @ other.a.double().T
    return float((b * a).sum())


def norm(adapter: Adapter) -> float:
    """The Frobenius norm of an update over all its modules."""
    return math.sqrt(max(sum(inner(one, one) for one in adapter.values()), 0.0))


def layers(model: torch.nn.Module) -> dict[str, LoraLayer]:
    """The adapted modules of a PEFT model, by their names in the base model, sorted."""
    found = {
        name.removeprefix(PREFIX): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    return dict(sorted(found.items()))


def trained(layer: LoraLayer) -> Factors:
    """The two weights of a layer that are trained, without its scaling (alpha / rank)."""
    return Factors(layer.lora_A[DEFAULT].weight, layer.lora_B[DEFAULT].weight)


def applied(model: torch.nn.Module) -> Adapter:
    """What a PEFT model adds to its base now, scaling and all, as fp32 copies."""
    return {
        name: Factors(
            trained(layer).a.detach().float().clone(),
            trained(layer).b.detach().float() * layer.scaling[DEFAULT],
        )
        for name, layer in layers(model).items()
    }


def joined(one: Adapter, other: Adapter) -> Adapter:
    """One adapter that does what two do, of their ranks' sum: [B, B'] [A; A']."""
    return {
        name: Factors(
            torch.cat([one[name].a, other[name].a]), torch.cat([one[name].b, other[name].b], dim=1)
        )
        for name in one
    }


def add(model: torch.nn.Module, adapter: Adapter) -> None:
    """Let each adapted module of a PEFT model add a fixed update as well."""
    for name, layer in layers(model).items():
        layer.register_forward_hook(_adding(adapter[name]))


def _adding(fixed: Factors) -> Callable[..., torch.Tensor]:
    def hook(
        module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        x = args[0].to(fixed.a.dtype)
        return output + ((x @ fixed.a.T) @ fixed.b.T).to(output.dtype)

    return hook


def read(folder: Path) -> Adapter:
    """The factors of a saved adapter as they lie there, without its scaling, on the CPU."""
    weights = load_file(folder / WEIGHTS)
    ends = {".lora_A.weight", ".lora_B.weight"}
    names = {key.removesuffix(end) for key in weights for end in ends if key.endswith(end)}
    return {
        name.removeprefix(PREFIX): Factors(*(weights[name + end] for end in sorted(ends)))
        for name in sorted(names)
    }


def scaling(folder: Path) -> float:
    """What a saved adapter's update is multiplied by, alpha / rank."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return float(config["lora_alpha"] / config["r"])


def write(adapter: Adapter, config: LoraConfig, folder: Path) -> None:
    """Save factors in PEFT's format."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{PREFIX}{name}.{kind}.weight": factor.detach().cpu().contiguous()
        for name, one in adapter.items()
        for kind, factor in (("lora_A", one.a), ("lora_B", one.b))
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(config)
    config.inference_mode = True
    config.save_pretrained(str(folder))


def write_applied(adapter: Adapter, model: PeftModel, folder: Path) -> None:
    """Save what is added to the base as an adapter of its own rank and scaling 1."""
    config = copy.copy(model.peft_config[DEFAULT])
    config.r = config.lora_alpha = next(iter(adapter.values())).a.shape[0]
    write(adapter, config, folder)


def place(adapter: Adapter, config: LoraConfig, folder: Path) -> tuple[str, float]:
    """Save factors whole or not at all; returns the weights' sha256 and the update's norm."""
    unfinished = folder.with_name(f".{folder.name}")
    write(adapter, config, unfinished)
    sha, size = fingerprint.file(unfinished / WEIGHTS), norm(adapter) * scaling(unfinished)
    os.replace(unfinished, folder)
    return sha, size


def measured(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The rows of `checkpoints` with the norm of what was saved, not of what was trained."""
    steps = [folder / f"step-{step}" for step in rows["step"]]
    return rows.assign(update_norm=[norm(read(one)) * scaling(one) for one in steps])
