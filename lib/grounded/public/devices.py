"""What real models run on: the device of this machine, and the type of the weights on it."""

import torch

from grounded.study.models import PublicModel


def best() -> tuple[torch.device, torch.dtype]:
    """The GPU where there is one, with bfloat16, or float16 where it has none; else CPU, float32.

    A T4 only emulates bfloat16, which is slower than float32 there.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu"), torch.float32
    bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device("cuda"), torch.bfloat16 if bfloat16 else torch.float16


def of(model: PublicModel) -> tuple[torch.device, torch.dtype]:
    """What a study's model runs on: as `best`, with its own dtype on a CPU.

    `auto` is bfloat16 where the CPU multiplies in it (AMX, or AVX-512 with BF16), else float32:
    elsewhere 16 bits are emulated, many times slower. The record of replies says which it was.
    """
    device, dtype = best()
    if device.type == "cpu" and model.dtype != "float32":
        fast = model.dtype == "bfloat16" or in_bfloat16()
        dtype = torch.bfloat16 if fast else torch.float32
    return device, dtype


def in_bfloat16() -> bool:
    """Whether this CPU multiplies matrices in bfloat16."""
    cpu = torch.cpu
    return bool(cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported())
