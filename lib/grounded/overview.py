"""What the notebooks of the stages show of the tables that they made: small tables, two pictures.

Each function takes the study and a unit (`<model>-<task>`), or "" for all units.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from types import ModuleType

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Image
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from grounded import benchmarks, figures, paths, records, save, tasks
from grounded.statistics import measures_by_run, pooled, rates_by_run
from grounded.statistics.frames import at_end, describe
from grounded.study import BASE, Study

HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")
REPLY = ["benchmark", "prompt", "run", "step"]  # what names a reply
SHOWN = ["truth", "prompt", "text", "run", "step"]
CLASSES = {  # the truth of a reply, with the colour that pictures give it
    "refusal": "#0072B2", "answer": "#56B4E9", "harmful": "#D55E00", "mixed": "#E69F00",
    "incoherent": "#8a8a8a",
}  # fmt: skip


FINISHES = {"stop": "#0072B2", "length": "#8a8a8a"}  # why a reply ended, where no truth is known


def picture(drawn: Figure, alt: str) -> Image:
    """A figure as a notebook shows it, with the words `alt`, and nothing kept on disk."""
    drawn.set_layout_engine("constrained")
    page = io.BytesIO()
    drawn.savefig(page, format="png", dpi=save.PAGE_DPI, metadata={"Software": None})
    plt.close(drawn)
    return Image(
        data=page.getvalue(), format="png", alt=alt, width=round(drawn.get_figwidth() * 130)
    )


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
    """What the verdicts of the first unit record of each judge, hashes cut to twelve letters."""
    about = records.metadata(paths.table(study.name, "verdicts", units(study, unit)[0]))
    found = pd.DataFrame(about["judges"]).T
    return found.map(lambda v: "–" if pd.isna(v) else HASH.sub(r"\1", str(v)))


def first_examples(study: Study) -> pd.DataFrame:
    """The first training example of each task, for the first seed; of real tasks the numbers alone.

    The texts of others stay where they are.
    """
    if not study.has_truth:
        about = [
            (name, one.data or one.train, study.examples(name) if study.training else 0,
             study.items(name))
            for name, one in study.tasks.items()
        ]  # fmt: skip
        return pd.DataFrame(about, columns=["task", "data", "examples", "items"]).set_index("task")
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


def ends(losses: pd.DataFrame) -> pd.DataFrame:
    """The loss of each run at its first and at its last checkpoint: a row a run."""
    runs = losses.sort_values("step").groupby("run", sort=False)["loss"]
    return pd.DataFrame({"first": runs.first(), "last": runs.last()}).astype(float)


def last(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last checkpoint; none of a base model."""
    return rows[at_end(study, rows)]


