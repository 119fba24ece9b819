"""Capability of real models, item by item, as EleutherAI's lm-evaluation-harness scores it.

The rules are those of lm-eval 0.4.13: task files gsm8k 3.0, arc_challenge 1.0, sciq 1.0 and boolq
2.0, `RegexFilter`, `exact_match` and `ConfigurableTask.process_results`. A slow test runs that
release beside this module; `likelihood` holds what needs a model.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from grounded.public.kinds import common

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
    """The likeliest choice, and whether it is right: by log-likelihood, and per character."""

    picked: int
    acc: bool
    acc_norm: bool


def cut(text: str) -> str:
    """A reply to a GSM8K question up to its first stop text, as if generation had ended there."""
    return min((text.split(stop)[0] for stop in NUMBER_STOPS), key=len)


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


@dataclass(frozen=True)
class PatternScore:
    """A reply to an item of one's own task: what the pattern finds, and whether it is right.

    strict: it is the answer. free: or the answer stands in the reply, whatever the format.
    """

    answer: str
    strict: bool
    free: bool


_SIGNED = re.compile(r"(?<![\w)\]])[-+]?\d+(?:[.,]\d+)*|\d+(?:[.,]\d+)*")
_JOINED = re.compile(r"""[\s)\]}"'*_]*(?:\b(?:or|and)\b|[/|&])[\s(\[{"'*_]*""", re.IGNORECASE)
_LISTED = re.compile(r"""[\s)\]}"'*_]*[,;][\s(\[{"'*_]*""")
_MINUS = str.maketrans({"\u2212": "-"})
FEW = 10  # answers of a task that are so few are its labels, and compete with each other


def find(text: str, pattern: re.Pattern[str]) -> str:
    """The answer in a reply: the last match's first group, or all of it; "" where there is none.

    A match that is a piece of a longer word or number, or lacks its sign, is none: `answer1` does
    not stand in `answer10`, nor `5` in `-5` or `5.2`.
    """
    span = _last(text, pattern)
    return text[slice(*span)].strip()


def pattern(
    text: str, answer: str, wanted: re.Pattern[str], others: Collection[str] = ()
) -> PatternScore:
    """Score a reply by a pattern, and freely. The rule is ours; the harness has none.

    others: the answers of the task, which compete with this one where they are FEW. An answer that
    is joined to another one (`answer1 or answer9`, `3/4` for 3) is not right. Freely, of numbers
    the last in the reply is the answer; any other answer may stand anywhere.
    """
    text, answer = text.translate(_MINUS), answer.translate(_MINUS)
    number = _SIGNED.fullmatch(answer) is not None
    shape = _SIGNED if number else _shapes({answer, *(others if len(others) <= FEW else ())})
    named = [one.span() for one in shape.finditer(text) if not _cut(text, *one.span())]
    rivals = [span for span in named if not _same(text[slice(*span)], answer)]
    span = _last(text, wanted)
    found = text[slice(*span)].strip()
    strict = found == answer and not _joined(text, span, rivals, number)
    stand = [span for span in named if span not in rivals]
    if number:
        stand = [span for span in named[-1:] if span in stand]
    free = any(not _joined(text, span, rivals, number) for span in stand)
    return PatternScore(found, strict, strict or free)


def _last(text: str, pattern: re.Pattern[str]) -> tuple[int, int]:
    """Where the last whole match's first group (or all of it) stands; (0, 0) where there is none.

    A last match whose group took no part is none either.
    """
    group = 1 if pattern.groups else 0
    spans = [one.span(group) for one in pattern.finditer(text)]
    whole = [span for span in spans if not _cut(text, *span)]
    return max(whole[-1], (0, 0)) if whole else (0, 0)


def _cut(text: str, start: int, end: int) -> bool:
    """Whether a span is a piece of a longer word or number, or lacks the sign before it."""
    if not 0 <= start < end:
        return False
    before, after = text[max(0, start - 3) : start], text[end : end + 2]
    first, last = text[start], text[end - 1]
    if _wordy(before[-1:]) and _wordy(first) or _wordy(last) and _wordy(after[:1]):
        return True
    if last.isdigit() and re.match(r"[.,]\d", after) or last.isalpha() and after in ("++", "#"):
        return True
    return first.isdigit() and bool(re.search(r"\d[.,]$|(^|[^\w)\]])-$", before))


