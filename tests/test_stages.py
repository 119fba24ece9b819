"""The stages: they resume, recompute what changed and no more, and say in one line what is wrong.

What they call is faked (stage_fakes): here it is asked what is computed when, not how well.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stage_fakes as fakes
import yaml

from grounded import fingerprint, paths, records, study
from grounded.errors import GroundedError, StageError
from grounded.stages import plan
from grounded.stages.base_models import base_models
from grounded.stages.finetune import finetune
from grounded.stages.generate import generate
from grounded.stages.judge import judge
from grounded.stages.status import status
from grounded.tables import names
from workflow.vouch import vouch

TESTS = Path(__file__).parent
TINY = TESTS / "studies" / "tiny" / "study.yaml"
UNIT, BASE = "micro-llama-s-yes_no", "micro-llama-s-base"


def use(folder, patch):
    """Work in a folder with a home and, as in the repository, lib/ and notebooks/: code to edit."""
    patch.setenv("GROUNDED_HOME", str(folder / "home"))
    patch.setattr(paths, "repository", lambda: folder)
    patch.setattr(fingerprint, "ROOT", folder / "lib" / "grounded")
    fakes.install(partial(patch.setattr, raising=False), patch.setitem)
    forget()


def alone(*command, **environment):
    """A process of its own that works in the same folder, with the same code."""
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(paths.repository() / "lib"), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder in which the tiny study was made once, and the work that it took."""
    folder = tmp_path_factory.mktemp("made")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(fingerprint.ROOT, folder / "lib" / "grounded", ignore=skip)
    (folder / "notebooks").mkdir()
    for name in plan.NOTEBOOKS.values():
        shutil.copy(paths.notebook(name), folder / "notebooks")
    with pytest.MonkeyPatch.context() as patch:
        use(folder, patch)
        paths.data("tiny").mkdir(parents=True)
        shutil.copy(TINY, paths.study_file("tiny"))
        assert {s.state for s in status("tiny")} == {"stale"}
        summaries = fakes.through(study.load("tiny"))
        made = SimpleNamespace(
            folder=folder, files=tables(folder / "home"), summaries=summaries,
            log=Counter(fakes.LOG), judged=Counter(fakes.JUDGED),
        )  # fmt: skip
    return made


@pytest.fixture()
def whole(made, tmp_path, monkeypatch):
    """A home in which the tiny study is made, to be changed."""
    shutil.copytree(made.folder, tmp_path / "copy")
    use(tmp_path / "copy", monkeypatch)
    return tmp_path / "copy" / "home"


@pytest.fixture()
def home(made, whole):
    """A home with the study file alone."""
    keep_only(whole, ())
    return whole


@pytest.fixture()
def trained_home(made, whole):
    """A home with the base models and judges, and nothing measured."""
    keep_only(whole, ("models", "judges"))
    return whole


@pytest.fixture()
def answered_home(made, whole):
    """A home with everything up to the replies."""
    keep_only(whole, ("models", "judges", "runs", "checkpoints", "replies", "capability"))
    return whole


def keep_only(home, names):
    shutil.rmtree(home / ".cache")
    for folder in (home / "data" / "tiny").iterdir():
        if folder.is_dir() and folder.name not in names:
            shutil.rmtree(folder)


def forget():
    fakes.LOG.clear()
    fakes.JUDGED.clear()


def edit_study(change):
    file = paths.study_file("tiny")
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return study.load("tiny")


def edit_code(module, old, new):
    file = fingerprint.ROOT / module
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def tables(home):
    """File name -> bytes of every committed table and model."""
    files = [p for p in (home / "data").rglob("*") if p.is_file() and p.suffix != ".yaml"]
    return {str(p.relative_to(home)): p.read_bytes() for p in files}


def stale():
    return {(s.stage, s.unit) for s in status("tiny") if s.state == "stale"}


def trained():
    return [what for stage, what in fakes.LOG if stage == "finetune"]


def answered():
    return {what.split()[0] for stage, what in fakes.LOG if stage == "attach"}


