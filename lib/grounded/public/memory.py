"""What to do when the device has no memory left: let go, and try with half as much."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache

from grounded.errors import GroundedError

free = partial(clear_device_cache, garbage_collection=True)  # give back what nothing holds
Row = TypeVar("Row")
Result = TypeVar("Result")


def in_batches(
    work: Callable[[Sequence[Row]], Sequence[Result]], rows: Sequence[Row], size: int, what: str
) -> Iterator[Result]:
    """What `work` makes of the rows, batch by batch, in their order.

    size: rows at a time, halved for good whenever memory runs out; what was done stays done. what:
    the name that a message gives the work. GroundedError for a row that does not fit alone.
    """
    at = 0
    while at < len(rows):
        try:
            yield from work(rows[at : at + size])
            at += size
            continue
        except torch.OutOfMemoryError:
            if size == 1:
                raise GroundedError(
                    f"{what}: found no memory for one text alone, wanted a larger device, or "
                    "fewer bits or tokens"
                ) from None
        size = min(size, len(rows) - at) // 2 or 1
        free()  # only out here has the error let go of what the batch held
        print(f"{what}: found no memory; goes on with {size} at a time", file=sys.stderr)
