"""The numbers of mitigations_at_equal_capability as tables to read."""

import pandas as pd

from grounded.figures import prose
from grounded.figures.mitigations.numbers import OUTCOMES, Found

MARKS = {"rises": "▲", "falls": "▼", "unclear": ""}


def goal_table(found: Found) -> pd.DataFrame:
    """Every method at the goal: who arrives, its outcomes, and its changes from plain LoRA."""
    return _table(found.at_goal, goal=True)


def end_table(found: Found) -> pd.DataFrame:
    """The usual table: every method at the last epoch."""
    return _table(found.at_end, goal=False)


def _table(frame: pd.DataFrame, goal: bool) -> pd.DataFrame:
    rows = []
    for row in frame.to_dict("records"):
        told = {"method": row["name"]}
        if goal:
            told["at the goal"] = f"{row['attained']} of {row['runs']}"
        told["capability"] = prose.percent(row["capability"])
        if goal:
            told["proven equal"] = _equal(row)
        for outcome, title in OUTCOMES.items():
            if outcome in row:
                told[title] = _share(row, outcome)
                told[f"{title} less plain LoRA's"] = _change(row, outcome)
        told["harm less its control's"] = (
            f"{_change(row, 'harm_control')} ({row['against']})" if row["against"] else "–"
        )
        rows.append(told)
    return pd.DataFrame(rows).set_index("method") if rows else pd.DataFrame()


def _share(row: dict, name: str) -> str:
    if pd.isna(row[name]):
        return "–"
    bounds = prose.within(row[f"{name}_low"], row[f"{name}_high"], prose.percent)
    return f"{prose.percent(row[name])} {bounds}"


def _change(row: dict, name: str) -> str:
    if pd.isna(row.get(f"{name}_change", float("nan"))):
        return "–"
    bounds = prose.within(row[f"{name}_change_low"], row[f"{name}_change_high"], prose.points)
    return f"{prose.points(row[f'{name}_change'])} {bounds} {MARKS[row[f'{name}_says']]}".strip()


def _equal(row: dict) -> str:
    if pd.isna(row["smallest"]):
        return "–"
    size = prose.points(row["smallest"]).removeprefix("+")
    return f"{'yes' if row['equivalent'] else 'no'} (within {size})"


def change_table(found: Found) -> pd.DataFrame:
    """What anchoring changes: the verdicts on harm at the last epoch (rows) and at the goal."""
    if found.why_not:
        return pd.DataFrame()
    both = found.at_end[["name", "harm_says"]].merge(
        found.at_goal[["name", "harm_says", "harm_change"]], on="name", suffixes=("_end", "_goal")
    )
    both = both.dropna(subset=["harm_says_end"])
    unseen = both["harm_change"].isna()
    both["harm_says_goal"] = both["harm_says_goal"].mask(unseen, "not at the goal")
    table = pd.crosstab(both["harm_says_end"], both["harm_says_goal"])
    return table.rename_axis(index="harm at the last epoch", columns="at the goal")
