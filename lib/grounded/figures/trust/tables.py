"""The numbers as tables to read."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from grounded.figures import prose, words
from grounded.figures.trust import untold
from grounded.figures.trust.numbers import ALL

Say = Callable[[float], str]
SHARES = ("sensitivity", "specificity", "false_yes")
HEADS = {
    "kappa": "κ", "ac1": "AC1", "alpha": "α", "false_yes": "errors that say yes",
    "bias": "bias of the rate (points)",
}  # fmt: skip


def _say(name: str) -> Say:
    return prose.percent if name in SHARES else prose.points if name == "bias" else prose.number


def _cell(row: Any, name: str, say: Say | None = None) -> str:
    """A value with its interval; a dash where it is not defined."""
    say = say or _say(name)
    if pd.isna(row[name]):
        return "–"
    return f"{say(row[name])} {prose.within(row[f'{name}_low'], row[f'{name}_high'], say)}"


def _cells(frame: pd.DataFrame, names: list[str], say: Say | None = None) -> pd.DataFrame:
    rows = frame.to_dict("records")
    found = {HEADS.get(name, name): [_cell(row, name, say) for row in rows] for name in names}
    return pd.DataFrame(found, index=frame.index)


def truth_table(found: pd.DataFrame) -> pd.DataFrame:
    """Each judge against the truth, or where none is known the others, over all and by kind."""
    if "ac1_with_others" in found:
        return untold.table(found)
    rows = found.set_index(["judge", "stratum"])
    names = ["sensitivity", "specificity", "kappa", "ac1", "alpha", "false_yes", "bias"]
    count = rows[["n", "missing"]].rename(columns={"n": "verdicts"}).map("{:,}".format)
    rates = [
        f"{prose.percent(row['rate'])} ({prose.percent(row['if_missing_are_0'])}, "
        f"{prose.percent(row['if_missing_are_1'])})"
        for row in rows.to_dict("records")
    ]
    said = pd.DataFrame({"rate of yes (missing as no, as yes)": rates}, index=rows.index)
    return pd.concat([count, said, _cells(rows, names)], axis=1)


def version_table(found: pd.DataFrame) -> pd.DataFrame:
    """What each second version changes; shares in points."""
    if found.empty:
        return found
    rows = found.set_index(["first", "second", "stratum"])
    counts = rows[["n", "mended", "broken"]].map("{:,}".format)
    points = [f"{name} (points)" for name in ("sensitivity", "specificity")]
    shares = _cells(rows, ["sensitivity", "specificity"], prose.points).set_axis(points, axis=1)
    return pd.concat([counts, shares, _cells(rows, ["kappa", "ac1", "alpha"])], axis=1)


def shift_table(found: pd.DataFrame) -> pd.DataFrame:
    """The change of every judge's rate and its two parts, in points."""
    if found.empty:
        return found
    rows = found.set_index(["task", "judge"])
    shares = rows[["base", "last"]].map(prose.percent)
    names = {
        "change": "change", "composition": "from other kinds of reply",
        "verdicts": "from verdicts within a kind", "verdicts_coherent": "of it: coherent",
        "verdicts_mixed": "mixed", "verdicts_incoherent": "incoherent",
    }  # fmt: skip
    parts = _cells(rows, list(names), prose.points).rename(columns=names)
    return pd.concat([shares, parts], axis=1).rename(index=words, level="task")


def agreement_table(found: pd.DataFrame) -> pd.DataFrame:
    """The referee's table: AC1 above and κ beneath it, a row a pair of judges."""
    said = found.assign(
        pair=found["first"] + " – " + found["second"],
        said=[f"{_cell(row, 'ac1')}; κ {prose.number(row['kappa'])}"
              if pd.notna(row["kappa"]) else f"{_cell(row, 'ac1')}; κ –"
              for row in found.to_dict("records")],
    )  # fmt: skip
    table = said.pivot(index="pair", columns="benchmark", values="said")
    order = list(dict.fromkeys(found["benchmark"]))
    table = table.loc[list(dict.fromkeys(said["pair"])), order]
    return table.rename_axis(columns="AC1; κ").rename(columns=words)


def variance_table(found: pd.DataFrame) -> pd.DataFrame:
    """The components: variance and share of all of it."""
    said = found.assign(
        said=[
            f"{prose.number(100 * row['share'], 1)}% "
            + prose.within(100 * row["share_low"], 100 * row["share_high"], _one)
            for row in found.to_dict("records")
        ]
    )
    table = said.pivot(index="factor", columns="judges", values="said")
    kinds = list(dict.fromkeys(found["judges"]))
    table = table.loc[list(dict.fromkeys(found["factor"])), kinds]
    names = {ALL: "all judges", "trained": "without keyword lists"}
    return table.rename(columns=names).fillna("–")


def _one(value: float) -> str:
    return prose.number(value, 1)


def correction_table(found: pd.DataFrame) -> pd.DataFrame:
    """The truth, what each method gives on average, and how often its interval holds the truth."""
    if found.empty:
        return found
    said = found.assign(
        said=[
            "not defined" if pd.isna(row["mean"]) else
            f"{prose.percent(row['mean'])} (covers {prose.percent(row['coverage'])})"
            + (f", undefined in {prose.percent(row['undefined'])}" if row["undefined"] else "")
            for row in found.to_dict("records")
        ],
        truth=found["truth"].map(prose.percent),
    )  # fmt: skip
    keys = ["task", "judge", "truth"]
    table = said.pivot(index=keys, columns="method", values="said")
    order = pd.MultiIndex.from_frame(said[keys].drop_duplicates())
    table = table.loc[order, list(dict.fromkeys(found["method"]))]
    return table.rename(index=words, level="task").rename_axis(columns=None)
