"""Replies of real models: as the reference writes them, whatever memory there is and is worn."""

import json
import shutil

import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file
from tiny_replies import HOW, NEW, adapter, prompts, reference, wordy
from transformers import ContinuousBatchingConfig

from grounded import generate
from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.public.asking import Asking
from grounded.public.replies import Engine

SMALL = ContinuousBatchingConfig(num_blocks=64, page_size=16, max_batch_tokens=64)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_replies_are_those_of_the_reference(architecture, batch_size):
    found = Engine(wordy(architecture), tiny.tokenizer(), batch_size).reply(prompts(), HOW)
    assert found == reference(wordy(architecture), prompts())
    assert {reply.finish for reply in found} == {"stop", "length"}
    assert len({reply.tokens for reply in found}) > 3


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_continuous_batching_replies_the_same(architecture):
    asked = [*prompts(), prompts()[0]]  # one of them twice
    engine = Engine(wordy(architecture), tiny.tokenizer())
    wanted = reference(wordy(architecture), asked)
    assert engine.reply(asked, HOW, continuous=SMALL) == wanted
    assert engine.reply(asked, HOW) == wanted  # and the model is as it was


def test_continuous_batching_sees_nan_and_lost_replies(monkeypatch):
    engine = Engine(wordy(), tiny.tokenizer())
    whole = engine._model.generate_batch

    def cut(*args, **kwargs):
        return dict(list(whole(*args, **kwargs).items())[1:])

    monkeypatch.setattr(engine._model, "generate_batch", cut)
    with pytest.raises(GroundedError, match="prompt 0: found no reply by continuous batching"):
        engine.reply(prompts(4), HOW, continuous=SMALL)
    sick = Engine(wordy(), tiny.tokenizer())
    sick._model.model.norm.weight.data[3] = float("nan")
    with pytest.raises(GroundedError, match="logits: found NaN at reply token 1, wanted numbers"):
        sick.reply(["w1"], HOW, continuous=SMALL)


def test_what_the_author_set_for_generation_does_not_count():
    model = wordy()
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.suppress_tokens = list(range(10, 40))
    assert Engine(model, tiny.tokenizer()).reply(prompts(), HOW) == reference(wordy(), prompts())


def test_the_end_token_is_no_part_of_a_reply_and_other_special_tokens_are():
    ended = Engine(tiny.always({"<|end|>": 1.0}), tiny.tokenizer())
    assert ended.reply(["w1", "w2 w3"], HOW) == [Reply("", "stop", 0)] * 2
    special = Engine(tiny.always({"<|user|>": 1.0}), tiny.tokenizer())
    assert special.reply(["w1"], Asking(2)) == [Reply("<|user|> <|user|>", "length", 2)]
    assert special.reply([], HOW) == []


@pytest.mark.parametrize("place", ["tokenizer", "template", "generation config"])
def test_every_end_token_ends_a_reply(place):
    # the three name three tokens; the model writes a word and then one of them
    words = tiny.tokenizer()
    words.eos_token = "w1" if place != "tokenizer" else "<|end|>"
    words.chat_template = tiny.CHAT.replace("<|end|>", "<|judge|>" if place == "template" else "w2")
    model = tiny.always({"w3": 1.0})
    ends = "<|end|>" if place == "generation config" else "w4"
    model.generation_config.eos_token_id = words.convert_tokens_to_ids(ends)
    writes = "<|judge|>" if place == "template" else "<|end|>"
    then, word = words.convert_tokens_to_ids([writes, "w3"])

    def ends_then(module, args, kwargs, output):
        after = kwargs["input_ids"][:, -1] == word
        output.logits[after, -1, then] = 60.0
        return output

    model.register_forward_hook(ends_then, with_kwargs=True)
    assert Engine(model, words).reply(["w5", "w6 w7"], HOW) == [Reply("w3", "stop", 1)] * 2


def test_a_model_without_an_end_token_is_refused():
    words = tiny.tokenizer(tiny.CHAT.replace("<|end|>", ""))
    words.eos_token = None
    model = tiny.model()
    model.generation_config.eos_token_id = None
    with pytest.raises(GroundedError, match="eos token: found none, wanted one"):
        Engine(model, words)


def test_options_reach_the_template():
    thinking = tiny.CHAT + "{% if enable_thinking %} w7{% endif %}"
    engine = Engine(wordy(), tiny.tokenizer(thinking))
    off, on = (Asking(NEW, {"enable_thinking": asked}) for asked in (False, True))
    assert engine.reply(prompts(), off) == reference(wordy(), prompts())
    wanted = generate.reply(wordy(), tiny.tokenizer(tiny.CHAT + " w7"), prompts(), NEW, 7)
    assert engine.reply(prompts(), on) == wanted != reference(wordy(), prompts())


def test_a_temperature_draws_from_the_seed():
    even = {f"w{i}": 1 / 20 for i in range(20)}
    engine = Engine(tiny.always(even), tiny.tokenizer())
    one, again, other = (
        engine.reply(["w1"] * 40, Asking(NEW, temperature=1.0, seed=seed)) for seed in (3, 3, 4)
    )
    assert one == again != other
    drawn = [word for reply in one for word in reply.text.split()]
    # 480 draws of 20 words: all of them but for a chance below 20 * (19/20)^480 = 4e-10
    assert set(drawn) == set(even)


