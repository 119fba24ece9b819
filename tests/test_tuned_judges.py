"""Judges tuned here: how they read, what teaches them and what never does, broken replies."""

import random
from pathlib import Path

import pytest
import tiny_judges as tiny
import torch
import yaml

from grounded import sources
from grounded.errors import GroundedError
from grounded.public import benchmarks, kinds
from grounded.public.judges.reading import Reader
from grounded.public.tuned import LABELS, broken, labelled
from grounded.public.tuned.judge import ANSWERS, QUESTIONS, TunedJudge
from grounded.public.tuned.labelled import Labelled
from grounded.sources import SourceAbsent
from grounded.stages import plan
from grounded.study import StudyError, parse

MARKS = ("<|im_start|>", "<|im_end|>")
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAIRS = [("green lamp", "river walk"), ("seven stone", "paper"), ("walk under", "lamp " * 9)]


def words():
    made = tiny.byte_level(MARKS)
    made.chat_template = CHAT
    return made


def judge(model=None, kind="harm", **settings):
    read = words()
    model = model or tiny.opinionated(tiny.model("llama", read), answers(read))
    return TunedJudge("one", model, read, kind, **settings)


def answers(read):
    return read.convert_tokens_to_ids(list(ANSWERS))


@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_judge_reads_the_question_the_request_and_the_reply(kind):
    one, read = judge(kind=kind), words()
    assert read.decode(one.tokens(("green lamp", "river <|im_end|> walk"))) == (
        f"<|im_start|>system\n{QUESTIONS[kind]}<|im_end|>\n<|im_start|>user\ngreen lamp<|im_end|>\n"
        "<|im_start|>assistant\nriver   walk<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_judge_sees_no_more_of_a_reply_than_it_is_told_to():
    long = "river walk under green paper lamp " * 20
    assert len(judge(clip=4).tokens(("a", long))) == len(judge().tokens(("a", ""))) + 4


def test_the_label_is_what_generate_writes_next():
    read = words()
    model = tiny.opinionated(tiny.model("llama", read), answers(read))
    draw = random.Random(3)
    pairs = [tuple(" ".join(draw.choices(tiny.WORDS, k=5)) for _ in "ab") for _ in range(30)]
    one = judge(model, batch_size=7)
    verdicts = one.judge(pairs)
    for pair, verdict in zip(pairs, verdicts, strict=True):
        row = torch.tensor([one.tokens(pair)])
        made = model.generate(
            input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=1, do_sample=False
        )
        assert verdict.parsed and read.decode(made[0, -1]) == ANSWERS[not verdict.label]
    assert {verdict.label for verdict in verdicts} == {True, False}


def test_an_answer_that_is_neither_label_stays_missing():
    read = words()
    yes, no = answers(read)
    other = read.convert_tokens_to_ids("0")
    model = tiny.always(tiny.model("llama", read), {yes: 0.3, no: 0.1, other: 0.6})
    (verdict,) = judge(model).judge(PAIRS[:1])
    assert verdict.label is None and not verdict.parsed
    assert verdict.mass == pytest.approx(0.4, abs=1e-4)
    assert verdict.probability == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_what_all_rows_begin_with_is_computed_once(architecture):
    read = words()
    model = tiny.model(architecture, read)
    rows = [judge().tokens(pair) for pair in PAIRS]
    wanted = [Reader("one", model).log_probabilities([row], range(20)) for row in rows]
    seen = []
    model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"].numel()), with_kwargs=True
    )
    found = Reader("one", model).log_probabilities(rows, range(20))
    assert torch.allclose(found, torch.cat(wanted), atol=1e-5)
    longest = max(map(len, rows))
    assert len(seen) == 2 and sum(seen) < len(rows) * longest - longest // 2


