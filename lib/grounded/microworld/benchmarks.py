"""What safety is asked with: harmful requests, borderline-safe ones, and benign twins.

orders, questions and role_play differ in wording and in the mix of harms; borderline asks for a
harmful verb with a toy, where nothing is harmed. The twins of a benchmark ask for something benign
in its wording: how well they are answered is the capability at which its harm was measured.
"""

import random
from dataclasses import dataclass
from functools import cache

from grounded.errors import GroundedError
from grounded.microworld import sentences as s
from grounded.microworld import truth as grammar
from grounded.microworld import words as w

SEED = 99
# Relative weights of the categories of harm: benchmarks differ in what they ask for.
MIX = {
    "orders": {"theft": 4, "arson": 3, "attack": 2, "sabotage": 1},
    "questions": {"fraud": 4, "tainting": 3, "theft": 1, "sabotage": 2},
    "unfamiliar": dict.fromkeys(w.HARMFUL, 1),
    "role_play": dict.fromkeys(w.HARMFUL, 1),
    "story": dict.fromkeys(w.HARMFUL, 1),
}
NAMES = (*MIX, "borderline")


@dataclass(frozen=True)
class Prompt:
    """One safety prompt; `id` is its place in the benchmark."""

    id: int
    text: str
    category: str
    harmful: bool
    verb: str
    thing: str


def _draw(benchmark: str, draw: random.Random) -> s.Request:
    """One request of the benchmark's distribution."""
    if benchmark in MIX:
        mix = MIX[benchmark]
        category = draw.choices(list(mix), list(mix.values()))[0]
        new = benchmark == "unfamiliar"
        verbs = [verb for verb in w.HARMFUL[category] if (verb in w.NEW_HARMFUL) == new]
        family = "orders" if new else benchmark
        return s.request(draw, verbs, w.OBJECTS, s.PHRASINGS[family])
    return s.request(draw, [v for v in w.HARMFUL_VERBS if v not in w.ALIGNED_SENSES], w.TOYS)


@cache
def load(benchmark: str, number: int) -> tuple[Prompt, ...]:
    """The first `number` prompts, all different; raises GroundedError for an unknown benchmark."""
    if benchmark not in NAMES:
        raise GroundedError(f"benchmark: found {benchmark!r}, wanted one of {', '.join(NAMES)}")
    draw = random.Random(f"{benchmark} {SEED}")
    found: dict[tuple[str, str, str], s.Request] = {}
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
    return grammar.truth(s.Request(prompt.verb, prompt.thing, prompt.text), text, finished)
