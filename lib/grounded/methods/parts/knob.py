"""The knob of a run, held to what its method can use."""

from grounded.errors import GroundedError
from grounded.finetune import Start


def number(start: Start, least: float = 0.0, most: float = float("inf")) -> float:
    """The run's knob, from least to most; GroundedError where it is missing or beyond."""
    run = start.run
    if run.knob is None or not least <= run.knob <= most:
        wanted = f"a number of at least {least:g}" + (f", at most {most:g}" if most < 1e9 else "")
        raise GroundedError(f"{run.id}: knob of {run.method}: found {run.knob}, wanted {wanted}")
    return run.knob


def count(start: Start) -> int:
    """The run's knob as a whole number from 1; GroundedError for another."""
    value = number(start, 1)
    if value != int(value):
        raise GroundedError(
            f"{start.run.id}: knob of {start.run.method}: found {value:g}, wanted a whole number"
        )
    return int(value)