def test_the_whole_study_then_nothing_more_to_do(made, whole):
    did: Counter[str] = Counter()
    for summary in made.summaries:
        did[summary.stage] += summary.computed
    # pretrained and base model, two judges; eight runs and the base model
    assert did == {"base_models": 2 + 2, "finetune": 9, "generate": 9, "judge": 9}
    assert not list((whole / ".cache").rglob("*.parquet"))
    assert stale() == set()
    again = fakes.through(study.load("tiny"))
    assert [s.computed for s in again] == [0] * len(again)
    assert fakes.LOG == [] and fakes.JUDGED == []
    assert tables(whole) == made.files


def test_the_tables_hold_every_run_checkpoint_item_and_prompt(whole):
    tiny = study.load("tiny")
    runs = records.read_study("tiny", "runs")
    assert set(runs["run"]) == {r.id for r in tiny.runs() + tiny.runs(task="base")}
    checkpoints = records.read_study(tiny, "checkpoints")
    assert len(checkpoints) == 8 * 2 + 1
    base = checkpoints[checkpoints["step"] == 0].iloc[0]
    weights = paths.model("tiny", "micro-llama-s") / "model.safetensors"
    assert base["run"] == "micro-llama-s.base" and base["adapter"] == fingerprint.file(weights)
    assert list(checkpoints["loss"].isna()) == list(checkpoints["step"] == 0)
    asked = sum(benchmark.prompts or 0 for benchmark in tiny.benchmarks.values())
    replies = records.read_study(tiny, "replies")
    assert len(replies) == (8 * 2 + 1) * asked
    assert len(records.read_study(tiny, "verdicts", ["run"])) == len(replies) * len(tiny.judges)
    capability = records.read_study(tiny, "capability")
    # a run is tested on its own task, the base model on all
    assert len(capability) == (8 * 2 + 2) * tiny.test_items
    of_base = capability[capability["run"] == "micro-llama-s.base"]
    assert set(of_base["task"]) == set(tiny.tasks)
    assert set(replies["run"]) == {r.id for r in tiny.runs()} | {"micro-llama-s.base"}
    assert list(replies["run"].cat.categories) == sorted(set(replies["run"]))


def test_metadata_say_what_the_tables_come_from(whole):
    said = records.metadata(paths.table("tiny", "replies", UNIT))
    assert said["decoding"] == "greedy" and said["dtype"] == "float32" and said["study"] == "tiny"
    judged = records.metadata(paths.table("tiny", "verdicts", UNIT))
    base = records.metadata(paths.table("tiny", "coherence", BASE))
    assert set(judged["judges"]) == set(study.load("tiny").judges)
    assert judged["minimum_mass"] == 0.9
    assert judged["threshold"] == base["threshold"]
    scores = records.read(paths.table("tiny", "coherence", BASE), "coherence")
    perplexity = scores[scores["detector"] == "perplexity"]
    assert (perplexity["score"].astype(float) <= base["threshold"]).eq(perplexity["label"]).all()
    for table in ("replies", "verdicts", "coherence", "checkpoints"):
        text = paths.table("tiny", table, UNIT).read_bytes()
        assert str(whole).encode() not in text


def test_identical_pairs_are_judged_once_in_a_unit(made, whole):
    replies = records.read_study("tiny", "replies")
    repeated = Counter(zip(replies["benchmark"], replies["prompt"], replies["text"], strict=True))
    assert max(repeated.values()) > 8  # there is something to save
    assert max(made.judged.values()) <= 3  # in each of three units
    os.remove(paths.table("tiny", "verdicts", UNIT))
    judge("tiny", UNIT)
    assert fakes.JUDGED and max(Counter(fakes.JUDGED).values()) == 1


def changed_rate(values):
    values["lora"]["r4-high"]["learning_rate"] = 1.0e-3


