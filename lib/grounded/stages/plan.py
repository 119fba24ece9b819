"""What each stage makes, from what, and the fingerprint of that: read without torch.

The stages and `status` compute their fingerprints here and nowhere else, so they agree.
"""

from collections.abc import Callable
from copy import copy
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounded import fingerprint, paths, records
from grounded.errors import GroundedError
from grounded.stages import public, worlds
from grounded.stages.public import ADAPTER
from grounded.stages.worlds import MICROWORLD, WORK
from grounded.study import BASE, GIVEN, LORA, LanguageJudge, PublicJudge, Run, Study, TunedJudge
from grounded.study.methods import TEST_PROMPTS

if TYPE_CHECKING:
    import pandas as pd

IN_PARTS = "in_parts"  # a file beside a study file: its tables are committed a unit at a time
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
ASKED_WITH = {"max_new_tokens", "batch_size", "decoding"}  # how a base model is asked at acceptance
POINTER = "model.json"  # in its place where a checkpoint is a whole model: which one
CODE = {  # what the first stage runs, by what it makes
    "pretrained": "grounded.microworld.models",
    "base": "grounded.microworld.alignment",
    "judge_model": "grounded.microworld.judges",
    "acceptance": "grounded.microworld.acceptance",
}


def units(study: Study, stage: str) -> list[str]:
    """The units of a stage: models and trained judges, or the files of its tables.

    Of a study that is committed a unit at a time, those that are there: a file `in_parts` beside
    its study file says so, or its tables came without texts, so that nothing can go on from them.
    """
    if stage == "base_models":
        return [*study.base_models, *study.language_judges]
    found = study.units(arm=None)
    there = {
        unit: file for unit in found if (file := paths.table(study.name, "runs", unit)).exists()
    }
    marked = (paths.data(study.name) / IN_PARTS).exists()
    in_parts = marked or all(file.parent.parent.name == "redacted" for file in there.values())
    return list(there) if there and in_parts else found


def upstream(study: Study, stage: str, unit: str) -> list[tuple[str, str]]:
    """The (stage, unit) pairs whose output this one reads."""
    if stage == "base_models":
        judge = study.judges.get(unit)
        if isinstance(judge, TunedJudge):
            return [(stage, judge.after or judge.model)]
        return [(stage, study.variants[unit].of)] if unit in study.variants else []
    model = study.unit_runs(unit)[0].model
    if stage == "finetune":
        return [("base_models", model)]
    if stage == "generate":
        return [("finetune", unit)]
    base = f"{model}-{BASE}"
    calibration = [] if unit == base else [("judge", base)]
    return [("generate", unit), *calibration, *(("base_models", j) for j in study.language_judges)]


def tables_of(study: Study, stage: str) -> tuple[str, ...]:
    """The tables that a stage writes; `progress` where capability is measured on the way."""
    return TABLES[stage] + (("progress",) if stage == "generate" and study.every else ())


def asked_of(study: Study) -> list[str]:
    """The benchmarks whose prompts teach no judge, so that who has access to more changes none."""
    return [name for name, one in study.benchmarks.items() if not one.optional]


