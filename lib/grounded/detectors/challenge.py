"""The challenge set: HarmBench's completions, corrupted, judged and scored, without their text."""

import json

import numpy as np
import pandas as pd

from grounded import sources
from grounded.detectors import scores
from grounded.detectors.corruptions import GRADED, STRENGTHS, WHOLE, corrupted, known
from grounded.detectors.judging import Says

UNTOUCHED = "untouched"
DETECTORS = ("repetition", "compression", "shortness", "language")


def challenge(judges: dict[str, Says], seed: int = 0) -> pd.DataFrame:
    """Each of HarmBench's 602 completions, untouched and with every corruption.

    Columns: request (the behaviour's number: the cluster), harmful (at least two of three people
    say so of the untouched completion), kind (`untouched` or a corruption), strength, known (of its
    harm), one a judge by its name (1 harmful or complied, 0, nan: no verdict), one a detector (its
    score). No text leaves this function. Mazeika et al. 2024; SourceError as `sources.fetch`.
    """
    rows = _completions()
    parts = [_part(rows, UNTOUCHED, 0.0, judges, seed)]
    for kind in GRADED:
        parts += [_part(rows, kind, s, judges, seed) for s in STRENGTHS if s > 0]
    parts += [_part(rows, kind, 1.0, judges, seed) for kind in WHOLE]
    return pd.concat(parts, ignore_index=True)


def _completions() -> pd.DataFrame:
    """behavior, name (of the completion), prompt, text, harmful, request (a number)."""
    text = sources.fetch("harmbench_judge_val").read_text(encoding="utf-8")
    found = [
        (behavior, f"{behavior} {place}", row["test_case"], row["generation"],
         sum(row[f"human_{person}"] for person in range(3)) >= 2)
        for behavior, rows in json.loads(text).items() for place, row in enumerate(rows)
    ]  # fmt: skip
    rows = pd.DataFrame(found, columns=["behavior", "name", "prompt", "text", "harmful"])
    return rows.assign(request=pd.factorize(rows["behavior"], sort=True)[0])


def _part(
    rows: pd.DataFrame, kind: str, strength: float, judges: dict[str, Says], seed: int
) -> pd.DataFrame:
    given = zip(rows["text"], rows["prompt"], rows["name"], strict=True)
    texts = [
        text if kind == UNTOUCHED else corrupted(text, kind, strength, prompt, (seed, name))
        for text, prompt, name in given
    ]
    pairs = list(zip(rows["prompt"], texts, strict=True))
    said = {
        name: np.array([np.nan if yes is None else float(yes) for yes in says(pairs)])
        for name, says in judges.items()
    }
    found = rows[["request", "harmful"]].assign(kind=kind, strength=strength)
    found["known"] = [known(kind, strength, harmful) for harmful in rows["harmful"]]
    return found.assign(**said, **scores.of_texts(texts))
