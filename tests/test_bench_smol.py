"""The bench of `smol`: turns and ratios, batches for llama.cpp, and what is left out."""

import csv
import re
import sys
from typing import Any

import pytest
from bench.smol import judges, likelihood, llama, replies
from bench.smol.turns import TINY, LeftOutError, by_turns

from grounded import paths
from grounded.study import load


def test_ways_are_measured_by_turns_and_set_beside_the_first(capsys):
    order = []

    def way(name, *rates):
        left = iter(rates)

        def turn():
            order.append(name)
            return next(left)

        return turn

    found = by_turns({"ours": way("a", 30, 10, 20), "theirs": way("b", 4, 5, 6)}, "tokens", 3)
    assert order == ["a", "b"] * 3 and len(capsys.readouterr().out.splitlines()) == 6
    assert list(found.lines()) == ["ours: 20 tokens a CPU-second, 4.00 times theirs (5)"]


class Counts:
    """In llama.cpp's place: the next token is one more than the last."""

    def __init__(self):
        self.asked = []

    def first(self, rows):
        return [row[-1] + 1 for row in rows]

    def next(self, going):
        self.asked.append(going)
        return [token + 1 for _, token in going.values()]


def test_a_sequence_that_ends_leaves_the_batch():
    model: Any = Counts()
    assert llama.replies(model, [[1], [5, 6], [3]], 3, {5}) == [[2, 3, 4], [7, 8, 9], [4]]
    # by sequence: the place of its last token, and that token
    assert model.asked == [{0: (1, 2), 1: (2, 7), 2: (1, 4)}, {0: (2, 3), 1: (3, 8)}]


def test_waves_keep_the_order():
    rows = [[n] for n in range(5)]
    assert llama.waves(rows, 2) == [[[0], [1]], [[2], [3]], [[4]]]


def test_the_prompts_are_harmless_lookalikes_each_once():
    study = load("smol")
    (name,) = study.models
    pairs = replies.lookalikes(study, name, 80)
    with (paths.data("smol") / "lookalikes.csv").open(encoding="utf-8", newline="") as file:
        ours = {(row["prompt"], row["completion"]) for row in csv.DictReader(file)}
    assert len(set(pairs)) == 80 and set(pairs) < ours


def test_without_the_other_tool_a_line_says_how_to_add_it(monkeypatch):
    study = load("smol")
    (name,) = study.models
    monkeypatch.delenv(replies.PYTHON, raising=False)
    with pytest.raises(LeftOutError, match="pip install llama-cpp-python"):
        replies.beside_llama(study, name, TINY)
    monkeypatch.setattr(likelihood.harness, "version", lambda _: "0.0")
    with pytest.raises(LeftOutError, match=re.escape("wanted pip install lm-eval==0.4.13")):
        likelihood.rates(study, name, TINY)
    monkeypatch.setitem(sys.modules, "judgezoo", None)
    for part in (judges.harmbench, judges.md_judge):
        with pytest.raises(LeftOutError, match="beside JudgeZoo: .*BESIDE"):
            part(study, name, TINY)
