"""The caption and the reading of does_anchoring_help: the verdict is computed."""

import numpy as np

from grounded.figures import caption, prose, words
from grounded.figures.anchoring.measure import Found, regression
from grounded.statistics import regressions
from grounded.study import Study

SAYS = {
    "narrows": "anchoring narrows the spread of harm",
    "widens": "anchoring widens the spread of harm",
    "unclear": "the study is undecided on whether anchoring changes the spread of harm",
}


def legend(study: Study, found: Found) -> str:
    """The caption."""
    if found.why_not:
        return found.why_not
    assert study.anchoring is not None
    anchor, cells = study.anchoring.anchor, found.parts["cells"]
    return caption(
        f"Anchored against fixed epoch, study {study.name}.",
        f"The goal is {_goal(anchor.kappa, anchor.scale)}; harm is what the judge "
        f"`{study.anchoring.judge}` says of replies to harmful requests; both arms hold the same "
        f"runs at the same mean capability. (a) Standard deviation of harm over settings and seeds "
        "within each cell that takes part, the sampling of prompts removed; in brackets its runs "
        f"at the goal, of {int(cells['runs'].max())}. (b) Pooled ratio of those variances with "
        "95% intervals (bootstrap by run within cell); shaded: the registered test; orange: "
        "negative controls; green: base models of one alignment depth; blue: other choices. "
        "(c) The secondary hypotheses, anchored less fixed, 95% intervals for other seeds (one is "
        "left out at a time). (d) Harm at the goal by "
        "alignment depth with 95% intervals over runs; open marks: the fixed epoch.",
        ["the definition of the anchor", "the test and its rules", "all of these numbers"],
        study,
    )


def _goal(kappa: float, scale: str) -> str:
    if scale == "absolute":
        return f"an accuracy of {prose.percent(kappa)}"
    return f"{prose.percent(kappa)} of the way from the base model to the cell's best run"


def verdict(found: Found) -> str:
    """`helps`, `does not help` or `mixed`, as registered; `not measured`."""
    if found.why_not or not np.isfinite(found.parts["primary"]["ratio"].iloc[0]):
        return "not measured"
    if found.parts["primary"]["conclusion"].iloc[0] == "narrows":
        return "helps"
    return "mixed" if "helps" in set(found.parts["secondary"]["verdict"]) else "does not help"


def reading(study: Study, found: Found) -> str:
    """What came out, in sentences that hold whatever it is."""
    if found.why_not:
        return found.why_not
    return "\n\n".join(
        [_primary(found), _secondary(found), _controls(found), _depth(found), _choices(found),
         _fit(found)]
    )  # fmt: skip


def _primary(found: Found) -> str:
    row, cells = found.parts["primary"].iloc[0], found.parts["cells"]
    runs, here = int(cells["runs"].sum()), int(cells["attained"].sum())
    if not np.isfinite(row["ratio"]):
        return f"**H1 could not be measured**: {row['why_not']}."
    helps = {
        "helps": "As registered: anchoring helps in this study",
        "does not help": "As registered: anchoring does not help in this study",
        "mixed": "As registered: the primary test does not favour anchoring, a secondary one does",
    }[verdict(found)]
    few, quiet = int((cells["attained"] < 5).sum()), int(cells["counts"].eq(False).sum())
    matched = cells.dropna(subset=["smallest"])
    proven = int(matched["equivalent"].astype(bool).sum())
    return (
        f"**H1: {SAYS[row['conclusion']]}.** The ratio of variances, anchored to fixed epoch, is "
        f"{prose.number(row['ratio'])} {prose.within(row['low'], row['high'])} "
        f"({prose.chance(row['p'])}) over {row['cells']} cells and {row['runs']} runs. A ratio of "
        f"{prose.number(row['smallest'])} is the nearest to 1 that this many cells and runs find "
        f"with a power of 80%. {helps}. Every cell weighs alike in that ratio; where wide cells "
        f"weigh more, in the ratio of the summed variances (described, no test), it is "
        f"{prose.number(row['by_sums'])}. Of {runs} runs {here} reach their goal; {few} of "
        f"{prose.count(len(cells), 'cell')} have fewer than five that do and take no part; in "
        f"{quiet} more harm varies in neither arm beyond the sampling of prompts, so that there is "
        f"no ratio. The two arms are proven to be of one capability in {proven} of "
        f"{prose.count(len(matched), 'cell')}"
        + (
            "."
            if proven == len(matched)
            else "; elsewhere the items do not suffice, or a difference is left."
        )
    )


