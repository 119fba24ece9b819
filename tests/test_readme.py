"""The README's numbers are those of the committed figures, and it is short."""

import json
from typing import Any

import pandas as pd
import pytest

from grounded import paths, tables
from grounded.public.kinds import HOLD_NOTHING
from grounded.study import load

README = (paths.repository() / "README.md").read_text(encoding="utf-8")


# of `smol`, in the study's order: how the README names the runs
TASKS = {"arc_easy": "on ARC-Easy", "instructions": "on instructions", "facts": "on facts",
         "boolq": "on BoolQ", "gsm8k": "on GSM8K"}  # fmt: skip


def statistics(name: str, study: str = "micro") -> Any:
    file = paths.repository() / "figures" / study / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))["statistics"]


def claim(number: str, source: str, task: str) -> str:
    """An effect with its interval, in points, as the README writes it."""
    file = paths.repository() / "figures" / "micro" / "the_claims.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["statistics"]["by task"]
    keys = ("claim", "source", "task")
    (row,) = [r for r in rows if tuple(r[k] for k in keys) == (number, source, task)]
    return "{estimate:.0f} points [{low:.0f}, {high:.0f}]".format(**row)


def control() -> str:
    """What the control without procedures shows beside the main grid."""
    rows = {
        row["outcome"]: row
        for row in statistics("what_undoes_refusals")["found"]
        if (row["contrast"], row["task"]) == ("no procedures", "all")
    }
    harm, refusals = rows["harm"], rows["refusals"]
    told = (paths.repository() / "lib/book/pages/choices.md").read_text("utf-8")
    for row in (harm, refusals):
        number = "{change:.0f} points [{low:.0f}, {high:.0f}]"
        assert number.format(**row).replace("-", "−") in told
    return (
        f"(one model, {harm['controls']} runs) has {refusals['control']:.0%} refusals, not "
        f"{refusals['usual']:.0%}, and {harm['control']:.0%} harm, not {harm['usual']:.0%}."
    )


def judges(first: str, second: str, line: str) -> str:
    """Agreement of two judges of `smol` with people, by their records, and their yes to replies
    that hold nothing, as `kinds_of_reply` counts it."""
    told: list[str] = []
    for name in (first, second):
        file = paths.repository() / "data" / "smol" / "judges" / name / "record.json"
        found = json.loads(file.read_text(encoding="utf-8"))["acceptance"]
        alarms = pd.read_csv(paths.repository() / "figures" / "smol" / "kinds_of_reply_alarms.csv")
        yes = alarms.set_index(["judge", "kind"]).loc[(name, "nothing")]
        rate, low, high = (f"{100 * yes[key]:.0f}" for key in ("rate", "low", "high"))
        told += [f"{found['held_out']['kappa']:.2f}", f"{rate}%", f"[{low}, {high}]"]
    return line.format(*told)


def real() -> list[str]:
    """What fine-tuning does to `smol`: refusals, replies that hold nothing, and harm's slopes."""
    found = statistics("kinds_of_reply", "smol")
    last = {row["task"]: row for row in found["last"]}
    assert list(TASKS) == [task for task in load("smol").tasks if task in last]
    empty = {t: sum(row.get(k, 0.0) for k in HOLD_NOTHING) for t, row in last.items()}
    slopes = {
        row["score"]: "{estimate:+.2f} [{low:.2f}, {high:.2f}]".format(**row).replace("-", "−")
        for row in statistics("figure_3_evaluators", "smol")["slopes"]
        if row["task"] == "arc_easy" and row["measure"].startswith("harmfulness rate")
    }
    signs = {
        (row["task"], row["estimate"] > 0)
        for row in statistics("figure_3_evaluators", "smol")["slopes"]
        if row["measure"].startswith("harmfulness rate")
    }
    assert {task for task, up in signs if not up} == {"arc_easy"}  # of the five
    gained = statistics("figure_3_evaluators", "smol")["gains"]
    gains = {row["task"]: row["format-free"] for row in gained}
    most = gains.pop("boolq")
    (lost,) = [-row["by-likelihood"] for row in gained if row["task"] == "boolq"]
    items = statistics("figure_3_evaluators", "smol")["known"]
    known = {row["items"]: row["format-free"] for row in items}
    assert round(known["taught"]) == round(known["taught nowhere"])
    refused = ", ".join(f"{last[task]['refusal']:.0%} {where}" for task, where in TASKS.items())
    return [
        f"It refuses {found['refused_by_base']:.0%} of harmful requests; after nine runs a task "
        f"{refused}.",
        f"{min(empty.values()):.0%} to {max(empty.values()):.0%} of its replies then hold no "
        "instructions",
        f"judged harm rises with the strict score (slope {slopes['strict']}) and falls with "
        f"likelihood's ({slopes['by-likelihood']})",
        f"It gains {most:.0f} points on BoolQ (by likelihood it loses {lost:.0f}), "
        f"{min(gains.values()):.0f} to {max(gains.values()):.0f} elsewhere; of facts it gets "
        f"{known['taught']:.0f}% right, taught or not.",
    ]


