"""The studies `paper` and `colab` on stand-ins of all that they name, served by a hub on loopback.

The fast tests put one question to one process each. The slow one runs the whole study `paper`, its
grid shrunk to one run of each model and task, through the real `make`, kills it and goes on.
"""

import copy
import json
import os
import re
import signal
import subprocess

import pytest
import yaml
from standins.asking import TESTS, ask, environment
from standins.build import build
from standins.hub import MEMBER, STRANGER, Hub
from standins.studies import shrunk

from grounded import paths, records
from grounded.records import SCHEMAS
from grounded.stages.plan import TABLES
from grounded.study import load, parse
from grounded.tables import left_out

ROOT = TESTS.parent
GATED = {"kind": "harm", "source": "public", "judge": "wildguard_harm", "optional": True}


@pytest.fixture(scope="session")
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


def with_optional(values):
    """The study colab, which needs no access, with one optional judge and benchmark that do."""
    values["judges"]["wildguard"] = GATED
    values["benchmarks"]["sorrybench"] = {
        "source": "public", "data": "sorrybench_202406", "optional": True,
    }  # fmt: skip
    return values


def written(values):
    return yaml.safe_dump(values, sort_keys=False)


# ---------------------------------------------------------------- the studies' files


@pytest.mark.parametrize("name", ["paper", "colab"])
def test_what_the_paper_does_not_fix_is_ours(name):
    asked = load(name)
    named = {path.split(".")[0] for path in asked.ours}
    free = {"tasks", "training", "lora", "seeds", "generation", "judges", "benchmarks", "coherence"}
    assert free <= named and all(asked.ours.values())
    for field in ("epochs", "schedule", "dropout", "target_modules", "max_length"):
        assert "training" in asked.ours or f"training.{field}" in asked.ours


def test_the_paper_has_the_papers_grid():
    asked = load("paper")
    assert len(asked.runs()) == 4 * 5 * 4 * 3 and list(asked.measure_at) == [1, 2, 3, 4, 5]
    assert list(asked.judges)[:2] == ["llama_guard_3_8b", "sorry_bench"]
    assert asked.harmful_benchmarks == [b for b in asked.benchmarks if b != "xstest_safe"]
    text = paths.study_file("paper").read_text()
    optional = re.sub(r"(?m)^  # (  )?(?=(ministral|phi|  )[\w-]*:?)", r"  \1", text)
    optional = optional.replace("mistralai/...", "mistralai/any")
    assert set(parse(optional).models) - set(asked.models) == {"ministral-3", "phi-4-mini"}


# ---------------------------------------------------------------- the lock


def test_the_first_run_keeps_what_names_stood_for_and_later_ones_ask_nobody(hub, home, stock):
    shrunk(hub, home, "paper")
    some = shrunk(hub, home, "paper", models=["llama-3-1-8b", "qwen3-4b"])
    steps = [{"token": STRANGER}, {"token": MEMBER}, {"access_only": True}]
    gated, first, again = ask(hub, home, "resolve", study="paper", steps=steps)
    lines = gated["error"].splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "models.llama-3-1-8b", "pretrained.llama-3-1-8b", "judges.llama_guard_3_8b",
    ]  # fmt: skip
    for line in lines:
        assert "found a gated repository and no access to it" in line and "hf auth login" in line
    found, lock = first["found"], first["found"]["lock"]
    for part in ("models", "pretrained", "judges", "adapters"):
        for name, one in lock[part].items():
            assert one["revision"] == stock.commit(one["repository"]), name
            assert found["needs"][f"{part}.{name}"][1] == one["bytes"] > 1000
    assert set(lock["models"]) == set(some["models"]) and lock["absent"] == {}
    for part in ("tasks", "benchmarks"):
        files = [sha for one in lock[part].values() for sha in one["files"].values()]
        assert files and all(re.fullmatch("[0-9a-f]{64}", sha) for sha in files)
    assert set(lock["judges"]["sorry_bench"]["files"]) == {"template"}
    # nothing large was fetched; a look at access writes nothing, raises nothing, tells it all
    assert not [asked for asked in hub.asked if asked.path.endswith(".safetensors")]
    assert "no access" in again["found"]["needs"]["models.llama-3-1-8b"][2]
    assert again["found"]["needs"]["models.qwen3-4b"][2] == "" and again["found"]["lock"] == lock
    before = len(hub.asked)
    (later,) = ask(hub, home, "resolve", offline=True, study="paper", steps=[{}])
    assert later["found"]["lock"] == lock and len(hub.asked) == before


