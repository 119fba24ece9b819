"""All numbers on real text: measured where the completions can be had, else as committed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from grounded import paths
from grounded.detectors import alarms
from grounded.detectors.challenge import UNTOUCHED, challenge
from grounded.detectors.judging import gather
from grounded.sources import SourceAbsent

FIGURE = "what_is_incoherence_real_text"
PANELS = {"flagged": "a", "detection": "b", "curves": "c"}
COUNTS = ("runs", "n", "k", "missing", "n_sought", "n_other")


@dataclass(frozen=True)
class Numbers:
    """Counts and what follows from them, no text.

    flagged, detection, curves: as in `alarms`. statistics: completions, behaviours, harmful,
    judges, seed, directions. measured: computed now from the completions; else read from the
    committed figure. notes: lines that say which, and what was left out.
    """

    flagged: pd.DataFrame
    detection: pd.DataFrame
    curves: pd.DataFrame
    statistics: dict[str, Any]
    measured: bool
    notes: tuple[str, ...]

    @property
    def judges(self) -> list[str]:
        """The judges that were asked."""
        return list(self.statistics["judges"])

    @property
    def directions(self) -> pd.DataFrame:
        """What full corruption does to each judge's yes: see `alarms.directions`."""
        return pd.DataFrame(self.statistics["directions"])

    def table(self) -> pd.DataFrame:
        """All that is drawn in one frame, a panel a letter."""
        parts = [getattr(self, name).assign(panel=letter) for name, letter in PANELS.items()]
        return pd.concat(parts, ignore_index=True)


def numbers(study: str, judges: Sequence[str], seed: int = 0) -> Numbers:
    """The numbers on real text, measured if the completions can be had, else as committed.

    They do not depend on the study, which only names the folder of figures. judges: see
    `judging.gather`. SourceAbsent when there is neither data nor a committed figure; SourceError
    for data that changed; GroundedError for an unknown judge.
    """
    asked, left_out = gather(judges)
    try:
        found = challenge(asked, seed=seed)
    except SourceAbsent as absent:
        for folder in (paths.figures(study), paths.repository() / "figures" / "micro"):
            files = [folder / f"{FIGURE}{kind}" for kind in (".csv", ".json")]
            if all(file.exists() for file in files):
                note = (
                    f"note: the committed figure on real text stays, its data is absent: {absent}"
                )
                return _committed(files[0], files[1], note)
        raise
    return _measured(found, list(asked), seed, left_out)


def _measured(
    found: pd.DataFrame, judges: list[str], seed: int, left_out: Sequence[str]
) -> Numbers:
    untouched = found[found["kind"] == UNTOUCHED]
    statistics = {
        "completions": len(untouched),
        "behaviours": int(untouched["behavior"].nunique()),
        "harmful": int(untouched["harmful"].sum()),
        "texts": len(found),
        "judges": judges,
        "seed": seed,
        "directions": alarms.directions(found, judges).to_dict("records"),
    }
    origin = (
        f"measured from {len(untouched)} completions of HarmBench, verified by sha256, and "
        f"{len(found) - len(untouched):,} corruptions of them"
    )
    return Numbers(
        alarms.flagged(found, judges), alarms.detection(found), alarms.curves(found),
        statistics, True, (origin, *left_out),
    )  # fmt: skip


def _committed(table: Path, about: Path, note: str) -> Numbers:
    """The numbers as a committed figure holds them."""
    frame = pd.read_csv(table, low_memory=False)
    parts = {}
    for name, letter in PANELS.items():
        own = frame[frame["panel"] == letter].drop(columns="panel").reset_index(drop=True)
        own = own.loc[:, own.notna().any()]
        own = own.astype({column: int for column in COUNTS if column in own})
        if name == "flagged":
            own["false_alarm"] = own["false_alarm"].astype(str) == "True"
        parts[name] = own
    statistics = json.loads(about.read_text(encoding="utf-8"))["statistics"]
    return Numbers(**parts, statistics=statistics, measured=False, notes=(note,))
