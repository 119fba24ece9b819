"""What real models run on: the device of this machine, and the type of the weights on it."""

import torch


def best() -> tuple[torch.device, torch.dtype]:
    """The GPU where there is one, with bfloat16, or float16 where it has none; else CPU, float32.

    A T4 only emulates bfloat16, which is slower than float32 there.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu"), torch.float32
    bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device("cuda"), torch.bfloat16 if bfloat16 else torch.float16
