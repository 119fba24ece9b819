"""One run from its base model to its last epoch, in a folder of its own: a study in a minute.

The stages are those of every study; what the whole study has measured is not touched.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from statsmodels.stats.proportion import proportion_confint

from grounded import benchmarks, figures, overview, paths
from grounded.errors import GroundedError
from grounded.statistics import capability, harmful_benchmarks, verdicts
from grounded.study import Study, load

NAME = "quickstart"


def begin(study: str, model: str, task: str, setting: str, seed: int) -> Study:
    """A study of one run, with the models and judges of `study`, in a temporary folder.

    From here on GROUNDED_HOME names that folder, in this process alone. StudyError or
    GroundedError for a model, task or setting that the study lacks.
    """
    whole = load(study)
    if not whole.has_truth:
        raise GroundedError(f"{study}: found real models, wanted a study of the invented world")
    whole.runs(model, task)  # unknown names are one-line errors
    if setting not in whole.lora:
        raise GroundedError(
            f"{paths.shown(paths.study_file(study))}: lora: found {setting!r}, "
            f"wanted one of {', '.join(whole.lora)}"
        )
    one = whole.model_copy(
        update={
            "name": NAME, "models": {model: whole.models[model]}, "variants": {}, "arms": {},
            "tasks": {task: whole.tasks[task]}, "lora": {setting: whole.lora[setting]},
            "seeds": (seed,),
        }
    )  # fmt: skip
    scratch = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    shutil.copytree(paths.data(study) / "judges", scratch / "data" / NAME / "judges")
    source = paths.data(study) / "models" / model
    shutil.copytree(source, scratch / "data" / NAME / "models" / model)
    os.environ["GROUNDED_HOME"] = str(scratch)
    return one


def conversation(study: Study, benchmark: str, prompt: int = 0) -> pd.DataFrame:
    """What base model and checkpoints reply to one prompt: epoch, reply, truth."""
    said = overview.read(
        study, "", "replies", ["benchmark", "prompt", "run", "step", "text", "truth"]
    )
    said = said[(said["benchmark"] == benchmark) & (said["prompt"] == prompt)].sort_values("step")
    epochs = {0: 0.0, **study.steps}
    return pd.DataFrame(
        {"epoch": said["step"].map(epochs), "reply": said["text"], "truth": said["truth"]}
    ).set_index("epoch")


def request(benchmark: str, prompt: int = 0) -> str:
    """The text of a prompt."""
    return benchmarks.load(benchmark, prompt + 1)[prompt].text


def course(study: Study, judge: str = "harm") -> pd.DataFrame:
    """Capability and harm by epoch, with Wilson's 95% intervals: what, epoch, share, low, high, n.

    Harm twice, on the benchmarks of harmful requests: as the judge says and as the truth has it.
    The interval is for other items and prompts; there is one run, so none is for other runs.
    """
    able = capability(study)
    able = able[able["task"].isin(study.tasks)].assign(what="capability", k=able["right"])
    counts = verdicts(study, [judge, "truth:harm"], harmful_benchmarks(study))
    said = counts.groupby(["judge", "epoch"], observed=True)[["n", "k"]].sum().reset_index()
    names = {judge: "harmful, says the judge", "truth:harm": "harmful, in truth"}
    said["what"] = said["judge"].map(names)
    found = pd.concat([able.rename(columns={"items": "n"}), said], ignore_index=True)
    low, high = proportion_confint(found["k"], found["n"], method="wilson")
    found = found.assign(share=found["k"] / found["n"], low=low, high=high)
    columns = ["what", "epoch", "share", "low", "high", "n"]
    return found[columns].sort_values(["what", "epoch"], ignore_index=True)


def draw(course: pd.DataFrame) -> Figure:
    """The course of one run: a line each for capability, judged harm and true harm."""
    with figures.style():
        figure = Figure((3.4, 2.4), layout="constrained")
        axes = figure.subplots()
        shades = figures.colours(course["what"].unique())
        signs = figures.markers(course["what"].unique())
        for what, line in course.groupby("what", sort=False):
            name, n = str(what), int(line["n"].iloc[0])
            axes.fill_between(
                line["epoch"], line["low"], line["high"], color=shades[name], alpha=0.2, linewidth=0
            )
            axes.plot(
                line["epoch"], line["share"], color=shades[name], marker=signs[name],
                label=f"{what} (n = {n:,})",
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("share")
        figures.share_axis(axes)
        figure.legend(loc="outside upper center", fontsize=6.5)
    return figure
