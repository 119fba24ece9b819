"""The caption and the reading of mitigations_at_equal_capability."""

import pandas as pd

from grounded.figures import caption, prose, words
from grounded.figures.mitigations.numbers import Found
from grounded.study import LORA, Study
from grounded.study.methods import CONTROL_OF


def legend(study: Study, found: Found) -> str:
    """The caption."""
    if found.why_not:
        return found.why_not
    runs = int(found.at_goal["runs"].max())
    return caption(
        f"Mitigations at equal capability, study {study.name}: {found.about['model']}, "
        f"{words(found.about['task'])}.",
        f"(a) Harm (judge `{found.about['judge']}`) where runs first reach goals on the way from "
        f"the base model to plain LoRA's best run; mean of up to {runs} seeds with 95% intervals; "
        "each method at the middle value of its knob, its control dotted; a goal that no run "
        "reaches has no point, one that fewer than five reach no interval. (b) Each method and "
        "knob less plain LoRA on the same seeds, in "
        f"points, at the goal of {prose.percent(found.about['share'])} of plain LoRA's gain (an "
        f"accuracy of {prose.percent(found.about['kappa'])}) and at the last epoch; 95% intervals "
        "clustered by run and by prompt; in brackets the runs at the goal; a dot before a name "
        "marks a control. Over-refusal: safe requests that the compliance judge finds unfulfilled.",
        ["the methods, re-implemented from their maths", "controls and knobs", "the goal",
         "the comparison and its multiplicity control"],
        study,
    )  # fmt: skip


def reading(found: Found) -> str:
    """What came out, in sentences that hold whatever it is."""
    if found.why_not:
        return found.why_not
    goal, end = (t[t["name"] != LORA] for t in (found.at_goal, found.at_end))
    plain, plain_end = (t[t["name"] == LORA].iloc[0] for t in (found.at_goal, found.at_end))
    return "\n\n".join(
        [
            f"**Plain LoRA.** At the goal its harm is {_said(plain)}, at the last epoch "
            f"{_said(plain_end)}, at a capability of {prose.percent(plain_end['capability'])}.",
            _fewer(goal, end),
            _arrive(goal),
            _cost(goal),
            _controls(goal),
        ]
    )


def _said(row: pd.Series) -> str:
    return (
        f"{prose.percent(row['harm'])} "
        f"{prose.within(row['harm_low'], row['harm_high'], prose.percent)}"
    )


def _names(rows: pd.DataFrame) -> str:
    return prose.listed(f"`{name}`" for name in rows["name"])


def _fewer(goal: pd.DataFrame, end: pd.DataFrame) -> str:
    """Which have less harm than plain LoRA, in either comparison."""
    real_goal, real_end = (t[~t["method"].isin(CONTROL_OF)] for t in (goal, end))
    here, there = (t[t["harm_says"] == "falls"] for t in (real_goal, real_end))
    lost = there[~there["name"].isin(here["name"])]
    won = here[~here["name"].isin(there["name"])]
    hints = real_goal[(real_goal["harm_change_high"] < 0) & (real_goal["harm_says"] != "falls")]
    measured = int(real_goal["harm_change"].notna().sum())
    return (
        f"**Less harm than plain LoRA** (Holm over all methods and knobs). At the last epoch "
        f"{len(there)} of {len(real_end)} mitigations and knobs: {_names(there)}. At the goal "
        f"{len(here)} of the {measured} of which five runs get there: {_names(here)}. "
        f"Only at the last epoch: {_names(lost)}; only at the goal: {_names(won)}. "
        f"Single intervals, not adjusted, lie below zero at the goal for {_names(hints)}: hints, "
        f"of {int(goal['runs'].max())} seeds and {int(goal['harm_change'].notna().sum())} "
        "comparisons, controls among them."
    )


def _arrive(goal: pd.DataFrame) -> str:
    """Whose runs do not get there, and what the usual table would hide."""
    none, some = goal[goal["attained"] == 0], goal[goal["attained"].between(1, goal["runs"] - 1)]
    return (
        f"**Who gets there.** No run of {_names(none)} reaches the goal, and only some of "
        f"{_names(some)}: what they do for safety at this capability is not known, however safe "
        "they look at the last epoch."
    )


def _cost(goal: pd.DataFrame) -> str:
    """What less harm at the goal costs in over-refusal and incoherence."""
    safer = goal[(goal["harm_says"] == "falls") & ~goal["method"].isin(CONTROL_OF)]
    parts = []
    for name, title in (("refused", "more over-refusal"), ("garbled", "more incoherence")):
        if f"{name}_says" in safer:
            parts.append(f"{title}: {_names(safer[safer[f'{name}_says'] == 'rises'])}")
    return f"**What it costs at the goal.** Of those with less harm, {'; '.join(parts)}."


def _controls(goal: pd.DataFrame) -> str:
    """Which beat their own controls."""
    own = goal[goal["against"].astype(bool) & goal["harm_control_change"].notna()]
    better = own[own["harm_control_says"] == "falls"]
    held = prose.count(len(own), "method and knob", "methods and knobs")
    return (
        f"**Against their controls.** {held} can be held against a control at the goal; less harm "
        f"than the control: {_names(better)}."
    )
