"""The tables of a study as tidy frames: checked as they are read, joined with run and epoch.

Every function takes a study (or its name) and gives one frame over all runs of its main grid, or of
an arm. The base model of each is among the rows (`base` is true, epoch 0, one row of each prompt or
item): it is what every run starts from, and no run of its own. Where a study samples several
replies to a prompt, `sample` numbers them. A study that is measured in part is read through
`measured`; of any other, a table that is not there is an error.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.records import columns
from grounded.records.schemas import STRIDE
from grounded.study import BASE, UNTAUGHT, Study, TunedJudge, load

KEY = ["benchmark", "prompt", "run", "step"]  # of a reply
RUN = ("model", "task", "method", "setting", "arm")  # categories; the seed is a number
REPLY = [
    "benchmark",
    "prompt",
    "finish",
    "tokens",
    "kind",
    "truth",
    "truth_harm",
    "truth_fulfilled",
]
DETECTOR = "combined"  # of coherence: the study's own rule, out of the single detectors
# a judge's yes, by its kind: only a harm judge speaks of harm
MEANS = {
    "harm": "harmfulness rate",
    "compliance": "compliance rate",
    "keywords": "share without a refusal phrase",
}
SCORES = {"correct": "strict", "correct_format_free": "format-free", "likelihood": "by-likelihood"}
Names = Sequence[str] | None


def measured(study: Study | str) -> Study:
    """The study less the units of which no table is there; itself, where all are.

    A unit is there with all its tables and all its runs, or not at all. GroundedError for one that
    is there in part, and for a study of which no run is measured. `left_out` says how far it is.
    """
    study = _study(study)
    absent = [unit for unit in study.units(arm=None) if not _whole(study, unit)]
    if not any(run.unit not in absent for run in study.runs()):
        place = paths.shown(paths.data(study.name))
        raise GroundedError(
            f"{place}: found the tables of no run, wanted those of one unit or more"
        )
    return study.without(absent) if absent else study


def names(study: Study) -> list[str]:
    """The tables that every unit of a study has: `progress` where capability is measured on the
    way."""
    return [name for name in records.SCHEMAS if name != "progress" or study.every]


def _whole(study: Study, unit: str) -> bool:
    """Whether all tables of a unit are there, with all its runs; GroundedError for a part."""
    files = [paths.table(study.name, name, unit) for name in names(study)]
    if not any(file.exists() for file in files):
        return False
    wanted = {run.id for run in study.unit_runs(unit)}
    for file in files:
        found = set(records.metadata(file)["runs"]) if file.exists() else set()
        if found != wanted:
            raise GroundedError(
                f"{paths.shown(file)}: run: found {len(found & wanted)} of the unit's "
                f"{len(wanted)} runs and {len(found - wanted)} others, wanted all of them, or no "
                "table of the unit"
            )
    return True


def runs(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """One row a run: run, model, task, method, setting, rank, alpha, learning_rate, seed, knob.

    arm: of the study; "" its main grid, None all. Base models are left out.
    """
    found = pd.DataFrame(_study(study).runs(arm=arm)).rename(columns={"id": "run"})
    return found.astype({"knob": "float64"})


def checkpoints(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """One row a checkpoint: run, step, epoch, loss (nats a token, the mean since the checkpoint
    before), update_norm (Frobenius, of what LoRA adds), adapter (sha256), and the run's columns."""
    return _read(_study(study), "checkpoints", None, {}, arm, goals=True)


def capability(
    study: Study | str, arm: str | None = "", half: str = "report", goals: bool = False
) -> pd.DataFrame:
    """One row a test item and checkpoint: run, step, epoch, item, correct (strict, 0 or 1),
    correct_format_free, likelihood (the right choice is the likeliest: 1 or 0; of texts in the open
    how likely the reference is, 0 to 1 a token; NaN where it was not asked), and the run's columns;
    `task` is the task of the item. What was measured beside: `abilities`, `untaught`.

    half: `select` (even items: what chooses a checkpoint), `report` (odd items), or `all`. goals:
    see `replies`. A base model has rows of every task.
    """
    study = _study(study)
    kept = ["task", "item", "correct", "correct_format_free", "likelihood"]
    found = _read(study, "capability", kept, {}, arm, goals)
    found = _of_tasks(found, {*study.tasks, *(run.task for run in study.runs(arm=arm))})
    if half == "all":
        return found
    wanted = {"select": 0, "report": 1}[half]
    return found[found["item"] % 2 == wanted].reset_index(drop=True)


