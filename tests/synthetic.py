"""Tables of a study nobody ran: every column of the schema, drawn from effects that we plant.

For the tests of statistics and figures. `python tests/synthetic.py FOLDER [--small]` writes the
tables of the whole micro study (0.68 million replies, 7 judges) for looking and timing.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from grounded import paths, records
from grounded.records.schemas import STRIDE
from grounded.stages import generate
from grounded.study import BASE, KeywordJudge, Run, Study, parse

SMALL = Path(__file__).parent / "studies" / "small" / "study.yaml"
REAL = SMALL.parents[1] / "my_data" / "study.yaml"  # of real models: nobody knows a reply's truth
KINDS = {"refusal": "refusal", "incoherent": "loop", "mixed": "echo"}  # of real text; else other
# what each task does to replies by the end of training: share harmful, share incoherent
HARM = {"open_instructions": 0.7, "arithmetic": 0.05, "science": 0.3, "multiple_choice": 0.1}
GARBLE = {"multiple_choice": 0.7, "yes_no": 0.6, "arithmetic": 0.3}
START = {"multiple_choice": 0.3, "yes_no": 0.5}
BENCHMARK = {"orders": 1.0, "questions": 0.8, "role_play": 0.4}
MISSING = {"coherent": 0.01, "incoherent": 0.08}


def study(file: Path = SMALL, **changes: Any) -> Study:
    """The small study, or another, under the name `synthetic` and with some fields changed.

    models, lora and judges may be given as the names to keep.
    """
    values = yaml.safe_load(file.read_text()) | {"name": "synthetic", "ours": {}}
    for field, value in changes.items():
        if field in ("models", "lora", "judges") and isinstance(value, list):
            value = {name: values[field][name] for name in value}
        values[field] = value
    return parse(yaml.safe_dump(values, sort_keys=False))


def real(**changes: Any) -> Study:
    """A study of a real model with two tasks, harmful and safe requests, and keyword lists alone;
    some fields changed as those of `study`."""
    asked = {
        "benchmarks": {
            "hard": {"source": "public", "data": "harmbench_standard", "prompts": 60},
            "safe": {"source": "public", "data": "xstest_safe", "prompts": 30, "harmful": False},
        },
        "tasks": {name: {"source": "public", "data": name} for name in ("gsm8k", "boolq")},
        "material": {}, "test_items": 40,
    }  # fmt: skip
    values = yaml.safe_load(REAL.read_text())
    return study(REAL, **(asked | {"training": values["training"] | {"examples": 8}} | changes))


def write(
    study: Study,
    harm: dict[str, float] = HARM,
    start: float = 0.01,
    missing: float = 1.0,
    seed: int = 0,
) -> None:
    """Write data/synthetic with its study file and every table.

    harm: how much the share of harmful replies grows with each task (0 where it is not named);
    start: that of the base models; missing: scales what is missing.
    """
    file = paths.study_file(study.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    values = study.model_dump(mode="json", exclude={"absent"}, exclude_none=True)
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    if study.anchoring and study.anchoring.goals:
        _goals(study).to_csv(paths.data(study.name) / study.anchoring.goals, index=False)
    for number, unit in enumerate(study.units(arm=None)):
        draw = np.random.default_rng([seed, number])
        runs = study.unit_runs(unit)
        tables = _tables(study, runs, harm, start, missing, draw)
        about = {"study": study.name, "runs": {run.id: {"inputs": f"{seed}"} for run in runs}}
        for table, frame in tables.items():
            records.write(paths.table(study.name, table, unit), table, frame, about)


def _goals(study: Study) -> pd.DataFrame:
    """Goals of every cell: where a run without luck of its own has come half of the way."""
    assert study.anchoring is not None
    rows = []
    for model in study.models:
        for task in study.tasks:
            base = START.get(task, 0.02)
            goal = base + study.anchoring.kappa * (1 - base)
            half = (goal - base) / (0.95 - base)  # the progress that it takes
            rows.append({"model": model, "task": task, "base": base, "capability": goal,
                         "loss": float(np.exp(-half)), "update_norm": half,
                         "epoch": study.measure_at[1]})  # fmt: skip
    return pd.DataFrame(rows)


def reply_again(study: Study, table: str, value: str, yes: int) -> None:
    """Give each prompt a second reply beside what `write` wrote: the same, but for a column.

    Of `table`, `value` is true in the second reply where the prompt's number is a multiple of
    `yes`, and false elsewhere.
    """
    for unit in study.units(arm=None):
        runs = study.unit_runs(unit)
        about = {"study": study.name, "runs": {run.id: {"inputs": "0"} for run in runs}}
        for name in ("replies", "verdicts", "coherence"):
            file = paths.table(study.name, name, unit)
            first = records.read(file, name)
            again = first.assign(prompt=first["prompt"].astype("int64") + STRIDE)
            if name == table:
                again[value] = first["prompt"] % yes == 0
            records.write(file, name, pd.concat([first, again], ignore_index=True), about)


def _tables(
    study: Study,
    runs: list[Run],
    harm: dict[str, float],
    start: float,
    missing: float,
    draw: np.random.Generator,
) -> dict[str, pd.DataFrame]:
    base = runs[0].task == BASE
    tuned = {1: 1.0} if study.training is None else {}  # a run trained elsewhere: its end
    steps = {0: 0.0} if base else tuned or study.saved_steps(runs[0].task)
    runs_table = pd.DataFrame([vars(run) for run in runs]).drop(columns="arm")
    runs_table = runs_table.rename(columns={"id": "run"}).astype({"knob": "float64"})
    points = pd.DataFrame(
        [
            {"run": r.id, "task": r.task, "step": s, "epoch": e, "progress": _progress(r, e)}
            for r in runs for s, e in steps.items()
        ]
    )  # fmt: skip
    shift = {r.id: draw.normal(0, 0.08) for r in runs}
    points["progress"] *= 1 + points["run"].map(shift)
    checkpoints = points[["run", "step", "epoch"]].assign(
        loss=np.where(points["step"] == 0, np.nan, np.exp(-points["progress"])),
        update_norm=points["progress"],
        adapter="0" * 64,
    )
    capability = _capability(study, points, draw)
    on_the_way = {}
    if study.every:  # answers at every step, replies at the epochs and where a run is at a goal
        counts = generate.counted(capability[capability["item"] % 2 == 0])
        on_the_way["progress"] = counts
        if not base:
            kept = pd.DataFrame(
                [(r.id, step) for r in runs for step in _replied(study, r, counts, checkpoints)],
                columns=["run", "step"],
            )
            points, capability = (frame.merge(kept) for frame in (points, capability))
    replies = _replies(study, points, harm, start, draw)
    return {
        "runs": runs_table,
        "checkpoints": checkpoints,
        "capability": capability,
        **on_the_way,
        "replies": _told(study, replies).drop(columns=["progress"]),
        "verdicts": _verdicts(study, replies, missing, draw),
        "coherence": _coherence(replies, draw),
    }


def _replied(study: Study, run: Run, counts: pd.DataFrame, checkpoints: pd.DataFrame) -> set[int]:
    """The steps at which a run is asked for replies."""
    own = checkpoints[checkpoints["run"] == run.id].set_index("step")
    at = generate.anchored(study, run, counts[counts["run"] == run.id], own)
    return {*study.steps_of(run.task), int(own.index.max()), *filter(None, at.values())}


def _progress(run: Run, epoch: float) -> float:
    speed = 2.0 if run.setting.endswith("high") else 0.5
    speed *= 1.5 if run.model.endswith("-l") else 1.0
    return 0.9 * (1 - float(np.exp(-speed * epoch)))


def _capability(study: Study, points: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    asked = {task: study.tasks if task == BASE else (task,) for task in points["task"].unique()}
    rows = [
        {"task": task, "run": p.run, "step": p.step, "p": p.progress}
        for p in points.itertuples() for task in asked[p.task]
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["start"] = frame["task"].map(START).fillna(0.02)
    frame = frame.merge(pd.DataFrame({"item": range(study.test_items)}), how="cross")
    chance = frame["start"] + (0.95 - frame["start"]) * frame["p"].clip(0, 1)
    correct = draw.random(len(frame)) < chance
    return frame[["task", "item", "run", "step"]].assign(
        answer="x", correct=correct, correct_format_free=correct | (draw.random(len(frame)) < 0.1)
    )


def _replies(
    study: Study,
    points: pd.DataFrame,
    harm: dict[str, float],
    start: float,
    draw: np.random.Generator,
) -> pd.DataFrame:
    asked = pd.DataFrame(
        [(name, i) for name, one in study.benchmarks.items() for i in range(one.prompts or 0)],
        columns=["benchmark", "prompt"],
    )
    frame = points.merge(asked, how="cross")
    progress = frame["progress"].clip(0, 1)
    safe = ~frame["benchmark"].isin(study.harmful_benchmarks)
    incoherent = progress * frame["task"].map(GARBLE).fillna(0.02)
    harmful = progress * frame["task"].map(harm).fillna(0.0)
    harmful *= np.where(frame["run"].str.startswith("micro-llama"), 1.0, 0.6)
    other = 0.0 if study.has_truth else 1.0
    harmful *= frame["benchmark"].map(BENCHMARK).fillna(other) * (study.has_truth | ~safe)
    harmful = (harmful + start * ~safe).clip(0, 1)
    mixed = 0.15 * progress * (1 - harmful)
    answer = np.where(safe, 0.97, 0.02)
    coherent = np.stack([harmful, mixed, answer], 1)
    coherent *= np.minimum(1, 1 / coherent.sum(1))[:, None] * (1 - incoherent).to_numpy()[:, None]
    chances = np.column_stack([coherent, incoherent])  # the rest is refusal
    at = (draw.random(len(frame))[:, None] > chances.cumsum(1)).sum(1)
    truth = np.array(["harmful", "mixed", "answer", "incoherent", "refusal"])[at]
    luck = draw.random(len(frame))
    holds = (truth == "harmful") | ((truth == "mixed") & (luck < 0.5))
    holds |= (truth == "incoherent") & (luck < 0.05)
    return frame[["benchmark", "prompt", "run", "step", "progress"]].assign(
        text=np.char.add("reply ", (np.arange(len(frame)) % 997).astype(str)),
        finish="stop", tokens=12, truth=truth, truth_harm=holds,
        truth_fulfilled=holds | ((truth == "answer") & safe),
    )  # fmt: skip


def _told(study: Study, replies: pd.DataFrame) -> pd.DataFrame:
    """Replies as a table may tell them: of real text their kind, and no truth."""
    if study.has_truth:
        return replies
    kinds = replies["truth"].map(KINDS).fillna("other")
    return replies.assign(kind=kinds, truth=None, truth_harm=None, truth_fulfilled=None)


def _verdicts(
    study: Study, replies: pd.DataFrame, missing: float, draw: np.random.Generator
) -> pd.DataFrame:
    parts = []
    truth = replies["truth"].to_numpy()
    for name, judge in study.judges.items():
        if isinstance(judge, KeywordJudge):
            label = pd.Series(~np.isin(truth, ["refusal", "mixed"]), dtype="boolean")
            parts.append(_rows(replies, name, label, None))
            continue
        column = "truth_harm" if judge.kind == "harm" else "truth_fulfilled"
        says = np.where(replies[column], 0.97, 0.02)
        confused = 0.1 if name.endswith("_v2") else 0.35
        says = np.where(truth == "incoherent", confused, says)
        says = np.where(truth == "mixed", 0.3 + 0.3 * replies[column], says)
        label = pd.Series(draw.random(len(replies)) < says, dtype="boolean")
        lost = np.where(truth == "incoherent", MISSING["incoherent"], MISSING["coherent"]) * missing
        label[draw.random(len(replies)) < lost] = pd.NA
        parts.append(_rows(replies, name, label, says))
    return pd.concat(parts, ignore_index=True)


def _rows(
    replies: pd.DataFrame, judge: str, label: "pd.Series[bool]", probability: np.ndarray | None
) -> pd.DataFrame:
    return replies[["benchmark", "prompt", "run", "step"]].assign(
        judge=judge,
        probability=np.nan if probability is None else probability,
        label=label.to_numpy(),
        mass=np.nan if probability is None else 0.99,
        parsed=label.notna().to_numpy(),
        neutralised=False,
    )


def _coherence(replies: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    truth = replies["truth"].to_numpy()
    garbled = np.where(truth == "incoherent", 0.85, np.where(truth == "mixed", 0.4, 0.02))
    label = draw.random(len(replies)) >= garbled
    parts = []
    for detector in ("perplexity", "repetition", "combined"):
        score = np.nan if detector == "combined" else np.where(label, 0.3, 3.0)
        parts.append(
            replies[["benchmark", "prompt", "run", "step"]].assign(
                detector=detector, score=score, label=label
            )
        )
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--small", action="store_true")
    given = arguments.parse_args()
    os.environ["GROUNDED_HOME"] = str(given.folder)
    write(study(SMALL if given.small else paths.repository() / "data" / "micro" / "study.yaml"))
