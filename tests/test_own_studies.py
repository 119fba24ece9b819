"""What a user brings: adapters, whole models, a task, prompts, through every stage in this process.

The example studies in tests/studies are run as they are; the model is a stand-in in a folder.
"""

import json
import shutil
from importlib import import_module
from pathlib import Path

import pages
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from standins import models as stand_ins
from transformers import AutoModelForCausalLM

from grounded import loading, paths, records, tables
from grounded.errors import GroundedError, StageError
from grounded.finetune import update_norm
from grounded.public import brought, data, finetuning, models, whole
from grounded.public.budget import budget
from grounded.stages import plan
from grounded.stages.base_models import base_models
from grounded.stages.finetune import finetune
from grounded.stages.plan import NOTEBOOKS
from grounded.stages.status import status
from grounded.study import load

STUDIES = Path(__file__).parent / "studies"
UNIT, BASE = "my-base-arithmetic", "my-base-base"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    loading.quiet()
    folder = tmp_path_factory.mktemp("base")
    stand_ins.OTHERS["Qwen/Qwen3-0.6B"](folder)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    return tmp_path


def copied(home, name, base):
    """An example study in a home of its own, beside its base model."""
    folder = home / "data" / name
    shutil.copytree(STUDIES / name, folder)
    shutil.copytree(base, folder / "base")
    return folder


