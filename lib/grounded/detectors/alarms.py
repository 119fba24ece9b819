"""False alarms of judges, and detectors' ROC, on the challenge set. The cluster is the behaviour.

Both completions of a behaviour answer one request, so whole behaviours are resampled, as whole
runs are elsewhere.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from grounded.detectors.challenge import DETECTORS, UNTOUCHED
from grounded.detectors.corruptions import GRADED, HARMLESS, KINDS
from grounded.detectors.rates import rates
from grounded.detectors.roc import tally
from grounded.statistics import bootstrap, conclusion
from grounded.statistics.intervals import Array

GROUPS = ("found harmless", "found harmful")  # by people, of the untouched completion
MIDDLE = 0.5  # the strength at which curves are drawn: at 1 much is trivial


def cells(found: pd.DataFrame) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Each corruption with each of its strengths, and its rows; the untouched are strength 0."""
    untouched = found[found["kind"] == UNTOUCHED]
    for kind in KINDS:
        yield kind, 0.0, untouched
        own = found[found["kind"] == kind]
        for strength, part in own.groupby("strength"):
            yield kind, float(strength), part


def flagged(found: pd.DataFrame, judges: Sequence[str]) -> pd.DataFrame:
    """How often each judge says harmful, by corruption, strength and what people had said.

    Columns: judge, kind, strength, people (of GROUPS), known (of the harm that is left), false
    (whether yes is a false alarm), and those of `rates`; a run is a behaviour.
    """
    by = ["judge", "kind", "strength", "people", "known"]
    counts = pd.concat(
        [
            _sums(part, judge).assign(judge=judge, kind=kind, strength=strength)
            for judge in judges for kind, strength, part in cells(found)
        ]
    )  # fmt: skip
    shares = rates(counts, by)
    shares.insert(len(by), "false_alarm", shares["known"].isin(HARMLESS))
    return shares


def _sums(rows: pd.DataFrame, judge: str) -> pd.DataFrame:
    """A judge's verdicts by behaviour: run, people, known, n, k, missing."""
    said = rows[judge]
    given = pd.DataFrame(
        {
            "run": rows["behavior"],
            "people": rows["harmful"].map(lambda harmful: GROUPS[int(harmful)]),
            "known": rows["known"],
            "n": said.notna().astype(int),
            "k": (said == 1).astype(int),
            "missing": said.isna().astype(int),
        }
    )
    return given.groupby(["run", "people", "known"], sort=False).sum().reset_index()


def directions(found: pd.DataFrame, judges: Sequence[str]) -> pd.DataFrame:
    """What full corruption does to a judge's yes, by what people had said of the completions.

    After full corruption every yes is a false alarm, whatever the group. Completions without both
    verdicts are left out. Columns: judge, kind, people, runs (behaviours), n, untouched and
    corrupted (rates), gained and lost (verdicts that became yes, or no), change, low, high (whole
    behaviours resampled), conclusion (`unmoved` where no verdict changed).
    """
    rows = []
    untouched = found[found["kind"] == UNTOUCHED].reset_index(drop=True)
    for judge in judges:
        for kind, strength, part in cells(found):
            if strength < 1:
                continue
            both = untouched[["behavior", "harmful"]].assign(
                before=untouched[judge], after=part[judge].to_numpy()
            )
            both = both.dropna(subset=["before", "after"])
            for harmful, own in both.groupby("harmful"):
                sums = own.assign(n=1).groupby("behavior")[["before", "after", "n"]].sum()
                low, high = bootstrap(sums.to_numpy(dtype=float), _change)
                gained = int((own["after"] > own["before"]).sum())
                lost = int((own["after"] < own["before"]).sum())
                rows.append(
                    {
                        "judge": judge, "kind": kind, "people": GROUPS[int(bool(harmful))],
                        "runs": len(sums), "n": len(own), "untouched": own["before"].mean(),
                        "corrupted": own["after"].mean(), "gained": gained, "lost": lost,
                        "change": (gained - lost) / len(own), "low": low, "high": high,
                        "conclusion": conclusion(low, high) if gained + lost else "unmoved",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _change(sums: Array) -> Array:
    return (sums[:, 1] - sums[:, 0]) / sums[:, 2]


def detection(found: pd.DataFrame) -> pd.DataFrame:
    """How well each detector tells corrupted completions from the untouched ones.

    Columns: detector, kind, strength, those of `Tally.about` (a run is a behaviour).
    """
    untouched = found[found["kind"] == UNTOUCHED]
    rows = []
    for kind, strength, part in cells(found):
        if strength == 0:
            continue
        both = pd.concat([untouched, part])
        for detector in DETECTORS:
            counts = tally(both[detector], both["kind"] == kind, both["behavior"].to_list())
            about = {"detector": detector, "kind": kind, "strength": strength}
            rows.append(about | counts.about())
    return pd.DataFrame(rows).sort_values("detector", kind="stable", ignore_index=True)


def curves(found: pd.DataFrame) -> pd.DataFrame:
    """The ROC curve of each detector, at half strength where a corruption has degrees.

    Columns: detector, kind, strength, those of `Tally.curve`.
    """
    parts = []
    for kind, strength, part in cells(found):
        if strength == (MIDDLE if kind in GRADED else 1):
            both = pd.concat([found[found["kind"] == UNTOUCHED], part])
            for detector in DETECTORS:
                counts = tally(both[detector], both["kind"] == kind, both["behavior"].to_list())
                about = {"detector": detector, "kind": kind, "strength": strength}
                parts.append(counts.curve().assign(**about))
    return pd.concat(parts, ignore_index=True)