def outputs(study: Study, stage: str, unit: str) -> list[Path]:
    """The files, or for models the folders, that a stage makes of a unit."""
    if stage != "base_models":
        return [paths.table(study.name, table, unit) for table in tables_of(study, stage)]
    if study.world != MICROWORLD:
        return [public.record_folder(study, unit)]
    if unit in study.variants:
        return [paths.model(study.name, unit)]
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
        self.content: Callable[[Path], str | None] = cache(content)
        self.recorded: Callable[[Path], dict[str, Any]] = cache(_recorded)
        self._code: Callable[..., dict[str, str]] = cache(partial(_code, study))
        self._table: Callable[..., Path] = cache(partial(paths.table, study.name))
        self.files: Callable[..., str | None] = cache(self._files)
        self._judges: Callable[[], dict[str, Any] | None] = cache(self._read_judges)

    def pretrained(self, model: str) -> str:
        """What a pretrained model comes from."""
        values = self.study.model(model).model_dump()
        return fingerprint.sha({"code": self._code("pretrained"), "model": values})

    def base(self, model: str) -> str | None:
        """What a base model comes from."""
        of = self.study.pretrained_of(model)
        pretrained = self.content(paths.model(self.study.name, of, "pretrained"))
        values = self.study.alignment_of(model).model_dump()
        code = self._code("base")
        return _sha_of(pretrained=pretrained, alignment=values, code=code)

    def trained_judge(self, judge: str) -> str:
        """What a judge trained here comes from."""
        values = self.study.judge(judge).model_dump()
        return fingerprint.sha({"code": self._code("judge_model"), "judge": values})

    def tuned_judge(self, judge: str) -> str | None:
        """What a judge tuned on people's labels comes from: its recipe, the labels, the model.

        And what is asked, which teaches it nothing. The code is not in it: what was tuned stays
        what it is when the code is only put in order.
        """
        study, setting = self.study, self.study.judge(judge)
        assert isinstance(setting, TunedJudge)
        asked = {name: public.benchmark(study, name) for name in asked_of(study)}
        return _sha_of(
            judge=setting.model_dump(),
            labels=public.labels(setting.kind),
            asked=None if None in asked.values() else asked,
            of=self.files(setting.model, "pretrained"),
            after=self.content(paths.judge(study.name, setting.after)) if setting.after else "",
        )

    def acceptance(self, files: str | None) -> str | None:
        """What the acceptance of a base model comes from; its bars are compared, not hashed."""
        values = self.study.generation.model_dump(include=ASKED_WITH)
        return _sha_of(files=files, generation=values, code=self._code("acceptance"))

    def _files(self, model: str, version: str = "base") -> str | None:
        """What stands for a model's files: the sha of their content, or of a real one its commit.

        version: `base`, or `pretrained`.
        """
        if self.study.world != MICROWORLD:
            return public.model(self.study, model, version)
        if version == "pretrained":
            model = self.study.pretrained_of(model)
        return self.content(paths.model(self.study.name, model, version))

    def weights(self, model: str) -> str:
        """The sha256 of a base model's weights, or of a real one its commit."""
        if self.study.world != MICROWORLD:
            return str(self.files(model))
        return fingerprint.file(paths.model(self.study.name, model) / "model.safetensors")

    def finetune(self, run: Run) -> str | None:
        """What a run's adapters come from."""
        study = self.study
        base = self.files(run.model)
        if run.task == BASE:
            return _sha_of(base=base)
        code = self._code("finetune", *method_modules(study, run))
        if run.method == GIVEN:
            return _sha_of(base=base, code=code, given=public.given(study, run))
        training = study.training_of(run.task)
        assert training is not None
        return _sha_of(
            base=base,
            code=code,
            task=run.task,
            examples=study.examples(run.task),
            test_items=study.items(run.task),  # no training example may be one of them
            training=training.model_dump(),
            setting=[run.rank, run.alpha, run.learning_rate, run.seed],
            steps=list(study.saved_steps(run.task).items()),
            **({"procedures": share} if (share := study.procedures(run)) else {}),
            method=[run.method, run.knob] if run.knob is not None else [run.method],
            **self._real(tasks=[run.task], model=run.model, material=run.method != LORA),
        )

    def generate(self, run: Run) -> str | None:
        """What a run's replies and answers come from."""
        study, tasks = self.study, sorted(self.study.tasks) if run.task == BASE else [run.task]
        generation = study.generation.model_dump(mode="json")
        if study.world != MICROWORLD:  # that there is a server counts, not where it is
            generation["server"] = study.generation.server is not None
        return _sha_of(
            base=self.files(run.model),
            checkpoints=self.rows("checkpoints", run),
            code=self._code("generate"),
            tasks={task: study.items(task) for task in tasks},
            benchmarks={n: b.model_dump(exclude={"optional"}) for n, b in study.benchmarks.items()},
            generation=generation,
            prompt=TEST_PROMPTS.get(run.method, ""),
            **self._anchored(run),
            **self._real(tasks=tasks, model=run.model, benchmarks=True),
        )

    def _anchored(self, run: Run) -> dict[str, Any]:
        """At which goals a run is asked for replies besides the epochs, where it is."""
        study, asked = self.study, self.study.anchoring
        if asked is None or not asked.every or run.task == BASE:
            return {}
        goals = study.goals(run.model, run.task).model_dump(exclude={"epoch", "base"})
        return {"anchors": goals | {"metric": asked.metric, "tolerance": asked.tolerance}}

    def judge(self, run: Run) -> str | None:
        """What a run's verdicts and coherence come from."""
        base, judges = self.study.runs(run.model, BASE)[0], self._judges()
        if judges is None:
            return None
        real = self.study.world != MICROWORLD
        return _sha_of(
            **({"thoughts": public.thoughts(self.study)} if real else {}),
            replies=self.rows("replies", run),
            calibration=self.rows("replies", base),
            pretrained=self.files(run.model, "pretrained"),
            judges=judges,
            code=self._code("judge"),
            minimum_mass=self.study.minimum_mass,
            coherence=self.study.coherence.model_dump(),
        )

    def _read_judges(self) -> dict[str, Any] | None:
        """Each judge by its kind and files, the same for every run; None where files are absent."""
        judges: dict[str, Any] = {}
        for name, judge in self.study.judges.items():
            judges[name] = {"kind": judge.kind, "list": getattr(judge, "list", None)}
            if getattr(judge, "normalised", False):
                judges[name]["normalised"] = True
            if isinstance(judge, TunedJudge):
                judges[name] |= {"clip": judge.clip, "of": self.files(judge.model, "pretrained")}
            if isinstance(judge, LanguageJudge | TunedJudge):
                judges[name]["files"] = self.content(paths.judge(self.study.name, name))
            elif isinstance(judge, PublicJudge):
                judges[name]["files"] = public.judge(self.study, name)
            if None in (judges[name].get("files", ""), judges[name].get("of", "")):
                return None
        return judges

    def _real(
        self, tasks: list[str], model: str, benchmarks: bool = False, material: bool = False
    ) -> dict[str, Any]:
        """What more there is to a real study; nothing for an invented one. None: not known yet."""
        study = self.study
        if study.world == MICROWORLD:
            return {}
        data: dict[str, Any] = {f"tasks.{name}": public.task(study, name) for name in tasks}
        if benchmarks:
            data |= {f"benchmarks.{n}": public.benchmark(study, n) for n in study.benchmarks}
            data |= {"harness": public.harness(study)} if study.harness else {}
        if material:
            data["material"] = public.material(study)
        whole = None not in data.values()
        about = study.public_model(model)
        told = {"template": about.template, "thoughts": about.thoughts}
        return {"data": data if whole else None, **told}

    def inputs(self, stage: str, run: Run) -> str | None:
        """The fingerprint of a run at one of the three stages that write tables."""
        inputs: str | None = getattr(self, stage)(run)
        return inputs

    def values(self, stage: str, run: Run) -> str | None:
        """`inputs` without the code: two fingerprints of the same values differ by code alone."""
        bare = copy(self)
        bare._code = lambda *_: {}
        return bare.inputs(stage, run)

    def rows(self, table: str, run: Run) -> str | None:
        """The sha of a run's rows, as its table records it; None where it is not there."""
        recorded = self.recorded(self._table(table, run.unit))
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
        found, files = public.recorded(folder), self.content(folder)
        return (
            inputs is not None
            and (found.get("inputs"), found.get("files")) == (inputs, files)
            and found.get("accepted") == (self.acceptance(files) if accepted else None)
            and not shortfalls(self.study, found.get("acceptance", {}))
        )

    def stale(self, stage: str, unit: str) -> str:
        """Why the tables of a unit must be made again; nothing where they hold its runs, all of
        them current, and no others."""
        runs = self.study.unit_runs(unit)
        for file in outputs(self.study, stage, unit):
            if not file.exists():
                return f"{paths.shown(file)} is missing"
            try:
                recorded = records.sound(file, file.parent.name)["runs"]
            except GroundedError as error:
                return str(error)
            if odd := sorted({run.id for run in runs} ^ set(recorded)):
                return f"{paths.shown(file)}: other runs: {some(odd)}"
            changed = [r.id for r in runs if recorded[r.id].get("inputs") != self.inputs(stage, r)]
            if changed:
                return f"{paths.shown(file)}: other inputs: {some(changed)}"
        return ""

    def complete(self, stage: str, unit: str) -> bool:
        """Whether the tables of a unit hold its runs, all of them current, and no others."""
        return not self.stale(stage, unit)