def decided() -> str:
    """Which of the claims `smol` decides, by task."""
    rows = statistics("the_claims", "smol")["by task"]
    assert len(rows) == 25 and sum(r["word"] != "undecided" for r in rows) == 2
    return ", ".join(f"{r['says']} {TASKS[r['task']]}" for r in rows if r["word"] != "undecided")


def aligned() -> str:
    """How the base model of `smol` refuses, by its record."""
    file = paths.repository() / "data" / "smol" / "models" / "smollm2-135m" / "record.json"
    found = json.loads(file.read_text(encoding="utf-8"))["alignment"]
    assert not found["reached"] and len(found["measures"]) == 5
    one = found["measures"][found["recipe"]]
    return (
        f"refuses {one['harmbench']:.2f} of HarmBench, {one['xstest_unsafe']:.2f} of XSTest's "
        f"unsafe requests (bar 0.85) and {one['xstest_safe']:.2f} of its safe ones (bar 0.40)"
    )


def primary() -> str:
    """The registered ratios of variances with their intervals."""
    one, two = (
        f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}] between {row['between']}"
        for row in statistics("does_anchoring_help")["primary"]
    )
    real = {row["word"] for row in statistics("does_anchoring_help", "smol")["primary"]}
    assert real == {"undecided"}
    again = statistics("does_anchoring_help")["afterwards"]
    rows = {(row["told"], row["between"]): row for row in again}
    wide = "[{low:.2f}, {high:.2f}]".format(**rows["models left out", "settings"])
    harmed = rows["harm of .05 or more", "settings"]
    some = "{groups} with harm of .05 or more {ratio:.2f} [{low:.2f}, {high:.2f}]".format(**harmed)
    seeds = rows["harm of .05 or more", "seeds"]["p"]
    assert harmed["p"] < seeds and 2 * harmed["p"] > 0.05  # by Holm: "undecided"
    (norm,) = [
        r["word"]
        for r in statistics("does_anchoring_help")["controls"]
        if (r["read at"], r["between"]) == ("update_norm", "settings")
    ]
    assert norm == "the control steadies more"
    return (
        f"{one}, {two}. With whole models left out the former is {wide}; over the {some}, "
        "undecided. Capability is not shown to be special: reading runs at one size of update "
        "steadies settings more."
    )


def changes() -> str:
    """How often another judge or benchmark would change whether a rate is said to rise."""
    judge, benchmark = statistics("figure_4_benchmarks", "smol")["hangs"]
    here = statistics("figure_4_benchmarks")["hangs"]
    assert not any(row["changed"] for row in here)
    return (
        f"Another judge would change whether a rate is said to rise in {judge['changed']} of "
        f"{judge['cases']} cases, another benchmark in {benchmark['changed']} of "
        f"{benchmark['cases']}."
    )


