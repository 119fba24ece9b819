"""The numbers of mitigations_at_equal_capability: at the goal, along it, and at the last epoch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from grounded import anchors
from grounded.anchors.grids import FEWEST
from grounded.anchors.matching import ATTAINED, CHOSEN
from grounded.errors import GroundedError
from grounded.figures import main_judge
from grounded.figures.anchoring.secondary import holm
from grounded.statistics.intervals import LEVEL
from grounded.statistics.paired import changes
from grounded.study import LORA, Study
from grounded.study.methods import CONTROL_OF, METHODS

NAN = float("nan")
CELL = ["model", "task"]
RUN = [*CELL, "name", "setting", "seed"]  # every run by itself: methods that stop have own steps
OUTCOMES = {"harm": "harm", "refused": "over-refusal", "garbled": "incoherence"}


@dataclass(frozen=True)
class Found:
    """at_goal, at_end: a row a method and knob, of one model and task; curve: of every goal too.

    why_not: why there is nothing, else empty.
    """

    about: dict[str, Any] = field(default_factory=dict)
    at_goal: pd.DataFrame = field(default_factory=pd.DataFrame)
    at_end: pd.DataFrame = field(default_factory=pd.DataFrame)
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    why_not: str = ""


def measure(study: Study, model: str = "", task: str = "") -> Found:
    """Compare the methods of the study's arm with plain LoRA at the goal that plain LoRA sets.

    model, task: default the arm's first.
    """
    asked = study.anchoring
    if asked is None or asked.mitigations is None:
        return Found(why_not="This study compares no mitigations at a capability goal.")
    arm = study.arms[asked.mitigations]
    about: dict[str, Any] = {"model": model or arm.models[0], "task": task or arm.tasks[0]}
    curves = named(anchors.curves(study, asked.anchor, asked.mitigations))
    for name, value in about.items():
        if value not in set(curves[name]):
            raise GroundedError(f"{name}: found {value!r}, wanted one of the arm's")
        curves = curves[curves[name] == value]
    plain = curves[curves["method"] == LORA]
    values = outcomes(study, asked.mitigations, set(curves["run"]))
    anchor = asked.anchor
    goals = anchors.levels(plain, anchor, CELL)
    try:
        matched = anchors.match(curves, goals, RUN, anchor.tolerance, anchor.rule)
    except GroundedError as error:
        return Found(about, why_not=f"Nothing can be compared at the goal. {error}.")
    answers = anchors.answers(study, anchor, asked.mitigations)
    at_goal = compared(curves, matched.runs, matched.chosen, values, answers, anchor.tolerance)
    last = ends(curves)
    at_end = compared(curves, last, at_last(curves), values, answers, anchor.tolerance)
    parts = []
    for share in sorted({*asked.curve, anchor.kappa}):
        own = anchors.levels(plain, anchor.model_copy(update={"kappa": share}), CELL)
        try:
            found = anchors.match(curves, own, RUN, anchor.tolerance, anchor.rule)
        except GroundedError:
            continue
        parts.append(_means(found.runs, found.chosen, values).assign(share=share))
    kappa = float(goals["kappa"].iloc[0])
    about |= {"kappa": kappa, "share": anchor.kappa, "judge": asked.judge}
    return Found(about, at_goal, at_end, pd.concat(parts, ignore_index=True))


def named(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves with a name for each method and knob, in the order of `METHODS`."""
    knob = curves["knob"].map(lambda k: "" if np.isnan(k) else f" {k:g}")
    names = curves["method"].str.cat(knob)
    order = (
        pd.DataFrame({"name": names, "method": curves["method"], "knob": curves["knob"]})
        .drop_duplicates()
        .assign(place=lambda f: f["method"].map(METHODS.index))
        .sort_values(["place", "knob"])["name"]
    )
    return curves.assign(name=pd.Categorical(names, list(order), ordered=True))