def _secondary(found: Found) -> str:
    rows = found.parts["secondary"].to_dict("records")
    said = [
        f"{row['hypothesis']} ({row['about']}): not measured, {row['why_not']}"
        if not np.isfinite(row["difference"])
        else f"{row['hypothesis']} ({row['about']}): {prose.number(row['fixed'], 3)} at a fixed "
        f"epoch, {prose.number(row['anchored'], 3)} anchored, adjusted "
        f"{prose.chance(row['p_holm'])}, {row['verdict']}"
        for row in rows
    ]
    helps = [row["hypothesis"] for row in rows if row["verdict"] == "helps"]
    harms = [row["hypothesis"] for row in rows if row["verdict"] == "harms"]
    return (
        f"**Secondary.** In favour of anchoring: {prose.listed(helps)}; against it: "
        f"{prose.listed(harms)}. " + "; ".join(said) + "." + _best(rows)
    )


def _best(rows: list[dict]) -> str:
    """How often the best mitigation of one draw of runs is the best of another."""
    row = next((r for r in rows if r["hypothesis"] == "H4" and "best_fixed" in r), None)
    if row is None or not np.isfinite(row["best_fixed"]):
        return ""
    return (
        " When the runs are drawn again, the best mitigation stays the best with a probability of "
        f"{prose.number(row['best_fixed'])} at a fixed epoch and "
        f"{prose.number(row['best_anchored'])} anchored (described)."
    )


def _controls(found: Found) -> str:
    rows = [r for r in found.parts["controls"].to_dict("records") if r["course"] != "capability"]
    said = []
    for row in rows:
        if not np.isfinite(row["ratio"]):
            said.append(f"{row['about']}: not measured ({row['why_not']})")
            continue
        said.append(
            f"{row['about']}: ratio {prose.number(row['ratio'])} "
            f"{prose.within(row['low'], row['high'])}, capability against it "
            f"{row['verdict']} (adjusted {prose.chance(row['p_holm'])})"
        )
    special = [row["about"] for row in rows if row["verdict"] == "special"]
    measured = [row for row in rows if np.isfinite(row["contrast"])]
    if special:
        text = f"Capability narrows more than {prose.listed(special)}"
    elif measured:
        text = "Capability is not shown to narrow more than any of the other courses"
    else:
        text = "No control could be measured"
    return f"**Negative controls.** {text}. " + "; ".join(said) + "."


def _depth(found: Found) -> str:
    table = found.parts["depths"]
    if table.empty:
        return "**Alignment depth.** The study has one depth alone."
    said = []
    rows = table[table["task"] != "all"]
    for task, part in rows.groupby("task", sort=False):
        ends = part.dropna(subset=["harm"]).sort_values("depth")
        if len(ends) < 2:
            said.append(f"{words(str(task))}: too few runs at the goal")
            continue
        one, two = ends.iloc[0], ends.iloc[-1]
        said.append(
            f"{words(str(task))}: {prose.percent(one['harm'])} at {one['depth']:,} steps and "
            f"{prose.percent(two['harm'])} at {two['depth']:,}"
        )
    ratios = [
        f"{prose.number(r['ratio'])} at {r['depth']:,}"
        for r in table[table["task"] == "all"].to_dict("records")
        if np.isfinite(r["ratio"])
    ]
    return (
        "**Alignment depth** (described). Harm at the goal: " + "; ".join(said) + ". Ratio of "
        f"variances by depth: {prose.listed(ratios, 'none could be measured')}."
    )


def _choices(found: Found) -> str:
    table = found.parts["sensitivities"]
    some = table[np.isfinite(table["ratio"])]
    if some.empty:
        return "**Other choices** (described). None could be measured."
    tally = some["conclusion"].value_counts()
    low, high = some.loc[some["ratio"].idxmin()], some.loc[some["ratio"].idxmax()]
    return (
        f"**Other choices** (described). Of {prose.count(len(some), 'other choice')} of goal, "
        f"rule, metric and judge, {tally.get('narrows', 0)} would say that anchoring narrows, "
        f"{tally.get('widens', 0)} that it widens, {tally.get('unclear', 0)} neither; the ratio "
        f"runs from {prose.number(low['ratio'])} ({low['choice']} {low['value']}) to "
        f"{prose.number(high['ratio'])} ({high['choice']} {high['value']})."
    )


def _fit(found: Found) -> str:
    fit = regression(found)
    if fit is None:
        return regressions.NO_FIT
    rows = regressions.terms(fit).set_index("term")
    said = []
    for term, unit in (("capability", "per ten points of capability"), ("epoch", "per epoch")):
        row, scale = rows.loc[term], 0.1 if term == "capability" else 1.0
        said.append(
            f"{prose.points(scale * row['estimate'])} points "
            f"{prose.within(scale * row['low'], scale * row['high'], prose.points)} {unit}"
        )
    return (
        "**Capability or time?** Within cells, with both in one regression, harm changes by "
        f"{said[0]} at the same epoch, and by {said[1]} at the same capability."
    )
