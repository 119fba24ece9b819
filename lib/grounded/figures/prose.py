"""Numbers as a sentence says them, so that a reading holds whatever came out."""

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

NONE = "not defined"


def percent(share: float) -> str:
    """A share as a percentage: .0312 is "3.1%", .5 is "50%"; near 0 and 1 it never rounds away."""
    if not math.isfinite(share):
        return NONE
    value = 100 * share
    if 0 < value < 0.05:
        return "<0.1%"
    if 99.95 <= value < 100:
        return ">99.9%"
    if 99 < value < 100:
        return f"{value:.1f}%"
    return f"{value:.1f}%" if abs(value) < 10 and round(value, 1) % 1 else f"{value:.0f}%"


def points(change: float, digits: int = 1) -> str:
    """A change of a share in percentage points, with its sign: .031 is "+3.1".

    With decimals the sign outlives the rounding: a bound just below zero is "−0.0".
    """
    if not math.isfinite(change):
        return NONE
    value = round(100 * change, digits)
    side = change if digits else value
    return ("+" if side > 0 else "−" if side < 0 else "") + f"{abs(value):.{digits}f}"


def number(value: float, digits: int = 2) -> str:
    """A number at so many decimals, with a true minus."""
    if not math.isfinite(value):
        return NONE
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def within(low: float, high: float, say: Callable[[float], str] = number) -> str:
    """A 95% interval in brackets; `say` is number, points or percent."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "[no interval]"
    return f"[{say(low)}, {say(high)}]"


def chance(p: float) -> str:
    """A p value as it is written in text."""
    if not math.isfinite(p):
        return "p not defined"
    if p < 0.001:
        return "p < .001"
    if 0.0495 <= p < 0.05:  # would be rounded to what it is below
        return "p < .05"
    return f"p = {p:.3f}".replace("0.", ".")


def count(n: int, one: str, many: str = "") -> str:
    """ "1 run", "12 runs"; thousands set apart."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(names: Iterable[str], nothing: str = "none") -> str:
    """ "a", "a and b", "a, b and c"."""
    names = list(names)
    if len(names) < 2:
        return names[0] if names else nothing
    return f"{', '.join(names[:-1])} and {names[-1]}"


def tally(conclusions: Sequence[str] | pd.Series) -> str:
    """How often each conclusion was reached: "rises in 3, falls in 0, is unclear in 1"."""
    found = pd.Series(list(conclusions), dtype=object)
    return (
        f"rises in {int((found == 'rises').sum())}, falls in {int((found == 'falls').sum())}, "
        f"is unclear in {int((found == 'unclear').sum())}"
    )


def goes(low: float, high: float) -> str:
    """What an interval of a slope says: "rises with", "falls with", or neither shown."""
    if low > 0:
        return "rises with"
    return "falls with" if high < 0 else "shows no clear relation to"


def missing(frame: pd.DataFrame) -> str:
    """How many verdicts are missing, and what the rate would be with each imputation.

    frame: n, k, missing, one row whatever they are summed over. To stand after a colon.
    """
    n, k, lost = (int(frame[name].sum()) for name in ("n", "k", "missing"))
    if not lost:
        return f"of {n:,} none is missing."
    rate = k / n if n else float("nan")
    return (
        f"of {n + lost:,}, {lost:,} are missing ({percent(lost / (n + lost))}) and left out; the "
        f"pooled rate is {percent(rate)}, and would be {percent(k / (n + lost))} were they all "
        f"counted as no and {percent((k + lost) / (n + lost))} as yes."
    )
