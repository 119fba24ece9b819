"""`make check`: what is within reach, what it would cost, and what weights that are here say."""

import pytest
from standins.asking import ask
from standins.build import build
from standins.hub import MEMBER, STRANGER, Hub
from standins.studies import shrunk

from grounded.public.budget import CHIPS, budget, size_of
from grounded.study import load
from workflow.__main__ import check


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return build(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def hub(stock):
    with Hub(stock).serving() as running:
        yield running


@pytest.fixture
def home(tmp_path):
    (tmp_path / "hub").mkdir()
    return tmp_path


def states(found):
    return {what: state for state, what, _ in found["lines"]}


def test_all_within_reach_and_nothing_large_fetched(hub, home):
    shrunk(hub, home, "paper")
    found = ask(hub, home, "check", token=MEMBER, study="paper")["found"]
    seen = states(found)
    # this machine may have no GPU; the study says that its models need one
    assert {what for what, state in seen.items() if state == "FAIL"} <= {"GPU memory"}
    assert {"models.llama-3-1-8b", "judges.sorry_bench", "tasks.gsm8k.train", "disk"} <= set(seen)
    assert not [asked for asked in hub.asked if asked.path.endswith(".safetensors")]


def test_a_gate_without_access_fails_and_an_optional_one_is_left_out(hub, home):
    shrunk(hub, home, "paper")
    found = ask(hub, home, "check", token=STRANGER, study="paper")["found"]
    seen = states(found)
    assert found["failed"] and seen["models.llama-3-1-8b"] == "FAIL"
    assert seen["judges.wildguard"] == "left out"
    (line,) = [said for _, what, said in found["lines"] if what == "models.llama-3-1-8b"]
    assert "hf auth login" in line and "licence" in line


def test_weights_that_are_here_are_asked_what_they_alone_can_confirm(hub, home):
    judges = ["granite_guardian", "keywords_advbench"]
    shrunk(hub, home, "colab", judges=judges)
    found = ask(hub, home, "check", study="colab", resolved=True)["found"]
    said = {what: line for _, what, line in found["lines"] if "its weights" in what}
    assert set(said) == {"models.qwen3-0-6b (its weights)", "judges.granite_guardian (its weights)"}
    # random weights cannot add, and the check says so
    assert "NOT as it should be" in said["models.qwen3-0-6b (its weights)"] and found["failed"]


def test_counts_are_those_of_the_grid():
    asked = load("paper")
    sizes = {name: asked.public_model(name).size or 0.0 for name in asked.models}
    cost = budget(asked, sizes | dict.fromkeys(asked.judges, 8.0))
    assert (cost.runs, cost.checkpoints) == (4 * 5 * 4 * 3, 4 * (1 + 5 * 4 * 3 * 5))
    prompts = 450 + 200 + 313 + 520 + 314 + 700 + 200 + 250
    assert cost.replies == cost.checkpoints * prompts
    assert cost.verdicts == cost.replies * len(asked.judges) and not cost.unknown
    # per model a base that answers five tasks, then 300 checkpoints of one task: 500 items each
    assert cost.answers == 4 * (5 + 300) * 500


def test_hours_follow_parameters_tokens_and_the_chips_rate():
    asked = load("paper")
    sizes = {name: asked.public_model(name).size or 0.0 for name in asked.models}
    one, half = budget(asked, sizes), budget(asked, {n: s / 2 for n, s in sizes.items()})
    assert half.training == pytest.approx(one.training / 2)
    other = budget(asked, sizes, "A100")
    assert other.training / one.training == pytest.approx(CHIPS["H100"][0] / CHIPS["A100"][0])
    # by hand: 6 N T over 40% of the rate; 12 runs of each task, 5 epochs of 250 tokens an example
    tokens = 12 * 5 * 250 * (15000 + 7000 + 10000 + 1000 + 9000)
    by_hand = sum(6 * 1e9 * s * tokens for s in sizes.values()) / (0.4 * 989e12) / 3600
    assert one.training == pytest.approx(by_hand)
    assert "size of llama_guard_3_8b" in one.unknown


@pytest.mark.parametrize(
    ("name", "bytes_", "size"),
    [("llama_guard_3_8b", 0, 8.0), ("granite_guardian_3.1_2b", 0, 2.0), ("wildguard", 14e9, 7.0),
     ("wildguard", 0, 0.0)],
)  # fmt: skip
def test_the_size_of_a_judge(name, bytes_, size):
    assert size_of(name, bytes_) == size


def test_a_study_of_the_invented_world_needs_nothing(capsys):
    assert check("micro") == 0
    assert "needs nothing from elsewhere" in capsys.readouterr().out
