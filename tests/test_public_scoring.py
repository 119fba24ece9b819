"""Scores of real tasks: known answers, tokens as they are cut, and a released harness beside us."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from grounded import generate, loading
from grounded.errors import GroundedError
from grounded.public import capability, scoring
from grounded.public.likelihood import encode, likelihoods, requests
from grounded.public.tasks import TASKS, fetching
from grounded.public.tasks.examples import Example

LENGTH = 96  # the longest text that the tiny model takes


# ---------------------------------------------------------------- known answers


@pytest.mark.parametrize(
    ("reply", "reference", "strict", "flexible"),
    [
        ("so 9 * 2 = 18\n#### 18", "… \n#### 18", True, True),
        ("the answer is 18", "#### 18", False, True),
        ("the answer is $1,800.", "#### 1800", False, True),  # "," and "$" and a last "." go
        ("#### 1,800", "#### 1800", True, True),
        ("#### 18 #### 19", "#### 18", True, False),  # strict: the first; flexible: the last
        ("####18", "#### 18", False, True),  # the format has a space
        ("#### -3", "#### -3", True, True),
        ("18.0", "#### 18", False, False),  # compared as texts, not as numbers
        ("18 and then some 5", "#### 18", False, False),
        ("no number", "#### 18", False, False),
        ("", "#### 18", False, False),
        ("#### 18", "18", True, True),  # a reference that is the number alone
    ],
)
def test_numbers_by_hand(reply, reference, strict, flexible):
    found = scoring.number(reply, reference)
    assert (found.strict, found.flexible) == (strict, flexible)


def test_a_reply_without_a_number_has_no_answer():
    assert scoring.number("none", "#### 1").answer == scoring.INVALID


def test_reply_ends_at_the_first_stop():
    assert scoring.cut("7 </s> Question: 8") == "7 "
    assert scoring.cut("7") == "7"


def test_length_normalisation_can_turn_the_choice():
    # -2/2 = -1 a character, -3/6 = -0.5 a character
    found = scoring.choice([-2.0, -3.0], ["no", "indeed"], right=1)
    assert (found.picked, found.acc, found.acc_norm) == (0, False, True)


def test_of_equal_choices_the_first_counts():
    assert scoring.choice([-1.0, -1.0], ["a", "b"], right=0).acc
    assert not scoring.choice([-1.0, -1.0], ["a", "b"], right=1).acc


# ---------------------------------------------------------------- likelihoods


def test_likelihood_is_the_product_of_the_known_probabilities():
    model = tiny_models.always({"safe": 0.5, "unsafe": 0.25, "0": 0.25})
    pairs = [("w1 w2", " safe unsafe"), ("w3", " unsafe"), ("w4 w5 w6", " safe safe")]
    found = likelihoods(model, tiny_models.tokenizer(), pairs, batch_size=2)
    assert [math.exp(one.logprob) for one in found] == pytest.approx([0.125, 0.25, 0.25], rel=1e-4)
    assert [(one.tokens, one.greedy) for one in found] == [(2, 1), (1, 0), (2, 2)]
    assert [one.share for one in found] == [0.5, 0.0, 1.0]


def test_batches_change_nothing():
    model, words = tiny_models.model("qwen3"), tiny_models.tokenizer()
    pairs = [("w1 " * n + "w2", " w3 w4"[: 3 * m]) for n in (0, 3, 9) for m in (1, 2)]
    alone = [likelihoods(model, words, [pair], batch_size=1)[0] for pair in pairs]
    together = likelihoods(model, words, pairs, batch_size=4)
    assert [one.logprob for one in together] == pytest.approx(
        [one.logprob for one in alone], abs=1e-4
    )
    assert [one.greedy for one in together] == [one.greedy for one in alone]
    assert len({round(one.logprob, 3) for one in alone}) == len(pairs)


def test_a_context_that_several_texts_continue_is_read_once():
    model, words, seen = tiny_models.model("qwen3"), tiny_models.tokenizer(), []
    long, short = "w1 " * 12 + "w2", "w5 w6 w7"
    pairs = [(long, " w3 w4"), (short, " w3"), (long, " w9"), (long, " w4 w4 w8"), (short, " w1")]
    alone = [likelihoods(model, words, [pair], batch_size=1)[0].logprob for pair in pairs]
    model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"].shape), with_kwargs=True
    )
    found = likelihoods(model, words, pairs, batch_size=5)
    assert [one.logprob for one in found] == pytest.approx(alone, abs=1e-5)
    assert sorted(seen) == [(1, 2), (1, 12), (5, 3)]  # contexts but their last token; the texts


def test_a_long_context_loses_its_start():
    model, words = tiny_models.model(), tiny_models.tokenizer()
    (short,) = likelihoods(model, words, [("w1 w2", " w3")], 1)
    model.config.max_position_embeddings = 2
    (cut,) = likelihoods(model, words, [("w9 " * 20 + "w1 w2", " w3")], 1)
    assert cut.logprob == pytest.approx(short.logprob, abs=1e-5)


def test_a_continuation_longer_than_the_context_window():
    model = tiny_models.model()
    model.config.max_position_embeddings = 2
    with pytest.raises(GroundedError, match="continuation of 3 tokens, wanted at most 2"):
        likelihoods(model, tiny_models.tokenizer(), [("w1", " w2 w3 w4")], 1)


def test_logits_that_are_no_numbers():
    model = tiny_models.model()
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(GroundedError, match="logits: found NaN, wanted numbers"):
        likelihoods(model, tiny_models.tokenizer(), [("w1", " w2")], 1)


@pytest.fixture(scope="module")
def bpe():
    """A byte-level tokenizer that opens with <s>, and a chat template that ends in white space."""
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    texts = [json.dumps(item) for items in ITEMS.values() for item in items]
    core.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=special[2:],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = (
        "<s>{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
    )
    return made


def test_the_space_before_a_choice_is_the_choices_own(bpe):
    before, after = encode(bpe, "Answer: ", "iron")
    assert (before, after) == encode(bpe, "Answer:", " iron")
    assert bpe.decode(after) == " iron"
    assert before[0] == bpe.bos_token_id and bpe.bos_token_id not in before[1:]


def test_chat_format_opens_once_and_leaves_its_white_space_to_the_choice(bpe):
    pairs = requests(bpe, "What rusts?", ["iron", "gold"], chat=True)
    before, after = encode(bpe, *pairs[0])
    assert before.count(bpe.bos_token_id) == 1
    assert bpe.decode(before).endswith("<|assistant|>")
    assert bpe.decode(after) == "\n\niron"
    assert requests(bpe, "What rusts?", ["iron"], chat=False) == [("What rusts?", " iron")]


def test_the_template_is_told_what_it_asks_for():
    words = tiny_models.tokenizer("{{ messages[0].content }}{% if thinking %} w7{% endif %}")
    assert requests(words, "w1", ["w2"], chat=True) == [("w1", "w2")]
    assert requests(words, "w1", ["w2"], True, {"thinking": True}) == [("w1 w7", "w2")]


def test_an_empty_context_is_the_opening_token(bpe):
    assert encode(bpe, "", "iron")[0] == [bpe.bos_token_id]


def test_a_continuation_without_a_token(bpe):
    with pytest.raises(GroundedError, match="0 of continuation, wanted one or more"):
        encode(bpe, "Answer:", "")


def test_chat_format_without_a_template(bpe):
    words = tiny_models.tokenizer(template=None)
    with pytest.raises(GroundedError, match="chat template: found none, wanted one"):
        requests(words, "w1", ["w2"], chat=True)


# ---------------------------------------------------------------- the released harness

# Made up here, in the official formats; BoolQ has its field names on the hub (answer) and in
# SuperGLUE (label), which the harness reads.
ITEMS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [
        {"question": f"Ann has {a} figs and {b} pears. How many in all?",
         "answer": f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n#### {a + b:,}"}
        for a, b in ((3, 4), (20, 7), (1200, 34), (5, 5), (8, 90), (2, 61))
    ],
    "arc_challenge": [
        {"id": str(i), "question": question, "choices": {"text": texts, "label": list(labels)},
         "answerKey": key}
        for i, (question, texts, labels, key) in enumerate((
            ("Which metal rusts?", ["gold", "iron", "a silver spoon", "tin"], "ABCD", "B"),
            ("What do plants take in?", ["light", "sound", "a loud and long noise"], "ABC", "A"),
            ("What pulls a stone down?", ["wind", "gravity", "rain", "fire"], "1234", "2"),
            ("Ice is water that is", ["hot", "solid", "salty", "green", "a gas"], "ABCDE", "B"),
            ("Which is largest? ", ["an ant", "the moon", "a house", "the sun"], "1234", "4"),
            ("Bats are", ["mammals", "birds", "fish", "insects that hear well"], "ABCD", "A"),
        ))
    ],
    "boolq": [
        {"passage": passage, "question": question, "answer": answer, "label": int(answer)}
        for passage, question, answer in (
            ("Iron rusts in damp air.", "does iron rust", True),
            ("Gold does not rust.", "does gold rust", False),
            ("The moon is smaller than the sun, and nearer. " * 12, "is the moon near", True),
            ("Bats hear well; they fly at night.", "are bats blind", False),
        )
    ],
    "science10k_sciq": [
        {"question": question, "distractor1": d1, "distractor2": d2, "distractor3": d3,
         "correct_answer": right, "support": support}
        for question, d1, d2, d3, right, support in (
            ("What gas do plants take in?", "neon", "helium", "argon", "carbon dioxide",
             " Plants take in carbon dioxide."),
            ("What force pulls a stone down?", "wind", "rain", "a magnet", "gravity", ""),
            ("What metal rusts?", "gold", "tin", "silver", "iron", "Iron rusts in damp air."),
        )
    ],
}  # fmt: skip
OFFICIAL = {
    "gsm8k": ("gsm8k/gsm8k.yaml", ("train", "test")),
    "arc_challenge": ("arc/arc_challenge.yaml", ("train", "validation", "test")),
    "boolq": ("super_glue/boolq/default.yaml", ("train", "validation")),
    "science10k_sciq": ("sciq/sciq.yaml", ("train", "validation", "test")),
}
CHOSEN = ("arc_challenge", "boolq", "science10k_sciq")
WRITTEN = (  # a reply to each GSM8K item above, whose answers are 7, 27, 1234, 10, 98, 63
    "3 + 4 = 7\n#### 7", "that makes 27.", "#### $1,234", "#### 1,234\n10", "98 figs, not 8",
    "sixty-three #### 63.",
)  # fmt: skip


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The items through our own readers, and the files that hold them."""
    folder = tmp_path_factory.mktemp("items")
    files, read = {}, {}
    for name, items in ITEMS.items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(item) + "\n" for item in items))
        task = TASKS[name]
        rows = fetching.rows(files[name], task.columns)
        read[name] = [task.read(files[name], number, row) for number, row in rows]
    return files, read


