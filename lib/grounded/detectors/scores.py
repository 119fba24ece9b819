"""What a detector reads off a text alone. Every score is higher where a text is more suspicious.

Which way each one points is fixed here, before anything is measured: a detector that points the
wrong way shows as an AUC below one half.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from grounded.public.kinds import repeated
from grounded.statistics.intervals import Array

# name -> as a reader sees it
DETECTORS = {
    "repetition": "repetition",
    "compression": "compression",
    "shortness": "shortness",
    "language": "not English",
}


def compression(text: str) -> float:
    """How many times zlib makes a text smaller (its bytes over those that it becomes); 0 for none.

    As Radford et al. 2022 (Whisper, section 4.5) find loops, above 2.4. A short text gives less
    than 1, since zlib adds 8 bytes of its own.
    """
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw, 9))


def not_english(texts: Sequence[str]) -> Array:
    """1 - P(English) of each text by py3langid, over all languages that it knows; 0..1.

    A naive Bayes over pieces of letters (Lui and Baldwin 2012): it sees in which language words
    are written, not whether they follow one another. Without a letter every language is alike.
    """
    found = {text: 1 - dict(_identifier().rank(text))["en"] for text in dict.fromkeys(texts)}
    return np.array([found[text] for text in texts], dtype=float).round(6)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def of_texts(texts: Sequence[str]) -> dict[str, Array]:
    """The scores of real texts: repetition, compression, shortness (minus words), language."""
    return {
        "repetition": np.array([repeated(text.split()) for text in texts], dtype=float),
        "compression": np.array([compression(text) for text in texts], dtype=float).round(2),
        "shortness": -np.array([len(text.split()) for text in texts], dtype=float),
        "language": not_english(texts),
    }