def limited(engine, monkeypatch, *most):
    """Let `generate` run out of memory beyond so many rows; returns the sizes that were tried.

    most: at the first time, the second, ..., and then always.
    """
    whole, tried = engine._model.generate, []
    engine.on_cpu = False  # as on a GPU

    def generate_within(input_ids, **kwargs):
        tried.append(len(input_ids))
        if len(input_ids) > most[min(len(tried), len(most)) - 1]:
            raise torch.OutOfMemoryError("out of memory")
        return whole(input_ids=input_ids, **kwargs)

    monkeypatch.setattr(engine._model, "generate", generate_within)
    return tried


def test_the_batch_is_halved_until_it_fits(monkeypatch, capsys):
    engine = Engine(wordy(), tiny.tokenizer(), batch_size=16)
    tried = limited(engine, monkeypatch, 5)
    assert engine.reply(prompts(10), HOW) == reference(wordy(), prompts(10))
    assert tried == [10, 5, 5]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith(": found no memory; goes on with 5 at a time")
    assert engine.reply(prompts(3), HOW) == reference(wordy(), prompts(3))
    assert tried[3:] == [3] and engine.batch_size == 5


def test_replies_that_are_done_outlive_the_memory(monkeypatch):
    engine = Engine(wordy(), tiny.tokenizer(), batch_size=4)
    tried = limited(engine, monkeypatch, 4, 1)  # then someone else takes memory away
    assert engine.reply(prompts(8), HOW) == reference(wordy(), prompts(8))
    assert tried == [4, 4, 2, 1, 1, 1, 1]


def test_a_prompt_that_does_not_fit_alone_is_one_line(monkeypatch):
    engine = Engine(wordy(), tiny.tokenizer(), batch_size=2)
    limited(engine, monkeypatch, 0)
    with pytest.raises(GroundedError, match="found no memory for one text alone, wanted") as e:
        engine.reply(["w1", "w1 w2 w3"], HOW)
    assert "\n" not in str(e.value) and "w2" not in str(e.value)


def test_prompts_without_room_are_named_before_any_is_asked(monkeypatch):
    engine = Engine(wordy(), tiny.tokenizer())
    tried = limited(engine, monkeypatch, 64)
    # the template adds 3 tokens: 113 words and 12 new tokens fill the context of 128
    fits, long = " ".join(["w9"] * 113), " ".join(["w9"] * 114)
    with pytest.raises(GroundedError) as e:
        engine.reply(["w1", long, fits, long], HOW)
    assert "prompts 1, 3 (2 of 4): found up to 117 tokens, wanted at most 116" in str(e.value)
    assert tried == []
    assert engine.reply([fits], HOW) == reference(wordy(), [fits])


def test_logits_that_are_not_numbers_are_an_error():
    model = wordy()
    model.model.norm.weight.data[3] = float("nan")
    with pytest.raises(GroundedError, match="logits: found NaN at reply token 1, wanted numbers"):
        Engine(model, tiny.tokenizer()).reply(["w1"], HOW)


def test_adapters_are_swapped_on_one_base(tmp_path):
    folders = [adapter(tmp_path / str(seed), seed) for seed in (5, 6)]
    model = wordy()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    engine = Engine(model, tiny.tokenizer())
    wanted = [reference(generate.attach(wordy(), folder), prompts()) for folder in folders]
    plain = reference(wordy(), prompts())
    assert wanted[0] != wanted[1] != plain
    for worn in (0, 1, None, 0):
        engine.wear(None if worn is None else folders[worn])
        assert engine.reply(prompts(), HOW) == (plain if worn is None else wanted[worn])
    assert engine.reply(prompts(), HOW, continuous=SMALL) == wanted[0]
    engine.wear(None)
    assert engine._model is model
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())


def test_adapters_take_the_dtype_of_the_base(tmp_path):
    engine = Engine(wordy().to(torch.bfloat16), tiny.tokenizer())
    engine.wear(adapter(tmp_path / "a"))
    assert {weight.dtype for weight in engine._model.parameters()} == {torch.bfloat16}
    assert len(engine.reply(prompts(3), HOW)) == 3


def broken(folder, how):
    weights = folder / "adapter_model.safetensors"
    if how == "missing":
        shutil.rmtree(folder)
    elif how == "no weights":
        weights.unlink()
    elif how == "half-written":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "narrow":
        tensors = load_file(weights)
        save_file({k: v[..., :-1].contiguous() for k, v in tensors.items()}, weights)
    elif how == "fewer layers":
        tensors = load_file(weights)
        save_file({k: v for k, v in tensors.items() if "layers.1." not in k}, weights)
    elif how == "more layers":
        tensors = load_file(weights)
        more = {k.replace("layers.1.", "layers.2."): v.clone() for k, v in tensors.items()}
        save_file({**tensors, **more}, weights)
    elif how == "other modules":
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**config, "target_modules": ["c_attn"]}), encoding="utf-8")


@pytest.mark.parametrize(
    "how",
    ["missing", "no weights", "half-written", "narrow", "fewer layers", "more layers",
     "other modules"],
)  # fmt: skip
def test_a_bad_adapter_is_one_line_and_leaves_the_base(tmp_path, how):
    good, bad = adapter(tmp_path / "good"), adapter(tmp_path / "bad", seed=6)
    broken(bad, how)
    engine = Engine(wordy(), tiny.tokenizer())
    names = list(engine._model.state_dict())
    engine.wear(good)
    with pytest.raises(GroundedError, match="adapter missing, half-written or of another") as e:
        engine.wear(bad)
    assert "\n" not in str(e.value)
    assert list(engine._model.state_dict()) == names
    assert engine.reply(prompts(), HOW) == reference(wordy(), prompts())
    engine.wear(good)
    assert engine.reply(prompts(), HOW) == reference(generate.attach(wordy(), good), prompts())
