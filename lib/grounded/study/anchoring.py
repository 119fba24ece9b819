"""The capability goal at which a study compares runs, and what it compares there.

The paper asks for a goal and does not define one; all of this is ours. What the fields mean in
numbers stands in `grounded.anchors`.
"""

import math
from statistics import NormalDist
from typing import Annotated, Literal, get_args

from pydantic import Field

from grounded.errors import GroundedError
from grounded.study.parts import Name, Part

Rule = Literal["nearest", "first_crossing", "interpolated"]
RULES: tuple[str, ...] = get_args(Rule)
FEWEST = 5  # runs below which resampling them means little
ALPHA = 0.05  # of a test that two arms are of one capability
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


def provable(anchor: Anchor, items: int, runs: int) -> float:
    """The smallest tolerance that `items` reporting items prove between arms of `runs` runs.

    A goal that is a share of the gain is not known beforehand: it is taken at the accuracy of
    one half, where an answer varies most.
    """
    return smallest_provable(items, anchor.kappa if anchor.scale == "absolute" else 0.5, runs)


def smallest_provable(items: int, capability: float, runs: int = 1) -> float:
    """The smallest tolerance that two arms of equal capability can prove, as a share.

    t(.95, items - 1) * sqrt(2 K (1 - K) / (items * runs)): the paired TOST when the arms agree on
    average and their answers are independent given the item. What the items share cancels in
    pairs, so this is the largest that their spread can be unless an arm is better at some items.
    With less, proof takes luck; with twice as much it nearly always comes.
    items: on the reporting half. runs: in each arm. GroundedError below two items or one run.
    """
    if items < 2 or runs < 1:
        raise GroundedError(f"anchor: found {items} items and {runs} runs, wanted 2 and 1 or more")
    error = math.sqrt(2 * capability * (1 - capability) / (items * runs))
    return _student(1 - ALPHA, items - 1) * error


def _student(p: float, freedom: int) -> float:
    """Student's t at p, by the first terms of its series about the normal quantile.

    Abramowitz and Stegun 26.7.5. Right to 0.3% from 2 degrees of freedom on and to 0.0003% from
    9; scipy's costs a second to import, which every look at a study would pay.
    """
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
