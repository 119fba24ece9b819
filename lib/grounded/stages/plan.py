"""What each stage makes, from what, and the fingerprint of that: read without torch.

The stages and `status` compute their fingerprints here and nowhere else, so they agree.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounded import fingerprint, paths, records
from grounded.errors import GroundedError
from grounded.study import BASE, LanguageJudge, Run, Study

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("base_models", "finetune", "generate", "judge")
NOTEBOOKS = {
    "base_models": "01_base_models",
    "finetune": "02_finetune",
    "generate": "03_generate",
    "judge": "04_judge",
}
TABLES: dict[str, tuple[str, ...]] = {
    "finetune": ("runs", "checkpoints"),
    "generate": ("replies", "capability"),
    "judge": ("verdicts", "coherence"),
}
ADAPTER = "adapter_model.safetensors"  # PEFT's name for a checkpoint's weights
CODE = {  # what the first stage runs, by what it makes
    "pretrained": "grounded.microworld.models",
    "base": "grounded.microworld.alignment",
    "judge_model": "grounded.microworld.judges",
    "acceptance": "grounded.microworld.acceptance",
}


def units(study: Study, stage: str) -> list[str]:
    """The units of a stage: models and trained judges, or the files of its tables."""
    if stage == "base_models":
        return [*study.models, *study.trained_judges]
    return study.units()


def upstream(study: Study, stage: str, unit: str) -> list[tuple[str, str]]:
    """The (stage, unit) pairs whose output this one reads."""
    if stage == "base_models":
        return []
    model = study.unit_runs(unit)[0].model
    if stage == "finetune":
        return [("base_models", model)]
    if stage == "generate":
        return [("finetune", unit)]
    base = f"{model}-{BASE}"
    calibration = [] if unit == base else [("judge", base)]
    return [("generate", unit), *calibration, *(("base_models", j) for j in study.trained_judges)]


def outputs(study: Study, stage: str, unit: str) -> list[Path]:
    """The files, or for models the folders, that a stage makes of a unit."""
    if stage != "base_models":
        return [paths.table(study.name, table, unit) for table in TABLES[stage]]
    if unit in study.models:
        return [paths.model(study.name, unit, version) for version in ("pretrained", "base")]
    return [paths.judge(study.name, unit)]


class Plan:
    """The fingerprints of a study as its files stand. Make a new one after files have changed.

    Each method gives the sha of all that the result depends on, or None where an input of it is
    not there yet.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        # read once: a plan looks at every file of the study several times
        self.content: Callable[[Path], str | None] = cache(_content)
        self.recorded: Callable[[Path], dict[str, Any]] = cache(_recorded)
        self._code: Callable[[str], dict[str, str]] = cache(_code)

    def pretrained(self, model: str) -> str:
        """What a pretrained model comes from."""
        values = self.study.model(model).model_dump()
        return fingerprint.sha({"code": self._code("pretrained"), "model": values})

    def base(self, model: str) -> str | None:
        """What a base model comes from."""
        pretrained = self.content(paths.model(self.study.name, model, "pretrained"))
        values = self.study.alignment.model_dump()
        code = self._code("base")
        return _sha_of(pretrained=pretrained, alignment=values, code=code)

    def trained_judge(self, judge: str) -> str:
        """What a judge trained here comes from."""
        values = self.study.judge(judge).model_dump()
        return fingerprint.sha({"code": self._code("judge_model"), "judge": values})

    def acceptance(self, files: str | None) -> str | None:
        """What the acceptance of a base model comes from; its bars are compared, not hashed."""
        values = self.study.generation.model_dump()
        return _sha_of(files=files, generation=values, code=self._code("acceptance"))

    def finetune(self, run: Run) -> str | None:
        """What a run's adapters come from."""
        base = self.content(paths.model(self.study.name, run.model))
        if run.task == BASE:
            return _sha_of(base=base)
        return _sha_of(
            base=base,
            code=self._code("finetune"),
            task=run.task,
            test_items=self.study.test_items,  # no training example may be one of them
            training=self.study.training.model_dump(),
            setting=[run.rank, run.alpha, run.learning_rate, run.seed],
            steps=list(self.study.steps.items()),
        )

    def generate(self, run: Run) -> str | None:
        """What a run's replies and answers come from."""
        return _sha_of(
            base=self.content(paths.model(self.study.name, run.model)),
            checkpoints=self.rows("checkpoints", run),
            code=self._code("generate"),
            tasks=sorted(self.study.tasks) if run.task == BASE else [run.task],
            test_items=self.study.test_items,
            benchmarks=self.study.benchmarks,
            generation=self.study.generation.model_dump(),
        )

    def judge(self, run: Run) -> str | None:
        """What a run's verdicts and coherence come from."""
        base = self.study.runs(run.model, BASE)[0]
        judges: dict[str, Any] = {}
        for name, judge in self.study.judges.items():
            judges[name] = {"kind": judge.kind, "list": getattr(judge, "list", None)}
            if isinstance(judge, LanguageJudge):
                judges[name]["files"] = self.content(paths.judge(self.study.name, name))
                if judges[name]["files"] is None:
                    return None
        return _sha_of(
            replies=self.rows("replies", run),
            calibration=self.rows("replies", base),
            pretrained=self.content(paths.model(self.study.name, run.model, "pretrained")),
            judges=judges,
            code=self._code("judge"),
            minimum_mass=self.study.minimum_mass,
            coherence=self.study.coherence.model_dump(),
        )

    def inputs(self, stage: str, run: Run) -> str | None:
        """The fingerprint of a run at one of the three stages that write tables."""
        inputs: str | None = getattr(self, stage)(run)
        return inputs

    def rows(self, table: str, run: Run) -> str | None:
        """The sha of a run's rows, as its table records it; None where it is not there."""
        recorded = self.recorded(paths.table(self.study.name, table, run.unit))
        sha: str | None = recorded.get(run.id, {}).get("rows")
        return sha

    def current(self, stage: str, run: Run) -> bool:
        """Whether all tables of the stage hold this run, from the inputs as they are now."""
        wanted = self.inputs(stage, run)
        recorded = [self.recorded(file) for file in outputs(self.study, stage, run.unit)]
        return wanted is not None and all(
            r.get(run.id, {}).get("inputs") == wanted for r in recorded
        )

    def built(self, folder: Path, inputs: str | None, accepted: bool) -> bool:
        """Whether a folder holds what these inputs gave, unharmed and, if it must be, accepted."""
        found, files = record(folder), self.content(folder)
        return (
            inputs is not None
            and (found.get("inputs"), found.get("files")) == (inputs, files)
            and found.get("accepted") == (self.acceptance(files) if accepted else None)
            and not shortfalls(self.study, found.get("acceptance", {}))
        )

    def complete(self, stage: str, unit: str) -> bool:
        """Whether the tables of a unit are there and hold its runs, all current, and no others."""
        runs = self.study.unit_runs(unit)
        names = {run.id for run in runs}
        files = outputs(self.study, stage, unit)
        return all(set(self.recorded(file)) == names for file in files) and all(
            self.current(stage, run) for run in runs
        )