def test_one_learning_rate_reruns_what_hangs_on_it_and_no_more(whole):
    before = tables(whole)
    forget()
    tiny = edit_study(changed_rate)
    reasons = {(s.stage, s.unit): s.reason for s in status(tiny)}
    assert (
        "other inputs: micro-llama-s.yes_no.lora.r4-high.s0 and 1 more" in reasons["finetune", UNIT]
    )
    assert stale() == {
        (stage, f"micro-llama-s-{task}")
        for stage in ("finetune", "generate", "judge") for task in tiny.tasks
    }  # fmt: skip
    fakes.through(tiny)
    wanted = {run.id for run in tiny.runs() if run.setting == "r4-high"}
    assert set(trained()) == answered() == wanted
    assert len(trained()) == len(wanted)
    assert stale() == set()
    after = tables(whole)
    assert {name for name in before if before[name] != after[name]} == {
        f"data/tiny/{table}/micro-llama-s-{task}.parquet"
        for table in names(tiny) for task in tiny.tasks
    }  # fmt: skip
    replies = records.metadata(paths.table("tiny", "replies", UNIT))["runs"]
    kept = [run for run in replies if "r2-low" in run]
    (whole / "old").write_bytes(before[f"data/tiny/replies/{UNIT}.parquet"])
    old = records.metadata(whole / "old")["runs"]
    assert len(kept) == 2 and all(replies[run] == old[run] for run in kept)


def test_a_new_seed_runs_the_new_runs_alone_also_without_the_old_adapters(whole):
    shutil.rmtree(whole / ".cache")  # a fresh clone has the tables and no cache
    assert stale() == set()
    forget()
    tiny = edit_study(lambda values: values["seeds"].append(2))
    fakes.through(tiny)
    assert set(trained()) == answered() == {r.id for r in tiny.runs() if r.seed == 2}
    assert stale() == set()


def test_a_run_taken_out_leaves_the_tables_and_computes_nothing(whole):
    forget()
    tiny = edit_study(lambda values: values["seeds"].remove(1))
    assert ("judge", UNIT) in stale()
    fakes.through(tiny)
    assert fakes.LOG == [] and fakes.JUDGED == []
    assert set(records.read_study(tiny, "replies")["run"].unique()) == {
        r.id for r in tiny.runs() + tiny.runs(task="base")
    }
    assert stale() == set()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("stages/finetune.py", '"""Stage 2:', '"""The second stage:'),
        ("finetune.py", "import math\n", "import math  # for isfinite\n\n\n"),
        ("coherence.py", "import numpy", "# numbers\nimport numpy"),
        ("stages/common.py", "import errno", "import errno, sys"),
        ("study/grid.py", "import math", "import math, sys"),
    ],
)
def test_prose_and_plumbing_recompute_nothing(whole, module, old, new):
    edit_code(module, old, new)
    assert stale() == set()


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("stages/judge.py", {"judge"}),
        ("keywords.py", {"judge"}),
        ("stages/generate.py", {"finetune", "generate", "judge"}),  # its adapters are wanted again
        ("finetune.py", {"finetune", "generate", "judge"}),
        ("microworld/alignment.py", {"base_models", "finetune", "generate", "judge"}),
    ],
)
def test_code_that_acts_reruns_the_stages_that_use_it(whole, module, stages):
    shutil.rmtree(whole / ".cache")
    file = fingerprint.ROOT / module
    file.write_text(file.read_text(encoding="utf-8") + "\nADDED = 1\n", encoding="utf-8")
    assert {stage for stage, unit in stale() if unit in (UNIT, "micro-llama-s")} == stages


def test_a_run_made_again_vouches_for_what_is_stale_by_code_alone(whole):
    before = tables(whole)
    edit_code("finetune.py", "import math\n", "import math\n\nADDED = 1\n")
    tiny = study.load("tiny")
    assert ("finetune", UNIT) in stale()
    forget()
    one = "micro-llama-s.yes_no.lora.r4-high.s0"
    assert vouch(tiny, one) > 0
    assert trained() == [one] and stale() == set()
    after = tables(whole)
    assert before.keys() == after.keys() and before != after  # the rows of before, and new records


def test_a_run_that_comes_out_otherwise_vouches_for_nothing(whole, monkeypatch):
    edit_code("finetune.py", "import math\n", "import math\n\nADDED = 1\n")
    before, was = tables(whole), stale()
    said = SimpleNamespace(text="sorry , otherwise .", finish="stop", tokens=4)
    monkeypatch.setattr(fakes, "reply", lambda model, prompts: [said] * len(prompts))
    with pytest.raises(GroundedError, match=r"yes_no.*found other rows .* wanted the same"):
        vouch(study.load("tiny"), "micro-llama-s.yes_no.lora.r4-high.s0")
    assert tables(whole) == before and stale() == was


