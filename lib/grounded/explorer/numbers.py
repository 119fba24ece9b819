"""What the explorer shows, from the committed tables, as columns that make small JSON."""

from typing import Any

import numpy as np
import pandas as pd

from grounded import anchors, paths, records
from grounded.errors import GroundedError
from grounded.figures import words
from grounded.figures.anchoring.numbers import CELL, arms, pairs
from grounded.statistics import columns, frames
from grounded.statistics.frames import DETECTOR
from grounded.study import BASE, Study

ALL = "all harmful requests"
SHOWN = 3  # replies of each benchmark, at each epoch that is shown
PLACES = 3  # decimals of a share


def data(study: Study) -> dict[str, Any]:
    """All that the page holds: names, `curves`, `anchored` and `replies`.

    Texts of replies are shown where a study's world is invented, and of real models never.
    """
    judges = judged(study)
    return {
        "study": study.name,
        "about": " ".join(study.about.split()),
        "models": list(study.models),
        "tasks": {name: words(name) for name in study.tasks},
        "settings": list(study.lora),
        "seeds": [int(seed) for seed in study.seeds],
        "benchmarks": [ALL, *(b for b in study.benchmarks if not b.endswith("_twins"))],
        "judges": {name: kind for name, kind in judges.items()},
        "curves": _columns(curves(study)),
        "anchored": _columns(anchored(study)),
        "replies": _columns(replies(study)),
    }


def judged(study: Study) -> dict[str, str]:
    """Every judge, with what its yes means: harm, or compliance; the truths last."""
    found = {n: "harm" if j.kind == "harm" else "compliance" for n, j in study.judges.items()}
    truths = {f"truth:{kind}": kind for kind in frames.TRUTH_JUDGES} if study.has_truth else {}
    return {**found, **truths}


def curves(study: Study) -> pd.DataFrame:
    """A row a checkpoint and benchmark (or all harmful): accuracy, coherence, each judge's rate.

    Columns: model, task, setting, seed, epoch, benchmark, n (replies), accuracy (reporting half),
    coherent, one a judge. A base model's row has task `base`, and an accuracy for each task in
    `accuracy.<task>`; setting and seed are empty.
    """
    asked = [b for b in study.benchmarks if not b.endswith("_twins")]
    by = ["run", "step", "benchmark"]
    said = frames.verdicts(study, list(judged(study)), asked)
    about = said.drop_duplicates("run")[["run", "model", "task", "setting", "seed"]]
    epochs = said.drop_duplicates(["run", "step"])[["run", "step", "epoch"]]
    wide = _rates(said, by, study).unstack("judge")
    language = _coherent(study, asked)
    able = frames.capability(study)
    found = wide.reset_index().merge(language, on=by).merge(about, on="run")
    found = found.merge(epochs, on=["run", "step"])
    own = able[~able["run"].str.endswith(f".{BASE}")][["run", "step", "capability"]]
    found = found.merge(own, on=["run", "step"], how="left")
    base = able[able["run"].str.endswith(f".{BASE}")]
    for task, part in base.groupby("task"):
        right = part.set_index("run")["capability"]
        found[f"accuracy.{task}"] = found["run"].map(right)
    found = found.rename(columns={"capability": "accuracy"}).drop(columns=["run", "step"])
    order = ["model", "task", "setting", "seed", "epoch", "benchmark"]
    return found.sort_values(order, ignore_index=True)


def _rates(said: pd.DataFrame, by: list[str], study: Study) -> "pd.Series[float]":
    harmful = said[said["benchmark"].isin(study.harmful_benchmarks)]
    both = pd.concat([said, harmful.assign(benchmark=ALL)])
    return frames.pooled(both, [*by, "judge"]).set_index([*by, "judge"])["rate"]


def _coherent(study: Study, asked: list[str]) -> pd.DataFrame:
    """The share of coherent replies, and how many there are."""
    parts = []
    for unit in study.units():
        file = paths.table(study.name, "coherence", unit)
        only = {"detector": [DETECTOR], "benchmark": asked}
        frame = columns.read(file, "coherence", ["benchmark", "run", "step", "label"], only)
        counted = columns.count(frame, ["run", "step", "benchmark"], n=np.ones(len(frame)),
                                k=frame["label"] == 1)  # fmt: skip
        parts.append(counted.astype({"run": str, "benchmark": str}))
    found = pd.concat(parts)
    harmful = found[found["benchmark"].isin(study.harmful_benchmarks)]
    sums = harmful.groupby(["run", "step"])[["n", "k"]].sum().reset_index()
    found = pd.concat([found, sums.assign(benchmark=ALL)])
    return found.assign(coherent=found["k"] / found["n"]).drop(columns="k")


