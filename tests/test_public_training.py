"""Training of real models: the loss and its gradients are the plain ones, whatever is left out."""

import math
import re
from dataclasses import replace
from importlib import import_module

import pytest
import tiny_models as tiny
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from standins import wheels as stand_ins
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from grounded import examples as batching
from grounded import finetune as training
from grounded import loading
from grounded.errors import GroundedError
from grounded.examples import IGNORED
from grounded.finetune import Start, batch_loss
from grounded.methods import stop_at
from grounded.public import adapters, weights
from grounded.public.tasks import Example
from grounded.study import Run
from grounded.study.parts import Training

TRAINING = Training(
    method="lora", examples=25, epochs=2, batch_size=8, schedule="constant", weight_decay=0.0,
    dropout=0.0, target_modules="all-linear", max_length=100,
)  # fmt: skip


def some(number):
    """Examples of different lengths."""
    return [
        Example(" ".join(["w1"] * (1 + i % 7) + [f"w{i % 50}"]), " ".join(["w2"] * (1 + i % 4)), "")
        for i in range(number)
    ]


def begin(folder, number=25, **changes):
    settings = TRAINING.model_copy(update={"examples": number, **changes})
    each = math.ceil(number / settings.batch_size)
    return Start(
        run=Run("m.t", "m", "t", "lora", "s", 4, 8.0, 5e-3, 0), training=settings,
        steps={each: 1.0, 2 * each: 2.0}, steps_per_epoch=each,
        load=lambda: loading.load(folder), pretrained=lambda: None, examples=some(number),
        material=lambda kind, n: [], monitor=lambda *_: 0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("base"), tiny.model())


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory):
    """A tokenizer of bytes in which two newlines are one token."""
    place = tmp_path_factory.mktemp("words")
    file = stand_ins.gguf_file(place / "model.gguf")
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_gradients_are_those_of_the_plain_loss(folder):
    model, words = loading.load(folder)
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    examples = some(9)
    rows = training.tokenised(examples, words, begin(folder, 9))
    total, number = training.completion_loss(adapted, batching.left_padded(rows))
    wanted = batch_loss(adapted, words, examples)
    assert (total / number).item() == pytest.approx(wanted.item(), abs=1e-6)
    ours, theirs = gradients(adapted, total / number), gradients(adapted, wanted)
    assert ours.keys() == theirs.keys() and len(ours) > 4
    for name, found in ours.items():
        torch.testing.assert_close(found, theirs[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("load", "whole"), [(loading.load, False), (weights.load, True)])
def test_the_head_of_a_real_model_reads_one_piece(folder, load, whole):
    model, _ = load(folder)
    seen = []
    model.get_output_embeddings().register_forward_pre_hook(
        lambda _, given: seen.append(given[0].is_contiguous())
    )
    ids = torch.arange(12).reshape(4, 3)
    kept = model(input_ids=ids, logits_to_keep=1).logits
    assert seen == [whole]  # else PyTorch copies the head for each row
    torch.testing.assert_close(kept, model(input_ids=ids).logits[:, -1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("each", [8, 3])
def test_every_example_is_seen_once_an_epoch_in_batches_of_like_length(each):
    lengths = [10 + (7 * i) % 31 for i in range(100)]
    batches = batching.Batches(lengths, 8, each, seed=1)
    first, second = batches.of_an_epoch(), batches.of_an_epoch()
    for epoch in (first, second):
        assert sorted(i for batch in epoch for i in batch) == list(range(100))
        assert [len(batch) for batch in epoch] == [8] * 12 + [4]
    assert first != second
    assert batching.Batches(lengths, 8, each, seed=1).of_an_epoch() == first
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in first[:8]]
    assert sum(spread) / 8 < 8  # of a range of 30
    assert len(list(batches)) == len(batches) == 12 * math.ceil(8 / each) + math.ceil(4 / each)


@pytest.mark.parametrize(("method", "knob"), [("lora", None), ("full", None), ("dpo", 0.1)])
def test_a_device_batch_that_does_not_divide_the_batch_leaves_it_as_it_is(
    folder, tmp_path, method, knob
):
    train = import_module(f"grounded.methods.{method}").finetune

    def rows_of(name, **changes):
        start = begin(folder, **changes)
        (tmp_path / name).mkdir()
        return train(replace(start, run=replace(start.run, knob=knob)), tmp_path / name)

    whole, parts, again = rows_of("whole"), rows_of("parts", device_batch_size=3), rows_of("again")
    assert list(whole["step"]) == list(parts["step"]) == [4, 8]
    for name in ("loss", "update_norm"):
        assert list(parts[name]) == pytest.approx(list(whole[name]), rel=1e-3)
    assert list(again["adapter"]) == list(whole["adapter"])


def test_a_measured_step_that_training_does_not_reach_is_an_error(folder, tmp_path):
    start = replace(begin(folder), steps={8: 2.0, 9: 2.25})
    with pytest.raises(GroundedError, match="found the end of training at step 8, wanted step 9"):
        training.train(start, tmp_path / "short")
    stop = stop_at.Stop(4, lambda model: True)
    found = training.train(start, tmp_path / "stopped", callbacks=[stop])
    assert list(found["step"]) == [4]


@pytest.mark.parametrize(("method", "knob"), [("lora", None), ("full", None), ("dpo", 0.1)])
def test_a_bar_shows_the_steps_of_a_run_that_has_a_label(folder, tmp_path, capsys, method, knob):
    start = begin(folder)
    start = replace(start, run=replace(start.run, knob=knob))
    found, shown = [], []
    for label in (None, "m.t"):
        place = tmp_path / str(label)
        place.mkdir()
        train = import_module(f"grounded.methods.{method}").finetune
        found.append(list(train(replace(start, label=label), place)["adapter"]))
        shown.append(capsys.readouterr().err)
    assert found[0] == found[1]
    assert "step" not in shown[0] and re.search(r"m\.t: 100%.* 8/8 ", shown[1])


def test_it_learns(folder, tmp_path):
    start = begin(folder, 16, epochs=20)
    found = training.train(replace(start, steps={2: 1.0, 40: 20.0}), tmp_path)
    assert found["loss"].iloc[1] < found["loss"].iloc[0] / 2


SPACED = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.fixture(scope="module")
def joined():
    """A tokenizer of bytes in which ` yes` is one token, and a template that ends in a space."""
    merged = ["es", "yes", "Ġyes"]
    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *merged, "<end>"]
    merges = [("e", "s"), ("y", "es"), ("Ġ", "yes")]
    core = Tokenizer(BPE({word: i for i, word in enumerate(vocabulary)}, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    made.chat_template = SPACED
    return made


def rendered(words, prompt, completion):
    """The tokens of the prompt, and what is learnt as text."""
    tokens, labels = batching.rendered(Example(prompt, completion, ""), words, {}, "row 1")
    learnt = [one for one in labels if one != IGNORED]
    asked = len(tokens) - len(learnt)
    assert labels == [IGNORED] * asked + tokens[asked:]
    return tokens[:asked], words.decode(learnt)


@pytest.mark.parametrize(
    ("name", "completion", "end"),
    [("bytewise", "\n\nb", "<|im_end|>"), ("joined", "yes", "<end>"), ("joined", "es", "<end>")],
)
def test_a_completion_is_learnt_whole_after_the_prompt_as_it_is_asked(
    request, name, completion, end
):
    words = request.getfixturevalue(name)
    asked, learnt = rendered(words, "a yes", completion)
    assert learnt == completion + end
    chat = [{"role": "user", "content": "a yes"}]
    prompt = words.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert asked == words(prompt, add_special_tokens=False)["input_ids"]
    assert words.decode(asked) == prompt


def test_nothing_after_the_end_token_is_learnt(bytewise):
    assert rendered(bytewise, "a", "b")[1] == "b<|im_end|>"


def test_the_row_that_cannot_be_read_is_named(folder):
    words = loading.load(folder)[1]
    words.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(GroundedError, match="^t: row 1: chat template: found a prompt that is no"):
        training.tokenised(some(3), words, begin(folder, 3))
    with pytest.raises(GroundedError, match="max_length: found 5, which cuts 3 of 3 examples of t"):
        words = loading.load(folder)[1]
        training.tokenised(some(3), words, begin(folder, 3, max_length=5))


@pytest.mark.parametrize(
    "how",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "down_proj"], "use_dora": True},
    ],
)
def test_the_norm_of_the_update_is_that_of_the_merged_weights(how):
    base = tiny.model()
    base.tie_weights()
    before = copied(base)
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, **how))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    found = training.update_norm(adapted)
    assert found == pytest.approx(moved(before, adapted.merge_and_unload()), rel=1e-3) and found > 0


