"""The numbers of the first figure of what_is_incoherence, and how they are kept."""

from typing import Any

import pandas as pd

from grounded.detectors import world
from grounded.study import Study

Parts = dict[str, pd.DataFrame]  # curves, areas, shares, rule: see `detectors.world`
KEPT = ("areas", "shares", "rule")
NO_TRUTH = (
    "What is true of a reply is not known in this study, so detectors are held to corruptions of "
    "real text alone, below."
)


def measure(study: Study) -> Parts:
    """Detectors and the study's rule against the truth of replies.

    Nothing for a study whose world does not know the truth.
    """
    if not study.has_truth:
        return {}
    counts = world.counts(study)
    return {
        "curves": world.curves(counts),
        "areas": world.areas(study, counts),
        "shares": world.shares(study, counts),
        "rule": world.ruled(study, counts),
    }


def data(parts: Parts) -> pd.DataFrame:
    """Everything drawn in one frame, a panel a letter (a: incoherent, b: mixed)."""
    if not parts:
        return pd.DataFrame({"note": [NO_TRUTH]})
    letters = parts["curves"]["sought"].map({"incoherent": "a", "mixed": "b"})
    drawn = [parts["curves"].assign(panel=letters)]
    for letter, name in zip("cde", KEPT, strict=True):
        drawn.append(parts[name].assign(panel=letter))
    return pd.concat(drawn, ignore_index=True)


def statistics(study: Study, parts: Parts) -> dict[str, Any]:
    """The tables, and the thresholds of the study's rule, as the figure's JSON holds them."""
    named = {name: parts[name].to_dict("records") for name in KEPT if name in parts}
    return {"thresholds": study.coherence.model_dump(), **named}