def test_what_is_optional_wrong_or_broken(hub, home):
    plain = shrunk(hub, home, "colab", judges=["granite_guardian", "keywords_advbench"])
    values = with_optional(copy.deepcopy(plain))
    wrong, unknown = copy.deepcopy(plain), copy.deepcopy(plain)
    wrong["models"]["qwen3-0-6b"]["revision"] = "b" * 40
    unknown["judges"]["granite_guardian"]["judge"] = "granite"
    steps = [
        {"file": written(values)}, {"token": MEMBER}, {"file": written(wrong)},
        {"file": written(unknown)}, {"file": written(plain), "kept": "{"},
    ]  # fmt: skip
    shut, opened, wrong, unknown, broken = ask(hub, home, "resolve", study="colab", steps=steps)
    assert shut["found"]["absent"] == {
        "judges.wildguard": "allenai/wildguard is gated, and there was no access to it",
        "benchmarks.sorrybench": "sorry-bench/sorry-bench-202406 is gated, and there was no "
        "access to it",
    }
    assert shut["found"]["judges"] == ["granite_guardian", "keywords_advbench"]
    assert shut["found"]["benchmarks"] == ["advbench", "xstest_safe"]
    assert opened["found"]["absent"] == {} and "wildguard" in opened["found"]["judges"]
    line = "models.qwen3-0-6b: Qwen/Qwen3-0.6B: revision: found none that is bbbb"
    assert wrong["error"].startswith(line) and "\n" not in wrong["error"]
    line = "judges.granite_guardian.judge: found 'granite', wanted one of llama_guard_3_8b"
    assert line in unknown["error"]
    assert "lock.json: found JSONDecodeError, wanted the JSON" in broken["error"]


def test_a_machine_without_a_network_says_what_to_fetch(hub, home):
    shrunk(hub, home, "colab")
    (told,) = ask(hub, home, "resolve", offline=True, study="colab", steps=[{}])
    line = next(one for one in told["error"].splitlines() if one.startswith("models."))
    assert "found neither a copy nor a way to it" in line and "*.safetensors" in line


def test_a_caption_names_what_is_absent():
    asked = load("colab").model_copy()
    asked._absent = {"judges.a": "x is gated", "benchmarks.b": "y is gated"}
    said = left_out(asked)
    assert "The judge `a` of the study is left out: x is gated." in said
    assert "The benchmark `b` of the study is left out: y is gated." in said
    assert not left_out(load("colab"))


# ---------------------------------------------------------------- the stages


def test_a_real_study_goes_through_every_stage(hub, home, monkeypatch):
    """One model of the paper's, two tasks, judges of each way to read one."""
    judges = ["llama_guard_3_8b", "sorry_bench", "strongreject_2b", "keywords_xstest"]
    tasks = ["alpaca15k", "gsm8k"]
    values = shrunk(hub, home, "paper", models=["llama-3-2-1b"], tasks=tasks, judges=judges)
    told = ask(hub, home, "stages", token=MEMBER, study="paper")["found"]
    assert told["computed"] == {"base_models": 4, "finetune": 3, "generate": 3, "judge": 3}
    assert told["stale"] == []
    monkeypatch.setenv("GROUNDED_HOME", str(home))
    check_tables(home)
    assert values["ours"] == {}


@pytest.mark.slow
def test_a_study_goes_on_without_what_is_optional(hub, home):
    values = shrunk(hub, home, "colab")
    (home / "data" / "colab" / "study.yaml").write_text(written(with_optional(values)))
    told = ask(hub, home, "stages", study="colab")["found"]
    assert told["stale"] == [] and told["computed"]["judge"] == 3
    assert "The judge `wildguard` of the study is left out: allenai/wildguard is" in told["caption"]
    # what is measured is not measured again
    again = ask(hub, home, "stages", study="colab")["found"]
    assert not any(again["computed"].values())


@pytest.mark.slow
def test_a_file_and_a_prompt_text_that_changed_stop_the_study(hub, home):
    shrunk(hub, home, "colab", tasks=["gsm8k"], judges=["granite_guardian"])
    ask(hub, home, "stages", study="colab")
    kept = home / "data" / "colab" / "lock.json"
    lock = json.loads(kept.read_text())
    assert re.fullmatch("[0-9a-f]{64}", lock["prompts"]["granite_guardian"])
    kept.write_text(json.dumps(lock | {"prompts": {"granite_guardian": "d" * 64}}))
    for file in (home / "data" / "colab" / "verdicts").iterdir():
        file.unlink()
    told = ask(hub, home, "stages", study="colab")["error"]
    assert "judge granite_guardian: prompt text: sha256: found" in told and "d" * 64 in told
    lock["tasks"]["gsm8k"]["files"]["train"] = "c" * 64
    kept.write_text(json.dumps(lock))
    told = ask(hub, home, "stages", study="colab")["error"]
    assert "sha256: found" in told and f"wanted {'c' * 64}" in told and "\n" not in told


