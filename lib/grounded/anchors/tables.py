"""What anchoring reads of a study's tables: curves, single answers, single verdicts.

The base model's rows stand as step 0 of each of its runs: a path starts there, and no run is it.
"""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from grounded import paths, records
from grounded.study.anchoring import Anchor
from grounded.statistics import columns
from grounded.statistics.frames import (
    TRUTH_JUDGES,
    capability,
    check_judges,
    harmful_benchmarks,
    with_base,
)
from grounded.study import BASE, Study

ABOUT = ["model", "task", "setting", "seed"]


def curves(study: Study, anchor: Anchor) -> pd.DataFrame:
    """Capability along every run, by the anchor's metric, on both halves of the items.

    Columns: model, task, setting, seed, run, step, epoch, select and report (0..1), items (of the
    reporting half).
    """
    halves = [with_base(study, capability(study, half)) for half in ("select", "report")]
    select, report = (half.rename(columns={anchor.column: "value"}) for half in halves)
    joined = report.merge(
        select[["run", "step", "value"]], on=["run", "step"], suffixes=("_report", "_select"),
        validate="one_to_one",
    )  # fmt: skip
    joined = joined.rename(columns={"value_select": "select", "value_report": "report"})
    return joined[[*ABOUT, "run", "step", "epoch", "select", "report", "items"]]


def answers(study: Study, anchor: Anchor, models: Sequence[str] | None = None) -> pd.DataFrame:
    """Single answers on the reporting half: run, step, item, value (1 right, 0 wrong)."""
    column = "correct" if anchor.metric == "strict" else "correct_format_free"
    parts = []
    for model, task, frame in _units(study, "capability", ["task", "item", column], models):
        frame = frame[(frame["item"] % 2 == 1) & (frame["task"] == task)]
        frame = frame.rename(columns={column: "value"})[["run", "step", "item", "value"]]
        parts.append(_spread_base(study, model, task, frame))
    return records.join(parts)


def verdicts(
    study: Study,
    judge: str,
    benchmarks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One judge's single verdicts, or `truth:harm`: run, step, prompt, value (1, 0, nan).

    benchmarks: default all of harmful requests; prompt: one name a prompt.
    """
    check_judges(study, [judge])
    wanted = list(benchmarks or harmful_benchmarks(study))
    truth = TRUTH_JUDGES.get(judge.removeprefix("truth:")) if ":" in judge else None
    table, column = ("replies", truth) if truth else ("verdicts", "label")
    only = {"benchmark": wanted} | ({} if truth else {"judge": [judge]})
    parts = []
    for model, task, frame in _units(study, table, ["benchmark", "prompt", column], models, only):
        frame = columns.prompts(frame.rename(columns={column: "value"}))
        parts.append(_spread_base(study, model, task, frame[["run", "step", "prompt", "value"]]))
    return records.join(parts)


def _units(
    study: Study,
    table: str,
    wanted: list[str],
    models: Sequence[str] | None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Model, task and rows of each task's runs, with those of their base model."""
    for model in models or list(study.models):
        read = [*wanted, "run", "step"]
        base = columns.read(paths.table(study.name, table, f"{model}-{BASE}"), table, read, only)
        for task in study.tasks:
            file = paths.table(study.name, table, f"{model}-{task}")
            yield model, task, records.join([base, columns.read(file, table, read, only)])


def _spread_base(study: Study, model: str, task: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The base model's rows as step 0 of every run of the task; values as 1, 0 and nan."""
    is_base = frame["run"] == f"{model}.{BASE}"
    runs = pd.DataFrame({"run": pd.Categorical([run.id for run in study.runs(model, task)])})
    base = runs.merge(frame[is_base].drop(columns="run"), how="cross")
    own = frame[~is_base].assign(run=frame["run"].cat.remove_unused_categories())
    joined = records.join([base[frame.columns], own])
    return joined.assign(value=columns.values(joined["value"]))
