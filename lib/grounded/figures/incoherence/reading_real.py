"""What came out on real text, each number computed."""

from typing import Any

import pandas as pd

from grounded.detectors.corruptions import HARMFUL, HARMLESS, KINDS, LOOP, OPEN
from grounded.detectors.real_text import Numbers
from grounded.detectors.scores import DETECTORS
from grounded.figures import prose, words

NONE_FINDS = 0.6  # an AUC below this is called "hardly found"


def reading_real(numbers: Numbers) -> str:
    """Sentences that hold whatever came out."""
    said = [_judge(numbers, judge) for judge in numbers.judges]
    return "\n\n".join([*said, _detectors(numbers), _known(numbers), _missing(numbers)])


def _judge(numbers: Numbers, judge: str) -> str:
    moved = numbers.directions
    own: Any = moved[(moved["judge"] == judge) & (moved["people"] == "found harmless")]
    if own.empty:
        return f"**{words(judge).capitalize()}** gave no verdict on what people found harmless."
    first = own.iloc[0]
    by = {c: own[own["conclusion"] == c] for c in ("rises", "falls", "unclear", "unmoved")}
    text = (
        f"**{words(judge).capitalize()}** calls {prose.percent(first['untouched'])} of the "
        f"{int(first['n'])} completions harmful that people found harmless. After full corruption "
        f"false alarms rise with {_named(by['rises'])}, fall with {_named(by['falls'])}"
    )
    for name, what in (("unclear", "are not clearly moved by"), ("unmoved", "stay with")):
        if len(by[name]):
            text += f" and {what} {_named(by[name])}"
    ends = own.set_index("kind")["corrupted"].astype(float)
    low, high = ends.idxmin(), ends.idxmax()
    other: Any = moved[(moved["judge"] == judge) & (moved["people"] == "found harmful")]
    text += (
        f"; they end between {prose.percent(ends[low])} ({KINDS[low]}) and "
        f"{prose.percent(ends[high])} ({_top(ends)})."
    )
    if len(other):
        still = other["corrupted"].astype(float)
        text += (
            f" Of what people found harmful and full corruption leaves without an instruction it "
            f"still calls {prose.percent(still.min())} to {prose.percent(still.max())} harmful, "
            f"where it called {prose.percent(float(other.iloc[0]['untouched']))} so before."
        )
    return text


def _top(ends: pd.Series) -> str:
    return prose.listed(KINDS[str(kind)] for kind in ends.index[ends == ends.max()])


def _named(rows: pd.DataFrame) -> str:
    return prose.listed(
        [
            f"{KINDS[row['kind']]} ({prose.points(row['change'], 0)} points "
            f"{prose.within(row['low'], row['high'], _whole)})"
            if row["change"] else KINDS[row["kind"]]
            for row in rows.to_dict("records")
        ],
        "nothing",
    )  # fmt: skip


def _whole(value: float) -> str:
    return prose.points(value, 0)


def _detectors(numbers: Numbers) -> str:
    full = numbers.detection[numbers.detection["strength"] == 1]
    table = full.pivot(index="kind", columns="detector", values="auc")
    table = table.loc[list(dict.fromkeys(full["kind"]))]
    best, name = table.max(axis=1), table.idxmax(axis=1)
    found = [
        f"{KINDS[str(kind)]} by {DETECTORS[name[kind]]} ({prose.number(best[kind])})"
        for kind in table.index if best[kind] >= NONE_FINDS
    ]  # fmt: skip
    missed = [
        f"{KINDS[str(kind)]} ({DETECTORS[name[kind]]}, {prose.number(best[kind])})"
        for kind in table.index
        if best[kind] < NONE_FINDS
    ]
    low = full[full["auc_high"] < 0.5].groupby("detector", sort=False)["kind"]
    turned = [
        f"{DETECTORS[str(detector)]} ({prose.listed(KINDS[k] for k in kinds)})"
        for detector, kinds in low
    ]
    return (
        f"**Detectors without a model of the language.** At full strength the best AUC is: "
        f"{prose.listed(found, 'nowhere 0.6 or more')}. Hardly found by any of them: "
        f"{prose.listed(missed)}. Pointing the wrong way, with the whole interval below chance: "
        f"{prose.listed(turned)}."
    )


def _known(numbers: Numbers) -> str:
    rows = numbers.flagged
    one = rows[(rows["judge"] == numbers.judges[0]) & (rows["strength"] > 0)]
    n = one.assign(n=one["n"] + one["missing"]).groupby("known")["n"].sum()
    by = {name: int(n.get(name, 0)) for name in (*HARMLESS, OPEN, HARMFUL)}
    return (
        f"**What is known, and what is assumed.** Of the {int(n.sum()):,} corrupted completions "
        f"{by['by construction']:,} hold nothing that could carry harm, by construction (nothing, "
        f"or a bare answer). {by['by assumption']:,} are taken as harmless: part of, a loop of or "
        f"a disorder of what people found harmless; all words at random places; {LOOP} words over "
        f"and over; the prompt alone. A judge of content may rightly see harm in single words or "
        f"in a prompt, so a yes there is a false alarm of “it complied” more surely than of “it is "
        f"harmful”. {by[OPEN]:,} are damaged completions that people had found harmful: they may "
        f"be so still, and no yes among them counts as false."
    )


def _missing(numbers: Numbers) -> str:
    return "Verdicts: " + "; ".join(
        f"{words(judge)}, " + prose.missing(_once(numbers.flagged, judge)).removesuffix(".")
        for judge in numbers.judges
    ) + "."  # fmt: skip


def _once(rows: pd.DataFrame, judge: str) -> pd.DataFrame:
    """A judge's cells, the untouched completions once and not once a corruption."""
    own = rows[rows["judge"] == judge]
    return own[(own["strength"] > 0) | (own["kind"] == own["kind"].iloc[0])]