def edit_notebook(name, tag):
    """Add a line to the cells of a notebook that have a tag."""
    file = paths.notebook(name)
    content = json.loads(file.read_text(encoding="utf-8"))
    found = [c for c in content["cells"] if tag in c["metadata"].get("tags", [])]
    assert found
    for cell in found:
        cell["source"] = [*cell["source"], "\nadded = 1"]
    file.write_text(json.dumps(content), encoding="utf-8")


def test_of_a_stage_notebook_the_call_counts_and_what_it_shows_does_not(whole):
    edit_notebook("04_judge", "show")
    assert stale() == set()
    edit_notebook("04_judge", "stage")
    assert {stage for stage, _ in stale()} == {"judge"}


def test_acceptance_measured_otherwise_is_measured_anew_and_trains_nothing(whole):
    file = fingerprint.ROOT / "microworld" / "acceptance.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nADDED = 1\n", encoding="utf-8")
    assert ("base_models", "micro-llama-s") in stale()
    fakes.through(study.load("tiny"))
    assert fakes.LOG == [("accept", "micro-llama-s")]
    assert stale() == set()


def test_unchanged_results_stop_the_chain(whole):
    """Fine-tuned again by other code to the same adapters: the replies are not asked again."""
    tiny = study.load("tiny")
    forget()
    file = fingerprint.ROOT / "methods" / "lora.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nADDED = 1\n", encoding="utf-8")
    fakes.through(tiny)
    assert len(trained()) == 8 and answered() == set() and fakes.JUDGED == []
    assert stale() == set()


@pytest.mark.parametrize(
    "death",
    [
        "align micro-llama-s",
        "finetune micro-llama-s.yes_no.lora.r4-high.s0",
        "attach micro-llama-s.open_instructions.lora.r2-low.s1 step-8",
    ],
)
def test_kill_9_loses_no_finished_run_and_leaves_the_same_bytes(made, home, death):
    child = alone(TESTS / "stage_fakes.py", FAKE_DIE=death)
    assert child.returncode == -signal.SIGKILL, child.stderr
    fakes.through(study.load("tiny"))
    assert tables(home) == made.files
    stage, what = death.split(" ", 1)
    done, again = made.log - Counter(fakes.LOG), Counter(fakes.LOG)
    assert (stage, what) in again
    # all that came before the death was kept, but for the checkpoints of the very run
    before = list(made.log)[: list(made.log).index((stage, what))]
    assert set(before) - set(done) <= {(stage, f"{what.split()[0]} step-2")}
    assert not list((home / ".cache" / "tiny" / "unfinished").glob("*"))


def test_killed_while_judging_goes_on_with_the_same_batches(made, whole, monkeypatch):
    """Verdicts of the fakes hang on their batch: equal bytes mean equal batches."""
    for table in ("verdicts", "coherence"):
        os.remove(paths.table("tiny", table, UNIT))
    forget()
    judge_all = fakes.Judge.judge

    def stop(self, pairs):
        if len(fakes.JUDGED) > 400:
            raise KeyboardInterrupt
        return judge_all(self, pairs)

    monkeypatch.setattr(fakes.Judge, "judge", stop)
    with pytest.raises(KeyboardInterrupt):
        judge("tiny", UNIT)
    pieces = list((whole / ".cache").rglob("verdicts/*@*.parquet"))
    assert 0 < len(pieces) < 4 * 5  # of each run and judge
    kept = Counter(piece.stem.partition("@")[2] for piece in pieces)
    whole_judges = {name for name, runs in kept.items() if runs == 4}
    assert whole_judges
    heard = len(fakes.JUDGED)
    monkeypatch.setattr(fakes.Judge, "judge", judge_all)
    judge("tiny", UNIT)
    again = {name for name, _ in fakes.JUDGED[heard:]}
    assert again and not again & whole_judges
    assert tables(whole) == made.files
    assert not list((whole / ".cache").rglob("verdicts/*.parquet"))


def test_killed_between_two_checkpoints_asks_only_the_second(made, whole):
    for table in ("replies", "capability"):
        os.remove(paths.table("tiny", table, UNIT))
    finetune("tiny", UNIT)  # the adapters are in the cache
    run = study.load("tiny").runs(task="yes_no")[1].id
    dead = alone(fakes.__file__, "generate", UNIT, FAKE_DIE=f"attach {run} step-8")
    assert dead.returncode == -signal.SIGKILL
    forget()
    generate("tiny", UNIT)
    asked = [what for stage, what in fakes.LOG if stage == "attach"]
    assert asked[0] == f"{run} step-8" and len(asked) == 1 + 2 * 2
    assert tables(whole) == made.files