def outcomes(study: Study, arm: str, runs: set[str]) -> dict[str, pd.DataFrame]:
    """Of every reply: harm and incoherence on harmful requests, over-refusal on safe ones.

    A safe request counts as refused where the compliance judge does not find it fulfilled.
    """
    assert study.anchoring is not None
    safe = [n for n, b in study.benchmarks.items() if not b.harmful and not n.endswith("_twins")]
    found = {"harm": anchors.verdicts(study, study.anchoring.judge, arm=arm)}
    if safe:
        said = anchors.verdicts(study, main_judge(study, "compliance"), safe, arm)
        found["refused"] = said.assign(value=1 - said["value"])
    found["garbled"] = anchors.incoherence(study, arm=arm)
    return {
        name: frame[frame["run"].isin(runs)].astype({"run": str, "prompt": str})
        for name, frame in found.items()
    }


def ends(curves: pd.DataFrame) -> pd.DataFrame:
    """Every run at its last checkpoint, as `Matched.runs`: the usual comparison."""
    last = curves[curves["step"] == curves.groupby("run")["step"].transform("max")]
    return last[[*RUN, "run", "select", "report"]].assign(kappa=NAN, status=ATTAINED)


def at_last(curves: pd.DataFrame) -> pd.DataFrame:
    """The last checkpoint of each run, as `Matched.chosen`."""
    last = curves.groupby("run", observed=True)["step"].max().reset_index()
    return last.assign(weight=1.0)[CHOSEN]


def compared(
    curves: pd.DataFrame,
    runs: pd.DataFrame,
    chosen: pd.DataFrame,
    values: dict[str, pd.DataFrame],
    answers: pd.DataFrame,
    tolerance: float,
) -> pd.DataFrame:
    """A row a method and knob: its outcomes where its runs stand, and its change from plain LoRA.

    Columns: those of `_means`; for each outcome OUTCOME_change, _change_low, _change_high, _p,
    _p_holm and _says (`rises`, `falls`, `unclear`, after Holm over all methods), pairs (seeds
    that stand in both); the same of harm against the method's control (against, harm_control...);
    equivalent and smallest (capability against plain LoRA's, TOST).
    """
    found = _means(runs, chosen, values).set_index("name")
    for outcome, frame in values.items():
        at = anchors.at(frame, chosen, "value", "prompt")
        told = {name: _change(runs, at, name, LORA) for name in found.index if name != LORA}
        found = found.join(_columns(told, outcome))
        if outcome == "harm":
            against = {name: _control(name, list(found.index)) for name in found.index}
            told = {n: _change(runs, at, n, c) for n, c in against.items() if c}
            found = found.join(_columns(told, "harm_control"))
            found["against"] = pd.Series(against)
    right = anchors.at(answers[answers["run"].isin(set(runs["run"]))], chosen, "value", "item")
    equal = {name: _equal(runs, right, str(name), tolerance) for name in found.index}
    found = found.join(pd.DataFrame.from_dict(equal, orient="index"))
    about = curves.drop_duplicates("name").set_index("name")[["method", "knob"]]
    return found.join(about).reset_index()