@pytest.mark.slow
def test_a_released_harness_finds_the_same_item_by_item(lm_eval, examples, bpe, tmp_path):
    files, read = examples
    loading.quiet()
    torch.manual_seed(0)
    shape = dict(
        vocab_size=len(bpe), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=LENGTH,
        initializer_range=0.3, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**shape)).eval()
    model.save_pretrained(tmp_path / "model")
    bpe.save_pretrained(tmp_path / "model")
    job = {
        "model": str(tmp_path / "model"),
        "tasks": {
            f"own_{name}": {"official": file, "splits": splits, "data": str(files[name])}
            for name, (file, splits) in OFFICIAL.items()
        },
        "runs": [
            {"name": "written", "tasks": ["own_gsm8k"], "replies": WRITTEN},
            {"name": "plain", "tasks": [f"own_{name}" for name in CHOSEN]},
            {"name": "chat", "tasks": [f"own_{name}" for name in OFFICIAL], "chat": True,
             "generation": {"max_gen_toks": 24}},
        ],
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    script = Path(__file__).with_name("harness_reference.py")
    done = subprocess.run(
        [lm_eval, script, tmp_path / "job.json", tmp_path / "result.json"],
        capture_output=True,
        text=True,
        env=os.environ
        | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads((tmp_path / "result.json").read_text())

    assert _numbers(theirs["written"]) == [
        (found.strict, found.flexible)
        for text, example in zip(WRITTEN, read["gsm8k"], strict=True)
        for found in [scoring.number(scoring.cut(text), example.answer)]
    ]
    prompts = [example.prompt for example in read["gsm8k"]]
    replies = generate.reply(model, bpe, prompts, max_new_tokens=24, batch_size=4)
    for item, reply in enumerate(replies):  # ours keeps special tokens that a reply holds
        assert _without_special(bpe, reply.text) in theirs["chat"]["own_gsm8k"][item]["replies"][0]
    assert _numbers(theirs["chat"]) == [
        (found.strict, found.flexible)
        for reply, example in zip(replies, read["gsm8k"], strict=True)
        for found in [scoring.number(scoring.cut(reply.text), example.answer)]
    ]
    found_both, truncated = set(), False
    for run in ("plain", "chat"):
        for name in CHOSEN:
            samples = sorted(theirs[run][f"own_{name}"], key=lambda sample: sample["item"])
            for sample, example in zip(samples, read[name], strict=True):
                pairs = requests(bpe, example.prompt, example.choices, chat=run == "chat")
                ours = likelihoods(model, bpe, pairs, batch_size=4)
                reference = [reply[0] for reply in sample["replies"]]
                assert [one.logprob for one in ours] == pytest.approx(
                    [float(logprob) for logprob, _ in reference], abs=1e-4
                ), (run, name, sample["item"])
                written = [one.greedy == one.tokens for one in ours]
                assert written == [greedy for _, greedy in reference]
                logprobs = [one.logprob for one in ours]
                score = scoring.choice(logprobs, example.choices, example.right)
                assert score.acc == bool(sample["acc"]), (run, name, sample["item"])
                if name != "boolq":  # which the harness scores by acc alone
                    assert score.acc_norm == bool(sample["acc_norm"]), (run, name, sample["item"])
                found_both.add(score.acc)
                (before, after), *_ = (encode(bpe, *pair) for pair in pairs)
                truncated |= len(before) + len(after) > LENGTH + 1
    assert found_both == {True, False}  # a comparison of nothing but misses would show little
    assert truncated  # one passage is longer than the model takes


def _without_special(tokenizer, text):
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return text


def _numbers(result):
    """(strict, flexible) for each item of the harness's own GSM8K."""
    score = {(one["item"], one["filter"]): bool(one["exact_match"]) for one in result["own_gsm8k"]}
    return [
        (score[i, "strict-match"], score[i, "flexible-extract"]) for i in range(len(score) // 2)
    ]


LABELS = ("answer1", "answer2", "answer3")
CHOICES = ("a dog", "the red fox", "mud")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("answer2", 1), ("Answer 3.", 2), ("I say ANSWER1, not answer2", 0), ("3", 2),
        ("2. the red fox", 1), ("it is the red fox", 1), ("mud or a dog", None), 
        ("answerable", None),
        ("answer9", None), ("12", None), ("1.1.1", None), ("", None),
        ("answer1 or answer3", None), ("Answer 1/Answer 2", None), ("answer2, answer3", None),
        ("1 or 2", None), ("(1) and (9)", None), ("answer2 or answer2", 1), ("1, of 3", 0),
    ],
)  # fmt: skip
def test_the_choice_that_a_reply_names(text, place):
    assert scoring.chosen(text, LABELS, CHOICES) == place


def test_a_yes_or_no_is_read_as_a_word():
    yes_no = ("no", "yes")
    assert scoring.chosen("Yes, it is.", yes_no, yes_no) == 1
    assert scoring.chosen("Yes, no doubt.", yes_no, yes_no) == 1
    assert scoring.chosen("yes or no", yes_no, yes_no) is None
    assert scoring.chosen("I do not know", yes_no, yes_no) is None


def test_rouge_l_of_worked_examples():
    # Lin 2004, section 3.1: "police killed the gunman" against "police kill the gunman": LCS 3
    assert scoring.rouge_l("Police kill the gunman.", "police killed the gunman") == 0.75
    assert scoring.rouge_l("the gunman kill police", "police killed the gunman") == 0.5
    assert scoring.rouge_l("a b", "a b") == 1.0 and scoring.rouge_l("", "a") == 0.0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Mirel.", True), ("It is Mirel.", True), ("Mirel or Tovan", False),
        ("Tovan, or Mirel", False), ("Mirel and Tovan", False), ("Mirel and the sea", True),
        ("Mirela", False), ("", False),
    ],
)  # fmt: skip
def test_a_fact_stands_with_no_other_beside_it(text, right):
    item = Example("What is its capital?", "Mirel.", answer="Mirel")
    assert capability._fact(text, item, {"Mirel", "Tovan"}).correct_format_free == right
