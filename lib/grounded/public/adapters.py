"""Adapters on a loaded model: put on in place and taken off again, the model never copied."""

from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from grounded import paths
from grounded.errors import GroundedError

if TYPE_CHECKING:
    from peft import PeftModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def put_on(model: PreTrainedModel, folder: Path) -> "PeftModel":
    """Put a PEFT adapter on a bare model, in place; `unload()` of the result takes it off, exactly.

    It stays beside the weights, in their dtype: merged into weights of 16 bits, it would be
    rounded, and taking it out again would not give them back.
    GroundedError for an adapter that is missing, half-written or made for another model (of other
    shapes or layers: the name that it gives its base may be any path); the model is bare then.
    """
    from peft import PeftConfig, get_peft_model

    worn = None
    try:
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():  # PEFT would ask the hub for it
                raise FileNotFoundError(f"no {name}")
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        worn = get_peft_model(model, config, autocast_adapter_dtype=False)
        loaded = worn.load_adapter(
            folder, "default", torch_device=str(model.device), autocast_adapter_dtype=False
        )
        if odd := [*loaded.missing_keys, *loaded.unexpected_keys]:
            raise ValueError(f"{len(odd)} weights that only one of the two has")
        for name, weight in worn.named_parameters():
            if "lora_" in name and not weight.isfinite().all():
                raise ValueError(f"{name} holds numbers that are not finite")
    except Exception as error:  # what a broken folder raises differs from file to file
        if worn is not None:
            worn.unload()
        line = " ".join(str(error).split())[:200]
        raise GroundedError(
            f"{paths.shown(folder)}: found an adapter missing, half-written or of another model "
            f"({line}), wanted one of {Path(model.name_or_path).name}"
        ) from error
    return worn