def some(names: list[str]) -> str:
    """The first of these names, and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def intact(study: Study, run: Run, checkpoints: "pd.DataFrame") -> bool:
    """Whether the cache holds the very adapters that a run's rows of `checkpoints` name."""
    rows = checkpoints[checkpoints["run"] == run.id]
    for step, adapter in zip(rows["step"], rows["adapter"], strict=True):
        folder = paths.adapter(study.name, run.id, step)
        file = folder / (POINTER if (folder / POINTER).is_file() else ADAPTER)
        if not file.is_file() or fingerprint.file(file) != adapter:
            return False
    return len(rows) > 0


def shortfalls(study: Study, measured: dict[str, float]) -> list[str]:
    """The acceptance bars that what was measured does not reach, one line each."""
    lines = []
    for name, value in measured.items():
        bar = getattr(study.acceptance, name, None)
        if bar is None:
            continue  # reported, with no bar
        if isinstance(bar, tuple):
            if not bar[0] <= value <= bar[1]:
                wanted = f"{bar[0]} to {bar[1]}"
                lines.append(f"acceptance.{name}: found {value:.3f}, wanted {wanted}")
            continue
        most = name == "overrefusal"
        if not (value <= bar if most else value >= bar):
            lines.append(
                f"acceptance.{name}: found {value:.3f}, wanted "
                f"{'at most' if most else 'at least'} {bar}"
            )
    return lines