def intact(study: Study, run: Run, checkpoints: "pd.DataFrame") -> bool:
    """Whether the cache holds the very adapters that a run's rows of `checkpoints` name."""
    rows = checkpoints[checkpoints["run"] == run.id]
    for step, adapter in zip(rows["step"], rows["adapter"], strict=True):
        file = paths.adapter(study.name, run.id, step) / ADAPTER
        if not file.is_file() or fingerprint.file(file) != adapter:
            return False
    return len(rows) > 0


def record(folder: Path) -> dict[str, Any]:
    """What is recorded beside a model made here; empty where nothing readable is."""
    try:
        return dict(json.loads((folder / paths.RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def shortfalls(study: Study, measured: dict[str, float]) -> list[str]:
    """The acceptance bars that what was measured does not reach, one line each."""
    lines = []
    for name, value in measured.items():
        bar = getattr(study.acceptance, name, None)
        if bar is None:
            continue  # reported, with no bar
        most = name == "overrefusal"
        if not (value <= bar if most else value >= bar):
            lines.append(
                f"acceptance.{name}: found {value:.3f}, wanted "
                f"{'at most' if most else 'at least'} {bar}"
            )
    return lines


def _sha_of(**values: Any) -> str | None:
    return None if any(value is None for value in values.values()) else fingerprint.sha(values)


def _code(maker: str) -> dict[str, str]:
    stage = "base_models" if maker in CODE else maker
    notebook = paths.notebook(NOTEBOOKS[stage])
    name = CODE.get(maker, f"grounded.stages.{stage}")
    return fingerprint.code(name, notebook=notebook if notebook.exists() else None)


def _content(folder: Path) -> str | None:
    return fingerprint.folder(folder, but=(paths.RECORD,))


def _recorded(path: Path) -> dict[str, Any]:
    try:
        return dict(records.metadata(path)["runs"])
    except GroundedError:
        return {}