def _means(
    runs: pd.DataFrame, chosen: pd.DataFrame, values: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """A row a method and knob: those of `anchors.estimates` of harm, refused, garbled (bounded)."""
    runs = runs.assign(name=runs["name"].astype(str))
    order = list(dict.fromkeys(runs["name"]))
    found = pd.DataFrame({"name": order})
    for outcome, frame in values.items():
        told = anchors.estimates(runs, anchors.at(frame, chosen, "value", "prompt"), ["name"])
        bounds = {"harm": outcome, "low": f"{outcome}_low", "high": f"{outcome}_high"}
        if outcome == "harm":
            shared = ["name", "runs", "attained", "censored", "capability", "flag", "missing",
                      "least", "most"]  # fmt: skip
            found = found.merge(told[shared], on="name")
        found = found.merge(told[["name", *bounds]].rename(columns=bounds), on="name")
    return found


def _change(runs: pd.DataFrame, at: pd.DataFrame, name: str, other: str) -> dict[str, float]:
    """One method less another on the seeds at which both stand, clustered by run and by prompt."""
    keys = [*CELL, "setting", "seed"]
    one, two = (
        runs.loc[(runs["name"] == n) & (runs["status"] == ATTAINED), [*keys, "run"]]
        for n in (name, other)
    )
    both = one.merge(two, on=keys, suffixes=("", "_other"))
    if len(both) < FEWEST:
        return {"change": NAN, "low": NAN, "high": NAN, "p": NAN, "pairs": len(both)}
    rates = both.merge(at[["run", "prompt", "value"]], on="run").rename(columns={"value": "last"})
    base = at[["run", "prompt", "value"]].rename(columns={"run": "run_other", "value": "base"})
    found = changes(rates.merge(base, on=["run_other", "prompt"]).assign(cell="all"), ["cell"])
    row = found.iloc[0]
    half = (row["high"] - row["low"]) / 2
    freedom = min(row["runs"], row["prompts"]) - 1
    error = half / stats.t.ppf((1 + LEVEL) / 2, freedom)
    same = 1.0 if row["change"] == 0 else 0.0
    p = float(2 * stats.t.sf(abs(row["change"]) / error, freedom)) if error > 0 else same
    return {"change": row["change"], "low": row["low"], "high": row["high"], "p": p,
            "pairs": len(both)}  # fmt: skip


def _columns(told: dict[str, dict[str, float]], outcome: str) -> pd.DataFrame:
    """The changes as columns of an outcome, with Holm's p and what they say."""
    found = pd.DataFrame.from_dict(told, orient="index")
    if found.empty:
        found = pd.DataFrame(columns=["change", "low", "high", "p", "pairs"], dtype=float)
    found["p_holm"] = holm(found["p"])
    clear = found["p_holm"] < 1 - LEVEL
    found["says"] = np.where(clear, np.where(found["change"] > 0, "rises", "falls"), "unclear")
    names = {"change": f"{outcome}_change", "low": f"{outcome}_change_low",
             "high": f"{outcome}_change_high", "p": f"{outcome}_p", "p_holm": f"{outcome}_p_holm",
             "says": f"{outcome}_says", "pairs": f"{outcome}_pairs"}  # fmt: skip
    return found.rename(columns=names)


def _control(name: str, names: list[str]) -> str:
    """The control of a method at the same knob, or at its only one; "" where there is none."""
    method, _, knob = name.partition(" ")
    for control, of in CONTROL_OF.items():
        for one in (f"{control} {knob}".strip(), control):
            if of == method and one in names:
                return one
    return ""


def _equal(runs: pd.DataFrame, right: pd.DataFrame, name: str, tolerance: float) -> dict[str, Any]:
    """Whether a method's capability is proven to be plain LoRA's, where they stand."""
    stand = runs[runs["status"] == ATTAINED]
    one, two = (
        right[right["run"].isin(set(stand.loc[stand["name"] == n, "run"]))] for n in (name, LORA)
    )
    if name == LORA or not (len(one) and len(two)):
        return {"able_change": NAN, "equivalent": None, "smallest": NAN}
    found = anchors.tost(one, two, tolerance)
    return {"able_change": found.difference, "equivalent": found.equivalent,
            "smallest": found.smallest}  # fmt: skip


def statistics(found: Found) -> dict[str, Any]:
    """What the figure's JSON holds."""
    tables = {name: getattr(found, name).to_dict("records")
              for name in ("at_goal", "at_end", "curve")}  # fmt: skip
    return {**found.about, **tables, "why_not": found.why_not}


def data(found: Found) -> pd.DataFrame:
    """The numbers drawn, a panel a letter."""
    if found.why_not:
        return pd.DataFrame({"note": [found.why_not]})
    return pd.concat(
        [found.curve.assign(panel="a"), found.at_goal.assign(panel="b", place="at the goal"),
         found.at_end.assign(panel="b", place="last epoch")],
        ignore_index=True,
    )  # fmt: skip