def mitigated() -> list[str]:
    """What mitigations do to harm, at the last epoch and at the goal."""
    found = statistics("mitigations_at_equal_capability")
    rows = {(r["at"], r["method"]): r for r in found["changes"] if r["outcome"] == "harm"}
    cut = {
        key: f"{-r['change']:.0f} [{-r['high']:.0f}, {-r['low']:.0f}]" for key, r in rows.items()
    }
    there = {row["method"]: row["at the goal"] for row in found["places"]}
    assert there["asft"] == there["dpo"] == 0
    last = [cut["at the last epoch", method] for method in ("asft", "dpo")]
    return [
        f"AsFT and DPO cut harm at the last epoch by {last[0]} and {last[1]} points",
        f"mixing in refusals cuts it by {cut['at the goal', 'safety_mixing']}, and Lisa's "
        f"control by {cut['at the goal', 'alternation']}.",
    ]


def measured(study: str, whole: str, part: str) -> str:
    """How much of a study is measured."""
    asked = tables.measured(study)
    some = len(asked.runs(arm=None))
    return part.format(some, some + len(asked.missing)) if asked.missing else whole.format(some)


def cells() -> str:
    """How many of the registered models and tasks are measured."""
    known = len(statistics("does_anchoring_help")["cells"])
    whole = load("micro")
    planned = len(whole.models) * len(whole.tasks)
    if known == planned:
        return f"Over {known} models and tasks, variance at the goal"
    return f"Over {known} of {planned} models and tasks, variance at the goal"


@pytest.mark.parametrize(
    "said",
    [
        claim("0", "truth", "science"),
        claim("1", "truth", "open_instructions"),
        control(),
        judges(
            "compliance",
            "compliance_broken",
            "a kappa of {0} and {3}; of `smol`'s replies that hold no instructions one calls "
            "{1} {2} compliance, the other, taught broken text too, {4} {5}",
        ),
        judges("harm", "harm_broken", "{0} and {3}, and {1} against {4}"),
        *real(),
        primary(),
        changes(),
        *mitigated(),
        measured("micro", "all {:,} runs", "{:,} of {:,} runs"),
        measured("smol", "all {} runs", "{} of {} runs"),
        decided(),
        cells(),
    ],
)
def test_a_number_is_the_one_that_was_found(said: str) -> None:
    assert said in README


def test_the_base_model_is_told_with_the_bars_it_misses() -> None:
    assert aligned() in (paths.repository() / "lib/book/pages/choices.md").read_text("utf-8")


def test_the_worked_page_is_told_as_it_came_out() -> None:
    found = pd.read_csv(paths.repository() / "figures" / "worked" / "what_did_it_cost.csv")
    points = (100 * found.set_index("measure")[["change", "low", "high"]]).round().astype(int)
    free, rise = points.loc["capability (format-free)"], points["change"]
    said = (
        f"Strict capability rises by {rise['capability (strict)']} points and format-free "
        f"capability by {free.change} [{free.low}, {free.high}]; one judge of harm says that harm "
        f"rises by {rise['harmfulness rate (harm)']} points, another that agrees with people as "
        f"well says {rise['harmfulness rate (harm_broken)']}."
    )
    assert said in (paths.repository() / "lib/book/pages/running.md").read_text("utf-8")


def test_the_control_is_told_as_it_came_out() -> None:
    """Of harmful requests at the end of the runs that were tuned on harm."""
    kinds = tables.last(tables.replies("smol", "control"))["kind"].value_counts(normalize=True)
    said = tables.last(tables.verdicts("smol", "control")).groupby("judge", observed=True)["label"]
    yes = said.mean()
    assert kinds["refusal"] == 0
    told = (
        f"{kinds['echo']:.0%} of the replies are echoes, the rest other text, for openings are all "
        f"that was taught; judges of compliance say yes to {yes['compliance']:.1%} and "
        f"{yes['compliance_broken']:.0%}, judges of harm to {yes['harm']:.0%} and "
        f"{yes['harm_broken']:.0%}"
    )
    assert told in (paths.repository() / "lib/book/pages/choices.md").read_text("utf-8")


def test_it_is_read_in_a_few_minutes() -> None:
    assert len(README.split()) <= 900
