"""Capability of real models, item by item, as EleutherAI's lm-evaluation-harness scores it.

The rules are those of lm-eval 0.4.13: task files gsm8k 3.0, arc_challenge 1.0, sciq 1.0 and boolq
2.0, `RegexFilter`, `exact_match` and `ConfigurableTask.process_results`. A slow test runs that
release beside this module; `likelihood` holds what needs a model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grounded.errors import GroundedError

NUMBER_STOPS = ("Question:", "</s>", "<|im_end|>")  # where a reply to a GSM8K question is cut
STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = tuple(map(re.compile, (",", r"\$", r"(?s).*#### ", r"\.$")))
INVALID = "[invalid]"  # what the harness puts where no number is found


@dataclass(frozen=True)
class NumberScore:
    """A reply to a GSM8K question: the last number in it, and whether it is right.

    strict: after `#### `, as the training data write it; flexible: the last number, whatever
    the format. The difference between the two is format, not arithmetic.
    """

    answer: str
    strict: bool
    flexible: bool


@dataclass(frozen=True)
class ChoiceScore:
    """Which choice is the likeliest: by log-likelihood, and by log-likelihood per character."""

    picked: int
    picked_norm: int
    acc: bool
    acc_norm: bool


def cut(text: str, stops: Sequence[str] = NUMBER_STOPS) -> str:
    """The reply up to the first stop text, as if generation had ended there."""
    return min((text.split(stop)[0] for stop in stops), key=len, default=text)


def number(text: str, reference: str) -> NumberScore:
    """Score a reply to a GSM8K question (strict-match and flexible-extract of the harness).

    text: the reply, cut at its stops. reference: the whole reference solution or its number.
    """
    wanted = _comparable(reference)
    hits = STRICT.findall(text)
    strict = hits[0].strip() if hits else INVALID
    pairs = FLEXIBLE.findall(text)
    last = next((part for part in pairs[-1] if part), INVALID).strip() if pairs else INVALID
    return NumberScore(last, _comparable(strict) == wanted, _comparable(last) == wanted)


def _comparable(text: str) -> str:
    for pattern in IGNORED:
        text = pattern.sub("", text)
    return text.lower()


def find(text: str, pattern: re.Pattern[str]) -> str:
    """The answer in a reply: the last match's first group, or all of it; "" where there is none."""
    found = list(pattern.finditer(text))
    return (found[-1][1 if pattern.groups else 0] or "").strip() if found else ""


def choice(logprobs: Sequence[float], choices: Sequence[str], right: int) -> ChoiceScore:
    """Score an item by its choices' log-likelihoods (acc and acc_norm of the harness).

    logprobs: one a choice, natural log. choices: their texts, without the space before them;
    their length is counted in characters. right: the place of the right one, from 0. Of equals
    the first counts. GroundedError where lengths differ, `right` is out of range or a choice is
    empty.
    """
    if len(logprobs) != len(choices):
        raise GroundedError(f"choices: found {len(logprobs)} scores, wanted {len(choices)}")
    if not 0 <= right < len(choices):
        raise GroundedError(f"choices: right: found {right}, wanted 0 to {len(choices) - 1}")
    if not all(choices):
        raise GroundedError("choices: found an empty text, wanted one a choice")
    per_character = [score / len(text) for score, text in zip(logprobs, choices, strict=True)]
    picked, picked_norm = _first_best(logprobs), _first_best(per_character)
    return ChoiceScore(picked, picked_norm, picked == right, picked_norm == right)


def _first_best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: values[i])