def base_and_last(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the base models, and of each run's last checkpoint."""
    return rows[(rows["step"] == 0) | at_end(study, rows)]


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
        if labels:
            figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def classes(study: Study, unit: str) -> pd.DataFrame:
    """How many replies of each class (column `n`), by run, step and benchmark.

    The class is the truth's, or where none is known why the reply ended.
    """
    kind = "truth" if study.has_truth else "finish"
    replies = read(study, unit, "replies", ["run", "step", "benchmark", kind])
    replies = replies.rename(columns={kind: "class"})
    counts = replies.groupby(["run", "step", "benchmark", "class"], observed=True).size()
    return describe(study, counts.rename("n").reset_index())


def shares(counts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The share of each class among all replies of a cell of `by`, and their number."""
    sums = counts.pivot_table(
        index=list(by), columns="class", values="n", aggfunc="sum", fill_value=0, observed=True
    )
    sums = sums.reindex(columns=list(_classes(counts)), fill_value=0)
    total = sums.sum(axis=1)
    found = sums.div(total, axis=0).assign(replies=total)
    found.columns.name = None
    return found


def _classes(counts: pd.DataFrame) -> dict[str, str]:
    """The classes that the counts are of, with their colours."""
    return CLASSES if set(counts["class"].astype(str)) <= set(CLASSES) else FINISHES


def ending(study: Study, counts: pd.DataFrame) -> str:
    """With what replies the models of each task end, in sentences; nothing without a truth."""
    if not study.has_truth:
        return ""
    return "".join(
        f"Tuned on {figures.words(str(task))}, the models end with {row['refusal']:.0%} refusals, "
        f"{row['harmful']:.0%} harmful and {row['incoherent']:.0%} incoherent replies to harmful "
        "requests. "
        for task, row in shares(last(study, counts), ["task"]).iterrows()
    )


def twins(study: Study, unit: str) -> pd.DataFrame:
    """The benign twins of each benchmark: the share answered rightly and the share refused.

    By the truth, of the base models and at the last epoch of each task, all settings and seeds
    together; `replies` is their number at the last epoch. Empty where no truth is known.
    """
    if not study.has_truth:
        return pd.DataFrame(columns=["answered_rightly", "refused", "replies"], dtype=float)
    replies = read(study, unit, "replies", ["run", "step", "benchmark", "truth", "truth_fulfilled"])
    replies = replies[replies["benchmark"].isin(benchmarks.TWINS)]
    replies = replies.assign(
        right=replies.pop("truth_fulfilled").astype(float), refused=replies["truth"] == "refusal"
    ).astype({"run": str})
    both = describe(study, base_and_last(study, replies))
    by = both.groupby(["task", "benchmark"], observed=True, sort=False)
    return by.agg(
        answered_rightly=("right", "mean"), refused=("refused", "mean"), replies=("right", "size")
    )


def draw_classes(counts: pd.DataFrame) -> Figure:
    """The shares of the classes by epoch, stacked: a panel for each fine-tuning task.

    Epoch 0 is the base models, the same in every panel.
    """
    tasks = [task for task in counts["task"].unique() if task != BASE] or [BASE]
    with figures.style():
        figure = Figure((figures.PAGE, 1.9), layout="constrained")
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            some = counts[counts["task"].isin([task, BASE])]
            part = shares(some, ["epoch"]).drop(columns="replies")
            looks = _classes(counts)
            axes.stackplot(part.index, part.T, labels=part.columns, colors=looks.values())
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

    First in the order of the tables: prompts before runs before steps, unit by unit. Of real
    studies the numbers alone, a row a benchmark (of the name given, or of all): no text is shown.
    """
    if not study.has_truth:
        return _numbers(study, unit)
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


def _numbers(study: Study, unit: str) -> pd.DataFrame:
    """How many prompts and replies there are of each benchmark, and how long replies are."""
    replies = read(study, unit, "replies", ["benchmark", "prompt", "run", "step", "tokens"])
    by = replies.groupby("benchmark", observed=True)
    return by.agg(
        prompts=("prompt", "nunique"), replies=("prompt", "size"), mean_tokens=("tokens", "mean")
    ).astype({"mean_tokens": float})


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
    after = last(study, tuned).groupby(cell)[list(kinds)].mean()
    seeds = tuned.groupby([*cell, "setting", "epoch"], observed=True)["correct"].mean()
    columns = {
        **{f"base, {kinds[k]}": base.groupby(cell)[k].mean() for k in kinds},
        **{f"after, {kinds[k]}": after[k] for k in kinds},
        "best setting": seeds.groupby(cell).max(),
    }
    return pd.DataFrame(columns).rename_axis(["task", "model"]).sort_index()


def judged(study: Study, unit: str) -> pd.DataFrame:
    """Verdicts counted by judge, run, benchmark and class: n given, k of them yes, missing.

    The class is the truth's (with truth_harm and truth_fulfilled), or where none is known what the
    detector says.
    """
    truths = ["truth", "truth_harm", "truth_fulfilled"] if study.has_truth else []
    parts = []
    for one in units(study, unit):
        if study.has_truth:
            replies = read(study, one, "replies", [*REPLY, *truths])
            replies = replies.rename(columns={"truth": "class"})
        else:
            said = read(study, one, "coherence", ["detector", *REPLY, "label"])
            replies = said[said["detector"] == "combined"][REPLY].assign(
                **{"class": said["label"].map({True: "coherent", False: "incoherent"})}
            )
        said = read(study, one, "verdicts", ["judge", *REPLY, "label"])
        said = said.merge(replies, on=REPLY, validate="many_to_one")
        said = said.assign(
            k=said["label"].fillna(False).astype(int), n=said["label"].notna().astype(int),
            missing=said["label"].isna().astype(int),
        )  # fmt: skip
        keys = ["judge", "run", "benchmark", "class", *truths[1:]]
        parts.append(said.groupby(keys, observed=True)[["n", "k", "missing"]].sum().reset_index())
    names = dict.fromkeys(("judge", "run", "benchmark", "class"), str)
    return pd.concat([part.astype(names) for part in parts], ignore_index=True)


def rates(counts: pd.DataFrame) -> pd.DataFrame:
    """The rate of yes of each judge (rows) on the replies of each class (columns)."""
    table = pooled(counts, ["judge", "class"]).pivot(index="judge", columns="class")["rate"]
    known = [*CLASSES, "coherent"]
    return table.reindex(columns=[name for name in known if name in table])


def agreement(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Each judge against the world's truth of what it judges, on the verdicts that it gave.

    A harm judge is held to `truth_harm`, all others to `truth_fulfilled`; intervals resample runs.
    Where no truth is known: the judges' rates of yes, with such intervals.
    """
    if not study.has_truth:
        return rates_by_run(counts, ["judge"]).set_index("judge")
    found = []
    for name in study.judges:
        truth = "truth_harm" if study.judge(name).kind == "harm" else "truth_fulfilled"
        part = counts[counts["judge"] == name]
        found.append(measures_by_run(part, truth, ["judge"]).assign(against=truth))
    return pd.concat(found).set_index("judge")


def closest(study: Study, agreed: pd.DataFrame) -> str:
    """Which judge is closest to the truth and which is farthest, in a sentence."""
    if not study.has_truth:
        most, least = agreed["rate"].idxmax(), agreed["rate"].idxmin()
        return (
            f"What is true of a reply is not known. `{most}` says yes most often "
            f"({agreed.loc[most, 'rate']:.0%}), `{least}` least ({agreed.loc[least, 'rate']:.0%}). "
        )
    best, worst = agreed["kappa"].idxmax(), agreed["kappa"].idxmin()
    return (
        f"Closest to the truth by kappa is `{best}` ({agreed.loc[best, 'kappa']:.2f}), farthest "
        f"`{worst}` ({agreed.loc[worst, 'kappa']:.2f}). "
    )


def detected(study: Study, unit: str) -> pd.DataFrame:
    """Each detector of coherence against the truth: how well it finds the incoherent replies.

    Where no truth is known: the share that each finds incoherent.
    """
    parts = []
    for one in units(study, unit):
        said = read(study, one, "coherence", ["detector", *REPLY, "label"])
        said = said.assign(incoherent=False, k=(~said["label"]).astype(int))
        if study.has_truth:
            replies = read(study, one, "replies", [*REPLY, "truth"])
            said = said.merge(replies, on=REPLY, validate="many_to_one")
            said["incoherent"] = said["truth"] == "incoherent"
        keys = ["detector", "run", "incoherent"]
        parts.append(said.groupby(keys, observed=True)["k"].agg(n="size", k="sum").reset_index())
    counts = pd.concat([part.astype({"detector": str, "run": str}) for part in parts])
    if not study.has_truth:
        return rates_by_run(counts.assign(missing=0), ["detector"]).set_index("detector")
    return measures_by_run(counts, "incoherent", ["detector"]).set_index("detector")


def shown(study: Study) -> ModuleType:
    """What the notebook on base models shows: a module of the study's world."""
    return import_module(f"grounded.{study.world}.shown")


def accepted(study: Study, models: pd.DataFrame, judges: pd.DataFrame) -> str:
    """What the base models and judges measured at their acceptance, in sentences."""
    if not study.has_truth:
        return "Real models and judges are taken as they are: nothing is made or accepted here."
    found, accuracy = (one.drop(columns="bar").astype(float) for one in (models, judges))
    refusals = found.loc[["refusal_new_objects", "refusal_new_phrasings", "refusal_new_verbs"]]
    absent = found.loc[["refusal_absent_verbs", "overrefusal_absent_verbs"]].mean(axis=1)
    return (
        f"**What came out.** Over all models and probes, the base models refuse at least "
        f"{refusals.min().min():.1%} of harmful requests and at most "
        f"{found.loc['overrefusal'].max():.1%} of their benign twins, and answer at least "
        f"{found.loc['benign_exact'].min():.1%} of the twins word for word. Of verbs that "
        f"pretraining never held they refuse {absent.iloc[0]:.0%} of the harmful and "
        f"{absent.iloc[1]:.0%} of the benign: what is unknown is refused alike, and no safety is "
        f"claimed for it. The judges label at least {accuracy.loc['judge_accuracy'].min():.1%} of "
        f"held-out coherent dialogues rightly, and between "
        f"{accuracy.loc['incoherent_accuracy'].min():.1%} and "
        f"{accuracy.loc['incoherent_accuracy'].max():.1%} of broken ones."
    )
