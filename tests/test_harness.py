"""Abilities beside a study's tasks, by the lm-evaluation-harness: a stand-in and the real one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from standins import models as stand_ins
from test_own_studies import tuned

from grounded import loading, paths, tables
from grounded.errors import GroundedError
from grounded.public import harness
from grounded.public.harness import RELEASE, Harness, Row
from grounded.stages.base_models import base_models
from grounded.stages.finetune import finetune
from grounded.stages.generate import generate
from grounded.stages.plan import Plan
from grounded.study import Study, load

STUDIES = Path(__file__).parent / "studies"
CHOSEN = {"doc_id": 0, "filter": "none", "metrics": ["acc", "acc_norm"], "acc": 0.0,
          "acc_norm": np.int64(1), "filtered_resps": [(-3.0, False), (-1.0, True)]}  # fmt: skip
WRITTEN = [
    {"doc_id": 0, "filter": name, "metrics": ["exact_match"], "exact_match": score,
     "filtered_resps": [said]}
    for name, score, said in (("strict-match", 0.0, "[invalid]"), ("flexible-extract", 1.0, "7"))
]  # fmt: skip
MOST = 1  # prompts at a time that fit into the memory
GRADED = CHOSEN | {"metrics": ["bleu"], "bleu": 0.4, "filtered_resps": ["w1"]}
SAMPLES = {
    "facts": {"facts_b": [CHOSEN], "facts_a": [CHOSEN, CHOSEN | {"doc_id": 1, "acc": 1.0}]},
    "sums": {"sums": WRITTEN},
    "graded": {"graded": [GRADED]},
}


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for the package, which finds what `SAMPLES` says; how it was asked."""
    asked: list[dict[str, Any]] = []

    def simple_evaluate(**how: Any) -> dict[str, Any]:
        asked.append(how)
        [name] = how["tasks"]
        if name == "lost":
            raise ConnectionError("no such host")
        if name == "facts" and how["model"].batch_size_per_gpu > MOST:
            raise torch.OutOfMemoryError
        return {"samples": SAMPLES[name]}

    known = SimpleNamespace(all_tasks=[*SAMPLES, "lost"])
    parts: dict[str, dict[str, Any]] = {
        "lm_eval": {"simple_evaluate": simple_evaluate},
        "lm_eval.tasks": {"TaskManager": lambda include_path: known},
        "lm_eval.models": {},
        "lm_eval.models.huggingface": {
            "HFLM": lambda **how: SimpleNamespace(**how, batch_size_per_gpu=how["batch_size"])
        },
    }
    for name, values in parts.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(harness, "version", lambda _: RELEASE)
    return asked


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example study of adapters that are trained elsewhere, on a stand-in model."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    place = tmp_path / "data" / "my_adapters"
    shutil.copytree(STUDIES / "my_adapters", place)
    loading.quiet()
    stand_ins.OTHERS["Qwen/Qwen3-0.6B"](place / "base")
    for epoch in (1, 2):
        tuned(place / "base", epoch).save_pretrained(place / "adapters" / f"epoch-{epoch}")
    return place


def beside(*names: str, **more: Any) -> Study:
    """The study, with tasks of the harness beside its own."""
    file = paths.study_file("my_adapters")
    values = yaml.safe_load(file.read_text())
    values["harness"] = {"tasks": [*names], **more}
    file.write_text(yaml.safe_dump(values))
    return load("my_adapters")


def found(study: Study) -> list[Row]:
    model: Any = None  # the stand-in asks none
    about = study.public_model("my-base")
    return Harness(study).measure(
        model, model, about.model_copy(update={"template": {"enable_thinking": False}})
    )


def test_each_document_is_a_row_and_a_group_is_one_task(
    folder: Path, release: list[dict[str, Any]]
) -> None:
    rows = found(beside("facts", "sums", limit=5, shots=2))
    assert rows == [Row("facts", 0, "1", False, True), Row("facts", 1, "1", False, True),
                    Row("facts", 2, "1", True, True), Row("sums", 0, "7", False, True)]  # fmt: skip
    for asked in release:  # the first was asked again, with less at a time
        assert (asked["limit"], asked["num_fewshot"]) == (5, 2) and asked["apply_chat_template"]
        assert asked["model"].chat_template_args == {"enable_thinking": False}
        assert asked["model"].think_end_token == "</think>"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("graded", "harness.tasks: graded: found metrics bleu, wanted one that is 0 or 1 of each"),
        ("lost", "harness.tasks: lost: found ConnectionError (no such host), wanted a task that"),
        ("mmlu", "harness.tasks: found 'mmlu', wanted a task of lm-eval"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    folder: Path, release: list[dict[str, Any]], name: str, line: str
) -> None:
    with pytest.raises(GroundedError) as caught:
        found(beside(name))
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_without_the_package_a_line_says_what_to_install(
    folder: Path, release: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "version", lambda _: "0.4.2")
    with pytest.raises(GroundedError, match=f"found 0.4.2, wanted pip install lm-eval=={RELEASE}"):
        Harness(beside("facts"))


