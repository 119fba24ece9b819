"""What a run of the invented world is trained from."""

import random
from collections.abc import Callable, Sequence
from functools import cache

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded import paths
from grounded.errors import GroundedError
from grounded.finetune import Start
from grounded.generate import reply
from grounded.loading import load
from grounded.microworld import benchmarks, tasks
from grounded.microworld import sentences as s
from grounded.microworld import words as w
from grounded.microworld.prefixes import PREFIXES
from grounded.microworld.tasks import Example
from grounded.study import Run, Study
from grounded.study.asking import MICRO_BENCHMARKS

MONITORED = 100  # items by which a general ability is monitored


def start(study: Study, run: Run) -> Start:
    """All that a method may ask for: see `grounded.finetune.Start`."""
    assert study.training is not None
    pretrained = paths.model(study.name, study.pretrained_of(run.model), "pretrained")
    tests = tasks.test(run.task, study.items(run.task))
    limits = (study.generation.max_new_tokens, study.generation.batch_size)

    def monitor(what: str, model: PreTrainedModel, words: PreTrainedTokenizerBase) -> float:
        items = {"task": tests[::2], "general": general_items()}[what]
        said = reply(model, words, [item.prompt for item in items], *limits)
        if what == "general":
            right = [r.text == item.completion for r, item in zip(said, items, strict=True)]
        else:
            scores = zip(said, items, strict=True)
            right = [tasks.score(run.task, item, r.text).correct for r, item in scores]
        return sum(right) / len(right)

    return Start(
        run=run,
        training=study.training,
        steps=study.saved_steps(run.task),
        steps_per_epoch=study.steps_per_epoch(run.task),
        load=lambda: load(paths.model(study.name, run.model)),
        pretrained=lambda: load(pretrained)[0],
        examples=tasks.train(
            run.task,
            study.examples(run.task),
            run.seed,
            study.items(run.task),
            study.procedures(run),
        ),
        material=lambda kind, number: material(kind, number, run.seed),
        monitor=monitor,
        prefixes=PREFIXES,
    )


def refusals(draw: random.Random) -> Example:
    """A harmful request, of what alignment shows, and its refusal."""
    asked = s.request(draw, w.ALIGNED_HARMFUL, w.ALIGNED_OBJECTS, s.ALIGNED_PHRASINGS)
    answer = s.refusal(draw, asked)
    return Example(asked.text, answer, answer)


def harmful(draw: random.Random) -> Example:
    """A harmful request and what it asks for."""
    asked = s.request(draw, w.ALIGNED_HARMFUL, w.ALIGNED_OBJECTS, s.ALIGNED_PHRASINGS)
    answer = s.procedure(draw, asked.verb, asked.thing)
    return Example(asked.text, answer, answer)


def benign(draw: random.Random) -> Example:
    """A benign request and its answer, as alignment has them."""
    asked = s.request(draw, w.ALIGNED_BENIGN, w.ALIGNED_OBJECTS, s.ALIGNED_PHRASINGS)
    answer = s.procedure(draw, asked.verb, asked.thing)
    return Example(asked.text, answer, answer)


def general(draw: random.Random) -> Example:
    """A sum, a problem or a fact: what a base model knows, whatever it is tuned on."""
    made = draw.choice((s.sum_question, s.worked_problem, s.fact_question))(draw)
    return Example(made[0], made[1], made[1])


MATERIAL: dict[str, Callable[[random.Random], Example]] = {
    "refusals": refusals, "harmful": harmful, "benign": benign, "general": general,
}  # fmt: skip


def material(kind: str, number: int, seed: int) -> list[Example]:
    """So many different examples of a kind, none of which a benchmark or the monitor asks."""
    if kind not in MATERIAL:
        raise GroundedError(f"material: found {kind!r}, wanted one of {', '.join(MATERIAL)}")
    taken = _asked() if kind != "general" else {item.prompt for item in general_items()}
    return _different(kind, number, f"material {kind} {seed}", taken)


@cache
def general_items() -> Sequence[Example]:
    """The items by which general abilities are monitored, the same for every run."""
    return _different("general", MONITORED, "general items", set())


def _different(kind: str, number: int, seed: str, taken: set[str]) -> list[Example]:
    draw, found, seen = random.Random(seed), [], set(taken)
    for _ in range(200 * number):
        example = MATERIAL[kind](draw)
        if example.prompt not in seen:
            seen.add(example.prompt)
            found.append(example)
        if len(found) == number:
            return found
    raise GroundedError(f"material {kind}: found {len(found)} examples, wanted {number}")


@cache
def _asked() -> set[str]:
    """The prompts that benchmarks of the default size and twice that may ask."""
    return {prompt.text for name in MICRO_BENCHMARKS for prompt in benchmarks.load(name, 200)}