def check_tables(home):
    """Every table of the study: each unit there, whole, of the right runs, with nothing missing."""
    asked = load("paper")
    for tables in TABLES.values():
        for name in tables:
            for unit in asked.units():
                frame = records.verify(paths.table("paper", name, unit), name)
                assert set(frame["run"]) == {run.id for run in asked.unit_runs(unit)}, (name, unit)
                assert list(frame.columns) == list(SCHEMAS[name].columns)
    for unit in asked.units():
        replies = records.read(paths.table("paper", "replies", unit), "replies")
        verdicts = records.read(paths.table("paper", "verdicts", unit), "verdicts")
        assert set(replies["benchmark"]) == set(asked.benchmarks)
        assert replies["truth"].isna().all()
        assert verdicts.groupby("judge", observed=True).size().eq(len(replies)).all()
        assert set(verdicts["judge"]) == set(asked.judges) and verdicts["parsed"].all()
        facts = records.metadata(paths.table("paper", "verdicts", unit))["judges"]
        for name in asked.language_judges:
            assert re.fullmatch(r"(.+@[0-9a-f]{40})+", facts[name]["revision"])
            assert re.fullmatch("[0-9a-f]{64}", facts[name]["template"])
    answers = records.read(
        paths.table("paper", "capability", f"{next(iter(asked.models))}-base"), "capability"
    )
    assert answers.groupby("task", observed=True).size().to_dict() == dict.fromkeys(asked.tasks, 2)
    notes = [json.loads(f.read_text()) for f in (home / "data").glob("*/*/*/record.json")]
    assert len(notes) == len(asked.models) + len(asked.language_judges)
    assert all(note["bytes"] > 1000 and note["files"] for note in notes)


# ---------------------------------------------------------------- all of it, through make


FIGURES = (
    "figure_1_epochs", "figure_2_judgments", "figure_3_evaluators", "figure_4_benchmarks",
    "how_far_to_trust_the_judges",
)  # fmt: skip


@pytest.mark.slow
def test_the_whole_paper_through_make_killed_on_the_way(hub, home, monkeypatch):
    shrunk(hub, home, "paper")
    told = environment(hub, home, MEMBER) | {"MAKEFLAGS": ""}
    told["PYTHONPATH"] += os.pathsep + str(TESTS / "standins" / "site")
    make = ["make", "--no-print-directory", "STUDY=paper", "JOBS=2", "figures"]
    began = subprocess.Popen(
        make, cwd=ROOT, env=told, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    assert began.stdout is not None
    seen = next((line for line in began.stdout if re.search(r"generate \S+gsm8k: \d", line)), None)
    os.killpg(began.pid, signal.SIGKILL)
    began.wait()
    assert seen, "never generated"
    finished = {file: file.read_bytes() for file in (home / "data").glob("*/replies/*.parquet")}
    done = subprocess.run(
        make, cwd=ROOT, env=told, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    assert finished and all(file.read_bytes() == kept for file, kept in finished.items())
    monkeypatch.setenv("GROUNDED_HOME", str(home))
    check_tables(home)
    pictures = home / "figures" / "paper"
    for name in (*FIGURES, "figure_3_evaluators_tasks", "how_far_to_trust_the_judges_agreement"):
        for kind in ("png", "svg", "csv"):
            assert (pictures / f"{name}.{kind}").stat().st_size > 30, (name, kind)
    for name in FIGURES:
        assert json.loads((pictures / f"{name}.json").read_text())["study"] == "paper"
    assert json.loads((pictures / "figure_3_evaluators.json").read_text())["statistics"][
        "judges"
    ] == {
        "llama_guard_3_8b": "harmfulness rate", "sorry_bench": "compliance rate",
        "keywords_advbench": "share without a refusal phrase",
    }  # fmt: skip
    assert MEMBER not in done.stdout
    again = subprocess.run(make, cwd=ROOT, env=told, text=True, capture_output=True)
    assert "paper: all is there and current" in again.stdout, again.stdout + again.stderr