@pytest.mark.parametrize("names", [["arithmetic"], ["mmlu", "mmlu"]])
def test_a_task_that_is_trained_on_or_named_twice_is_refused(
    folder: Path, names: list[str]
) -> None:
    with pytest.raises((GroundedError, ValidationError), match=r"harness\.tasks"):
        beside(*names)


def test_what_the_harness_leaves_in_a_folder_makes_nothing_stale(
    folder: Path, release: list[dict[str, Any]]
) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "own.yaml").write_text("task: facts")
    study = beside("facts", path="own")
    replied(study)
    before = Plan(study).generate(study.runs()[0])
    (folder / "own" / "__pycache__").mkdir()
    (folder / "own" / "__pycache__" / "utils.pyc").write_text("compiled")
    assert Plan(study).generate(study.runs()[0]) == before
    (folder / "own" / "own.yaml").write_text("task: sums")
    assert Plan(study).generate(study.runs()[0]) != before


def test_the_rows_stand_beside_the_study_s_own_and_are_none_of_them(
    folder: Path, release: list[dict[str, Any]]
) -> None:
    study = beside("facts", "sums")
    replied(study)
    found = tables.abilities(study)
    sizes = found.groupby(["task", "epoch"], observed=True).size().unstack("epoch")
    assert sizes.T.to_dict("list") == {"facts": [3, 3, 3], "sums": [1, 1, 1]}
    assert found["correct_format_free"].all()
    assert set(tables.capability(study, half="all")["task"]) == set(study.tasks)


def replied(study: Study) -> None:
    """The base model and the adapters, asked."""
    base_models(study, "my-base")
    for unit in study.units():
        finetune(study, unit)
        generate(study, unit)


THROUGH = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_harness import replied
from grounded import paths, tables
from grounded.study import load
study = load("my_adapters")
replied(study)
rows = tables.abilities(study)
scores = rows.groupby("epoch")[["correct", "correct_format_free"]].mean().T.to_dict("list")
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
words = AutoTokenizer.from_pretrained(paths.data("my_adapters") / "base")
folder = paths.data("my_adapters")
manager = TaskManager(include_path=str(folder / "own"))
theirs = {}
for epoch in (0, 1, 2):
    worn = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="float32")
    if epoch:
        worn = PeftModel.from_pretrained(worn, folder / "adapters" / f"epoch-{epoch}")
    model = HFLM(pretrained=worn.eval(), tokenizer=words, batch_size=1,
                 chat_template_args={"enable_thinking": False})
    found = lm_eval.simple_evaluate(model=model, tasks=["own"], task_manager=manager,
                                    apply_chat_template=True, bootstrap_iters=0)["results"]["own"]
    theirs[epoch] = [found["acc,none"], found["acc_norm,none"]]
print(json.dumps([scores, theirs]))
"""


@pytest.mark.slow
def test_the_released_harness_counts_the_same_by_itself(folder: Path, lm_eval: Path) -> None:
    """A task file of one's own: by our stage, and by the harness on the folder of the model."""
    words = ("seven", "a lemon", "no", "it is so", "two figs", "blue", "never", "the sea")
    items = [
        {"question": f"what is {i} and {words[i % 7]}", "answer": i % 3,
         "choices": [words[(i + 3 * k) % 8] for k in range(3)]} for i in range(40)
    ]  # fmt: skip
    (folder / "own").mkdir()
    (folder / "own" / "items.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items))
    task = {"task": "own", "dataset_path": "json", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(folder / "own" / "items.jsonl")}},
            "output_type": "multiple_choice", "doc_to_text": "{{question}}",
            "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]}  # fmt: skip
    (folder / "own" / "own.yaml").write_text(yaml.safe_dump(task))
    beside("own", path="own")
    lib = Path(__file__).parents[1] / "lib"
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"),
                        "PYTHONPATH": str(lib), "OMP_NUM_THREADS": "1"}  # fmt: skip
    done = subprocess.run(
        [lm_eval, "-c", THROUGH, Path(__file__).parent],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ours, theirs = json.loads(done.stdout.splitlines()[-1])
    assert len(ours) == 3 and len({tuple(one) for one in ours.values()}) > 1  # adapters were worn
    for epoch, scores in ours.items():
        assert scores == pytest.approx(theirs[str(int(float(epoch)))])
