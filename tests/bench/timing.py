"""What a device can do at best, and how long work takes on it."""

import gc
import time
from collections.abc import Callable
from typing import Any

import torch


def matrix_rate(n: int, device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Floating-point operations per second of the product of two n x n matrices (2 n^3)."""
    left, right = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / seconds(lambda: left @ right, device, repeats)


def bandwidth(size: int, device: torch.device, repeats: int) -> float:
    """Bytes per second that a copy of `size` bytes within the device's memory reads and writes."""
    here = torch.zeros(size, dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    return 2 * size / seconds(lambda: there.copy_(here), device, repeats)


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The middle one of that many times, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[repeats // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def with_peak(device: torch.device, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work finds, with the most memory that it held, the model included."""
    if device.type != "cuda":
        return {**work(), "peak_bytes": None}
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return {**work(), "peak_bytes": torch.cuda.max_memory_allocated(device)}