def abilities(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """As `capability`, of the tasks that the lm-evaluation-harness measured beside the study's own
    (`harness` in its file): all documents, for none of them chooses a checkpoint."""
    study = _study(study)
    return _others(study, study.harness.tasks if study.harness else [], arm)


def untaught(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """As `capability`, of the controls: items that are asked as a task's are and taught nowhere, so
    that what form and guessing bring is seen. Of fine-tuned checkpoints alone, all items."""
    study = _study(study)
    names = {UNTAUGHT.format(task): task for task in study.tasks}
    found = _others(study, names, arm)
    return found.assign(task=found["task"].astype(str).map(names))


def _others(study: Study, names: Collection[str], arm: str | None) -> pd.DataFrame:
    kept = ["task", "item", "correct", "correct_format_free", "likelihood"]
    if not names:
        return pd.DataFrame(columns=["run", "step", *kept])
    return _of_tasks(_read(study, "capability", kept, {}, arm, goals=False), names)


def _of_tasks(found: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    found = found[found["task"].isin([*names])].reset_index(drop=True)
    return found.assign(task=found["task"].cat.remove_unused_categories())


def progress(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """One row a checkpoint, those between the epochs too: run, step, epoch, task, items (of the
    half that selects), strict and format_free (how many are answered rightly), and the run's
    columns. Where capability is measured at epochs alone it is counted from the answers. A base
    model has rows of every task."""
    study = _study(study)
    if study.every:
        return _read(study, "progress", None, {}, arm, goals=True)
    answers = capability(study, arm, "select")
    about = [
        n for n in answers if n not in ("item", "correct", "correct_format_free", "likelihood")
    ]
    return (
        answers.groupby(about, observed=True)
        .agg(items=("item", "size"), strict=("correct", "sum"),
             format_free=("correct_format_free", "sum"))
        .reset_index()
    )  # fmt: skip


def replies(
    study: Study | str, arm: str | None = "", benchmarks: Names = None, goals: bool = False
) -> pd.DataFrame:
    """One row a reply: run, step, epoch, benchmark, prompt, finish, tokens, kind (of real text, by
    the rules of `grounded.public.kinds`), the truth of the invented world (truth: the class;
    truth_harm, truth_fulfilled: 1, 0, -1 not known), harmful (whether the benchmark asks for harm),
    and the run's columns. Texts stay in the files.

    goals: also the checkpoints between the epochs, which were asked because their run is at a goal
    there: chosen by what they show, so no mean over an epoch may hold them.
    """
    study = _study(study)
    return _asked(study, "replies", REPLY, _benchmarks(study, benchmarks), arm, goals)


def verdicts(
    study: Study | str, arm: str | None = "", judges: Names = None, benchmarks: Names = None,
    goals: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """One row a reply and judge: run, step, epoch, benchmark, prompt, judge, label (1 yes, 0 no,
    NaN where the judge's answer could not be read), harmful, and the run's columns.

    judges, benchmarks: those read; by default all judges, and the benchmarks of harmful requests.
    goals: see `replies`. GroundedError for a name that the study does not have.
    """
    study = _study(study)
    wanted = list(judges if judges is not None else study.judges)
    for name in wanted:
        study.judge(name)
    only = {"judge": wanted, **_benchmarks(study, benchmarks)}
    found = _asked(study, "verdicts", ["judge", "benchmark", "prompt", "label"], only, arm, goals)
    return found.assign(label=found["label"].astype("float32").where(found["label"] >= 0))


def coherence(
    study: Study | str, arm: str | None = "", benchmarks: Names = None, detector: str = DETECTOR,
    goals: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """One row a reply: run, step, epoch, benchmark, prompt, coherent (1 or 0, as the detector
    says), harmful, and the run's columns. goals: see `replies`."""
    study = _study(study)
    only = {"detector": [detector], **_benchmarks(study, benchmarks)}
    found = _asked(study, "coherence", ["benchmark", "prompt", "label"], only, arm, goals)
    return found.rename(columns={"label": "coherent"})


def scores(answers: pd.DataFrame) -> dict[str, str]:
    """The ways in which these answers (rows of `capability`) are scored: column -> its name."""
    return {column: name for column, name in SCORES.items() if answers[column].notna().any()}


def from_base(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with those of each base model once in every task that it is tuned on: epoch 0."""
    tuned, base = rows[~rows["base"]], rows[rows["base"]].drop(columns="task")
    tasks = tuned[["model", "task"]].drop_duplicates()
    return pd.concat([tuned, base.merge(tasks, on="model")], ignore_index=True)


def last(answers: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last checkpoint; base models are left out."""
    tuned = answers[~answers["base"]]
    return tuned[tuned["step"] == tuned.groupby("run", observed=True)["step"].transform("max")]


def since_base(answers: pd.DataFrame, value: str) -> pd.DataFrame:
    """Each run's last checkpoint beside its base model: one row a run, judge and prompt or item.

    answers: rows of `capability`, `verdicts`, `replies` or `coherence`, the base models among them.
    value: a column of numbers. Columns: those of the last checkpoint's answers, `before` (the value
    of the base model), `change` (after less before; NaN where either is missing) and `question`
    (a number for the prompt or item, which all runs share).
    """
    asked = ["task", "item"] if "item" in answers else ["benchmark", "prompt"]
    on = ["model", *asked, *(name for name in ("judge", "sample") if name in answers)]
    first = answers.loc[answers["base"], [*on, value]].rename(columns={value: "before"})
    both = last(answers).merge(first, on=on, validate="many_to_one")
    numbers = both.groupby(asked, observed=True).ngroup()
    change = both[value].astype(float) - both["before"].astype(float)
    return both.assign(change=change, question=numbers)


def together(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """One row a reply to a harmful request: the columns of `replies`, coherent (1 or 0, by the
    study's detector), and one a judge, by its name: 1, 0, or NaN where it could not be read."""
    study = _study(study)
    return _wide(study, arm, "verdicts", "judge", "label", list(study.judges))


def scored(study: Study | str, arm: str | None = "") -> pd.DataFrame:
    """One row a reply to a harmful request: the columns of `replies`, coherent (1 or 0, by the
    study's detector), and the scores that it rests on: perplexity (nats a token; NaN for an empty
    reply) and repetition (share of trigrams that stood before)."""
    scores = ["perplexity", "repetition"]
    return _wide(_study(study), arm, "coherence", "detector", "score", scores)


def measures(study: Study | str, judges: Names = None) -> dict[str, str]:
    """What the yes of each of these judges means, as an axis says it (`harmfulness rate`), with the
    judge's kappa with people where it was tuned here.

    judges: by default the study's first judge of harm and its first of compliance; where it has
    neither, its first keyword list, which says nothing of harm. GroundedError for an unknown judge.
    """
    study = _study(study)
    wanted = list(judges or ())
    for kind in () if wanted else ("harm", "compliance"):
        wanted += [name for name, one in study.judges.items() if one.kind == kind][:1]
    wanted = wanted or list(study.judges)[:1]
    told = {name: f" (κ {kappa:.2f})" for name, kappa in kappas(study).items()}
    return {name: MEANS[study.judge(name).kind] + told.get(name, "") for name in wanted}


def acceptance(study: Study | str) -> dict[str, dict[str, Any]]:
    """What each judge that was tuned here was found to do: `held_out` (how it agrees with people
    on completions held out) and `broken` (its yes to replies that hold nothing, by kind).

    From the judges' records; one without a record is left out.
    """
    study = _study(study)
    tuned = [name for name, one in study.judges.items() if isinstance(one, TunedJudge)]
    files = {name: paths.judge(study.name, name) / paths.RECORD for name in tuned}
    read = {
        name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()
    }
    return {name: record["acceptance"] for name, record in read.items()}


def kappas(study: Study | str) -> dict[str, float]:
    """Cohen's kappa with people, on completions held out, of each judge that was tuned here."""
    return {name: float(one["held_out"]["kappa"]) for name, one in acceptance(study).items()}


def left_out(study: Study | str) -> str:
    """How much of the study is measured, and what this machine has no access to; often nothing.

    A sentence for the runs that `measured` left out, and one for every judge and benchmark.
    """
    study = _study(study)
    sentences = [
        f" The {name.replace('s.', ' `', 1)}` of the study is left out: {why}."
        for name, why in study.absent.items()
    ]
    if study.missing:
        found = study.runs(arm=None)
        tasks = ", ".join(dict.fromkeys(run.arm or run.task for run in found))
        every = len(found) + len(study.missing)
        sentences.append(f" **Measured so far: {len(found)} of {every} runs ({tasks}).**")
    return "".join(sentences)


def _study(study: Study | str) -> Study:
    return load(study) if isinstance(study, str) else study


def _benchmarks(study: Study, names: Names) -> dict[str, Sequence[str]]:
    """The benchmarks asked for, by default those of harmful requests."""
    for name in names or ():
        if name not in study.benchmarks:
            known = ", ".join(study.benchmarks)
            raise GroundedError(f"benchmarks: found {name!r}, wanted one of {known}")
    if found := list(names or study.harmful_benchmarks):
        return {"benchmark": found}
    file = paths.shown(paths.study_file(study.name))
    raise GroundedError(f"{file}: benchmarks: found none of harmful requests, wanted one")


def _asked(
    study: Study, table: str, kept: list[str], only: Mapping[str, Sequence[str]], arm: str | None,
    goals: bool,
) -> pd.DataFrame:  # fmt: skip
    found = _read(study, table, kept, only, arm, goals)
    if study.generation.samples > 1:  # a prompt is one question, however many replies it got
        found = found.assign(prompt=found["prompt"] % STRIDE, sample=found["prompt"] // STRIDE)
    harmful = found["benchmark"].cat.categories.isin(study.harmful_benchmarks)
    return found.assign(harmful=harmful[found["benchmark"].cat.codes])


def _read(
    study: Study, table: str, kept: list[str] | None, only: Mapping[str, Sequence[str]],
    arm: str | None, goals: bool,
) -> pd.DataFrame:  # fmt: skip
    """The units of a table one after the other, each joined with its runs and their epochs."""
    kept = kept or [n for n in records.SCHEMAS[table].columns if n not in ("run", "step")]
    parts = [_joined(study, unit, table, kept, only, goals) for unit in study.units(arm=arm)]
    return records.join(parts)


def _wide(study: Study, arm: str | None, *asked: Any) -> pd.DataFrame:
    """Replies, coherent, and what is asked of `_beside`; runs as the study has them, bases last."""
    parts = []
    for unit in study.units(arm=arm):
        rows = _joined(study, unit, "replies", REPLY, _benchmarks(study, None))
        rule = _beside(study, unit, rows, "coherence", "detector", "label", [DETECTOR])
        parts.append(rows.assign(coherent=rule[DETECTOR]).join(_beside(study, unit, rows, *asked)))
    found = records.join(parts)
    names = dict.fromkeys(run.id for run in study.runs(arm=arm))
    names |= dict.fromkeys(found["run"].cat.categories)
    order = found["run"].cat.set_categories([n for n in names if n in found["run"].cat.categories])
    return found.assign(run=order).sort_values("run", kind="stable", ignore_index=True)


def _beside(
    study: Study, unit: str, rows: pd.DataFrame, table: str, by: str, value: str, names: list[str]
) -> pd.DataFrame:
    """What a table says of these replies, a column for each of the names in its column `by`: NaN
    where it says nothing. GroundedError for a name of which it says nothing at all."""
    file = paths.table(study.name, table, unit)
    said = columns.read(file, table, [by, *KEY, value], {by: names, **_benchmarks(study, None)})
    if lost := [name for name in names if not (said[by] == name).any()]:
        raise GroundedError(f"{paths.shown(file)}: {by}: found no {lost[0]!r}, wanted its rows")
    if value == "label":
        said[value] = said[value].astype("float32").replace(columns.MISSING, np.nan)
    wide = said.pivot(index=KEY, columns=by, values=value).reset_index()
    return rows[KEY].merge(wide, on=KEY, how="left", validate="one_to_one")[names]


def _joined(
    study: Study, unit: str, table: str, kept: list[str], only: Mapping[str, Sequence[str]],
    goals: bool = False,
) -> pd.DataFrame:  # fmt: skip
    file = paths.table(study.name, table, unit)
    found = columns.read(file, table, ["run", "step", *kept], only)
    about = pd.DataFrame(study.unit_runs(unit)).set_index("id")
    if odd := sorted(set(found["run"].cat.categories) - set(about.index)):
        raise GroundedError(f"{paths.shown(file)}: run: found {odd[0]}, wanted a run of the study")
    found = found.merge(_steps(study, unit, found, table, goals), on=["run", "step"], how="inner")
    rows = about.loc[found["run"].cat.categories]
    codes = found["run"].cat.codes.to_numpy()
    for name in RUN:
        if name not in found:
            found[name] = pd.Categorical(rows[name]).take(codes)
    found["seed"] = rows["seed"].to_numpy("int16")[codes]
    found["base"] = (rows["task"] == BASE).to_numpy()[codes]
    return found


def _steps(study: Study, unit: str, found: pd.DataFrame, table: str, goals: bool) -> pd.DataFrame:
    """The checkpoints whose rows are kept: run, step and, where the rows lack it, epoch.

    Those at the epochs that the study measures and the last of each run; with `goals` all.
    """
    key = ["run", "step"]
    kept = found[[*key, *(["epoch"] if "epoch" in found else [])]].drop_duplicates()
    if "epoch" not in found:
        file = paths.table(study.name, "checkpoints", unit)
        epochs = columns.read(file, "checkpoints", [*key, "epoch"])
        kept = kept.merge(epochs.astype({"run": found["run"].dtype}), on=key, how="left")
        if kept["epoch"].isna().any():
            odd = kept.loc[kept["epoch"].isna(), key].iloc[0]
            raise GroundedError(
                f"{paths.shown(paths.table(study.name, table, unit))}: step: found {odd['step']} "
                f"of {odd['run']}, wanted a step that the table checkpoints has"
            )
    if study.every and not goals:
        last = kept["step"] == kept.groupby("run", observed=True)["step"].transform("max")
        wanted = np.asarray([0.0, *study.measure_at], dtype=float)
        near = np.isclose(kept["epoch"].to_numpy(dtype=float)[:, None], wanted).any(axis=1)
        kept = kept[near | last]
    return kept[[name for name in kept if name in key or name not in found]]
