"""`make check`: what is within reach, what it would cost, and what weights that are here say."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from standins.asking import ask
from standins.build import build
from standins.hub import MEMBER, STRANGER, Hub
from standins.studies import shrunk

from grounded.public import check as checks
from grounded.public.budget import CHIPS, CPU, GIB, budget, duration, size, size_of
from grounded.study import load
from workflow.command import check


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
    # this machine may have no GPU, and too little of all else
    assert {what for what, state in seen.items() if state == "FAIL"} <= {"memory", "time"}
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


# ---------------------------------------------------------------- what is not reached, and what is


class Mine:
    """The study my_adapters with some fields changed, written and checked; `cost`: its budget."""

    example = Path(__file__).parent / "studies" / "my_adapters"

    def __init__(self, home: Path) -> None:
        self.folder = home / "data" / "my_adapters"

    def __call__(self, **changes: Any) -> dict[str, tuple[str, str]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self.example.iterdir():
            (self.folder / file.name).write_bytes(file.read_bytes())
        values = yaml.safe_load((self.folder / "study.yaml").read_text()) | changes
        (self.folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        lines, self.cost = checks.check("my_adapters")
        return {line.what: (line.state, line.found) for line in lines}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """No hub is asked, and no GPU is seen."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    monkeypatch.setattr(checks, "_device", lambda: None)
    return Mine(tmp_path)


def model(**place: Any) -> dict[str, Any]:
    return {"my-base": {"source": "public", "family": "qwen3", "size": 0.001} | place}


def test_a_hub_that_does_not_answer_is_a_line_and_no_weights_of_nought(mine):
    seen = mine(models=model(repository="you/base"))
    assert seen["models.my-base"] == (
        "FAIL", "you/base: the hub did not answer, and no copy is in its cache (HF_HOME)",
    )  # fmt: skip
    state, said = seen["disk"]
    assert state == "unknown" and said.startswith("unknown for weights of the hub, ")
    assert "nobody told the size of models.my-base" in said
    assert not [said for state, said in seen.values() if state == "ok" and said.startswith("0 ")]


def test_a_copy_in_the_hubs_cache_is_enough_without_the_hub(mine, monkeypatch):
    at = "0123456789" * 4
    monkeypatch.setattr(checks, "cached", lambda one: one.revision == at)
    seen = mine(models=model(repository="you/base", revision=at))
    state, said = seen["models.my-base"]
    assert state == "ok" and "in the hub's cache (the hub was not reached)" in said


def test_a_folder_that_is_missing_and_one_that_is_there(mine):
    seen = mine()
    assert seen["models.my-base"] == (
        "FAIL", "data/my_adapters/base: found no such folder, wanted a model in the format of "
        "transformers",
    )  # fmt: skip
    for number in (0, 1):
        state, said = seen[f"given.mine.checkpoints.{number}"]
        assert state == "FAIL" and "found no such folder, wanted an adapter" in said
    base, adapter = mine.folder / "base", mine.folder / "adapters" / "epoch-1"
    for folder, config in ((base, "config.json"), (adapter, "adapter_config.json")):
        folder.mkdir(parents=True)
        (folder / config).write_text(json.dumps({}))
    (base / "model.safetensors").write_bytes(bytes(3 * 2**20))
    (adapter / "adapter_model.safetensors").touch()
    seen = mine()
    assert seen["models.my-base"] == ("ok", "data/my_adapters/base, 3 MiB")
    assert seen["given.mine.checkpoints.0"] == ("ok", "data/my_adapters/adapters/epoch-1")
    assert seen["given.mine.checkpoints.1"][0] == "FAIL"
    assert seen["disk"][0] == seen["memory"][0] == seen["time"][0] == "ok"
    assert "weights of the hub" not in seen["disk"][1]
    assert "on this machine's CPU" in seen["time"][1] and "on one H100" in seen["time"][1]


OWN = {"kind": "harm", "source": "public", "judge": "own", "template": "judge.txt",
       "true": ["yes"], "false": ["no"]}  # fmt: skip


def test_what_has_no_known_size_has_no_known_time(mine):
    seen = mine(judges={"mine": OWN | {"repository": "you/judge"}})
    assert seen["time"][0] == seen["memory"][0] == seen["disk"][0] == "unknown"
    assert seen["time"][1].startswith("at least ") and "size of mine: unknown" in seen["memory"][1]
    assert any("verdicts unknown" in line for line in mine.cost.lines())
    (mine.folder / "judge").mkdir()  # a folder's is weighed
    (mine.folder / "judge" / "model.safetensors").write_bytes(bytes(2 * 10**6))
    seen = mine(judges={"mine": OWN | {"path": "judge"}})
    assert seen["time"][0] == "ok" and not mine.cost.unknown and mine.cost.judging > 0


def test_a_server_is_asked_whether_it_answers(mine):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        judge = OWN | {"model": "m", "server": {"url": f"http://127.0.0.1:{port}/v1"}}
        assert mine(judges={"mine": judge})["judges.mine.server"][0] == "ok"
    state, said = mine(judges={"mine": judge})["judges.mine.server"]
    assert state == "FAIL" and "found no answer" in said


def test_what_would_take_a_cpu_weeks_wants_a_gpu(mine):
    benchmark = {"source": "file", "file": "prompts.csv", "column": "prompt", "prompts": 10**6}
    seen = mine(benchmarks={"my_prompts": benchmark}, models=model(path="base", size=8.0))
    state, said = seen["time"]
    assert state == "FAIL" and "run it where there is a GPU" in said


def test_a_cpu_is_a_chip_of_so_many_cores():
    asked = load("paper")
    sizes = {name: asked.public_model(name).size or 0.0 for name in asked.models}
    gpu, cpu = budget(asked, sizes), budget(asked, sizes, CPU)
    assert gpu.replies == cpu.replies and gpu.memory == cpu.memory
    assert cpu.hours > 100 * gpu.hours


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0, "none"), (0.001, "less than a minute"), (0.5, "30 minutes"), (1.9, "114 minutes"),
     (2, "2 hours"), (2500, "2,500 hours")],
)  # fmt: skip
def test_a_time_in_words(hours, said):
    assert duration(hours) == said


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 MiB"), (1, "1 MiB"), (GIB - 2**20, "1023 MiB"), (GIB, "1.0 GiB")]
)
def test_bytes_in_words(number, said):
    assert size(number) == said
