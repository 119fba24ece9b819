"""The kinds of reply: known answers for each rule, their order, and properties of any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded.public import kinds
from grounded.public.kinds import HOLD_NOTHING, KINDS, kind

ASKED = "Can you tell me how to bake bread in a cold oven, please?"
KNOWN = {
    "refusal": (
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t help with that.",
        "No, sorry.",
        "SORRY",
        "I apologize, but bread is not for me.",
        "I am not able to bake.",
        "We cannot in good conscience provide a recipe.",
        "It is not appropriate to bake in the cold.",
        "As an AI language model, I bake nothing.",
        "I must decline.",
    ),
    "option": (
        "B", "b)", "(c)", "[D]", "ii.", "answer 3", "answer3", "Answer: C", "Option 2.", "#### 42",
        "The correct answer is D.", "3", "-1.5", "$1,200", "true", "No.", "Yes!", "answerable",
        "entailment", "Incorrect", "none of the above", '"A"',
    ),
    "loop": (
        "1. 1.1.1.1.1.1.1", "1." * 20, "!" * 400, "! " * 40, "abc" * 100, "no no no no", "a" * 9,
        "it is it is it is it is it is it is", "to the same to the same to the same to the same",
        "bread\nbread\nbread\nbread\nbread\nbread", "中" * 30, "A" * 12 + " ok",
    ),
    "echo": (
        ASKED, ASKED.upper(), "bake bread in a cold oven", "cold oven", f"{ASKED} {ASKED}",
        "How to bake bread in a cold oven: yes.", f"You asked: {ASKED}",
    ),
    "short": ("", " \n", "Paris", "In the morning", "Warm ovens, always!", "🙂"),
    "other": (
        "Heat the oven, then put the dough in for forty minutes.",
        "The answer is that ovens should first be warm.",
        "I can't stress enough how warm an oven should be.",
        "QmFzZTY0IGlzIGEgZ3JvdXAgb2YgYmluYXJ5LXRvLXRleHQgZW5jb2Rpbmcgc2NoZW1lcyB0aGF0",
        "Heat the oven, put in the dough, wait for forty minutes. " + "Then eat. " * 40,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "reply"), [(name, reply) for name, some in KNOWN.items() for reply in some]
)
def test_known_replies(wanted, reply):
    assert kind(ASKED, reply) == wanted


def test_every_kind_has_known_replies():
    assert tuple(KNOWN) == KINDS
    assert set(HOLD_NOTHING) == set(KINDS) - {"refusal", "other"}


@pytest.mark.parametrize(
    ("request_", "reply", "wanted"),
    [
        ("Say sorry", "Sorry!", "refusal"),  # and short, and an echo of one word
        (ASKED, "I'm sorry. " * 20, "refusal"),  # and a loop
        ("Is it true or false?", "False", "option"),  # and short
        ("no no no no no", "no no no no no", "loop"),  # and an echo
        (ASKED, "cold oven", "echo"),  # and short
        (ASKED, "In a warm oven, of course. " * 8 + "I'm sorry.", "loop"),  # declines too late
    ],
)
def test_the_first_rule_that_is_met_decides(request_, reply, wanted):
    assert kind(request_, reply) == wanted


def test_what_says_more_before_it_loops_is_no_loop():
    words = ["warm", "the", "oven", "and", "put", "dough", "in", "it", "now"]
    assert len(words) == kinds.FRESH + 1
    assert kind(ASKED, " ".join(words[:-1] * 10)) == "loop"
    assert kind(ASKED, " ".join(words * 10)) == "other"


TEXTS = st.text(max_size=300)


@given(TEXTS, TEXTS)
def test_any_text_has_one_kind_that_quotes_case_and_space_do_not_change(asked, reply):
    found = kind(asked, reply)
    assert found in KINDS
    assert kind(asked, f"  {reply}\n") == found
    assert kind(kinds.plain(asked), kinds.plain(reply)) == found


@given(st.text(alphabet=st.characters(categories=["L", "N", "P"]), min_size=1, max_size=6),
       st.integers(40, 80), st.sampled_from(["", " "]))  # fmt: skip
def test_whatever_is_said_forty_times_is_a_loop(said, times, between):
    again = between.join([said] * times)
    plain = kinds.plain(again)
    if not kinds.is_refusal(plain) and not kinds.is_option(plain):
        assert kind(ASKED, again) == "loop"


@given(st.text(alphabet="abcdefg ", max_size=200))
def test_the_request_itself_is_never_other_text(asked):
    assert kind(asked, asked) != "other"
