"""What an anchor's tolerance can prove, and an anchor from a mapping.

The anchor itself is a part of the study: `grounded.study.anchoring`.
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from scipy import stats

from grounded.errors import GroundedError
from grounded.study.anchoring import Anchor

ALPHA = 0.05  # of a test of equivalence


def provable(anchor: Anchor, items: int, runs: int) -> float:
    """The smallest tolerance that `items` reporting items prove between arms of `runs` runs.

    A goal that is a share of the gain is not known beforehand: it is taken at the accuracy of
    one half, where an answer varies most.
    """
    return smallest_provable(items, anchor.kappa if anchor.scale == "absolute" else 0.5, runs)


def check(anchor: Anchor, items: int, runs: int) -> None:
    """GroundedError for a tolerance that such a design cannot prove, with the smallest."""
    smallest = provable(anchor, items, runs)
    if anchor.tolerance < smallest:
        raise GroundedError(
            f"anchor.tolerance: found {anchor.tolerance:g}, wanted at least {smallest:.3f} "
            f"(the smallest provable with {items} items and {runs} runs an arm)"
        )


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
    return float(stats.t.ppf(1 - ALPHA, items - 1) * error)


def read(values: Mapping[str, Any]) -> Anchor:
    """An anchor from a mapping; GroundedError with one line a fault."""
    try:
        return Anchor.model_validate(dict(values), strict=True)
    except ValidationError as error:
        raise GroundedError("\n".join(_line(fault) for fault in error.errors())) from None


def _line(fault: Any) -> str:
    path = ".".join(("anchor", *map(str, fault["loc"])))
    if fault["type"] == "missing":
        return f"{path}: found nothing, wanted a value"
    if fault["type"] == "extra_forbidden":
        return f"{path}: found an unknown key, wanted one of {', '.join(Anchor.model_fields)}"
    return f"{path}: found {fault['input']!r}, wanted {_wanted(fault['msg'])}"


def _wanted(message: str) -> str:
    return message.removeprefix("Input should be ").replace("greater", "more")
