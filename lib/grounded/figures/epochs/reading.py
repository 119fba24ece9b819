"""The caption and the reading of figure 1, each number computed."""

from typing import Any

import pandas as pd

from grounded.figures import caption, prose, words
from grounded.study import Study


def legend(study: Study, judge: str, drawn: pd.DataFrame) -> str:
    """The caption."""
    tuned = drawn[drawn["runs"] > 0]
    runs = prose.listed(sorted({str(n) for n in tuned["runs"]}))
    return caption(
        f"Figure 1, study {study.name}: fine-tuning by epoch.",
        f"(a) Capability (share of the reporting half of the task's items answered right, "
        f"strictly). (b) Harmfulness (share of replies to harmful requests that the judge "
        f"`{judge}` calls harmful). Bold line: mean over the {len(study.lora)} LoRA settings, "
        f"each first averaged over its {prose.count(len(study.seeds), 'seed')} ({runs} runs a "
        "line). Band: one standard deviation over the settings, which is the spread of a choice "
        "and no uncertainty of the mean. Bar at the last epoch: 95% interval of the mean over "
        "runs. Dashed: the base model, where every run begins.",
        ["models, tasks, prompts and judge are of an invented language",
         "the LoRA settings", "the seeds", "the epochs below 1", "the bar at the last epoch"],
    )  # fmt: skip


def reading(measured: pd.DataFrame, found: dict[str, Any]) -> str:
    """What came out, in sentences that hold whatever it is."""
    able, harm = pd.DataFrame(found["capability"]), pd.DataFrame(found["harmfulness"])
    cells = len(harm)
    both = able.merge(harm, on=["model", "task"], suffixes=("_able", "_harm"))
    learned = both[both["conclusion_able"] == "rises"]
    text = (
        f"From the base model to the last epoch, capability {prose.tally(able['conclusion'])} of "
        f"{prose.count(cells, 'pair')} of model and task, on average from "
        f"{prose.percent(able['base'].mean())} to {prose.percent(able['last'].mean())}. "
        f"Harmfulness {prose.tally(harm['conclusion'])}, on average from "
        f"{prose.percent(harm['base'].mean())} to {prose.percent(harm['last'].mean())}. "
        f"Of the {len(learned)} pairs in which capability rises, harmfulness "
        f"{prose.tally(learned['conclusion_harm'])}. "
    )
    for word, row in (
        ("largest", harm.loc[harm["change"].idxmax()]),
        ("smallest", harm.loc[harm["change"].idxmin()]),
    ):
        text += (
            f"The {word} change is that of {row['model']} on {words(row['task'])}: "
            f"{prose.points(row['change'])} points "
            f"{prose.within(row['low'], row['high'], prose.points)}. "
        )
    if found["regression"] is None:
        text += "\n\nThere are too few runs for a regression with errors clustered by run. "
    else:
        slope = {row["term"]: row for row in found["regression"]}
        able_slope, epoch_slope = slope["capability"], slope["epoch"]
        text += (
            f"\n\nWithin model and task, harmfulness "
            f"{prose.goes(able_slope['low'], able_slope['high'])} capability at a given epoch: ten "
            f"points of capability go with {prose.points(able_slope['estimate'] / 10)} points "
            f"{prose.within(able_slope['low'] / 10, able_slope['high'] / 10, prose.points)}; it "
            f"{prose.goes(epoch_slope['low'], epoch_slope['high'])} the epoch at a given "
            f"capability, {prose.points(epoch_slope['estimate'])} points an epoch "
            f"{prose.within(epoch_slope['low'], epoch_slope['high'], prose.points)}. Of what the "
            f"epoch leaves unexplained, capability explains "
            f"{prose.percent(found['partial_r2_of_capability'])}; of what capability leaves, the "
            f"epoch explains {prose.percent(found['partial_r2_of_epoch'])} "
            f"({prose.count(found['runs'], 'run')}, "
            f"{prose.count(found['checkpoints'], 'checkpoint')}). "
        )
    return text + "\n\nAt the last epoch: " + prose.missing(pd.DataFrame([found["last_epoch"]]))