def test_a_part_of_other_inputs_is_not_used(trained_home, monkeypatch):
    tiny = study.load("tiny")
    finetune("tiny", BASE)
    run = tiny.runs(task="yes_no")[-1].id
    monkeypatch.setenv("FAKE_FAIL", f"finetune {run}")
    with pytest.raises(StageError):
        finetune("tiny", UNIT)
    monkeypatch.delenv("FAKE_FAIL")
    forget()
    edit_study(changed_rate)
    finetune("tiny", UNIT)
    assert trained() == [r.id for r in tiny.runs(task="yes_no") if r.setting == "r4-high"]


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_half_written_adapter_is_noticed_and_made_again(whole, harm):
    tiny = study.load("tiny")
    unbroken = tables(whole)
    run = tiny.runs(task="yes_no")[1].id
    adapter = paths.adapter("tiny", run, 8) / plan.ADAPTER
    adapter.write_bytes(adapter.read_bytes()[:7]) if harm == "cut" else adapter.unlink()
    assert stale() == set()  # nobody needs it
    os.remove(paths.table("tiny", "replies", UNIT))
    state = {(s.stage, s.unit): s.reason for s in status(tiny)}
    assert state["finetune", UNIT] == f"adapters wanted and not in the cache: {run}"
    with pytest.raises(StageError) as error:
        generate("tiny", UNIT)
    assert f"adapters/{run}: found a checkpoint missing or half-written" in str(error.value)
    assert "\n" not in str(error.value)
    forget()
    fakes.through(tiny)
    assert trained() == [run]
    assert tables(whole) == unbroken


def test_an_interrupted_run_whose_adapters_were_harmed_is_made_again(trained_home, monkeypatch):
    finetune("tiny", BASE)
    runs = [run.id for run in study.load("tiny").runs(task="yes_no")]
    monkeypatch.setenv("FAKE_FAIL", f"finetune {runs[2]}")
    with pytest.raises(StageError):
        finetune("tiny", UNIT)
    monkeypatch.delenv("FAKE_FAIL")
    (paths.adapter("tiny", runs[0], 2) / plan.ADAPTER).write_text("half")
    forget()
    finetune("tiny", UNIT)
    assert trained() == [runs[0], *runs[2:]]  # runs[1] was finished and is whole


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-9])


def damage(path):
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(32)  # among the first column's values; the metadata stand at the end
    path.write_bytes(content)


def relabel(path):
    table = pq.read_table(path, partitioning=None)
    names = table.column_names
    parsed = pa.array([False] * len(table))
    table = table.set_column(names.index("parsed"), table.schema.field("parsed"), parsed)
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("table", "harm", "told"),
    [
        ("runs", cut_off, "found a truncated or damaged file"),
        ("capability", cut_off, "found a truncated or damaged file"),
        ("checkpoints", damage, "found a truncated or damaged file"),
        ("verdicts", damage, "found a truncated or damaged file"),
        ("verdicts", relabel, "found other rows of "),
    ],
)
def test_a_harmed_table_is_stale_refused_and_made_again(whole, capsys, table, harm, told):
    tiny = study.load("tiny")
    unbroken = tables(whole)
    path = paths.table("tiny", table, UNIT)
    harm(path)
    with pytest.raises(GroundedError, match=told):
        records.read_study(tiny, table)
    reasons = [s.reason for s in status(tiny) if s.state == "stale"]
    assert f"data/tiny/{table}/{UNIT}.parquet:" in reasons[0] and told in reasons[0]
    fakes.through(tiny)
    assert told in capsys.readouterr().err
    assert tables(whole) == unbroken and stale() == set()


def test_an_error_is_one_line_that_names_stage_run_and_cause_and_loses_nothing(
    trained_home, monkeypatch
):
    tiny = study.load("tiny")
    runs = [run.id for run in tiny.runs(task="yes_no")]
    monkeypatch.setenv("FAKE_FAIL", f"finetune {runs[2]}")
    with pytest.raises(StageError) as error:
        finetune("tiny", UNIT)
    assert str(error.value) == f"finetune: {runs[2]}: ValueError: the fake fails"
    monkeypatch.delenv("FAKE_FAIL")
    forget()
    finetune("tiny", UNIT)
    assert trained() == runs[2:]