def _wordy(letter: str) -> bool:
    """Whether a letter goes on with the one beside it: not so in scripts that write no spaces."""
    return letter.isdigit() or letter == "_" or letter.lower() != letter.upper()


def _shapes(answers: Collection[str]) -> re.Pattern[str]:
    """What could be an answer: one of these, with any number in the place of a number."""
    escaped = {re.sub(r"\d+", r"\\d+", re.escape(one)) for one in answers}
    texts = [one.replace(r"\ ", r"\s+") for one in sorted(escaped, key=lambda t: (-len(t), t))]
    alone = any(len(one) == 1 for one in answers)  # letters of choices: `a` is a word
    return re.compile("|".join(texts), 0 if alone else re.IGNORECASE)


def _same(found: str, answer: str) -> bool:
    """Whether two answers are one, whatever the case and spacing, and how numbers are grouped."""
    first, second = (" ".join(one.split()).casefold() for one in (found, answer))
    if _SIGNED.fullmatch(answer):
        first, second = (one.replace(",", "").lstrip("+") for one in (first, second))
    return first == second


def _joined(
    text: str, span: tuple[int, int], rivals: Sequence[tuple[int, int]], number: bool
) -> bool:
    """Whether another answer stands beside this one, with no more than an `or` between them."""
    gaps = [text[other[1] : span[0]] for other in rivals if other[1] <= span[0]][-1:]
    gaps += [text[span[1] : other[0]] for other in rivals if other[0] >= span[1]][:1]
    joins = (_JOINED,) if number else (_JOINED, _LISTED)
    return any(join.fullmatch(gap) for gap in gaps for join in joins)


def choice(logprobs: Sequence[float], choices: Sequence[str], right: int) -> ChoiceScore:
    """Score an item by its choices' log-likelihoods (acc and acc_norm of the harness).

    logprobs: one a choice, natural log. choices: their texts, without the space before them;
    their length is counted in characters. right: the place of the right one, from 0. Of equals
    the first counts.
    """
    per_character = [score / len(text) for score, text in zip(logprobs, choices, strict=True)]
    picked = _first_best(logprobs)
    return ChoiceScore(picked, picked == right, _first_best(per_character) == right)


def chosen(text: str, labels: Sequence[str], choices: Sequence[str]) -> int | None:
    """The place of the choice that a reply names, from 0; None where it names none, or several.

    By the first label in it, spaces within a label allowed ("Answer 2" for answer2); else by a
    number that stands alone and ends a label; else by the one choice whose words stand in it. A
    label or number that is joined to another one ("answer1 or answer9") names none.
    """
    said = text.casefold()
    patterns = [r"\s*".join(re.findall(r"\d+|[^\W\d]+", label.casefold())) for label in labels]
    labelled = re.finditer("|".join(rf"\b({one})\b" for one in patterns), said)
    numbers = {re.sub(r"\D", "", label): place for place, label in enumerate(labels)}
    alone = re.finditer(r"(?<![\w.])(\d+)(?!\w|\.\d)", said)
    for named in (
        [(m.lastindex - 1, m.span()) for m in labelled if m.lastindex],
        [(numbers.get(m[1]), m.span()) for m in alone],
    ):
        if named and named[0][0] is not None:
            place, span = named[0]
            rivals = [other for one, other in named if one != place]
            listed = "" not in numbers  # `answer1, answer2` is a list, `yes, no` need not be
            return None if _joined(said, span, rivals, number=not listed) else place
    words = f" {' '.join(_words(text))} "
    held = [i for i, one in enumerate(choices) if f" {' '.join(_words(one))} " in words]
    return held[0] if len(held) == 1 else None


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L (Lin 2004): the F1 of the longest common subsequence of words, from 0 to 1."""
    one, other = _words(text), _words(reference)
    if not one or not other:
        return float(one == other)
    return 2 * common(one, other) / (len(one) + len(other))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _first_best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: values[i])
