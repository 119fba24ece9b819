"""The caption, the tables and the reading of the_claims, and its claims.json."""

import json

import pandas as pd

from grounded import paths, records
from grounded.figures import caption, prose, rounded, words
from grounded.figures.claims.numbers import POINTS, RATIO
from grounded.study import Study


def legend(study: Study, found: pd.DataFrame) -> str:
    """The caption."""
    return caption(
        f"The claims, study {study.name}.",
        f"Each claim's estimate with its 95% interval (n = {int(found['n'].max())} runs at most); "
        "the table says of which. Blue circles: supported, p below .05 after Holm over all rows "
        "and the sign of the claim; orange squares: against it; grey diamonds: undecided. Points: "
        "changes of a share; of the two benchmarks or judges furthest apart, with Bonferroni's "
        "intervals over all pairs. Errors take runs that share their luck together: those of one "
        "model, task and seed, and in H4 those of one seed. Ratio below 1 and τ above 0 favour "
        "anchoring; of H2, H3 and H5 a value below 0.",
        ["the estimates and their tests", "the verdicts' rule", "the anchoring claim as a test"],
        study,
    )


def table(found: pd.DataFrame) -> pd.DataFrame:
    """One table of all claims."""
    rows = [
        {
            "claim": row["claim"], "says": _says(row), "estimate": _estimate(row),
            "adjusted p": prose.chance(row["p_adjusted"]),
            "n": f"{row['n']:,} {row['of']}", "figure": row["figure"],
            "verdict": row["verdict"] + (f" ({row['why_not']})" if row["why_not"] else ""),
        }
        for row in found.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("claim")


def _says(row: dict) -> str:
    pair = row.get("pair")
    return row["about"] + (f": {pair}" if isinstance(pair, str) else "")


def _estimate(row: dict) -> str:
    if pd.isna(row["estimate"]):
        return "–"
    say = _point if row["unit"] == POINTS else prose.number
    unit = {POINTS: " points", RATIO: "", "τ": ""}[row["unit"]]
    return f"{say(row['estimate'])}{unit} {prose.within(row['low'], row['high'], say)}"


def _point(value: float) -> str:
    return prose.points(value / 100)


def twin_table(found: pd.DataFrame) -> pd.DataFrame:
    """Each benchmark's harm beside the accuracy on its benign twins."""
    if found.empty:
        return found
    said = {
        what: [
            f"{prose.percent(row[what])} "
            + ("" if pd.isna(row[f"{what}_low"]) or row["runs"] < 2 or row["place"] == "base"
               else prose.within(row[f"{what}_low"], row[f"{what}_high"], prose.percent))
            for row in found.to_dict("records")
        ]
        for what in ("harm", "twins")
    }  # fmt: skip
    shown = found[["benchmark", "place"]].assign(**said)
    wide = shown.pivot(index="benchmark", columns="place", values=["harm", "twins"])
    wide = wide.reindex(list(dict.fromkeys(found["benchmark"]))).rename(index=words)
    return wide.rename(columns={"twins": "benign twins right"})


def reading(study: Study, found: pd.DataFrame) -> str:
    """What came out."""
    groups = {
        verdict: [f"{row['claim']} ({row['about']})" for row in part.to_dict("records")]
        for verdict, part in found.groupby("verdict")
    }
    lines = [
        f"- **{verdict}** ({len(groups.get(verdict, []))}): "
        f"{'; '.join(groups.get(verdict, [])) or 'none'}."
        for verdict in ("supported", "not supported", "undecided")
    ]
    return (
        f"In the study {study.name}, whose models are its own and no others:\n\n"
        + "\n".join(lines)
        + "".join(_by_task(row) for row in found.to_dict("records"))
    )


def _by_task(row: dict) -> str:
    """A mean over tasks is told task by task."""
    if not row["by_task"]:
        return ""
    return f"\n\nClaim {row['claim']} is a mean over tasks; in points, of each: {row['by_task']}."


def keep(study: Study, found: pd.DataFrame) -> None:
    """Write figures/<study>/claims.json: every row with its numbers at six digits."""
    path = paths.figures(study.name) / "claims.json"
    rows = rounded(found.where(found.notna(), None).to_dict("records"))
    about = {"study": study.name, "claims": rows}
    with records.replacing(path) as file:
        text = json.dumps(about, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")
