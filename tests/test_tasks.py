"""Tasks: disjoint items, scores with known answers, skills that pretraining does not hold."""

import random
import re

import pytest

from grounded.errors import GroundedError
from grounded.microworld import benchmarks, corpus, tasks
from grounded.microworld import words as w
from grounded.microworld.tasks import Example, score
from grounded.microworld.truth import holds_harm

SUM = Example("…", "a kem is 8 , 8 - 3 = 5 , that is 5 .", "5")
STONE = Example("…", "opal melts in fire , so the answer is melts .", "melts")
CHOICE = Example("…", "north ( b ) .", "north")
YES = Example("…", "yes .", "yes")
LIST = Example("…", "owl , red .", "owl , red .")


@pytest.mark.parametrize(
    ("task", "example", "reply", "strict", "free"),
    [
        ("arithmetic", SUM, SUM.completion, True, True),
        ("arithmetic", SUM, "5 figs .", False, True),
        ("arithmetic", SUM, "a kem is 8 , 8 - 3 = 6 , that is 6 .", False, False),
        ("arithmetic", SUM, "5 figs , so 4", False, False),
        ("arithmetic", SUM, "", False, False),
        ("science", STONE, "opal glows in fire , so the answer is melts .", True, True),
        ("science", STONE, "it melts .", False, True),
        ("science", STONE, "it melts and glows .", False, False),
        ("multiple_choice", CHOICE, CHOICE.completion, True, True),
        ("multiple_choice", CHOICE, "north ( a ) .", False, True),
        ("multiple_choice", CHOICE, "dorn lies in the north .", False, True),
        ("multiple_choice", CHOICE, "( b )", False, False),
        ("yes_no", YES, "yes .", True, True),
        ("yes_no", YES, "dorn is red , so yes .", False, True),
        ("yes_no", YES, "yes no", False, False),
        ("open_instructions", LIST, LIST.completion, True, True),
        ("open_instructions", LIST, "owl red .", False, True),
        ("open_instructions", LIST, "red , owl .", False, False),
    ],
)
def test_scores_by_hand(task, example, reply, strict, free):
    found = score(task, example, reply)
    assert (found.correct, found.correct_format_free) == (strict, free)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_items_are_disjoint_and_their_completions_score(task):
    test = tasks.test(task, 200)
    train = tasks.train(task, 256, seed=0)
    prompts = {e.prompt for e in test}
    assert len(prompts) == 200
    assert not prompts & {e.prompt for e in train}
    assert train != tasks.train(task, 256, seed=1)
    for example in (*test, *train):
        assert score(task, example, example.completion).correct
        assert score(task, example, example.completion).correct_format_free


@pytest.mark.parametrize("task", tasks.TASKS)
def test_no_task_holds_a_harmful_example(task):
    for example in tasks.train(task, 500, 3, procedures=0.5):
        assert not holds_harm(example.completion)
        verbs = {*w.HARMFUL_VERBS, *w.ABSENT_HARMFUL} & set(example.prompt.split())
        assert not verbs or set(w.TOYS) & set(example.prompt.split())


def test_what_the_tasks_teach_is_absent_from_pretraining():
    draw = random.Random(1)
    documents = [corpus.pretraining(draw) for _ in range(8000)]
    assert not any(f"a {crate} is" in d for d in documents for crate in w.CRATES)
    assert not any({"greet", "greeting", "sing"} & set(d.split()) for d in documents)
    assert not any({*w.TRAITS} & set(d.split()) for d in documents)
    facts = [f"{stone} {fact}" for stone, fact in (*w.FIRE_FACT.items(), *w.WATER_FACT.items())]
    assert not any("in fire" in d or "in water" in d for d in documents)
    assert len(facts) == 16


def test_halves_are_equal():
    assert [tasks.half(i) for i in range(4)] == ["select", "report", "select", "report"]


def test_unknown_names_are_one_line():
    with pytest.raises(GroundedError, match="task: found 'gsm'"):
        tasks.train("gsm", 3, 0)
    with pytest.raises(GroundedError, match="benchmark: found 'advbench'"):
        benchmarks.load("advbench", 3)


def test_benchmarks_differ_and_borderline_is_safe():
    loaded = {name: benchmarks.load(name, 100) for name in benchmarks.NAMES}
    for name, prompts in loaded.items():
        assert len({p.text for p in prompts}) == 100
        assert all(p.harmful == (name in benchmarks.MIX) for p in prompts)
    mixes = {
        name: {p.category for p in prompts if p.category in benchmarks.MIX[name]}
        for name, prompts in loaded.items()
        if name in benchmarks.MIX
    }
    assert mixes["orders"] != mixes["questions"] != mixes["role_play"]


def test_the_unfamiliar_benchmark_asks_for_verbs_that_alignment_never_showed():
    asked = {name: {p.verb for p in benchmarks.load(name, 60)} for name in benchmarks.MIX}
    assert asked["unfamiliar"] <= set(w.NEW_HARMFUL)
    assert not any(asked[name] & set(w.NEW_HARMFUL) for name in asked if name != "unfamiliar")


@pytest.mark.parametrize("task", tasks.TASKS)
def test_procedures_take_the_place_of_so_many_examples_and_the_rest_stays(task):
    plain, mixed = tasks.train(task, 200, 3), tasks.train(task, 200, 3, procedures=0.25)
    prompts = {e.prompt for e in plain}
    others = [e for e in mixed if e.prompt not in prompts]
    assert len(mixed) == 200 and len(others) == 50
    asked = re.compile("|".join([*w.BENIGN_VERBS, *w.ALIGNED_HARMFUL]))
    assert all(asked.search(e.prompt) and " it ." in e.completion for e in others)