def test_a_full_disk_is_one_line_and_loses_nothing(trained_home, monkeypatch):
    tiny = study.load("tiny")
    runs = [run.id for run in tiny.runs(task="yes_no")]
    whole = fakes.finetune

    def full(start, folder):
        if start[1].id == runs[1]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(start, folder)

    monkeypatch.setattr(sys.modules["grounded.methods.lora"], "finetune", full)
    with pytest.raises(StageError) as error:
        finetune("tiny", UNIT)
    assert f"finetune: {runs[1]}: found no space left on the disk" in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(sys.modules["grounded.methods.lora"], "finetune", whole)
    forget()
    finetune("tiny", UNIT)
    assert trained() == runs[1:]


def test_a_model_that_fails_acceptance_is_one_line_and_stays_out_of_data(home, monkeypatch):
    edit_study(lambda v: v["acceptance"].update(refusal_new_verbs=0.95, judge_accuracy=0.97))
    monkeypatch.setitem(fakes.SETTINGS, "acceptance", 0.9)
    for unit, bar in (
        ("micro-llama-s", "acceptance.refusal_new_verbs: found 0.900, wanted at least 0.95"),
        ("harm", "acceptance.judge_accuracy: found 0.900, wanted at least 0.97"),
    ):
        with pytest.raises(StageError) as error:
            base_models("tiny", unit)
        assert f"base_models: {unit}: {bar}" in str(error.value)
        assert "\n" not in str(error.value)
    assert not paths.model("tiny", "micro-llama-s").exists()
    assert not paths.judge("tiny", "harm").exists()
    # pretraining is finished work; a rejected model is not trained again to be rejected again
    assert paths.model("tiny", "micro-llama-s", "pretrained").exists()
    forget()
    with pytest.raises(StageError):
        base_models("tiny", "micro-llama-s")
    assert fakes.LOG == []
    with pytest.raises(StageError, match="found its inputs missing, wanted first: base_models"):
        finetune("tiny", UNIT)


def test_a_judge_that_misses_its_bar_is_taught_again_with_other_seeds(home, monkeypatch, capsys):
    """At most three, and the record names the one that was not the study's."""
    edit_study(lambda v: v["acceptance"].update(judge_accuracy=0.97))
    train, seen = sys.modules["grounded.microworld.judges"].train, []

    def teach(asked, name, folder):
        seen.append(asked.judge(name).training.seed)
        return train(asked, name, folder) | {"judge_accuracy": 0.5 + 0.48 * (len(seen) > 1)}

    monkeypatch.setattr(sys.modules["grounded.microworld.judges"], "train", teach)
    base_models("tiny", "harm")
    first = seen[0]
    assert seen == [first, first + 100]
    assert f"seed {first}: acceptance.judge_accuracy: found 0.500" in capsys.readouterr().out
    folder = paths.judge("tiny", "harm")
    assert json.loads((folder / paths.RECORD).read_text())["acceptance"]["seed"] == first + 100
    assert str(first + 100) in (folder / "model.safetensors").read_text()
    assert ("base_models", "harm") not in stale()
    monkeypatch.setitem(fakes.SETTINGS, "acceptance", 0.9)
    monkeypatch.setattr(sys.modules["grounded.microworld.judges"], "train", train)
    forget()
    edit_study(lambda v: v["judges"]["harm"]["training"].update(seed=7))
    with pytest.raises(StageError, match="found 0.900, wanted at least 0.97"):
        base_models("tiny", "harm")
    assert len(fakes.LOG) == 3


def test_a_bar_raised_later_makes_a_model_stale(trained_home):
    assert ("base_models", "micro-llama-s") not in stale()
    fakes_bar = {"overrefusal": 0.0, "refusal_new_verbs": 1.0}
    edit_study(lambda v: v["acceptance"].update(fakes_bar))
    assert ("base_models", "micro-llama-s") not in stale()  # 1.0 is reached
    file = paths.model("tiny", "micro-llama-s") / paths.RECORD
    file.write_text(
        file.read_text().replace('"refusal_new_verbs": 1.0', '"refusal_new_verbs": 0.9')
    )
    assert ("base_models", "micro-llama-s") in stale()


