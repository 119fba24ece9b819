"""The caption and the reading of figure 2, each number computed."""

from typing import Any

import pandas as pd

from grounded.figures import caption, prose, words
from grounded.statistics.regressions import NO_FIT
from grounded.study import Study

AGREED = ["judge", "stratum", "ac1"]


def legend(study: Study, judge: str, rates: pd.DataFrame) -> str:
    """The caption."""
    runs = int(rates["runs"].max())
    below = (
        "(b, c) Against the grammar's truth, all "
        "checkpoints after the base model: share called harmful by each harm judge, among replies "
        "that hold a harmful procedure and among those that hold none; 95% intervals from "
        f"resampling whole runs ({runs} at most), n verdicts."
        if study.has_truth
        else "(b) All checkpoints after the base model: share called harmful by each harm judge, "
        "among replies that the detector finds coherent and among the others; 95% intervals from "
        f"resampling whole runs ({runs} at most), n verdicts. What is true of a reply is not known."
    )
    ours = [
        "the split by coherence (the caption of the paper's figure is cut in our source)",
        "the detector and its thresholds",
    ]
    more = ["the comparison with a known truth", "the second version of the judge"]
    return caption(
        f"Figure 2, study {study.name}: what a harm judge says of coherent and incoherent replies.",
        f"(a) For each model (rows), task (columns) and epoch (0 is the base model), the replies "
        f"to harmful requests by the verdict of the judge `{judge}` and by what the coherence "
        f"detector{', which knows nothing of the grammar,' if study.has_truth else ''} says of "
        "them; mean over runs. Black: 95% interval over runs of the share called harmful. " + below,
        [*ours, *(more if study.has_truth else ["all judges but the first"])],
        study,
    )


def reading(found: dict[str, Any]) -> str:
    """What came out, in sentences that hold whatever it is."""
    judge, last = found["judge"], found["last_epoch"]
    change = pd.DataFrame(found["incoherence"])
    most = change.loc[change["change"].idxmax()]
    text = (
        "The share of replies that the detector finds incoherent "
        f"{prose.tally(change['conclusion'])} of {prose.count(len(change), 'pair')} of model and "
        f"task from the base model to the last epoch; most for {most['model']} on "
        f"{words(most['task'])}, from {prose.percent(most['base'])} to "
        f"{prose.percent(most['last'])}. "
    )
    if (detector := found["detector"]) is not None:
        text += (
            f"Against the grammar the detector finds {prose.percent(detector['sensitivity'])} of "
            f"the incoherent replies and leaves {prose.percent(detector['specificity'])} of the "
            f"others alone (AC1 {prose.number(detector['ac1'])} "
            f"{prose.within(detector['ac1_low'], detector['ac1_high'])})."
        )
    text += "\n\n"
    if last["k"]:
        text += (
            f"At the last epoch {prose.percent(last['k_incoherent'] / last['k'])} of the verdicts "
            f"“harmful” of `{judge}` fall on replies that the detector finds incoherent"
        )
        if last["k_incoherent"] and last["k_incoherent_true"] is not None:
            true = last["k_incoherent_true"] / last["k_incoherent"]
            text += f"; {prose.percent(true)} of those do hold a harmful procedure"
        text += ". "
    else:
        text += f"At the last epoch `{judge}` calls no reply harmful. "
    for row in found["by_truth"]:
        if "truth_harm" not in row:
            text += (
                f"Of {row['kind']} replies `{row['judge']}` calls {prose.percent(row['rate'])} "
                f"harmful {prose.within(row['low'], row['high'], prose.percent)} "
                f"(n = {row['n']:,}). "
            )
        elif row["kind"] != "coherent" and not row["truth_harm"]:
            text += (
                f"Of {row['kind']} replies that hold no harmful procedure, `{row['judge']}` calls "
                f"{prose.percent(row['rate'])} harmful "
                f"{prose.within(row['low'], row['high'], prose.percent)} (n = {row['n']:,}). "
            )
    agreement = pd.DataFrame(found["agreement"], columns=None if found["agreement"] else AGREED)
    agreement = agreement.set_index(["judge", "stratum"])
    for name in dict.fromkeys(row["judge"] for row in found["by_truth"]):
        said = [
            f"{prose.number(agreement.loc[(name, s), 'ac1'])} on {s} replies"
            for s in ("coherent", "incoherent")
            if (name, s) in agreement.index
        ]
        if said:
            text += f"AC1 of `{name}` with the truth: {prose.listed(said)}. "
    lost = prose.missing(pd.DataFrame([last]))
    return f"{text}\n\n{_slopes(found)}\n\nVerdicts at the last epoch: {lost}"


def _slopes(found: dict[str, Any]) -> str:
    if found["binomial"] is None:
        return NO_FIT
    if not any(row["rate"] > 0 for row in found["by_truth"]):
        return "No judge calls any reply harmful, so there is no slope to speak of."
    slope = {row["term"]: row for row in found["binomial"]}
    able, product = slope["capability"], slope["capability:incoherent"]
    text = (
        f"Among coherent replies the verdict “harmful” {prose.goes(able['low'], able['high'])} "
        f"capability (log-odds {prose.number(able['estimate'])} "
        f"{prose.within(able['low'], able['high'])} from 0 to 1). "
    )
    if found["binomial_separated"]:
        names = prose.listed(f"`{name}`" for name in found["binomial_separated"])
        text += f"The size of {names} means nothing: the outcome never varies there. "
    differs = product["low"] > 0 or product["high"] < 0
    text += (
        f"Among incoherent ones the slope {'differs' if differs else 'does not clearly differ'}: "
        f"by {prose.number(product['estimate'])} {prose.within(product['low'], product['high'])} "
        f"({prose.chance(product['p'])}). "
    )
    straight = {row["term"]: row for row in found["linear"] or []}
    if (row := straight.get("capability:incoherent")) is None:
        return text
    return text + (
        f"In shares, by least squares, the difference of the slopes is "
        f"{prose.number(row['estimate'])} {prose.within(row['low'], row['high'])}."
    )
