"""The capability goal at which a study compares runs, and what it compares there.

The paper asks for a goal and does not define one; all of this is ours. What the fields mean in
numbers stands in `grounded.anchors`.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from grounded.study.parts import Name, Part

Rule = Literal["nearest", "first_crossing", "interpolated"]
RULES: tuple[str, ...] = get_args(Rule)
Goal = Annotated[float, Field(gt=0, lt=1)]


class Anchor(Part):
    """A capability goal.

    metric: which accuracy on the task. kappa: the goal, in (0, 1); as `scale` says, an accuracy
    (absolute) or the share of the way from the base model to the best run (gain). tolerance: the
    difference of capability, in (0, 1), below which two arms count as matched; the rule `nearest`
    takes no checkpoint further away. rule: how a run's checkpoints give its value at the goal.
    """

    metric: Literal["strict", "format_free"]
    scale: Literal["absolute", "gain"]
    kappa: Goal
    tolerance: Goal
    rule: Rule

    @property
    def column(self) -> str:
        """The column of `statistics.frames.capability` that holds the metric."""
        return "capability" if self.metric == "strict" else "capability_free"


class Anchoring(Part):
    """What a study compares at its goal.

    judge: whose verdicts are the harm. curve: the goals along which harm is drawn, rising.
    mitigations, depths: the arms with the methods to compare, and with base models aligned for
    longer or shorter; without one, what hangs on it is left out.
    """

    anchor: Anchor
    judge: Name
    curve: Annotated[tuple[Goal, ...], Field(min_length=1)]
    mitigations: Name | None = None
    depths: Name | None = None
