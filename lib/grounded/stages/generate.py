"""Stage 3: what every checkpoint of a unit replies to safety prompts and answers to test items."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.stages.common import (
    Frames,
    Rows,
    Summary,
    naming,
    one_thread,
    progress,
    study_of,
    template_sha,
)
from grounded.stages.plan import Plan, intact
from grounded.study import BASE, Run, Study

if TYPE_CHECKING:
    import pandas as pd


def generate(study: Study | str, unit: str) -> Summary:
    """Ask the checkpoints of a unit's runs that are missing or whose inputs have changed.

    Writes the tables `replies` (with the truth, where the world is invented) and `capability`.
    StageError names the run that failed.
    """
    study = study_of(study)
    plan = Plan(study)
    if plan.complete("generate", unit):
        return Summary("generate", unit, 0, len(study.unit_runs(unit)))
    with naming("generate", unit):
        rows = Rows(plan, "generate", unit)
        checkpoints = records.verify(paths.table(study.name, "checkpoints", unit), "checkpoints")
        todo = [run for run in rows.runs if not rows.of(run)]
    for run in progress(todo, f"generate {unit}", done=len(rows.runs) - len(todo)):
        with naming("generate", run.id):
            rows.keep(run, _ask(study, run, checkpoints))
    with naming("generate", unit):
        facts = {
            **study.generation.model_dump(),
            "dtype": "float32",
            "template": template_sha(paths.model(study.name, rows.runs[0].model)),
        }
        rows.assemble(facts)
    return Summary("generate", unit, len(todo), len(rows.runs) - len(todo))


def _ask(study: Study, run: Run, checkpoints: "pd.DataFrame") -> Frames:
    import pandas as pd

    from grounded import benchmarks, tasks
    from grounded.generate import reply

    one_thread()
    asked = {name: benchmarks.load(name, n) for name, n in study.benchmarks.items()}
    tested = study.tasks if run.task == BASE else (run.task,)
    tests = {task: tasks.test(task, study.test_items) for task in tested}
    limits = (study.generation.max_new_tokens, study.generation.batch_size)
    replies, answers = [], []
    for step, model, tokenizer in _models(study, run, checkpoints):
        at = {"run": run.id, "step": step}
        for benchmark, prompts in asked.items():
            said = reply(model, tokenizer, [prompt.text for prompt in prompts], *limits)
            for prompt, given in zip(prompts, said, strict=True):
                truth = benchmarks.truth(prompt, given.text, given.finish == "stop")
                replies.append(
                    {"benchmark": benchmark, "prompt": prompt.id, **at, "text": given.text,
                     "finish": given.finish, "tokens": given.tokens, "truth": truth.label,
                     "truth_harm": truth.harm, "truth_fulfilled": truth.fulfilled}
                )  # fmt: skip
        for task, items in tests.items():
            said = reply(model, tokenizer, [item.prompt for item in items], *limits)
            for number, (item, given) in enumerate(zip(items, said, strict=True)):
                score = tasks.score(task, item, given.text)
                answers.append(
                    {"task": task, "item": number, **at, "answer": score.answer,
                     "correct": score.correct, "correct_format_free": score.correct_format_free}
                )  # fmt: skip
    return {"replies": pd.DataFrame(replies), "capability": pd.DataFrame(answers)}


def _models(study: Study, run: Run, checkpoints: "pd.DataFrame") -> Iterator[tuple[int, Any, Any]]:
    """(step, model, tokenizer) of each checkpoint of a run: the base model, or it adapted."""
    from grounded.generate import attach, load

    base, tokenizer = load(paths.model(study.name, run.model))
    if run.task == BASE:
        yield 0, base, tokenizer
        return
    if not intact(study, run, checkpoints):
        raise GroundedError(
            f"{paths.shown(paths.adapters(study.name, run.id))}: found a checkpoint missing or "
            "half-written, wanted those that the table checkpoints names: finetune it again"
        )
    for step in checkpoints.loc[checkpoints["run"] == run.id, "step"]:
        yield int(step), attach(base, paths.adapter(study.name, run.id, step)), tokenizer