def tuned(base, seed, whole=False):
    """The base model with a LoRA adapter that changes something, or with it merged in."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    made = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return made.merge_and_unload() if whole else made


def through(name):
    """Every unit of every stage: what was computed, by stage."""
    asked, computed = load(name), {}
    for stage in plan.STAGES:
        run = getattr(import_module(f"grounded.stages.{stage}"), stage)
        done = [run(asked, unit) for unit in plan.units(asked, stage)]
        computed[stage] = sum(one.computed for one in done)
    return computed


def table(name, of, unit=UNIT):
    return records.read(paths.table(name, of, unit), of)


def test_adapters_that_were_trained_elsewhere(home, base):
    folder = copied(home, "my_adapters", base)
    norms = []
    for epoch in (1, 2):
        made = tuned(base, epoch)
        norms.append(update_norm(made))
        made.save_pretrained(folder / "adapters" / f"epoch-{epoch}")
    assert through("my_adapters") == {"base_models": 1, "finetune": 2, "generate": 2, "judge": 2}
    found = table("my_adapters", "checkpoints")
    assert list(found["epoch"]) == [1.0, 2.0] and found["loss"].isna().all()
    assert list(found["update_norm"]) == pytest.approx(norms, rel=1e-5)
    replies = [table("my_adapters", "replies", unit) for unit in (BASE, UNIT)]
    texts = [set(zip(one["prompt"], one["text"], strict=True)) for one in replies]
    assert texts[0] != texts[1]  # the adapters were worn
    assert {len(one) for one in replies} == {4, 8}
    asked = load("my_adapters")
    measured = tables.capability(asked, half="all").groupby("epoch")["item"].nunique()
    assert dict(measured) == {0: 4, 1: 4, 2: 4}
    assert not [one for one in status("my_adapters") if one.state == "stale"]
    assert not any(through("my_adapters").values())


@pytest.mark.parametrize("name", ["my_adapters", "my_models", "my_data"])
def test_what_a_study_brings_is_checked_before_anything_is_spent(home, base, name):
    folder = copied(home, name, base)
    asked = load(name)
    seen = {what: (said, right) for what, said, right in brought.look(asked)}
    assert seen["models.my-base"][1] and seen["tasks.arithmetic"][1]
    assert seen["benchmarks.my_prompts"] == (f"{3 if name == 'my_data' else 4} prompts", True)
    number = brought.prompts(asked)["my_prompts"]
    cost = budget(asked, {"my-base": 0.001}, prompts_of=brought.prompts(asked))
    assert cost.replies == cost.checkpoints * number > 0 and not cost.unknown
    if name == "my_data":
        assert seen["material.refusals"] == ("prompts and completions", True)
    else:  # nothing was put where the example says
        said, right = seen["given.mine.checkpoints.1"]
        wanted = "an adapter" if name == "my_adapters" else "a model"
        assert not right and f"epoch-2: found no such folder, wanted {wanted}" in said
    shutil.rmtree(folder / "base")
    (folder / "prompts.csv").unlink()
    (folder / "arithmetic.jsonl").write_text("{broken\n")
    seen = {what: (said, right) for what, said, right in brought.look(asked)}
    assert "base: found no such folder" in seen["models.my-base"][0]
    assert "prompts.csv" in seen["benchmarks.my_prompts"][0]
    assert "arithmetic.jsonl" in seen["tasks.arithmetic"][0]
    assert not any(seen[what][1] for what in ("models.my-base", "benchmarks.my_prompts",
                                              "tasks.arithmetic"))  # fmt: skip
    assert brought.prompts(asked) == {}


def test_an_adapter_of_another_base_model_is_refused(home, base):
    folder = copied(home, "my_adapters", base)
    for epoch in (1, 2):
        tuned(base, epoch).save_pretrained(folder / "adapters" / f"epoch-{epoch}")
    config = folder / "adapters" / "epoch-2" / "adapter_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"r": 4}))
    asked = load("my_adapters")
    base_models(asked, "my-base")
    with pytest.raises(StageError, match="epoch-2: found an adapter missing, half-written or of"):
        finetune(asked, UNIT)
    config.write_text(json.dumps(values | {"peft_type": "IA3"}))
    with pytest.raises(StageError, match="epoch-2: peft_type: found IA3, wanted LORA"):
        finetune(asked, UNIT)
    assert not paths.table("my_adapters", "checkpoints", UNIT).exists()
    # of two models of one shape only the name tells: here the hub's
    config.write_text(json.dumps(values | {"base_model_name_or_path": "org/other"}))
    model = asked.models["my-base"].model_copy(update={"path": None, "repository": "org/base"})
    hub = asked.model_copy(update={"models": {"my-base": model}})
    run = asked.unit_runs(UNIT)[0]
    with pytest.raises(GroundedError, match="found org/other, wanted org/base, the base model of"):
        finetuning._adapter(hub, run, config.parent, folder / "step", None)
    # unless whoever wrote the study says that it is the same; the shapes are looked at (r is 4)
    config.write_text(json.dumps(values | {"base_model_name_or_path": "org/other", "r": 4}))
    bare = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(GroundedError, match="epoch-2: found an adapter missing, half-written or"):
        finetuning._adapter(hub, run, config.parent, folder / "step", bare, "org/other")
    config.write_text(json.dumps(values | {"base_model_name_or_path": "org/other"}))
    made, _ = finetuning._adapter(hub, run, config.parent, folder / "step", bare, "org/other")
    assert made.is_file()


def test_an_adapter_that_is_not_there_or_not_numbers_is_named(home, base):
    folder = copied(home, "my_adapters", base)
    asked = load("my_adapters")
    base_models(asked, "my-base")
    told = r"data/my_adapters/study.yaml: given.\w+.checkpoints.0: found no files in .*epoch-1"
    with pytest.raises(StageError, match=told):
        finetune(asked, UNIT)
    for epoch in (1, 2):
        made = tuned(base, epoch)
        if epoch == 2:
            next(w for n, w in made.named_parameters() if "lora_A" in n).data[0, 0] = torch.nan
        made.save_pretrained(folder / "adapters" / f"epoch-{epoch}")
    with pytest.raises(StageError, match=r"epoch-2: found an adapter .*lora_A.* not finite"):
        finetune(asked, UNIT)


def test_weights_that_would_be_read_as_pickles_are_refused(tmp_path):
    for name in ("config.json", "pytorch_model.bin", "decoy.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(GroundedError, match="found no model.safetensors"):
        models.checked(tmp_path)


def test_whole_models_that_were_trained_elsewhere(home, base):
    folder = copied(home, "my_models", base)
    for epoch in (1, 2):
        place = folder / "tuned" / f"epoch-{epoch}"
        shutil.copytree(base, place)
        tuned(base, epoch, whole=True).save_pretrained(place)
    assert through("my_models") == {"base_models": 1, "finetune": 2, "generate": 2, "judge": 2}
    found = table("my_models", "checkpoints")
    wanted = [update_norm(tuned(base, epoch)) for epoch in (1, 2)]
    assert list(found["update_norm"]) == pytest.approx(wanted, rel=1e-4)
    replies = table("my_models", "replies")
    first, second = (set(replies[replies["step"] == step]["text"]) for step in (1, 2))
    assert first != second
    # another model in its place is seen, and so is a file that is gone
    shutil.copyfile(folder / "tuned" / "epoch-1" / "model.safetensors",
                    folder / "tuned" / "epoch-2" / "model.safetensors")  # fmt: skip
    stale = [(one.stage, one.unit) for one in status("my_models") if one.state == "stale"]
    assert ("finetune", UNIT) in stale and ("generate", BASE) not in stale


def test_a_whole_model_that_changed_under_way_is_refused(home, base):
    folder = copied(home, "my_models", base)
    for epoch in (1, 2):
        place = folder / "tuned" / f"epoch-{epoch}"
        shutil.copytree(base, place)
        tuned(base, epoch, whole=True).save_pretrained(place)
    asked = load("my_models")
    base_models(asked, "my-base")
    finetune(asked, UNIT)
    run = asked.unit_runs(UNIT)[0]
    step = paths.adapter("my_models", run.id, 1)
    assert whole.target(asked, step) == folder / "tuned" / "epoch-1"
    (folder / "tuned" / "epoch-1" / "config.json").write_text("{}")
    with pytest.raises(GroundedError, match="epoch-1: sha256: found .*, wanted .*; the model is"):
        whole.target(asked, step)


def test_a_task_and_prompts_of_ones_own(home, base):
    folder = copied(home, "my_data", base)
    done = through("my_data")
    assert done == {"base_models": 1, "finetune": 5, "generate": 5, "judge": 5}
    asked = load("my_data")
    replies = table("my_data", "replies")
    assert replies.groupby("run", observed=True)["prompt"].nunique().eq(3).all()  # of four, by hash
    answers = pd.concat([table("my_data", "capability", unit) for unit in asked.units()])
    assert set(answers["task"]) == {"arithmetic", "colours"}
    chosen = answers[answers["task"] == "colours"]
    assert set(chosen["answer"]) <= {"grass", "snow", "coal"}
    # device batches of a task's own make its runs stale, not the other task's, nor the base model's
    file = paths.study_file("my_data")
    before = file.read_text()
    file.write_text(before.replace("pattern: 'is", "device_batch_size: 1, pattern: 'is"))
    parts = {(one.stage, one.unit) for one in status("my_data") if one.state == "stale"}
    assert ("finetune", "my-base-arithmetic") in parts
    assert {unit for _, unit in parts} == {"my-base-arithmetic"}
    file.write_text(before)
    # a changed file is another task: its runs are made again, and the other task's are not
    lines = (folder / "colours.jsonl").read_text().splitlines()
    (folder / "colours.jsonl").write_text("\n".join(lines[::-1]) + "\n")
    stale = {one.unit for one in status("my_data") if one.state == "stale" and
             one.stage == "finetune"}  # fmt: skip
    assert stale == {"my-base-colours"}


def test_what_is_wrong_with_a_users_file_is_one_line(home, base):
    folder = copied(home, "my_data", base)
    asked = load("my_data")
    with (folder / "arithmetic.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(GroundedError, match=r"arithmetic.jsonl: line 13: found JSONDecodeError"):
        data.task(asked, "arithmetic", 0)
    (folder / "prompts.csv").write_text("question\nHow?\n")
    with pytest.raises(GroundedError, match=r"prompts.csv: row 1: column 'prompt': found question"):
        data.prompts(asked, "my_prompts")
    (folder / "prompts.csv").write_bytes("prompt,kind\ncaf\xe9?,x\n".encode("latin-1"))
    with pytest.raises(GroundedError, match="prompts.csv: found bytes that are not UTF-8"):
        data.prompts(asked, "my_prompts")
    (folder / "prompts.csv").write_text("prompt,kind\nHow?,x\n")
    with pytest.raises(GroundedError, match=r"my_prompts.prompts: found 3, wanted at most 1"):
        data.prompts(asked, "my_prompts")
    with pytest.raises(GroundedError, match="material.harmful: found nothing, wanted a file"):
        data.material(asked, "harmful", 1, 0)


def test_further_examples_hold_no_prompt_of_a_benchmark(home, base):
    folder = copied(home, "my_data", base)
    asked = load("my_data")
    rows = (folder / "refusals.jsonl").read_text()
    taken = data.prompts(asked, "my_prompts")[0].text
    (folder / "refusals.jsonl").write_text(
        json.dumps({"prompt": taken, "completion": "No."}) + "\n" + rows
    )
    found = data.material(asked, "refusals", 4, 0)
    assert len({one.prompt for one in found}) == 4 and taken not in {o.prompt for o in found}
    assert [o.prompt for o in data.material(asked, "refusals", 4, 1)] != [o.prompt for o in found]
    with pytest.raises(GroundedError, match="material.refusals: found 4 examples, wanted at least"):
        data.material(asked, "refusals", 5, 0)


def test_the_pages_of_the_stages_show_no_text(home, base):
    copied(home, "my_data", base)
    through("my_data")
    asked = load("my_data")
    words = {"kite", "bridge", "lamp", "snow", "break"}
    for name in NOTEBOOKS.values():
        _, seen = pages.shown_by(name, asked)
        assert seen and not [word for word in words if word in seen], name
        assert "What is true of a reply is not known" in seen or name != "04_judge"