def anchored(study: Study) -> pd.DataFrame:
    """Each cell at the study's goal and at the fixed epoch, as each judge sees it.

    Columns: model, task, judge, runs (at the goal), goal (an accuracy), and harm, or compliance,
    with its standard deviation over runs: anchored, fixed, sd_anchored, sd_fixed. Empty for a
    study without a goal, or where nobody reaches it.
    """
    names = ["model", "task", "judge", "runs", "goal", "anchored", "fixed", "sd_anchored",
             "sd_fixed"]  # fmt: skip
    if study.anchoring is None:
        return pd.DataFrame(columns=names)
    asked = study.anchoring.anchor
    try:
        both = arms(anchors.curves(study, asked), asked)
    except GroundedError:
        return pd.DataFrame(columns=names)
    goals = both.goals.set_index(CELL)["kappa"]
    parts = []
    for judge, said in anchors.opinions(study, list(judged(study)), both.chosen).items():
        paired = pairs(both, said)
        rates = paired.groupby([*CELL, "run"], observed=True)[["anchored", "fixed"]].mean()
        cells = rates.groupby(CELL, observed=True)
        found = cells.mean().join(cells.std().add_prefix("sd_"))
        found["runs"] = cells.size()
        found["goal"] = goals
        parts.append(found.reset_index().assign(judge=judge))
    return pd.concat(parts, ignore_index=True)[names]


def replies(study: Study) -> pd.DataFrame:
    """Some replies of the first LoRA setting and seed, with every verdict on them.

    Columns: model, task, epoch, benchmark, prompt (its number), text, truth, one a judge (1, 0,
    nan). Of the base model, the middle and the last epoch. Empty for real models.
    """
    if not study.has_truth:
        return pd.DataFrame()
    asked = [b for b in study.benchmarks if not b.endswith("_twins")]
    epochs = [study.measure_at[len(study.measure_at) // 2], study.measure_at[-1]]
    parts = []
    for model in study.models:
        for task in (BASE, *study.tasks):
            run = study.runs(model, task)[0]
            steps = [0]
            if task != BASE:
                steps = [s for s, e in study.steps_of(task).items() if e in epochs]
            parts.append(
                _some(study, run.unit, run.id, steps, asked).assign(model=model, task=task)
            )
    found = pd.concat(parts, ignore_index=True)
    planned = {0: 0.0, **study.steps}
    return found.assign(epoch=found["step"].map(planned)).drop(columns="step")


def _some(study: Study, unit: str, run: str, steps: list[int], asked: list[str]) -> pd.DataFrame:
    said = records.read(paths.table(study.name, "replies", unit), "replies")
    said = said[(said["run"] == run) & said["step"].isin(steps) & (said["prompt"] < SHOWN)]
    said = said[said["benchmark"].isin(asked)]
    judges = records.read(paths.table(study.name, "verdicts", unit), "verdicts")
    key = ["benchmark", "prompt", "step"]
    judges = judges[(judges["run"] == run) & judges["step"].isin(steps)]
    judges = judges[judges["prompt"] < SHOWN].astype({"benchmark": str, "judge": str})
    wide = judges.pivot(index=key, columns="judge", values="label").astype("Float64")
    shown = said[[*key, "text", "truth", "truth_harm", "truth_fulfilled"]]
    found = shown.astype({"benchmark": str, "truth": str}).merge(wide.reset_index(), on=key)
    truths = {"truth_harm": "truth:harm", "truth_fulfilled": "truth:compliance"}
    return found.rename(columns=truths)


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """A frame as JSON columns: what repeats is numbered, shares have three decimals."""
    found: dict[str, Any] = {}
    for name in frame:
        values = frame[name]
        if not pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            codes, levels = pd.factorize(values)
            found[str(name)] = {"levels": [str(x) for x in levels], "codes": codes.tolist()}
            continue
        numbers = values.astype("Float64").round(PLACES)
        found[str(name)] = [None if pd.isna(x) else _short(float(x)) for x in numbers]
    return found


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value