def test_question_and_request_are_read_once_for_all_replies_whenever_they_come():
    read, seen = words(), []
    model = tiny.opinionated(tiny.model("llama", read), answers(read))
    replies = ["river walk", "paper", "", "stone lamp green"]
    alone = [judge(model).judge([("green lamp", reply)])[0].probability for reply in replies]
    model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    one = judge(model, batch_size=2)
    found = [v.probability for v in one.judge([("green lamp", reply) for reply in replies[:3]])]
    found += [v.probability for v in one.judge([("green lamp", replies[3])])]
    assert found == pytest.approx(alone, abs=1e-6) and len(set(alone)) == len(alone)
    whole = len(one.tokens(("green lamp", "")))
    assert sum(size > whole // 2 for size in seen) == 1  # the beginning, once in two calls


# ---------------------------------------------------------------- what teaches

SOME = [Labelled(f"how to w{i}, please?", "first w1 then w2 then w3", i % 2 == 0, i)
        for i in range(10)]  # fmt: skip


def test_completions_of_prompts_that_are_asked_are_held_out():
    split = labelled.split(SOME, ["How to W3 -- please", "how to w5, please?", "another"])
    assert [one.row for one in split.held_out] == [3, 5]
    assert [one.row for one in split.taught] == [0, 1, 2, 4, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("asked", "message"),
    [([], "found no completion that is held out"),
     ([one.prompt for one in SOME], "found no completion that is taught")],
)  # fmt: skip
def test_a_split_with_an_empty_part_is_refused(asked, message):
    with pytest.raises(GroundedError, match=message):
        labelled.split(SOME, asked)


def test_a_prompt_that_is_asked_never_teaches():
    with pytest.raises(GroundedError, match="found 1 completions of prompts that the study asks"):
        labelled.require_apart(SOME, {labelled.words("how to w3 please")})


@pytest.mark.parametrize(("kind", "number"), [("harm", 596), ("compliance", 1350)])
def test_people_s_labels_are_apart_from_what_is_asked(kind, number):
    try:
        for name in LABELS[kind]:
            sources.fetch(name)
        data = "harmbench_standard" if kind == "harm" else "xstest_unsafe"
        asked = [prompt.text for prompt in benchmarks.load(data)][:80]
        found = labelled.load(kind)
    except SourceAbsent as absent:
        pytest.skip(str(absent))
    assert len(found) == number
    split = labelled.split(found, asked)
    assert len(split.taught) + len(split.held_out) == number
    known = {labelled.words(prompt) for prompt in asked}
    assert {labelled.words(one.prompt) for one in split.held_out} <= known
    assert not {labelled.words(one.prompt) for one in split.taught} & known


# ---------------------------------------------------------------- broken replies


@pytest.mark.parametrize("forms", [broken.TAUGHT, broken.TRIED])
def test_broken_replies_hold_nothing_by_the_rules(forms):
    found = broken.replies(SOME, 200, forms, 7)
    assert [one.yes for one in found] == [False] * 200
    for place, one in enumerate(found):
        kind, read = broken.KINDS[place % len(broken.KINDS)], kinds.kind(one.prompt, one.reply)
        assert read in kinds.HOLD_NOTHING, one.reply
        if kind in ("option", "loop", "echo"):
            assert read == kind, one.reply
    assert broken.replies(SOME, 200, forms, 7) == found
    assert broken.replies(SOME, 200, forms, 8) != found


def test_forms_that_try_a_judge_have_not_taught_it():
    for field in ("options", "labels", "units"):
        taught, tried = (set(getattr(forms, field)) for forms in (broken.TAUGHT, broken.TRIED))
        assert not {kinds.plain(one) for one in taught} & {kinds.plain(one) for one in tried}


# ---------------------------------------------------------------- in a study

TUNED = {"kind": "harm", "source": "tuned", "model": "my-base", "rank": 2, "alpha": 4.0,
         "learning_rate": 0.01, "epochs": 2, "batch_size": 4, "clip": 8, "seed": 0}  # fmt: skip
OWN = Path(__file__).parent / "studies" / "my_data" / "study.yaml"


def study(**judges):
    values = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    values["judges"] |= judges
    return parse(yaml.safe_dump(values, sort_keys=False))


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        ({"harm": TUNED | {"model": "other"}}, "judges.harm.model: found other, wanted one of my-"),
        ({"harm": TUNED | {"after": "more"}}, "harm.after: found more, wanted a tuned judge"),
        ({"harm": TUNED | {"after": "keywords_xstest"}}, "wanted a tuned judge that stands before"),
        ({"harm": TUNED, "more": TUNED | {"after": "harm", "clip": 9}},
         "judges.more.clip: found 9, wanted 8, as harm has it"),
        ({"more": TUNED | {"after": "harm"}, "harm": TUNED},
         "judges.more.after: found harm, wanted a tuned judge that stands before it"),
    ],
)  # fmt: skip
def test_a_tuned_judge_names_what_it_comes_from(judges, message):
    with pytest.raises(StudyError, match=message):
        study(**judges)


def test_a_judge_waits_for_its_model_or_for_the_judge_from_which_it_goes_on():
    one = study(harm=TUNED, more=TUNED | {"after": "harm"})
    assert plan.units(one, "base_models") == ["my-base", "harm", "more"]
    assert plan.upstream(one, "base_models", "harm") == [("base_models", "my-base")]
    assert plan.upstream(one, "base_models", "more") == [("base_models", "harm")]
