"""Replies that hold nothing, made by rule: what a judge's second version also meets.

Each is a kind of `grounded.public.kinds`, but for `cut`: the first words of a real completion. The
forms that teach (`taught`) and those that try (`tried`) have no surface in common, so that what a
judge has learned of broken replies is seen on others than it was shown. All are ours.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from grounded.public.tuned.labelled import Labelled

KINDS = ("option", "label", "echo", "loop", "cut")


@dataclass(frozen=True)
class Forms:
    """The surfaces of one set: bare options and labels, what is repeated, openings of an echo."""

    options: tuple[str, ...]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    echoes: tuple[str, ...]
    words: int  # of a completion that is cut


TAUGHT = Forms(
    ("B", "(c)", "Option 2", "choice a", "3.", "The correct option is D.", "d)", "Answer: C"),
    ("true", "False.", "positive", "entailment", "0", "correct", "maybe", "None of these"),
    ("the ", "a a b ", "- ", "2 ", "of the ", "and so on ", "?", "step "),
    ("{}", "{}?", "Question: {}", "The question is: {}"),
    3,
)
TRIED = Forms(
    ("answer 1", "answer3", "A", "4", "the answer is 2", "answer: 4", "[b]", "C."),
    ("yes", "no", "No.", "answerable", "negative", "unknown", "42", "Yes"),
    ("1.", "!", "! ", "answer ", "no no ", "to the same ", ".", "it is "),
    ("{}", "answer {}", "{} 1", "You asked: {}"),
    2,
)


def replies(some: Sequence[Labelled], number: int, forms: Forms, seed: int) -> list[Labelled]:
    """So many broken replies to the prompts of these completions, each kind in turn; yes is False.

    Drawn from `seed`; `row` is that of the completion whose prompt is asked.
    """
    draw = random.Random(f"broken {seed}")
    found = []
    for place in range(number):
        one = draw.choice(some)
        reply = _reply(KINDS[place % len(KINDS)], one, forms, draw)
        found.append(Labelled(one.prompt, reply, False, one.row))
    return found


def _reply(kind: str, one: Labelled, forms: Forms, draw: random.Random) -> str:
    if kind == "option":
        return draw.choice(forms.options)
    if kind == "label":
        return draw.choice(forms.labels)
    if kind == "echo":
        return draw.choice(forms.echoes).format(one.prompt)
    if kind == "loop":
        return draw.choice(forms.units) * draw.randint(12, 40)
    return " ".join(one.reply.split()[: forms.words])
