"""What came out in the invented world, each number computed."""

import pandas as pd

from grounded.detectors.world import ALL, DETECTORS
from grounded.figures import prose, words
from grounded.figures.incoherence.numbers import NO_TRUTH, Parts
from grounded.study import BASE, Study


def reading(study: Study, parts: Parts) -> str:
    """Sentences that hold whatever came out."""
    if not parts:
        return NO_TRUTH
    said = (
        _shares(study, parts["shares"]),
        _areas(parts["areas"]),
        _by_task(parts["areas"]),
        _mixed(parts),
        _rule(parts["rule"]),
    )
    return "\n\n".join(said)


def _shares(study: Study, shares: pd.DataFrame) -> str:
    table = shares.set_index(["when", "task", "by"]).sort_index()
    last = {task: table.loc[("last", task)] for task in (ALL, *study.tasks)}
    truth = pd.Series({task: last[task].loc["truth", "rate"] for task in study.tasks})
    astray = pd.Series({task: last[task].loc["rule", "rate"] for task in study.tasks}) - truth
    most, least, off = truth.idxmax(), truth.idxmin(), astray.abs().idxmax()
    text = (
        f"**How much is incoherent.** At the last epoch {_rate(last[ALL].loc['truth'])} of replies "
        f"to harmful requests are incoherent by the truth and {_rate(last[ALL].loc['rule'])} by "
        f"the rule; {prose.percent(last[ALL].loc['mixed', 'rate'])} are mixed. Of the base models' "
        f"it is {prose.percent(table.loc[('base', BASE, 'truth'), 'rate'])} and "
        f"{prose.percent(table.loc[('base', BASE, 'rule'), 'rate'])}. "
    )
    if truth[most] > truth[least]:
        text += (
            f"By task, the truth runs from {prose.percent(truth[least])} ({words(least)}) to "
            f"{prose.percent(truth[most])} ({words(most)}). "
        )
    if not astray[off]:
        return text + "The rule gives the same share on every task."
    return text + (
        f"The rule strays farthest on {words(off)}: {_rate(last[off].loc['rule'])}, where the "
        f"truth is {_rate(last[off].loc['truth'])}."
    )


def _areas(areas: pd.DataFrame) -> str:
    rows = areas[(areas["sought"] == "incoherent") & (areas["task"] == ALL)].set_index("detector")
    if rows["auc"].isna().any():
        return "**Detectors.** There are no incoherent replies, or no coherent ones, to tell apart."
    order = rows.sort_values("auc", ascending=False, kind="stable")
    best = order.iloc[0]
    said = [f"{name} {prose.number(row['auc'])} {prose.within(row['auc_low'], row['auc_high'])}"
            for name, row in order.iterrows()]  # fmt: skip
    return (
        f"**Detectors.** The chance that an incoherent reply looks more suspicious than a coherent "
        f"one (AUC): {prose.listed(said)}. At 5% false alarms {order.index[0]} finds "
        f"{prose.percent(best['found'])} "
        f"{prose.within(best['found_low'], best['found_high'], prose.percent)} of the incoherent "
        "replies."
    )


def _by_task(areas: pd.DataFrame) -> str:
    rows = areas[(areas["sought"] == "incoherent") & (areas["task"] != ALL)].dropna(subset="auc")
    text = "**Not the same on every task.** "
    if rows["task"].nunique() < 2:
        return text + "There are too few tasks with incoherent replies to say."
    said = []
    for name in DETECTORS:
        own = rows[rows["detector"] == name].set_index("task")["auc"]
        said.append(
            f"{name} from {prose.number(own.min())} ({words(own.idxmin())}) to "
            f"{prose.number(own.max())} ({words(own.idxmax())})"
        )
    above = rows[rows["auc_low"] > 0.5].groupby("detector")["task"].apply(list)
    below = rows[rows["auc_high"] < 0.5].groupby("detector")["task"].apply(list)
    turned = [
        f"{name} (above chance on {prose.listed(map(words, above[name]))}, below on "
        f"{prose.listed(map(words, below[name]))})"
        for name in DETECTORS if name in above.index and name in below.index
    ]  # fmt: skip
    return text + (
        f"By task the AUC runs for {prose.listed(said)}. Whole intervals lie on both sides of "
        f"chance for {prose.listed(turned, 'no detector')}"
        + ("; what is suspicious on one task is the mark of sense on another." if turned else ".")
    )


def _mixed(parts: Parts) -> str:
    rows = parts["areas"]
    rows = rows[(rows["sought"] == "mixed") & (rows["task"] == ALL)].set_index("detector")
    n = int(rows["n_sought"].iloc[0])
    if rows["auc"].isna().any():
        return f"**Mixed replies** (a refusal and content): {prose.count(n, 'reply', 'replies')}."
    said = [f"{name} {prose.number(row['auc'])} {prose.within(row['auc_low'], row['auc_high'])}"
            for name, row in rows.iterrows()]  # fmt: skip
    rule = parts["rule"].set_index(["task", "kind"]).loc[(ALL, "mixed")]
    return (
        f"**Mixed replies** (a refusal and content; {prose.count(n, 'reply', 'replies')}) are "
        f"another thing: AUC {prose.listed(said)}. The rule calls {_rate(rule)} of them incoherent."
    )


def _rule(rule: pd.DataFrame) -> str:
    table = rule.set_index(["kind", "task"])
    parts = []
    for kind, what in (("incoherent", "finds"), ("coherent", "and wrongly calls so")):
        if (kind, ALL) not in table.index:
            return f"**The study's rule** cannot be measured: no reply is {kind}."
        own = table.loc[kind].drop(ALL)
        low, high = own["rate"].idxmin(), own["rate"].idxmax()
        parts.append(
            f"{what} {_rate(table.loc[(kind, ALL)])} of {kind} replies (from "
            f"{prose.percent(own['rate'][low])} on {words(low)} to "
            f"{prose.percent(own['rate'][high])} on {words(high)})"
        )
    return f"**The study's rule** {' '.join(parts)}."


def _rate(row: pd.Series) -> str:
    low, high = float(row["low"]), float(row["high"])
    return f"{prose.percent(float(row['rate']))} {prose.within(low, high, prose.percent)}"
