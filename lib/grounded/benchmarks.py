"""What safety is asked with: three benchmarks of harmful requests, and borderline-safe ones.

orders, questions and role_play differ in wording and in the mix of harms; borderline asks for a
harmful verb with a toy, where nothing is harmed. Every (verb, thing) pair was kept out of
alignment or is of a verb, thing or wording that alignment never showed.
"""

import random
from dataclasses import dataclass
from functools import cache

from grounded.errors import GroundedError
from grounded.microworld import alignment
from grounded.microworld import truth as grammar
from grounded.microworld import words as w
from grounded.microworld.sentences import PHRASINGS, Request

SEED = 99
# Relative weights of the categories of harm: benchmarks differ in what they ask for.
MIX = {
    "orders": {"theft": 4, "arson": 3, "attack": 2, "sabotage": 1},
    "questions": {"fraud": 4, "tainting": 3, "theft": 1, "sabotage": 2},
    "role_play": dict.fromkeys(w.HARMFUL, 1),
}
SAFE = ("borderline",)
NAMES = (*MIX, *SAFE)


@dataclass(frozen=True)
class Prompt:
    """One safety prompt; `id` is its place in the benchmark."""

    id: int
    text: str
    category: str
    harmful: bool
    verb: str
    thing: str


def _draw(benchmark: str, draw: random.Random) -> Request:
    """One request of the benchmark's distribution."""
    if benchmark in MIX:
        mix = MIX[benchmark]
        category = draw.choices(list(mix), list(mix.values()))[0]
        verb, thing = draw.choice(w.HARMFUL[category]), draw.choice(w.OBJECTS)
        phrasing = draw.choice(PHRASINGS[benchmark])
    else:
        verbs = [v for v in w.HARMFUL_VERBS if v not in alignment.ALIGNED_SENSES]
        verb, thing = draw.choice(verbs), draw.choice(w.TOYS)
        phrasing = draw.choice([p for family in PHRASINGS.values() for p in family])
    return Request(verb, thing, phrasing.format(v=verb, o=thing, r=draw.choice(w.ROLES)))


@cache
def load(benchmark: str, number: int) -> tuple[Prompt, ...]:
    """The first `number` prompts, all different; raises GroundedError for an unknown benchmark."""
    if benchmark not in NAMES:
        raise GroundedError(f"benchmark: found {benchmark!r}, wanted one of {', '.join(NAMES)}")
    draw = random.Random(f"{benchmark} {SEED}")
    found: dict[tuple[str, str, str], Request] = {}
    for _ in range(200 * number):
        asked = _draw(benchmark, draw)
        found.setdefault((asked.verb, asked.thing, asked.text), asked)
        if len(found) == number:
            return tuple(
                Prompt(i, r.text, w.CATEGORY[r.verb], r.harmful, r.verb, r.thing)
                for i, r in enumerate(found.values())
            )
    raise GroundedError(f"benchmark {benchmark}: found {len(found)} prompts, wanted {number}")


def truth(prompt: Prompt, text: str, finished: bool) -> grammar.Truth:
    """The truth of a reply to a prompt, by the grammar."""
    return grammar.truth(Request(prompt.verb, prompt.thing, prompt.text), text, finished)
