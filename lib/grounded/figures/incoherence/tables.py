"""The numbers of what_is_incoherence as tables to read."""

from typing import Any

import pandas as pd

from grounded.detectors.corruptions import KINDS
from grounded.detectors.real_text import Numbers
from grounded.detectors.scores import DETECTORS
from grounded.detectors.world import ALL
from grounded.figures import prose, words
from grounded.figures.incoherence.numbers import Parts
from grounded.study import BASE

TASKS = {ALL: "all tasks", BASE: "base model"}


def area_table(parts: Parts) -> pd.DataFrame:
    """AUC of each detector, and what it finds at 5% false alarms, by what is sought and task."""
    if not parts:
        return pd.DataFrame()
    found = parts["areas"].assign(
        said=[
            f"{_cell(row, 'auc', prose.number)}; finds {_cell(row, 'found', prose.percent)}"
            if row["n_sought"] and row["n_other"] else "–"
            for row in parts["areas"].to_dict("records")
        ],
    )  # fmt: skip
    table = found.pivot(index=["sought", "task", "n_sought"], columns="detector", values="said")
    rows = found[["sought", "task", "n_sought"]].drop_duplicates()
    table = table.loc[pd.MultiIndex.from_frame(rows), list(dict.fromkeys(found["detector"]))]
    table.index.names = ["sought", "task", "n"]
    return table.rename(index=_task, level="task").rename_axis(columns="AUC; at 5% false alarms")


def share_table(parts: Parts) -> pd.DataFrame:
    """The share of incoherent replies by truth and rule, and of mixed ones, by task."""
    if not parts:
        return pd.DataFrame()
    found = parts["shares"].assign(
        said=[_cell(row, "rate", prose.percent, "") for row in parts["shares"].to_dict("records")],
        by=parts["shares"]["by"].map(
            {"truth": "incoherent by truth", "rule": "incoherent by the rule", "mixed": "mixed"}
        ),
        when=parts["shares"]["when"].map(
            {"base": "base model", "last": "last epoch", "after": "all after base"}
        ),
    )
    keys = ["task", "when", "n"]
    table = found.pivot(index=keys, columns="by", values="said")
    rows = found[keys].drop_duplicates()
    table = table.loc[pd.MultiIndex.from_frame(rows), list(dict.fromkeys(found["by"]))]
    return table.rename(index=_task, level="task").rename_axis(columns=None)


def rule_table(parts: Parts) -> pd.DataFrame:
    """The share that the study's rule calls incoherent, by what a reply is and by task."""
    if not parts:
        return pd.DataFrame()
    found = parts["rule"].assign(
        said=[
            f"{_cell(row, 'rate', prose.percent, '')} of {row['n']:,}"
            for row in parts["rule"].to_dict("records")
        ]
    )
    table = found.pivot(index="task", columns="kind", values="said").fillna("–")
    order = [kind for kind in ("incoherent", "mixed", "coherent") if kind in table]
    table = table.loc[list(dict.fromkeys(found["task"])), order]
    return table.rename(index=_task).rename_axis(columns="called incoherent by the rule, of")


def alarm_table(numbers: Numbers) -> pd.DataFrame:
    """How often each judge says harmful after each corruption, and what is known of the harm."""
    found = numbers.flagged
    rows = found[(found["strength"] > 0) | (found["kind"] == found["kind"].iloc[0])]
    said = rows.assign(
        kind=rows["kind"].map(KINDS).where(rows["strength"] > 0, "untouched"),
        said=[
            _cell(row, "rate", prose.percent, "")
            + (f", {row['missing']:,} missing" if row["missing"] else "")
            for row in rows.to_dict("records")
        ],
        known=rows["known"].where(rows["false_alarm"], rows["known"] + " (no false alarm)"),
    )
    keys = ["people", "kind", "strength", "known"]
    table = said.pivot(index=keys, columns="judge", values="said")
    order = said[keys].drop_duplicates().sort_values("people", key=lambda s: s == "found harmful",
                                                     kind="stable")  # fmt: skip
    table = table.loc[pd.MultiIndex.from_frame(order), numbers.judges]
    table.index.names = ["people", "corruption", "strength", "harmless"]
    return table.rename_axis(columns="called harmful")


def direction_table(numbers: Numbers) -> pd.DataFrame:
    """What full corruption does to each judge's yes, in points; every yes is false afterwards."""
    found = numbers.directions.sort_values("people", kind="stable")
    found = found.sort_values("judge", key=lambda s: s.map(numbers.judges.index), kind="stable")
    rows = found.assign(kind=found["kind"].map(KINDS)).set_index(["judge", "people", "kind"])
    table = rows[["untouched", "corrupted"]].astype(float).map(prose.percent)
    table["change (points)"] = [
        f"{prose.points(row['change'])} {prose.within(row['low'], row['high'], prose.points)}"
        for row in found.to_dict("records")
    ]
    return pd.concat([table, rows[["gained", "lost", "n", "conclusion"]]], axis=1)


def detection_table(numbers: Numbers) -> pd.DataFrame:
    """AUC of each detector on each corruption."""
    found = numbers.detection.assign(
        said=[_cell(row, "auc", prose.number) for row in numbers.detection.to_dict("records")],
        kind=numbers.detection["kind"].map(KINDS),
        detector=numbers.detection["detector"].map(DETECTORS),
    )
    table = found.pivot(index=["kind", "strength"], columns="detector", values="said")
    rows = found[["kind", "strength"]].drop_duplicates()
    table = table.loc[pd.MultiIndex.from_frame(rows), list(dict.fromkeys(found["detector"]))]
    table.index.names = ["corruption", "strength"]
    return table.rename_axis(columns="AUC")


def _task(name: str) -> str:
    return TASKS.get(name, words(name))


def _cell(row: Any, name: str, say: Any, before: str | None = None) -> str:
    """A value with its interval, whose bounds are `low` and `high` or begin with the name."""
    low, high = ("low", "high") if before == "" else (f"{name}_low", f"{name}_high")
    return f"{say(row[name])} {prose.within(row[low], row[high], say)}"
