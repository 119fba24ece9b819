"""The caption and the reading of figure 4, each number computed."""

from typing import Any

import numpy as np
import pandas as pd

from grounded.figures import caption, prose, words
from grounded.figures.benchmarks.numbers import plain
from grounded.statistics.regressions import NO_FIT
from grounded.study import Study


def legend(study: Study, model: str, judge: str) -> str:
    """The caption."""
    return caption(
        f"Figure 4, study {study.name}: one model ({model}), several benchmarks.",
        f"(a) Harmfulness (judge `{judge}`) on each benchmark of harmful requests by epoch; mean "
        "and 95% interval over runs; epoch 0 is the base model, measured once. (b) The conclusion "
        "that each judge (rows) draws from each benchmark (columns): mean change in points from "
        "the base model to the last epoch, coloured where its 95% interval, clustered by run and "
        "by prompt, excludes zero (orange: rises, blue: falls), white where it does not "
        "(unclear). Harm judges ask whether a reply holds a harmful procedure, compliance judges "
        "and keyword lists whether it carries out the request"
        + (
            "; the first row of each of the first two kinds is the grammar's truth."
            if study.has_truth
            else ". What is true of a reply is not known."
        ),
        ["the benchmarks", "all judges but the first of each kind", "panel b and its rule"],
        study,
    )  # fmt: skip


def reading(study: Study, found: dict[str, Any]) -> str:
    """What came out, in sentences that hold whatever it is."""
    table, depends = pd.DataFrame(found["conclusions"]), pd.DataFrame(found["dependence"])
    same = depends[(depends["by_benchmark"] == 0) & (depends["by_judge"] == 0)]
    text = (
        f"For {found['model']}, every benchmark and judge lead to the same conclusion in "
        f"{len(same)} of {prose.count(len(depends), 'task')}"
        + (f" ({prose.listed(words(task) for task in same['task'])})" if len(same) else "")
        + ".\n\n"
    )
    for row in depends.to_dict("records"):
        own = table[(table["task"] == row["task"]) & ~table["judge"].str.startswith("truth:")]
        low, high = own.loc[own["change"].idxmin()], own.loc[own["change"].idxmax()]
        text += (
            f"- **{words(row['task'])}**: of {prose.count(row['pairs'], 'pair')} of benchmark and "
            f"judge {row['rises']} say that harm rises, {row['falls']} that it falls, "
            f"{row['unclear']} are unclear. The conclusion changes with the benchmark for "
            f"{row['by_benchmark']} of {prose.count(row['judges'], 'judge')}, and with the judge "
            f"on {row['by_judge']} of {prose.count(row['benchmarks'], 'benchmark')}"
            f"{'; some say the opposite of others' if row['opposed'] else ''}. The change runs "
            f"from {_cell(low)} to {_cell(high)}.\n"
        )
    text += "\n" + _against_truth(study, table)
    if found["linear_wald"] is None:
        return text + NO_FIT
    tests = {"shares": found["linear_wald"]}
    if found["binomial_separated"]:
        text += (
            f"In the binomial GLM {prose.count(len(found['binomial_separated']), 'term')} cannot "
            "be estimated, for some judge never, or always, says yes; its tests are not read. "
        )
    else:
        tests = {"log-odds": found["binomial_wald"], **tests}
    for kind, rows in tests.items():
        said = [
            f"{plain(row['term'])} ({prose.chance(row['p'])})"
            for row in rows
            if ":" in row["term"] and np.isfinite(row["p"])
        ]
        if said:
            text += f"Joint tests of the interactions in {kind}: {prose.listed(said)}. "
        else:
            text += f"In {kind} no interaction can be tested. "
    counts = pd.DataFrame(found["verdicts"]).T
    most = (counts["missing"] / (counts["n"] + counts["missing"])).idxmax()
    return (
        text
        + f"\n\nOf the judge with most verdicts missing, `{most}`: "
        + prose.missing(counts.loc[[most]])
    )


def _against_truth(study: Study, table: pd.DataFrame) -> str:
    """How often each judge concludes what the truth of its kind does."""
    cells = table.set_index(["judge", "task", "benchmark"])["conclusion"]
    said = []
    for name, judge in study.judges.items():
        truth = f"truth:{'harm' if judge.kind == 'harm' else 'compliance'}"
        if truth in cells.index.get_level_values(0):
            same = cells.loc[name] == cells.loc[truth].reindex(cells.loc[name].index)
            said.append(f"`{name}` in {int(same.sum())} of {len(same)}")
    if not said:
        return ""
    return f"The conclusion is that of the grammar's truth for {prose.listed(said)} cells.\n\n"


def _cell(row: pd.Series) -> str:
    return f"{prose.points(row['change'])} points (`{row['judge']}`, {words(row['benchmark'])})"
