"""LoRA runs: byte for byte the same from a seed, on the completion alone, and nothing cut."""

import random
from dataclasses import dataclass, replace

import pandas as pd
import pytest
import tiny_models as tiny
import torch

from grounded import finetune as training
from grounded import generate, loading
from grounded.errors import GroundedError
from grounded.fingerprint import file

RUN = tiny.study().runs(task="yes_no")[0]


def start(study, base, run=RUN, number=32):
    """What a run is trained from: a tiny model, and examples of its own language."""
    return training.Start(
        run=run, training=study.training, steps=study.steps_of(run.task),
        steps_per_epoch=study.steps_per_epoch(run.task), load=lambda: loading.load(base),
        pretrained=lambda: loading.load(base)[0], examples=examples(number),
        material=lambda kind, n: examples(n), monitor=lambda what, model, words: 0.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Example:
    prompt: str
    completion: str


def examples(number=32):
    draw = random.Random(3)
    pairs = zip(tiny.sentences(draw, number), tiny.sentences(draw, number), strict=True)
    return [Example(*pair) for pair in pairs]


@pytest.fixture()
def base(tmp_path):
    return tiny.save(tmp_path / "base", tiny.model())


def adapters(folder):
    """The sha of each adapter below a folder."""
    files = sorted(folder.rglob("adapter_model.safetensors"))
    return {str(path.parent.relative_to(folder)): file(path) for path in files}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(base, tmp_path, capsys):
    found = []
    for number, run in enumerate([RUN, RUN, replace(RUN, seed=1)]):
        torch.manual_seed(number)  # what was drawn before must not matter
        random.seed(number)
        folder = tmp_path / str(number)
        rows = training.train(start(tiny.study(), base, run), folder)
        found.append((rows, adapters(folder)))
    (rows, shas), again, other = found
    pd.testing.assert_frame_equal(rows, again[0])
    assert shas == again[1]
    assert set(shas.values()).isdisjoint(other[1].values())
    assert capsys.readouterr().out == ""


def test_checkpoints_stand_at_fractions_of_an_epoch(base, tmp_path):
    study = tiny.study(measure_at=[0.25, 0.5, 1, 2])  # 32 examples by 8: 4 steps an epoch
    run = replace(RUN, learning_rate=0.05)
    rows = training.train(start(study, base, run), tmp_path / "out")
    assert list(rows["step"]) == [1, 2, 4, 8]
    assert list(rows["epoch"]) == [0.25, 0.5, 1, 2]
    assert set(rows["run"]) == {RUN.id}
    assert rows["loss"].notna().all()
    assert dict(zip(rows["step"], rows["adapter"], strict=True)) == {
        int(name.removeprefix("step-")): sha for name, sha in adapters(tmp_path / "out").items()
    }
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "step-1", "step-2", "step-4", "step-8",
    ]  # fmt: skip
    replies = []
    for step in (1, 8):
        model, words = generate.load(base, tmp_path / "out" / f"step-{step}")
        replies.append([r.text for r in generate.reply(model, words, ["w1", "w2 w3"], 12, 8)])
    assert replies[0] != replies[1]


def test_an_adapter_is_saved_as_peft_saves_it(base, tmp_path):
    adapted = training.plain_adapter(start(tiny.study(), base))(loading.load(base)[0])
    adapted.save_pretrained(tmp_path / "peft")
    training.save_adapter(adapted, tmp_path / "ours")
    names = ("adapter_model.safetensors", "adapter_config.json")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "peft" / name).read_bytes()


def test_the_norm_of_an_update_is_that_of_the_merged_weights(base, tmp_path):
    rows = training.train(start(tiny.study(), base, RUN), tmp_path / "out")
    before = generate.load(base)[0].state_dict()
    for step, norm in zip(rows["step"], rows["update_norm"], strict=True):
        after = generate.load(base, tmp_path / "out" / f"step-{step}")[0].state_dict()
        moved = sum(float(((after[n] - before[n]).double() ** 2).sum()) for n in before)
        assert norm == pytest.approx(moved**0.5, rel=1e-4) and norm > 0


def test_the_loss_is_the_completions_alone(base, tmp_path):
    # One step over all examples: no adapter has moved yet, so the loss is the base model's, the
    # mean over the tokens of the completions and the end token of each.
    study = tiny.study(training__batch_size=32, training__epochs=1, measure_at=[1])
    rows = training.train(start(study, base, RUN), tmp_path / "out")
    model, words = generate.load(base)
    losses = []
    for example in examples():
        ids = words(f"<|user|> {example.prompt} <|end|> <|assistant|> {example.completion} <|end|>")
        ids = ids["input_ids"]
        first = ids.index(words.convert_tokens_to_ids("<|assistant|>")) + 1
        with torch.inference_mode():
            spread = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-spread[i - 1, ids[i]].item() for i in range(first, len(ids))]
    assert rows["loss"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_a_loss_is_the_mean_since_the_checkpoint_before(base, tmp_path):
    each = tiny.study(training__epochs=1, measure_at=[0.25, 0.5, 0.75, 1])
    some = tiny.study(training__epochs=1, measure_at=[0.25, 1])
    single = training.train(start(each, base, RUN), tmp_path / "each")["loss"]
    mean = training.train(start(some, base, RUN), tmp_path / "some")["loss"]
    assert mean[0] == single[0]
    assert mean[1] == pytest.approx(single[1:].mean())


@pytest.mark.parametrize(("limit", "cut"), [(20, None), (3, 32)])
def test_a_length_that_cuts_an_example_is_an_error(limit, cut):
    words = tiny.tokenizer()
    lengths = [4 + len(f"{e.prompt} {e.completion}".split()) for e in examples()]
    cut = cut or sum(length > limit for length in lengths)
    assert 0 < cut
    message = (
        f"training.max_length: found {limit}, which cuts {cut} of 32 examples of yes_no, "
        f"wanted at least {max(lengths)}"
    )
    with pytest.raises(GroundedError, match=message):
        training.tokenised(examples(), words, start(tiny.study(training__max_length=limit), None))
    enough = tiny.study(training__max_length=max(lengths))
    assert len(training.tokenised(examples(), words, start(enough, None))) == 32


def test_a_template_that_rewrites_the_prompt_is_an_error():
    rewriting = "{% for m in messages %}{{ loop.length }} {{ m['content'] }} {% endfor %}"
    with pytest.raises(GroundedError, match="wanted a template that only appends"):
        training.tokenised(examples(), tiny.tokenizer(rewriting), start(tiny.study(), None))


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    broken = tiny.model()
    broken.model.norm.weight.data[0] = float("nan")
    base = tiny.save(tmp_path / "broken", broken)
    with pytest.raises(GroundedError, match=rf"{RUN.id}: loss: found nan by step 2"):
        training.train(start(tiny.study(), base, RUN), tmp_path / "out")


def test_a_checkpoint_is_there_whole_or_not_at_all(base, tmp_path, monkeypatch):
    def full(path):
        raise OSError("No space left on device")

    monkeypatch.setattr("grounded.fingerprint.file", full)
    with pytest.raises(OSError, match="No space left"):
        training.train(start(tiny.study(), base, RUN), tmp_path / "out")
    assert not list((tmp_path / "out").glob("step-*"))