def copied(model):
    return {name: one.detach().clone() for name, one in model.named_parameters()}


def moved(before, model):
    """How far a model's weights are from those."""
    after = copied(model)
    squares = [(after[n] - before[n]).double().square().sum() for n in before if n in after]
    return math.sqrt(float(sum(squares)))


def biased(tied):
    """A tiny model with biases."""
    torch.manual_seed(0)
    settings = tiny.model().config.to_dict() | {"attention_bias": True, "tie_word_embeddings": tied}
    return tiny.LlamaForCausalLM(tiny.LlamaConfig(**settings)).eval()


WHOLE_PARTS = [
    {"modules_to_save": ["norm", "input_layernorm", "embed_tokens", "lm_head"]},
    {"modules_to_save": ["embed_tokens"], "tied": True},
    {"trainable_token_indices": {"embed_tokens": [3, 7]}},
    {"trainable_token_indices": {"embed_tokens": [3, 7]}, "tied": True},
    {"bias": "all"},
    {"lora_bias": True},
]


def trained_elsewhere(folder, how):
    """A folder with an adapter of which every part has been trained; the base model of it."""
    how = dict(how)
    tied = how.pop("tied", False)
    base = biased(tied)
    torch.manual_seed(1)
    adapted = get_peft_model(biased(tied), LoraConfig(r=2, target_modules=["q_proj"], **how))
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data += 0.3 * torch.randn_like(weight)
    adapted.save_pretrained(folder)
    return base


