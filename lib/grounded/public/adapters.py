"""Adapters on a loaded model: put on in place and taken off again, the model never copied."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from grounded import paths
from grounded.errors import GroundedError

if TYPE_CHECKING:
    from peft import PeftModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# ways to begin LoRA that change the base's weights
RESIDUAL = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class Worn:
    """A model that wears an adapter.

    own: weights of the model itself, such as biases, that the adapter has as well: (what it is
    now, what it was).
    """

    model: "PeftModel"
    own: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def take_off(self) -> None:
        """Leave the model as it was, bit by bit."""
        from peft.utils.other import ModulesToSaveWrapper

        base = self.model.get_base_model()
        # PEFT leaves what the adapter saved whole in its place
        saved = {
            name: module.original_module for name, module in base.named_modules()
            if isinstance(module, ModulesToSaveWrapper)
        }  # fmt: skip
        self.model.unload()
        for name, module in saved.items():
            base.set_submodule(name, module)
        for now, before in self.own:
            now.data.copy_(before)


def put_on(model: PreTrainedModel, folder: Path) -> Worn:
    """Put a PEFT adapter on a bare model, in place; `take_off()` of the result takes it off again.

    It stays beside the weights, in their dtype: merged into weights of 16 bits, it would be
    rounded, and taking it out again would not give them back.
    GroundedError for an adapter that is missing, half-written or made for another model (of other
    shapes or layers: the name that it gives its base may be any path), or that wants the base's
    weights changed; the model is bare then.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict

    worn = None
    try:
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():  # PEFT would ask the hub for it
                raise FileNotFoundError(f"no {name}")
        config = PeftConfig.from_pretrained(str(folder))
        begun = getattr(config, "init_lora_weights", True)
        if str(begun).lower().startswith(RESIDUAL):
            raise ValueError(f"init_lora_weights: {begun} changes the base; merge it into a model")
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            names = set(file.keys())
        config.inference_mode = True
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        own = [(weight, weight.detach().clone())
               for name, weight in adapted.named_parameters() if name in names]  # fmt: skip
        worn = Worn(adapted, tuple(own))
        loaded = adapted.load_adapter(
            folder, "default", torch_device=str(model.device), autocast_adapter_dtype=False
        )
        if odd := [*loaded.missing_keys, *loaded.unexpected_keys]:
            raise ValueError(f"{len(odd)} weights that only one of the two has")
        # with what is saved whole; the embeddings of the base are none of it
        held = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        for name, weight in [*held.items(), *(("a weight", now) for now, _ in own)]:
            if not weight.isfinite().all():
                raise ValueError(f"{name} holds numbers that are not finite")
    except Exception as error:  # what a broken folder raises differs from file to file
        if worn is not None:
            worn.take_off()
        line = " ".join(str(error).split())[:200]
        raise GroundedError(
            f"{paths.shown(folder)}: found an adapter missing, half-written or of another model "
            f"({line}), wanted one of {Path(model.name_or_path).name}"
        ) from error
    return worn


def keep(made: Path, folder: Path, base: str | None = None) -> None:
    """Put an adapter to `folder`: its weights in bfloat16, and no path of this machine.

    base: what it says of its model; None where the study says of which.
    """
    halves = {key: one.to(torch.bfloat16) for key, one in load_file(made / WEIGHTS).items()}
    save_file(halves, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((made / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
