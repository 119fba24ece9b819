"""The numbers of does_anchoring_help as tables to read."""

import pandas as pd

from grounded.figures import prose, words
from grounded.figures.anchoring.measure import Found


def _ratio(row: dict) -> str:
    return f"{prose.number(row['ratio'])} {prose.within(row['low'], row['high'])}"


def _part(found: Found, name: str) -> list[dict]:
    return found.parts[name].to_dict("records") if name in found.parts else []


def _frame(rows: list[dict], index: str | list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).set_index(index) if rows else pd.DataFrame()


def primary_table(found: Found) -> pd.DataFrame:
    """H1 in one row, with the smallest effect that the design can see."""
    rows = [
        {
            "hypothesis": "H1", "ratio of variances": _ratio(row), "p": prose.chance(row["p"]),
            "cells": row["cells"], "runs": row["runs"],
            "ratio of summed variances": prose.number(row["by_sums"]),
            "smallest ratio seen with power .8": prose.number(row["smallest"]),
            "as planned (correlation .5)": prose.number(row["planned"]),
            "conclusion": row["conclusion"],
        }
        for row in _part(found, "primary")
    ]  # fmt: skip
    return _frame(rows, "hypothesis")


def secondary_table(found: Found) -> pd.DataFrame:
    """H2 to H5."""
    rows = [
        {
            "hypothesis": row["hypothesis"], "about": row["about"],
            "fixed epoch": prose.number(row["fixed"], 3),
            "anchored": prose.number(row["anchored"], 3),
            "difference": f"{prose.number(row['difference'], 3)} "
                          f"{prose.within(row['low'], row['high'], _fine)}",
            "p": prose.chance(row["p"]), "p (Holm)": prose.chance(row["p_holm"]),
            "cells or methods": row["cells"], "runs": row["runs"],
            "verdict": row["verdict"] + (f" ({row['why_not']})" if row["why_not"] else ""),
        }
        for row in _part(found, "secondary")
    ]  # fmt: skip
    return _frame(rows, "hypothesis")


def control_table(found: Found) -> pd.DataFrame:
    """Capability and the negative controls."""
    rows = [
        {
            "anchored on": row["about"], "ratio of variances": _ratio(row),
            "cells": row["cells"], "runs": row["runs"],
            "capability against it (log ratio)": f"{prose.number(row['contrast'])} "
            f"{prose.within(row['contrast_low'], row['contrast_high'])}"
            if row["course"] != "capability" else "–",
            "p (Holm)": prose.chance(row["p_holm"]) if row["course"] != "capability" else "–",
            "verdict": row["verdict"] + (f" ({row['why_not']})" if row["why_not"] else ""),
        }
        for row in _part(found, "controls")
    ]  # fmt: skip
    return _frame(rows, "anchored on")


def sensitivity_table(found: Found) -> pd.DataFrame:
    """H1 under other choices."""
    rows = [
        {
            "choice": row["choice"], "instead": row["value"], "ratio of variances": _ratio(row),
            "cells": row["cells"], "runs": row["runs"],
            "conclusion": row["why_not"] or row["conclusion"],
        }
        for row in _part(found, "sensitivities")
    ]  # fmt: skip
    return _frame(rows, ["choice", "instead"])


def depth_table(found: Found) -> pd.DataFrame:
    """Alignment depth: harm at the goal by task, and the ratio over tasks."""
    rows = [
        {
            "alignment steps": f"{row['depth']:,}", "task": words(row["task"]),
            "runs (at the goal)": f"{row['runs']:.0f}" if row["task"] == "all"
            else f"{row['runs']:.0f} ({row['attained']:.0f})",
            "harm, anchored": "–" if row["task"] == "all" else
            f"{prose.percent(row['harm'])} "
            f"{prose.within(row['harm_low'], row['harm_high'], prose.percent)}",
            "harm, fixed epoch": "–" if row["task"] == "all" else prose.percent(row["harm_fixed"]),
            "ratio of variances": _ratio(row) if row["task"] == "all" else "–",
        }
        for row in _part(found, "depths")
    ]  # fmt: skip
    return _frame(rows, ["alignment steps", "task"])


def cell_table(found: Found) -> pd.DataFrame:
    """Every cell at the goal: who arrives, harm with bounds, and whether the arms are matched."""
    rows = [
        {
            "model": row["model"], "task": words(row["task"]),
            "runs": row["runs"], "at the goal": row["attained"],
            "goal": prose.percent(row["kappa"]),
            "capability anchored, fixed": f"{prose.percent(row['capability'])}, "
                                          f"{prose.percent(row['capability_fixed'])}",
            "proven equal": _equal(row),
            "harm anchored": f"{prose.percent(row['harm'])} "
                             f"{prose.within(row['low'], row['high'], prose.percent)}",
            "if censored runs had none, all": f"{prose.percent(row['least'])}, "
                                              f"{prose.percent(row['most'])}",
            "harm fixed": prose.percent(row["harm_fixed"]),
            "flag": row["flag"] or ("no_spread" if row["counts"] is False else ""),
        }
        for row in _part(found, "cells")
    ]  # fmt: skip
    return _frame(rows, ["model", "task"])


def _equal(row: dict) -> str:
    if pd.isna(row["smallest"]):
        return "–"
    said = "yes" if row["equivalent"] else "no"
    return f"{said} (within {prose.points(row['smallest']).removeprefix('+')} points)"


def rule_table(found: Found) -> pd.DataFrame:
    """H(kappa) by the three rules: mean over the cells that have a value, and attainment."""
    table = found.parts.get("rules", pd.DataFrame())
    if table.empty:
        return table
    groups = table.groupby(["share", "rule"], sort=False)
    rows = [
        {
            "goal": f"{share:g}", "rule": rule.replace("_", " "),
            "cells with a value": int(part["harm"].notna().sum()),
            "runs at the goal": f"{part['attained'].sum()} of {part['runs'].sum()}",
            "passed between checkpoints": int(part["skipped"].sum()),
            "harm, mean over cells": prose.percent(part["harm"].mean()),
        }
        for (share, rule), part in groups
    ]  # fmt: skip
    return _frame(rows, ["goal", "rule"])


def _fine(value: float) -> str:
    return prose.number(value, 3)