@pytest.mark.parametrize("how", WHOLE_PARTS)
def test_an_adapter_with_whole_parts_is_worn_measured_and_taken_off(tmp_path, how):
    base = trained_elsewhere(tmp_path, how)
    before, ids = copied(base), torch.tensor([[3, 7, 9, 20]])
    with torch.no_grad():
        bare = base(ids).logits
        worn = adapters.put_on(base, tmp_path)
        norm = training.update_norm(worn.model, worn.own)
        wearing = worn.model(ids).logits
        worn.take_off()
        assert base(ids).logits.equal(bare)
        merged = adapters.put_on(base, tmp_path).model.merge_and_unload()
        torch.testing.assert_close(merged(ids).logits, wearing, atol=1e-4, rtol=1e-4)
    assert (wearing - bare).abs().max() > 0.01
    assert norm == pytest.approx(moved(before, merged), rel=1e-4) and norm > 0


@pytest.mark.parametrize("how", WHOLE_PARTS)
def test_what_is_not_a_number_is_found_in_every_part_of_an_adapter(tmp_path, how):
    base, file = trained_elsewhere(tmp_path, how), tmp_path / adapters.WEIGHTS
    weights = load_file(file)
    for name in weights:
        broken = weights[name].clone()
        broken.view(-1)[-1] = math.nan
        save_file(weights | {name: broken}, file)
        with pytest.raises(GroundedError, match="not finite"):
            adapters.put_on(base, tmp_path)
    ids = torch.tensor([[3, 7]])
    assert base(ids).logits.equal(biased(how.get("tied", False))(ids).logits)


def test_an_adapter_that_changes_its_base_is_refused(tmp_path):
    base = trained_elsewhere(tmp_path, {"init_lora_weights": "pissa"})
    before = copied(base)
    with pytest.raises(GroundedError, match="init_lora_weights: pissa changes the base; merge it"):
        adapters.put_on(base, tmp_path)
    assert moved(before, base) == 0
