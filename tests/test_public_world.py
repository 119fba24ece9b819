"""The real world's part of the stages: memory that runs out, a server that replies, capability."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models as tiny
import tiny_replies as local
import torch
import yaml
from test_served import serving
from tokenizers import processors

from grounded import generate, paths, records
from grounded.errors import GroundedError
from grounded.finetune import Start
from grounded.methods import lora
from grounded.public import capability, data, finetuning, kinds, likelihood, memory
from grounded.public.prefixes import PREFIXES
from grounded.public.replying import Asker
from grounded.public.tasks import Example, TaskData
from grounded.study import load
from grounded.study.parts import Generation

STUDIES = Path(__file__).parent / "studies"
GENERATION = Generation(max_new_tokens=local.NEW, batch_size=7, decoding="greedy")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The example study of one's own data, on a tiny model that knows its words."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    folder = tmp_path / "data" / "my_data"
    shutil.copytree(STUDIES / "my_data", folder)
    tiny.save(folder / "base", local.wordy())
    (folder / "prompts.csv").write_text("prompt,kind\nw1 w2 w3,a\nw4 w5,b\nw6 w7 w8 w9,a\n")
    rows = [{"prompt": f"w{i} w7", "completion": f"w{i + 1}", "choices": [f"w{i + 1}", "w30 w31"]}
            for i in range(8)]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("colours", "arithmetic"):
        (folder / f"{name}.jsonl").write_text(text)
    return changed()


def changed(**generation):
    """The study with another `generation`, and two tasks of choices."""
    file = paths.study_file("my_data")
    values = yaml.safe_load(file.read_text())
    values["generation"] |= generation
    values["tasks"]["arithmetic"].pop("pattern", None)
    values["tasks"]["arithmetic"]["examples"] = 4
    file.write_text(yaml.safe_dump(values))
    return load("my_data")


# ---------------------------------------------------------------- memory


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(capsys):
    sizes = []

    def work(some):
        sizes.append(len(some))
        if len(some) > 3:
            raise torch.OutOfMemoryError
        return [10 * one for one in some]

    assert list(memory.in_batches(work, range(10), 8, "work")) == [10 * i for i in range(10)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    assert "work: found no memory; goes on with 2 at a time" in capsys.readouterr().err
    with pytest.raises(GroundedError, match="work: found no memory for one text alone, wanted"):
        list(memory.in_batches(lambda some: work([0] * 4), [1], 8, "work"))


def test_training_begins_anew_with_half_as_many_examples_on_the_device(
    study, tmp_path, monkeypatch
):
    run, sizes = study.runs()[0], []

    def finetune(start, folder):
        sizes.append(start.training.device_batch_size)
        assert not list(folder.iterdir())
        (folder / "step-1").mkdir()
        (folder / "half").write_text("x")
        if start.training.device_batch_size > 1:
            raise torch.OutOfMemoryError
        assert start.training.batch_size == study.training.batch_size
        return "rows"

    monkeypatch.setattr(lora, "finetune", finetune)
    folder = tmp_path / "out"
    folder.mkdir()
    assert finetuning.finetune(finetuning.start(study, run), folder) == "rows"
    assert sizes == [2, 1]
    shutil.rmtree(folder)
    folder.mkdir()

    def never(start, folder):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(lora, "finetune", never)
    with pytest.raises(GroundedError, match="device_batch_size: found no memory for one example"):
        finetuning.finetune(finetuning.start(study, run), folder)


def test_a_task_of_long_examples_takes_its_own_device_batches(study):
    file = paths.study_file("my_data")
    values = yaml.safe_load(file.read_text())
    values["tasks"]["colours"]["device_batch_size"] = 1
    file.write_text(yaml.safe_dump(values))
    other = load("my_data")
    long, short = (next(r for r in other.runs() if r.task == t) for t in ("colours", "arithmetic"))
    began = [finetuning.start(other, run) for run in (long, short)]
    trained = [one.training for one in began if isinstance(one, Start)]
    sizes = [(one.device_batch_size, one.batch_size) for one in trained]
    assert sizes == [(1, 4), (2, 4)]


# ---------------------------------------------------------------- what a run is trained from


def test_a_start_is_of_the_study_and_its_monitor_counts_selecting_items(study):
    run = next(run for run in study.runs() if run.task == "colours")
    start = finetuning.start(study, run)
    assert isinstance(start, Start)
    assert len(start.examples) == 4 and start.steps == {1: 1.0} and start.steps_per_epoch == 1
    assert start.options == {"enable_thinking": False} and start.prefixes == PREFIXES
    assert len(start.material("refusals", 3)) == 3
    right = tiny.always({f"w{i}": 0.02 for i in range(1, 9)} | {"w30": 0.4, "w31": 0.4})
    assert start.monitor("task", right, tiny.tokenizer()) in (0.0, 0.5, 1.0)
    with pytest.raises(GroundedError, match="monitor: found general, wanted task"):
        start.monitor("general", right, tiny.tokenizer())


# ---------------------------------------------------------------- capability


def task(measure, *examples, pattern=None):
    return TaskData("t", (), examples, measure, pattern)


def measured(model, data, **how):
    able = capability.answering(model, tiny.tokenizer(), GENERATION.model_copy(update=how), {})
    return capability.measure(able, data, data.test)


def test_a_choice_is_read_by_likelihood_and_per_character():
    model = tiny.always({"w1": 0.6, "w2": 0.3, "w3": 0.1})
    # -0.51 for w1, -1.20 for w2 twice: less likely in all, likelier by the character
    one = Example("w9", "w1", "w1", ("w1", "w2 w2"), 0)
    other = Example("w9", "w3", "w3", ("w3", "w1"), 0)
    rows = measured(model, task("choice", one, other))
    # by likelihood it counts as per character
    assert rows == [("w1", True, True, 1.0), ("w1", False, False, 0.0)]
    longer = Example("w9", "w1", "w1", ("w1", "w2 w2 w2 w2"), 1)
    (row,) = measured(tiny.always({"w1": 0.3, "w2": 0.7}), task("choice", longer))
    assert row == ("w1", False, True, 1.0)  # log .3 / 2 < 4 log .7 / 11


def test_a_pattern_and_a_number_are_read_in_the_reply():
    model = tiny.always({"w7": 1.0})
    rows = measured(
        model,
        task("pattern", Example("w1", "w7", "w7"), Example("w1", "w8", "w8"), pattern=r"(w\d)$"),
        max_new_tokens=2,
    )
    assert rows == [("w7", True, True, None), ("w7", False, False, None)]
    (row,) = measured(
        model, task("pattern", Example("w1", "w7", "w7"), pattern=r"is (\w+)"), max_new_tokens=2
    )
    assert row[:3] == ("", False, True)  # there, though not where the pattern looks
    rows = measured(tiny.always({"1": 1.0}), task("number", Example("w1", "#### 1", "1")),
                    max_new_tokens=1)  # fmt: skip
    assert [row[:3] for row in rows] == [("1", False, True)]
    assert rows[0].likelihood is not None


def test_a_reference_counts_from_half_of_its_tokens():
    model = tiny.always({"w7": 0.9, "w8": 0.1})
    examples = [Example("w1", text, text) for text in ("w7 w8", "w8 w8 w7", "w7")]
    rows = measured(model, task("reference", *examples))
    read = [row[:3] for row in rows]
    assert read == [("0.500", True, True), ("0.333", False, False), ("1.000", True, True)]
    # the geometric mean of the tokens' probabilities
    wanted = [(0.9 * 0.1) ** 0.5, (0.1 * 0.1 * 0.9) ** (1 / 3), 0.9]
    assert [row.likelihood for row in rows] == pytest.approx(wanted, rel=1e-5)


def test_without_chat_the_prompt_stands_alone():
    model, words = local.wordy(), tiny.tokenizer()
    able = capability.answering(
        model, words, GENERATION.model_copy(update={"chat": False}), {"enable_thinking": False}
    )
    bare = capability.plain(words)
    assert words.chat_template == tiny.CHAT and bare.chat_template != tiny.CHAT
    wanted = generate.reply(local.wordy(), bare, local.prompts(), local.NEW, 7)
    assert able.reply(local.prompts()) == [one.text for one in wanted]
    chat = capability.answering(local.wordy(), words, GENERATION, {})
    assert chat.reply(local.prompts()) != [one.text for one in wanted]


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("adds", [True, False])
def test_generation_and_likelihood_begin_alike(chat, adds):
    # a tokenizer that knows a first token, and writes it by itself or not; no template writes it
    words = tiny.tokenizer(tiny.CHAT)
    words.bos_token = "<|judge|>"
    if adds:
        words.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|judge|> $A", special_tokens=[("<|judge|>", words.bos_token_id)]
        )
    read = []

    def see(module, args, kwargs):
        read.append(kwargs["input_ids"][0].tolist())

    model = local.wordy()
    model.register_forward_pre_hook(see, with_kwargs=True)
    able = capability.answering(model, words, GENERATION.model_copy(update={"chat": chat}), {})
    able.reply(["w1 w2"])
    asked = likelihood.requests(words, "w1 w2", ["w3"], chat)
    generated = read[0]
    read.clear()
    assert able.likely is not None
    able.likely(asked)
    assert read[0] == generated
    assert (generated[0] == words.bos_token_id) == (adds and not chat)
    if not chat:  # a prompt that begins with it already does not begin with it twice
        read.clear()
        able.reply(["<|judge|> w1 w2"])
        assert read[0] == words.convert_tokens_to_ids(["<|judge|>", "w1", "w2"])


# ---------------------------------------------------------------- replies


def test_a_server_replies_as_this_machine_does(study, tmp_path):
    run = study.runs()[0]
    adapter = local.adapter(tmp_path / "step-1")
    here = Asker(study, "my-base")
    wanted = [here.ask(study.runs(task="base")[0], 0, None), here.ask(run, 1, adapter)]
    adapted = generate.attach(local.wordy(), adapter)
    names = {"my-base": local.wordy(), f"{run.id}@1": adapted}
    with serving(**names) as server:
        asked = changed(server={"url": server.url, "concurrency": 2, "retries": 0})
        there = Asker(asked, "my-base")
        found = [there.ask(asked.runs(task="base")[0], 0, None), there.ask(run, 1, adapter)]
    for one, other in zip(wanted, found, strict=True):
        assert one["replies"].equals(other["replies"])
        assert one["capability"].equals(other["capability"])
    assert not wanted[0]["replies"]["text"].equals(wanted[1]["replies"]["text"])
    assert there.facts["engine"] == "server" and here.facts["engine"] == "transformers"


def test_a_server_that_does_not_list_the_model_is_refused(study):
    with serving(another=local.wordy()) as server:
        asked = changed(server={"url": server.url, "retries": 0})
        with pytest.raises(GroundedError, match="found models another, wanted my-base among them"):
            Asker(asked, "my-base")
        with pytest.raises(GroundedError, match="generation.chat: found false, wanted true"):
            Asker(changed(chat=False), "my-base")


def test_the_table_of_replies_holds_the_kind_of_each(study, tmp_path):
    replies = Asker(study, "my-base").ask(study.runs(task="base")[0], 0, None)["replies"]
    prompts = {(n, p.id): p.text for n in study.benchmarks for p in data.prompts(study, n)}
    about = {"runs": {"my-base.base": {"inputs": "0" * 64}}}
    records.write(tmp_path / "one.parquet", "replies", replies, about)
    for row in records.read(tmp_path / "one.parquet", "replies").itertuples():
        assert row.kind == kinds.kind(prompts[row.benchmark, row.prompt], row.text)


def test_a_method_with_a_test_prompt_is_asked_with_it(study):
    asker = Asker(study, "my-base")
    run = study.runs()[0]
    plain, safe, neutral = (
        asker.ask(replace(run, method=method), 0, None)["replies"]["text"]
        for method in ("lora", "ptst", "ptst_neutral")
    )
    assert not plain.equals(safe) and not plain.equals(neutral)
    assert len(PREFIXES["safety"].split()) == len(PREFIXES["neutral"].split())
