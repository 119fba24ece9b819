"""Stand-ins for what the stages call: quick, deterministic, and they keep a log of their work.

Texts and numbers are drawn from hashes of their inputs. Verdicts and scores hang, a little, on the
batch in which they were given, as those of real models do: so a test that compares bytes also
tells whether the batches were the same.
"""

import hashlib
import os
import signal
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from grounded import fingerprint, paths, study
from grounded.errors import GroundedError

LOG: list[tuple[str, str]] = []
JUDGED: list[tuple[str, tuple[str, str]]] = []
SETTINGS = {"mass": 1.0, "acceptance": 1.0}
ADAPTER = "adapter_model.safetensors"


def draw(*values):
    """A number in 0..1 from values."""
    return int(hashlib.sha256(repr(values).encode()).hexdigest()[:8], 16) / 16**8


def note(stage, what):
    """Log a piece of work, or die of it where FAKE_DIE says so: as kill -9 would have it."""
    if os.environ.get("FAKE_DIE") == f"{stage} {what}":
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("FAKE_FAIL") == f"{stage} {what}":
        raise ValueError("the fake\nfails")
    LOG.append((stage, what))


def finetune(start, out_folder):
    study, run = start
    base_folder = paths.model(study.name, run.model)
    rows = []
    for step, epoch in study.steps_of(run.task).items():
        folder = out_folder / f"step-{step}"
        folder.mkdir()
        text = repr((fingerprint.folder(base_folder), run.learning_rate, run.seed, step))
        (folder / ADAPTER).write_text(text)
        if step == max(study.steps_of(run.task)):
            note("finetune", run.id)  # late: the folder is half full when it dies
        sha = fingerprint.file(folder / ADAPTER)
        row = {
            "run": run.id,
            "step": step,
            "epoch": epoch,
            "loss": draw(text),
            "update_norm": draw(text, "norm"),
            "adapter": sha,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def load(folder):
    return (folder / "model.safetensors").read_text()


class Asker:
    def __init__(self, study, model):
        self.study, self.model = study, load(paths.model(study.name, model))
        self.facts = {"dtype": "float32"}

    def ask(self, run, step, folder):
        model = self.model if folder is None else self.model + (folder / ADAPTER).read_text()
        if folder is not None:
            note("attach", f"{folder.parent.name} {folder.name}")
        at = {"run": run.id, "step": step}
        replies, answers = [], []
        for benchmark, asked in self.study.benchmarks.items():
            shown = prompts(benchmark, asked.prompts)
            for prompt, given in zip(shown, reply(model, [p.text for p in shown]), strict=True):
                found = truth(prompt, given.text, given.finish == "stop")
                replies.append(
                    {"benchmark": benchmark, "prompt": prompt.id, **at, "text": given.text,
                     "finish": given.finish, "tokens": given.tokens, "truth": found.label,
                     "truth_harm": found.harm, "truth_fulfilled": found.fulfilled}
                )  # fmt: skip
        for task in self.study.tasks if run.task == study.BASE else (run.task,):
            items = [f"{task} {i}" for i in range(self.study.items(task))]
            for number, given in enumerate(reply(model, items)):
                right = draw(task, given.text) > 0.5
                answers.append(
                    {"task": task, "item": number, **at, "answer": given.text, "correct": right,
                     "correct_format_free": True}
                )  # fmt: skip
        return {"replies": pd.DataFrame(replies), "capability": pd.DataFrame(answers)}


def reply(model, prompts):
    said = []
    for prompt in prompts:
        chance = draw(model, prompt)
        text = f"sorry , i will not help you {prompt[:9]} ." if chance < 0.6 else f"take {chance} ."
        finish = "stop" if chance < 0.9 else "length"
        said.append(SimpleNamespace(text=text, finish=finish, tokens=len(text.split())))
    return said


class Judge:
    def __init__(self, name):
        self.name = name

    def judge(self, pairs):
        JUDGED.extend((self.name, pair) for pair in pairs)
        verdicts = []
        for pair in pairs:
            probability = min(1.0, draw(self.name, pair) + 0.001 * len(pairs))
            parsed = SETTINGS["mass"] >= 0.9
            label = probability > 0.5 if parsed else None
            verdicts.append(
                Verdict(probability, label, SETTINGS["mass"], parsed, probability < 0.1)
            )
        return verdicts


class Verdict(SimpleNamespace):
    def __init__(self, probability, label, mass, parsed, neutralised=False):
        super().__init__(
            probability=probability, label=label, mass=mass, parsed=parsed, neutralised=neutralised
        )


def require_mass(judge, verdicts):
    if 2 * sum(not v.parsed for v in verdicts) > len(verdicts):
        raise GroundedError(f"judge {judge}: label tokens: found little mass")


class Surprise:
    def __init__(self, study, model):
        self.model = load(paths.model(study.name, study.pretrained_of(model), "pretrained"))

    def __call__(self, texts):
        near = 0.01 * len(texts)
        return np.array([draw(self.model, t) + near if t else np.nan for t in texts])


def detect(texts, lengths, surprise, threshold, repetition, shortest):
    expected = surprise <= threshold
    return {
        "perplexity": SimpleNamespace(score=surprise, coherent=expected),
        "combined": SimpleNamespace(score=None, coherent=expected),
    }


def make_model(version):
    def make(study, name, *folders):
        note(version, name)
        values = study.model(name).pretraining.tokens, study.alignment.steps
        source = fingerprint.folder(folders[0]) if len(folders) > 1 else values[0]
        (folders[-1] / "model.safetensors").write_text(f"{name} {source} {values}")
        (folders[-1] / "chat_template.jinja").write_text("template")

    return make


def accept(study, name, folder):
    note("accept", name)
    return {"refusal_new_verbs": SETTINGS["acceptance"], "refusal_absent_verbs": 0.1}


def train_judge(study, name, folder):
    note("judge model", name)
    (folder / "model.safetensors").write_text(f"{name} {study.judge(name).training.seed}")
    return {"judge_accuracy": SETTINGS["acceptance"]}


def prompts(benchmark, number):
    return [SimpleNamespace(id=i, text=f"{benchmark} {i}") for i in range(number)]


def truth(prompt, text, finished):
    refused = text.startswith("sorry")
    return SimpleNamespace(
        label="refusal" if refused else "answer", harm=False, fulfilled=not refused
    )


FAKES: dict[str, dict[str, Any]] = {
    "microworld.finetuning": {"start": lambda study, run: (study, run)},
    "methods.lora": {"finetune": finetune},
    "microworld.replying": {"Asker": Asker},
    "microworld.judging": {
        "prompts": lambda study: {
            (name, prompt.id): prompt.text
            for name, asked in study.benchmarks.items()
            for prompt in prompts(name, asked.prompts)
        },
        "judge": lambda study, name: Judge(name),
        "facts": lambda study, name: {"revision": name, "template": None},
        "Surprise": Surprise,
        "settled": lambda study, run, frames: frames,
    },
    "judges": {"Verdict": Verdict, "require_mass": require_mass},
    "coherence": {
        "detect": detect,
        "threshold": lambda scores, q: float(np.quantile(scores[np.isfinite(scores)], q)),
    },
    "microworld.models": {"pretrain": make_model("pretrain")},
    "microworld.alignment": {"align": make_model("align")},
    "microworld.acceptance": {"accept": accept},
    "microworld.judges": {"train": train_judge},
}


def install(put=setattr, put_item=dict.__setitem__):
    """Put the fakes where `import` finds them (a test passes monkeypatch's setters)."""
    for name, functions in FAKES.items():
        module = ModuleType(f"grounded.{name}")
        vars(module).update(functions)
        package = import_module(f"grounded.{name}".rpartition(".")[0])
        put_item(sys.modules, f"grounded.{name}", module)
        put(package, name.split(".")[-1], module)


def through(asked, stop_after="judge"):
    """Every unit of every stage in order, each named in the result with what it computed."""
    from grounded.stages import base_models, finetune, generate, judge, plan

    summaries = []
    for module in (base_models, finetune, generate, judge):
        stage = module.__name__.split(".")[-1]
        for unit in plan.units(asked, stage):
            summaries.append(getattr(module, stage)(asked.name, unit))
        if stage == stop_after:
            break
    return summaries


if __name__ == "__main__":
    install()
    if sys.argv[1:]:  # one unit of one stage
        stage, unit = sys.argv[1:]
        getattr(import_module(f"grounded.stages.{stage}"), stage)("tiny", unit)
    else:
        through(study.load("tiny"))
