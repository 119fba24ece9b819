"""Which of a run's measured checkpoints is at a goal: the whole of what anchoring is here.

A run is *at its capability goal* at the first checkpoint whose measured accuracy lies within the
tolerance of the goal. One that passes the goal between two checkpoints, or never comes so far, is
not at it anywhere: it is censored and counted, and nothing is interpolated. Beside it, to see
whether capability is special: the first checkpoint whose training loss is at most its goal, and the
first whose update is at least as large as its goal.
"""

from collections.abc import Mapping

from grounded.study.anchoring import Goals

ANCHORS = ("capability", "loss", "update_norm")
Course = Mapping[int, float]  # step -> what was measured there


def at_capability(accuracy: Course, goal: float, tolerance: float) -> int | None:
    """The first step whose accuracy (0..1) lies within the tolerance of the goal; None: nowhere."""
    slack = 1e-9  # .56 - .5 is more than .06 in binary
    steps = [s for s in sorted(accuracy) if abs(accuracy[s] - goal) <= tolerance + slack]
    return steps[0] if steps else None


def at_loss(loss: Course, goal: float) -> int | None:
    """The first step whose loss (nats a token, mean since the checkpoint before) is at most the
    goal; None: nowhere."""
    return next((step for step in sorted(loss) if loss[step] <= goal), None)


def at_norm(norm: Course, goal: float) -> int | None:
    """The first step whose update norm is at least the goal; None: nowhere."""
    return next((step for step in sorted(norm) if norm[step] >= goal), None)


def steps(
    accuracy: Course, loss: Course, norm: Course, goals: Goals, tolerance: float
) -> dict[str, int | None]:
    """The step at each of the `ANCHORS`; None where a run is nowhere at that goal."""
    return {
        "capability": at_capability(accuracy, goals.capability, tolerance),
        "loss": at_loss(loss, goals.loss),
        "update_norm": at_norm(norm, goals.update_norm),
    }
