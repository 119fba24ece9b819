"""What the notebooks of the stages show of the tables that they made: small tables, two pictures.

Each function takes the study and a unit (`<model>-<task>`), or "" for all units.
"""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from grounded import benchmarks, figures, paths, records, tasks
from grounded.statistics import measures_by_run
from grounded.statistics.frames import describe
from grounded.study import BASE, Study

REPLY = ["benchmark", "prompt", "run", "step"]  # what names a reply
SHOWN = ["truth", "prompt", "text", "run", "step"]
CLASSES = {  # the truth of a reply, with the colour that pictures give it
    "refusal": "#0072B2", "answer": "#56B4E9", "harmful": "#D55E00", "mixed": "#E69F00",
    "incoherent": "#8a8a8a",
}  # fmt: skip


def units(study: Study, unit: str) -> list[str]:
    """The unit itself, or all units of the study."""
    return [unit] if unit else study.units()


def read(study: Study, unit: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table's rows of the unit, or of all."""
    files = [paths.table(study.name, table, one) for one in units(study, unit)]
    return records.join([records.read(file, table, columns) for file in files])


def facts(study: Study, unit: str, table: str) -> pd.DataFrame:
    """What the files of a table record of how it was made: a column for each different record.

    Each column bears the name of the first unit with that record.
    """
    files = {one: paths.table(study.name, table, one) for one in units(study, unit)}
    found = pd.json_normalize([records.metadata(file) for file in files.values()], max_level=1)
    found = found[[name for name in found if not str(name).startswith(("runs.", "study", "table"))]]
    return found.set_axis(list(files)).astype(str).drop_duplicates().T


def judge_facts(study: Study, unit: str) -> pd.DataFrame:
    """The revision and the template of each judge, as the verdicts of the first unit record it."""
    about = records.metadata(paths.table(study.name, "verdicts", units(study, unit)[0]))
    found = pd.DataFrame(about["judges"]).T
    return found.map(lambda value: value[:12] if isinstance(value, str) else "–")


def first_examples(study: Study) -> pd.DataFrame:
    """The first training example of each task, for the first seed."""
    firsts = {
        task: tasks.train(task, study.examples(task), study.seeds[0], study.items(task))[0]
        for task in study.tasks
    }
    return pd.DataFrame([asdict(one) for one in firsts.values()], index=list(firsts))


def settings(study: Study) -> pd.DataFrame:
    """The LoRA settings of the study."""
    return pd.DataFrame([one.model_dump() for one in study.lora.values()], index=list(study.lora))


def grid(study: Study, unit: str) -> pd.DataFrame:
    """How many runs of each model (rows) and task (columns) the tables hold."""
    runs = read(study, unit, "runs", ["model", "task"]).astype(str)
    return pd.crosstab(runs["model"], runs["task"])


def losses(study: Study, unit: str) -> pd.DataFrame:
    """The checkpoints of the fine-tuned runs with model, task, setting, seed and epoch."""
    columns = ["run", "step", "loss", "update_norm", "adapter"]
    checkpoints = read(study, unit, "checkpoints", columns)
    found = describe(study, checkpoints)
    return found[found["task"] != BASE].reset_index(drop=True)


def draw_losses(losses: pd.DataFrame) -> Figure:
    """Mean training loss by epoch: a column a task, a row a model, a line a LoRA setting."""
    models, tasks = losses["model"].unique(), losses["task"].unique()
    colours = figures.colours(losses["setting"].unique())
    with figures.style():
        figure = Figure((figures.PAGE, 1.1 + 0.95 * len(models)), layout="constrained")
        shape = max(1, len(models)), max(1, len(tasks))  # a base model's unit has no runs
        panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
        for (model, task), part in losses.groupby(["model", "task"], observed=True):
            axes = panels[list(models).index(model), list(tasks).index(task)]
            means = part.groupby(["setting", "epoch"], observed=True)["loss"].mean()
            for setting, line in means.groupby("setting", observed=True):
                epochs = line.index.get_level_values("epoch")
                axes.plot(epochs, line, marker=".", color=colours[str(setting)], label=setting)
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes, task in zip(panels[0], tasks, strict=False):
            axes.set_title(figures.words(task))
        for axes, model in zip(panels[:, 0], models, strict=False):
            axes.set_ylabel(f"{model}\nloss")
        figure.supxlabel("epoch", fontsize=7.5)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def classes(study: Study, unit: str) -> pd.DataFrame:
    """How many replies of each truth class (column `n`), by run, step and benchmark."""
    replies = read(study, unit, "replies", ["run", "step", "benchmark", "truth"])
    counts = replies.groupby(["run", "step", "benchmark", "truth"], observed=True).size()
    return describe(study, counts.rename("n").reset_index())


def shares(counts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The share of each truth class among all replies of a cell of `by`, and their number."""
    sums = counts.pivot_table(
        index=list(by), columns="truth", values="n", aggfunc="sum", fill_value=0, observed=True
    )
    sums = sums.reindex(columns=list(CLASSES), fill_value=0)
    total = sums.sum(axis=1)
    found = sums.div(total, axis=0).assign(replies=total)
    found.columns.name = None
    return found


def twins(study: Study, unit: str) -> pd.DataFrame:
    """The benign twins of each benchmark: the share answered rightly and the share refused.

    By the truth, of the base models and at the last epoch of each task, all settings and seeds
    together; `replies` is their number at the last epoch.
    """
    replies = read(study, unit, "replies", ["run", "step", "benchmark", "truth", "truth_fulfilled"])
    replies = replies[replies["benchmark"].isin(benchmarks.TWINS)]
    replies = replies.assign(
        right=replies.pop("truth_fulfilled").astype(float), refused=replies["truth"] == "refusal"
    ).astype({"run": str})
    ends = describe(study, replies[replies["step"].isin([0, max(study.steps)])])
    by = ends.groupby(["task", "benchmark"], observed=True, sort=False)
    return by.agg(
        answered_rightly=("right", "mean"), refused=("refused", "mean"), replies=("right", "size")
    )


def draw_classes(counts: pd.DataFrame) -> Figure:
    """The shares of the truth classes by epoch, stacked: a panel for each fine-tuning task.

    Epoch 0 is the base models, the same in every panel.
    """
    tasks = [task for task in counts["task"].unique() if task != BASE] or [BASE]
    with figures.style():
        figure = Figure((figures.PAGE, 1.9), layout="constrained")
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            some = counts[counts["task"].isin([task, BASE])]
            part = shares(some, ["epoch"])[list(CLASSES)]
            axes.stackplot(part.index, part.T, labels=part.columns, colors=CLASSES.values())
            axes.set_title(figures.words(task))
            axes.margins(0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            figures.share_axis(axes)
        figure.supxlabel("epoch", fontsize=7.5)
        figure.supylabel("share of replies", fontsize=7.5)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def examples(study: Study, unit: str, benchmark: str) -> pd.DataFrame:
    """For each truth class, the first reply to a benchmark that has it: the request and the reply.

    First in the order of the tables: prompts before runs before steps, unit by unit.
    """
    number = study.benchmarks[benchmark].prompts or 0
    asked = {prompt.id: prompt.text for prompt in benchmarks.load(benchmark, number)}
    found: dict[str, dict[str, object]] = {}
    for one in units(study, unit):
        replies = records.read(paths.table(study.name, "replies", one), "replies")
        replies = replies[replies["benchmark"] == benchmark]
        firsts = replies.drop_duplicates("truth")
        for truth, prompt, text, run, step in firsts[SHOWN].itertuples(index=False):
            shown = {"request": asked[prompt], "reply": text, "run": run, "step": step}
            found.setdefault(str(truth), shown)
        if len(found) == len(CLASSES):
            break
    rows = [{"truth": name, **found[name]} for name in CLASSES if name in found]
    return pd.DataFrame(rows).set_index("truth")


def capability(study: Study, unit: str) -> pd.DataFrame:
    """Share of right answers by task and model: strict and format-free, at base and at the end.

    `after`: the mean over settings and seeds at the last epoch; `best setting`: the highest mean
    over seeds of any setting and epoch (strict). Over all items, both halves.
    """
    answers = read(study, unit, "capability", ["task", "run", "step", "correct",
                                               "correct_format_free"])  # fmt: skip
    means = answers.groupby(["task", "run", "step"], observed=True).mean().reset_index()
    means = describe(study, means.rename(columns={"task": "measured"}))
    cell = ["measured", "model"]
    base, tuned = means[means["task"] == BASE], means[means["task"] != BASE]
    kinds = {"correct": "strict", "correct_format_free": "format-free"}
    after = tuned[tuned["step"] == max(study.steps)].groupby(cell)[list(kinds)].mean()
    seeds = tuned.groupby([*cell, "setting", "epoch"], observed=True)["correct"].mean()
    columns = {
        **{f"base, {kinds[k]}": base.groupby(cell)[k].mean() for k in kinds},
        **{f"after, {kinds[k]}": after[k] for k in kinds},
        "best setting": seeds.groupby(cell).max(),
    }
    return pd.DataFrame(columns).rename_axis(["task", "model"]).sort_index()


def judged(study: Study, unit: str) -> pd.DataFrame:
    """Verdicts counted by judge, run, benchmark and truth: n given, k of them yes, missing."""
    truths = ["truth", "truth_harm", "truth_fulfilled"]
    parts = []
    for one in units(study, unit):
        replies = read(study, one, "replies", [*REPLY, *truths])
        said = read(study, one, "verdicts", ["judge", *REPLY, "label"])
        said = said.merge(replies, on=REPLY, validate="many_to_one")
        said = said.assign(
            k=said["label"].fillna(False).astype(int), n=said["label"].notna().astype(int),
            missing=said["label"].isna().astype(int),
        )  # fmt: skip
        keys = ["judge", "run", "benchmark", *truths]
        parts.append(said.groupby(keys, observed=True)[["n", "k", "missing"]].sum().reset_index())
    names = dict.fromkeys(("judge", "run", "benchmark", "truth"), str)
    return pd.concat([part.astype(names) for part in parts], ignore_index=True)


def agreement(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Each judge against the world's truth of what it judges, on the verdicts that it gave.

    A harm judge is held to `truth_harm`, all others to `truth_fulfilled`; intervals resample runs.
    """
    found = []
    for name in study.judges:
        truth = "truth_harm" if study.judge(name).kind == "harm" else "truth_fulfilled"
        part = counts[counts["judge"] == name]
        found.append(measures_by_run(part, truth, ["judge"]).assign(against=truth))
    return pd.concat(found).set_index("judge")


def detected(study: Study, unit: str) -> pd.DataFrame:
    """Each detector of coherence against the truth: how well it finds the incoherent replies."""
    parts = []
    for one in units(study, unit):
        replies = read(study, one, "replies", [*REPLY, "truth"])
        said = read(study, one, "coherence", ["detector", *REPLY, "label"])
        said = said.merge(replies, on=REPLY, validate="many_to_one")
        said = said.assign(incoherent=said["truth"] == "incoherent", k=(~said["label"]).astype(int))
        keys = ["detector", "run", "incoherent"]
        parts.append(said.groupby(keys, observed=True)["k"].agg(n="size", k="sum").reset_index())
    counts = pd.concat([part.astype({"detector": str, "run": str}) for part in parts])
    return measures_by_run(counts, "incoherent", ["detector"]).set_index("detector")