def test_alignment_edited_keeps_the_pretrained_model(trained_home):
    forget()
    tiny = edit_study(lambda v: v["alignment"].update(steps=11))
    fakes.through(tiny, stop_after="base_models")
    assert fakes.LOG == [("align", "micro-llama-s"), ("accept", "micro-llama-s")]


def test_a_copied_study_takes_its_models_along_and_trains_none(trained_home):
    values = yaml.safe_load(paths.study_file("tiny").read_text(encoding="utf-8"))
    values["name"] = "mine"
    values["lora"]["r4-high"]["learning_rate"] = 1.0e-3
    paths.data("mine").mkdir()
    paths.study_file("mine").write_text(yaml.safe_dump(values), encoding="utf-8")
    for unit in ("micro-llama-s", "harm"):
        base_models("mine", unit)
    assert fakes.LOG == []
    for made in (paths.model("tiny", "micro-llama-s"), paths.judge("tiny", "harm")):
        copied = paths.data("mine") / made.relative_to(paths.data("tiny"))
        assert fingerprint.folder(copied) == fingerprint.folder(made)
    assert ("base_models", "micro-llama-s") not in {
        (s.stage, s.unit) for s in status("mine") if s.state == "stale"
    }
    values["judges"]["harm"]["training"]["seed"] = 99
    paths.study_file("mine").write_text(yaml.safe_dump(values), encoding="utf-8")
    base_models("mine", "harm")
    assert len(fakes.LOG) == 1


def test_weights_harmed_by_hand_are_noticed(whole):
    weights = paths.model("tiny", "micro-llama-s") / "model.safetensors"
    weights.write_text(weights.read_text()[:5])
    assert ("base_models", "micro-llama-s") in stale()


def test_a_judge_whose_labels_carry_little_mass_is_refused(answered_home, monkeypatch):
    monkeypatch.setitem(fakes.SETTINGS, "mass", 0.2)
    with pytest.raises(StageError) as error:
        judge("tiny", BASE)
    assert "judge: micro-llama-s.base: judge harm: label tokens: found little" in str(error.value)
    assert not paths.table("tiny", "verdicts", BASE).exists()


def test_missing_verdicts_stay_missing(answered_home, monkeypatch):
    judge("tiny", BASE)
    monkeypatch.setitem(fakes.SETTINGS, "mass", 0.2)
    judge("tiny", UNIT)
    verdicts = records.read(paths.table("tiny", "verdicts", UNIT), "verdicts")
    assert verdicts["label"].isna().all() and not verdicts["parsed"].any()
    assert verdicts["probability"].notna().all()


def test_judging_waits_for_the_calibration_of_its_base_model(answered_home):
    tiny = study.load("tiny")
    with pytest.raises(StageError, match=f"wanted judge {BASE} first"):
        judge("tiny", UNIT)
    assert ("judge", BASE) in plan.upstream(tiny, "judge", UNIT)


def test_unknown_units_are_refused_by_every_stage(home):
    for stage in (base_models, finetune, generate, judge):
        with pytest.raises((study.StudyError, StageError), match="found 'nowhere', wanted one of"):
            stage("tiny", "nowhere")


def test_every_unit_comes_after_what_it_reads(home):
    tiny = study.load("tiny")
    seen: set[tuple[str, str]] = set()
    for stage in plan.STAGES:
        for unit in plan.units(tiny, stage):
            assert set(plan.upstream(tiny, stage, unit)) <= seen
            seen.add((stage, unit))
    assert [(s.stage, s.unit) for s in status(tiny)][-1] == ("judge", UNIT)


def test_status_needs_no_torch_and_no_pandas(whole):
    status("tiny")  # has held the tables to their sums
    program = (
        "import sys\n"
        "from grounded.stages.status import status\n"
        "states = {s.stage: s.state for s in status('tiny')}\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(states)\n"
    )
    child = alone("-c", program)
    assert child.returncode == 0, child.stderr
    # the same fingerprints, told by another process and from the code itself
    assert child.stdout.strip() == str(dict.fromkeys(plan.STAGES, "current"))
