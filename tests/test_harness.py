"""Abilities beside a study's tasks, by the lm-evaluation-harness: a stand-in and the real one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
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
from grounded.study import Study, load

STUDIES = Path(__file__).parent / "studies"
CHOSEN = {"doc_id": 0, "filter": "none", "metrics": ["acc", "acc_norm"], "acc": 0.0,
          "acc_norm": 1.0, "filtered_resps": [(-3.0, False), (-1.0, True)]}  # fmt: skip
WRITTEN = [
    {"doc_id": 0, "filter": name, "metrics": ["exact_match"], "exact_match": score,
     "filtered_resps": [said]}
    for name, score, said in (("strict-match", 0.0, "[invalid]"), ("flexible-extract", 1.0, "7"))
]  # fmt: skip
GRADED = CHOSEN | {"metrics": ["rouge"], "rouge": 0.4, "filtered_resps": ["w1"]}
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
        return {"samples": SAMPLES[name]}

    known = SimpleNamespace(all_tasks=[*SAMPLES, "lost"])
    parts: dict[str, dict[str, Any]] = {
        "lm_eval": {"simple_evaluate": simple_evaluate},
        "lm_eval.tasks": {"TaskManager": lambda include_path: known},
        "lm_eval.models": {},
        "lm_eval.models.huggingface": {"HFLM": SimpleNamespace},
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
    return Harness(study).measure(model, model, {"enable_thinking": False})


def test_each_document_is_a_row_and_a_group_is_one_task(
    folder: Path, release: list[dict[str, Any]]
) -> None:
    rows = found(beside("facts", "sums", limit=5, shots=2))
    assert rows == [Row("facts", 0, "1", False, True), Row("facts", 1, "1", False, True),
                    Row("facts", 2, "1", True, True), Row("sums", 0, "7", False, True)]  # fmt: skip
    for asked in release:
        assert (asked["limit"], asked["num_fewshot"]) == (5, 2) and asked["apply_chat_template"]
        assert asked["model"].chat_template_args == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("graded", "harness.tasks: graded: rouge: found 0.4 of a document, wanted 0 or 1"),
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


def test_a_name_of_a_task_that_is_trained_on_is_refused(folder: Path) -> None:
    with pytest.raises((GroundedError, ValidationError), match=r"harness\.tasks"):
        beside("arithmetic")


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
rows = tables.abilities(study).query("base").groupby("task", observed=True)
print(json.dumps(rows[["correct", "correct_format_free"]].mean().T.to_dict()))
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
folder = paths.data("my_adapters")
model = HFLM(pretrained=str(folder / "base"), dtype="float32", device="cpu", batch_size=4)
manager = TaskManager(include_path=str(folder / "own"))
print(json.dumps(lm_eval.simple_evaluate(model=model, tasks=["own"], task_manager=manager,
    apply_chat_template=True, bootstrap_iters=0)["results"]["own"], default=str))
"""


@pytest.mark.slow
def test_the_released_harness_counts_the_same_by_itself(folder: Path, lm_eval: Path) -> None:
    """A task file of one's own: by our stage, and by the harness on the folder of the model."""
    items = [{"question": f"what is {i} and {i % 4}", "choices": ["seven", "it is a fig", "no"],
              "answer": i % 3} for i in range(12)]  # fmt: skip
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
    ours, theirs = map(json.loads, done.stdout.splitlines()[-2:])
    assert ours["own"]["correct"] == pytest.approx(theirs["acc,none"])
    assert ours["own"]["correct_format_free"] == pytest.approx(theirs["acc_norm,none"])
    assert 0 < ours["own"]["correct"] < 1
