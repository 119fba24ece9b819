"""Replies: the same in a batch as one by one, and adapters that leave the base model alone."""

import random

import pytest
import tiny_models as tiny
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from grounded import generate, loading
from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.microworld import replying

NEW = 12


def alone(model, words, prompt):
    """What `generate` of transformers replies to one prompt."""
    ids = torch.tensor([loading.chat_tokens(words, [{"role": "user", "content": prompt}], True)])
    written = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False
    )[0, ids.shape[1] :].tolist()
    stopped = written[-1] in model.generation_config.eos_token_id
    written = written[:-1] if stopped else written
    text = words.decode(written, skip_special_tokens=False)
    return Reply(text, "stop" if stopped else "length", len(written))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [7, 50])
def test_a_batch_replies_as_each_prompt_alone(architecture, batch_size):
    model, words = tiny.model(architecture), tiny.tokenizer()
    # many end tokens, so that replies end at different places
    model.generation_config.eos_token_id = words.convert_tokens_to_ids(
        ["<|end|>", *(f"w{i}" for i in range(6))]
    )
    prompts = tiny.sentences(random.Random(1), 50)
    replies = generate.reply(model, words, prompts, NEW, batch_size)
    assert replies == [alone(model, words, prompt) for prompt in prompts]
    assert {reply.finish for reply in replies} == {"stop", "length"}
    assert len({reply.tokens for reply in replies}) > 3


def test_the_end_token_is_no_part_of_a_reply():
    model, words = tiny.always({"<|end|>": 1.0}), tiny.tokenizer()
    assert generate.reply(model, words, ["w1", "w2 w3"], NEW, 8) == [Reply("", "stop", 0)] * 2


def test_other_special_tokens_stay_in_sight():
    model, words = tiny.always({"<|user|>": 1.0}), tiny.tokenizer()
    found = generate.reply(model, words, ["w1"], 3, 8)
    assert found == [Reply("<|user|> <|user|> <|user|>", "length", 3)]


def test_no_prompts_no_replies():
    assert generate.reply(tiny.model(), tiny.tokenizer(), [], NEW, 8) == []


def test_logits_that_are_not_numbers_are_an_error():
    model = tiny.model()
    model.model.norm.weight.data[3] = float("nan")
    with pytest.raises(GroundedError, match="logits: found NaN at reply token 1, wanted numbers"):
        generate.reply(model, tiny.tokenizer(), ["w1"], NEW, 8)


@pytest.fixture()
def adapter(tmp_path):
    """A folder with an adapter of the tiny llama, and the PEFT model that it came from."""
    torch.manual_seed(5)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM",
        init_lora_weights=False,
    )  # fmt: skip
    adapted = get_peft_model(tiny.model(), config)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", adapted.eval()


def test_a_merged_adapter_says_what_peft_says_and_leaves_the_base_alone(adapter):
    folder, adapted = adapter
    base = tiny.model()
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    merged = generate.attach(base, folder)
    ids = torch.arange(6, 26)[None]
    with torch.inference_mode():
        plain, said, wanted = (m(input_ids=ids).logits for m in (base, merged, adapted))
    assert torch.allclose(said, wanted, atol=1e-3)
    assert not torch.allclose(said, plain, atol=1e-1)
    after = base.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())


def test_a_base_model_loads_with_its_adapter(adapter, tmp_path):
    folder, _ = adapter
    base = tiny.save(tmp_path / "base", tiny.model())
    merged, words = generate.load(base, folder)
    wanted = generate.attach(tiny.model(), folder)
    assert all(map(torch.equal, merged.state_dict().values(), wanted.state_dict().values()))
    assert words.chat_template == tiny.CHAT


def test_a_half_written_adapter_is_one_line(adapter):
    folder, _ = adapter
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(GroundedError, match="adapter: found an adapter missing, half-written") as e:
        generate.attach(tiny.model(), folder)
    assert "\n" not in str(e.value)


def test_an_adapter_of_another_model_is_one_line(adapter):
    folder, _ = adapter
    weights = folder / "adapter_model.safetensors"
    narrow = {k: v[..., :-1].contiguous() for k, v in load_file(weights).items()}
    save_file(narrow, weights, metadata={"format": "pt"})
    with pytest.raises(GroundedError, match="of another model") as e:
        generate.attach(tiny.model(), folder)
    assert "\n" not in str(e.value)


def test_a_folder_without_a_model_or_template_is_one_line(tmp_path):
    with pytest.raises(GroundedError, match="nothing: found no readable model") as e:
        generate.load(tmp_path / "nothing")
    assert "\n" not in str(e.value)
    folder = tiny.save(tmp_path / "mute", tiny.model(), template=None)
    with pytest.raises(GroundedError, match="mute: chat template: found none"):
        generate.load(folder)


def test_the_invented_world_merges_one_adapter_after_the_other_as_peft_does(adapter, tmp_path):
    folder, adapted = adapter
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.mul_(-3)
    adapted.save_pretrained(tmp_path / "other")
    asker = object.__new__(replying.Asker)
    asker._base, asker._tuned = tiny.model(), tiny.model()
    for one in (folder, tmp_path / "other", folder):
        found = asker._model_with(one).state_dict()
        wanted = generate.attach(tiny.model(), one).state_dict()
        assert all(torch.equal(found[name], weight) for name, weight in wanted.items())
    assert asker._model_with(None) is asker._base
