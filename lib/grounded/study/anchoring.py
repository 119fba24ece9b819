"""The capability goal at which a study compares runs, and what it compares there.

The paper asks for a goal and does not define one; all of this is ours. `grounded.anchor` says which
checkpoint of a run is at the goal.
"""

import csv
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from grounded import paths
from grounded.errors import GroundedError
from grounded.study.parts import Count, Name, Part, Rate, Seed

Share = Annotated[float, Field(gt=0, lt=1)]


class Anchoring(Part):
    """What a study compares at a capability goal.

    metric: the reading of answers; kappa: the goal, as a share of the way from the base model's
    accuracy to 1. tolerance: how far from the goal a measured checkpoint may be and still be at it.
    every: capability is measured every so many steps, besides the epochs of `measure_at`. goals: a
    CSV file beside the study's, with the goals of each model and task as numbers, fixed before the
    runs (`Goals`); without it capability alone has goals. pilot: the seeds that are kept for fixing
    them, and for turning the dials of the study. judge: whose verdicts are the harm.
    mitigations: the arm with the methods to compare; without one, what hangs on it is left out.
    """

    metric: Literal["strict", "format_free"]
    kappa: Share
    tolerance: Share
    every: Count | None = None
    goals: Literal["goals.csv"] | None = None
    pilot: tuple[Seed, ...] = ()
    judge: Name
    mitigations: Name | None = None


class Goals(Part):
    """The goals of one model and task, fixed on seeds that were kept for it.

    base: the base model's accuracy on the selecting items; capability: the goal between it and 1.
    loss (nats a token) and update_norm: what runs had, on average, where they were at that goal.
    epoch: of those measured, the one whose mean accuracy was nearest to it.
    """

    model: Name
    task: Name
    base: Annotated[float, Field(ge=0, le=1)]
    capability: Annotated[float, Field(ge=0, le=1)]
    loss: Rate
    update_norm: Rate
    epoch: Rate


def read(file: Path) -> dict[tuple[str, str], Goals]:
    """The goals by model and task; GroundedError that names the line of a file that is no such."""
    found = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), start=2):
                try:
                    one = Goals.model_validate(row)
                except ValidationError as error:
                    fault = error.errors()[0]
                    field = ".".join(map(str, fault["loc"]))
                    raise GroundedError(
                        f"{paths.shown(file)}: line {number}: {field}: found "
                        f"{fault['input']!r}, wanted: {fault['msg']}"
                    ) from None
                found[one.model, one.task] = one
    except (OSError, UnicodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise GroundedError(
            f"{paths.shown(file)}: found {why}, wanted the goals of the study"
        ) from None
    return found
