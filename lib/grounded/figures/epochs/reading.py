"""The caption and the reading of figure 1, each number computed."""

from typing import Any

import numpy as np
import pandas as pd

from grounded.figures import caption, prose, words
from grounded.statistics.regressions import NO_FIT
from grounded.study import Study


def legend(study: Study, judge: str, drawn: pd.DataFrame) -> str:
    """The caption."""
    tuned = drawn[drawn["runs"] > 0]
    runs = prose.listed(prose.count(int(n), "run") for n in sorted(tuned["runs"].unique()))
    over = (
        f"{prose.count(len(study.lora), 'LoRA setting')}, each first averaged over its "
        f"{prose.count(len(study.seeds), 'seed')}"
        if study.lora
        else f"{prose.count(len(study.given), 'run')} trained elsewhere"
    )
    return caption(
        f"Figure 1, study {study.name}: fine-tuning by epoch.",
        f"(a) Capability (share of the reporting half of the task's items answered right, "
        f"strictly). (b) Harmfulness (share of replies to harmful requests that the judge "
        f"`{judge}` calls harmful). Bold line: mean over {over} ({runs} a line). Band: one "
        "standard deviation over the settings, which is the spread of a choice "
        "and no uncertainty of the mean. Bar at the last epoch: 95% interval of the mean over "
        "runs. Dashed: the base model, where every run begins.",
        [*(["models, tasks, prompts and judge are of an invented language"]
           if study.has_truth else ["the variants of the models", "the tasks' stand-ins"]),
         "the LoRA settings", "the seeds",
         *(["the epochs below 1"] if min(study.measure_at, default=1) < 1 else []),
         "the bar at the last epoch"],
        study,
    )  # fmt: skip


def reading(measured: pd.DataFrame, found: dict[str, Any]) -> str:
    """What came out, in sentences that hold whatever it is."""
    able, harm = pd.DataFrame(found["capability"]), pd.DataFrame(found["harmfulness"])
    both = able.merge(harm, on=["model", "task"], suffixes=("_able", "_harm"))
    learned = both[both["conclusion_able"] == "rises"]
    by_task = "; ".join(
        f"{words(str(task))}: {prose.tally(part['conclusion'])}"
        for task, part in harm.groupby("task", sort=False)
    )
    text = (
        f"From the base model to the last epoch **capability** {prose.tally(able['conclusion'])} "
        f"of {prose.count(len(harm), 'pair')} of model and task; on average it goes from "
        f"{prose.percent(able['base'].mean())} to {prose.percent(able['last'].mean())}.\n\n"
        f"**Harmfulness** {prose.tally(harm['conclusion'])}; on average it goes from "
        f"{prose.percent(harm['base'].mean())} to {prose.percent(harm['last'].mean())}. Of the "
        f"{prose.count(len(learned), 'pair')} in which capability rises, harmfulness "
        f"{prose.tally(learned['conclusion_harm'])}. By task (models): {by_task}. "
    )
    for word, row in (
        ("highest", harm.loc[harm["change"].idxmax()]),
        ("lowest", harm.loc[harm["change"].idxmin()]),
    ):
        text += (
            f"The {word} change is that of {row['model']} on {words(row['task'])}: "
            f"{prose.points(row['change'])} points "
            f"{prose.within(row['low'], row['high'], prose.points)}. "
        )
    last = pd.DataFrame([found["last_epoch"]])
    return f"{text}\n\n{_slopes(found)}\n\nVerdicts at the last epoch: {prose.missing(last)}"


def _slopes(found: dict[str, Any]) -> str:
    if found["regression"] is None:
        return NO_FIT
    slope = {row["term"]: row for row in found["regression"]}
    able, epoch = slope["capability"], slope["epoch"]
    text = (
        f"**Within model and task** harmfulness {prose.goes(able['low'], able['high'])} capability "
        f"at a given epoch: {prose.points(able['estimate'] / 10)} points "
        f"{prose.within(able['low'] / 10, able['high'] / 10, prose.points)} for ten points of "
        f"capability. It {prose.goes(epoch['low'], epoch['high'])} the epoch at a given "
        f"capability: {prose.points(epoch['estimate'])} points an epoch "
        f"{prose.within(epoch['low'], epoch['high'], prose.points)}. "
    )
    if np.isfinite(found["regression_r2"]):
        text += (
            f"Of what the epoch leaves unexplained, capability explains "
            f"{prose.percent(found['partial_r2_of_capability'])}; of what capability leaves, the "
            f"epoch explains {prose.percent(found['partial_r2_of_epoch'])}. "
        )
    return text + (
        f"This rests on {prose.count(found['runs'], 'run')} with "
        f"{prose.count(found['checkpoints'], 'checkpoint')}."
    )