def _sha_of(**values: Any) -> str | None:
    return None if any(value is None for value in values.values()) else fingerprint.sha(values)


def method_module(study: Study, run: Run) -> str:
    """The module that makes a run's checkpoints: its method's, or its world's.

    Real models are trained through their world's module, which calls the method's: memory may ask
    for another try. So is what was trained elsewhere.
    """
    if run.method == GIVEN or study.world != MICROWORLD:
        return worlds.module(study, "finetune")
    return f"grounded.methods.{run.method}"


def method_modules(study: Study, run: Run) -> list[str]:
    """The modules whose code makes a run's checkpoints."""
    found = [method_module(study, run)]
    if run.method != GIVEN:
        found.append(f"grounded.methods.{run.method}")
    return list(dict.fromkeys(found))


def _code(study: Study, maker: str, *more: str) -> dict[str, str]:
    stage = "base_models" if maker in CODE else maker
    notebook = paths.notebook(NOTEBOOKS[stage])
    names = [CODE[maker]] if maker in CODE else [f"grounded.stages.{stage}"]
    if stage in WORK:
        names += [worlds.module(study, stage), *more]
    return fingerprint.code(*names, notebook=notebook if notebook.exists() else None)


def content(folder: Path) -> str | None:
    """The sha256 of all that a model consists of, but its record."""
    return fingerprint.folder(folder, but=(paths.RECORD,))


def _recorded(path: Path) -> dict[str, Any]:
    try:
        return dict(records.sound(path, path.parent.name)["runs"])
    except GroundedError:
        return {}
