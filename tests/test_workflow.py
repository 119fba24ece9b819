"""The graph and its jobs, on notebooks made for the purpose."""

import fcntl
import io
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import synthetic
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tqdm import tqdm

from grounded import paths, records, study
from grounded.errors import GroundedError
from grounded.stages.plan import units
from grounded.stages.status import Status, status
from workflow import command as workflow
from workflow import compare, drawn, graph, jobs, notebooks, run_notebook
from workflow.jobs import Job

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 'study: str = "fake"  # which study\nunit: str = ""  # which unit'
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for everything that is made."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    return tmp_path.resolve()


@pytest.fixture
def make_job(home: Path) -> Callable[..., Job]:
    """Makes a job of a notebook with one cell of code."""

    def make(name: str, code: str, *needs: str, **parameters: str) -> Job:
        path = home / f"{name.replace('/', '-')}.ipynb"
        cell = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(cells=[cell, new_code_cell(code)], metadata=KERNEL), path)
        output = home / ".cache" / "fake" / "executed" / path.name
        return Job(name, path, output, parameters or {"study": "fake"}, needs)

    return make


def test_unknown_parameter_is_an_error(make_job: Callable[..., Job]) -> None:
    job = make_job("finetune/a-t", "1", study="fake", units="a-t")
    with pytest.raises(GroundedError, match="found 'units', wanted one of study, unit$"):
        run_notebook.execute(job)
    assert not job.output.exists()


def test_parameter_of_a_notebook_without_any_is_an_error(home: Path) -> None:
    nbformat.write(new_notebook(cells=[new_code_cell("1")], metadata=KERNEL), home / "n.ipynb")
    job = Job("figures/n", home / "n.ipynb", home / "out.ipynb", {"study": "fake"})
    with pytest.raises(GroundedError, match="no cell tagged parameters"):
        run_notebook.execute(job)


def test_unreadable_notebook_is_an_error(home: Path) -> None:
    (home / "n.ipynb").write_text("not json")
    with pytest.raises(GroundedError, match="n.ipynb: found .*, wanted a notebook"):
        run_notebook.execute(Job("figures/n", home / "n.ipynb", home / "out.ipynb", {}))


def test_copies_to_run_are_bare_and_pages_hold_what_is_read(home: Path) -> None:
    (home / "data" / "fake").mkdir(parents=True)
    outputs = [
        new_output("stream", name="stderr", text="3/4 [00:02]"),
        new_output("stream", name="stdout", text="read me"),
    ]
    executed = new_notebook(
        metadata={"papermill": {"output_path": str(home)}, **KERNEL},
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell("1", execution_count=7, outputs=outputs, metadata={"tags": ["show"]}),
            new_code_cell("study = 2", metadata={"tags": ["injected-parameters"]}),
            new_code_cell("2", metadata={"papermill": {"duration": 1.5}}, execution_count=8),
        ],
    )
    bare = notebooks.stripped(executed, but="show")
    assert [cell.source for cell in bare.cells] == ["# Title", "2"]
    assert [cell.get("execution_count") for cell in bare.cells] == [None, None]
    page = notebooks.readable(executed, "fake")
    assert [cell.source for cell in page.cells] == ["# Title", "1", "2"]
    assert [output.text for output in page.cells[1].outputs] == ["read me"]
    assert [cell.get("execution_count") for cell in page.cells] == [None, 1, 2]
    assert str(home) not in nbformat.writes(page) and "duration" not in nbformat.writes(page)
    assert page.metadata["grounded"]["code"] == notebooks.code_sha(executed)


def test_failing_notebook_ends_in_one_line_and_the_next_run_goes_on(
    make_job: Callable[..., Job], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_job(
        "base_models/a", f"open({str(home / 'made')!r}, 'a').write('once'); print('heed')"
    )
    second = make_job("finetune/a-t", "raise ValueError('two\\nlines')", first.id)
    third = make_job(
        "generate/a-t", f"open({str(home / 'last')!r}, 'w').write(unit)", second.id, unit="x"
    )
    with graph.alone("fake"), pytest.raises(GroundedError) as failure:
        graph.run("fake", [first, second, third], 2)
    copy = ".cache/fake/executed/finetune-a-t.ipynb"
    assert str(failure.value) == f"finetune a-t: ValueError: two lines (executed copy: {copy})"
    assert "ValueError" in (home / copy).read_text()
    assert not (home / "last").exists()
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("  base_models a: ") and told[0].endswith(
        "left: 1 finetune, 1 generate"
    )
    assert told[1:] == ["    heed", "  finetune a-t: failed; left: 1 generate"]

    make_job("finetune/a-t", "2")  # mended; only what is left is asked for
    with graph.alone("fake"):
        assert graph.run("fake", [second, third], 2).keys() == {second.id, third.id}
    assert ((home / "made").read_text(), (home / "last").read_text()) == ("once", "x")


DRIVER = """
from pathlib import Path
from workflow import graph, jobs
with graph.alone("fake"):
    graph.run("fake", list(jobs.load(Path({plan!r})).jobs.values()), 1)
"""


def test_kill_leaves_no_process_behind_and_nothing_to_unlock(
    make_job: Callable[..., Job], home: Path
) -> None:
    pipe, made = home / "pipe", home / "made"
    os.mkfifo(pipe)
    waiting = f"open({str(pipe)!r}).read(); open({str(made)!r}, 'w').write('rows')"
    job = make_job("finetune/a-t", waiting)
    jobs.save(jobs.Plan(home, home, {job.id: job}), home / "plan.json")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(plan=str(home / "plan.json"))], start_new_session=True
    )
    with pipe.open("w"):  # opens when the kernel reads, which then waits for more
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        with graph.alone("fake"):  # waits for orphans, and would for ever if one went on
            assert not made.exists()
    make_job("finetune/a-t", f"open({str(made)!r}, 'w').write('rows')")
    with graph.alone("fake"):
        graph.run("fake", [job], 1)
    assert made.read_text() == "rows"


def test_second_make_waits_for_the_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, entered = threading.Event(), threading.Event()
    monkeypatch.setattr(graph, "print", lambda *_, **__: waits.set(), raising=False)

    def second() -> None:
        with graph.alone("fake"):
            entered.set()

    paths.cache("fake").mkdir(parents=True)
    thread = threading.Thread(target=second)
    with (paths.cache("fake") / "make.lock").open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        thread.start()
        assert waits.wait(60) and not entered.is_set()
    thread.join()
    assert entered.is_set()


@pytest.fixture
def tiny(home: Path) -> study.Study:
    """The tiny study, with nothing made."""
    shutil.copytree(ROOT / "tests" / "studies" / "tiny", home / "data" / "tiny")
    return study.load("tiny")


def test_jobs_are_the_stale_units_and_wait_for_each_other(tiny: study.Study) -> None:
    everything = jobs.measuring(tiny, status(tiny))
    assert [job.id for job in everything] == [
        f"{stage}/{unit}"
        for stage in ("base_models", "finetune", "generate", "judge")
        for unit in units(tiny, stage)
    ]
    known: set[str] = set()
    for job in everything:
        assert set(job.needs) <= known
        known.add(job.id)
    unit = "micro-llama-s-yes_no"
    one = jobs.measuring(tiny, [Status("judge", unit, "stale", "other inputs")])
    assert [(job.id, job.parameters) for job in one] == [
        (f"judge/{unit}", {"study": "tiny", "unit": unit})
    ]
    figure = jobs.drawing(tiny, ["figure_1_epochs"], after=one)
    assert figure[0].needs == (f"judge/{unit}",)


def test_a_report_is_of_the_runs_and_at_the_accuracy_that_are_named(
    tiny: study.Study, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.write(tiny)
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(graph, "run", lambda _, work, cores: seen.append(work[-1].parameters))
    first, second = (run.id for run in tiny.runs()[:2])
    workflow.report(tiny, 1)
    workflow.report(tiny, 1, runs=f"{first} {second}", accuracy="0.6")
    assert seen == [
        {"study": "tiny"},
        {"study": "tiny", "runs": [first, second], "accuracy": 0.6},
    ]
    assert set(seen[1]) <= set(papermill.inspect_notebook(paths.notebook(workflow.REPORT)))


@pytest.mark.parametrize(
    ("asked", "line"),
    [({"runs": "nobody"}, "RUNS: found 'nobody', wanted runs of tiny, as micro-llama-s."),
     ({"accuracy": "60%"}, "ACCURACY: found '60%', wanted a share above 0, up to 1"),
     ({"accuracy": "60"}, "ACCURACY: found '60', wanted a share"),
     ({"accuracy": "nan"}, "ACCURACY: found 'nan', wanted a share")],
)  # fmt: skip
def test_a_report_of_what_is_not_there_is_refused_before_anything_is_measured(
    asked: dict[str, str], line: str, tiny: study.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "run", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(GroundedError, match=line):
        workflow.report(tiny, 1, **asked)


def test_make_hands_on_what_a_report_is_of() -> None:
    command = ["make", "-n", "report", "STUDY=mine", "RUNS=a b", "ACCURACY=0.6", "JOBS=1"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = 'report mine --jobs 1 --runs "a b" --accuracy "0.6"'
    assert wanted in " ".join(shown.stdout.split())


@pytest.mark.parametrize(("asked", "drawn"), [([], "smol micro"), (["STUDY=mine"], "mine")])
def test_make_figures_draws_both_studies_or_the_one_that_is_named(
    asked: list[str], drawn: str
) -> None:
    command = ["make", "-n", "figures", "JOBS=1", *asked]
    told = {name: value for name, value in os.environ.items() if name != "STUDY"}
    done = subprocess.run(
        command, cwd=ROOT, env=told, capture_output=True, text=True, check=True
    ).stdout
    assert f"for study in {drawn};" in done and "figures $study --jobs 1" in done


def test_plan_survives_its_file(tiny: study.Study, home: Path) -> None:
    plan = jobs.Plan(home / "alive", home / "running", {})
    plan.jobs.update({job.id: job for job in jobs.measuring(tiny, status(tiny))})
    jobs.save(plan, home / "plan.json")
    assert jobs.load(home / "plan.json") == plan


def test_figures_are_drawn_again_when_what_they_show_changes(
    tiny: study.Study, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "figure_9_test"
    monkeypatch.setattr(paths, "repository", lambda: home)
    notebook = new_notebook(cells=[new_code_cell("from grounded import paths")], metadata=KERNEL)
    (home / "notebooks").mkdir()
    (home / "requirements.lock").write_text("a==1\n")
    nbformat.write(notebook, paths.notebook(name))
    assert notebooks.figure_notebooks() == [name]
    assert len(drawn.missing(tiny, name)) == len(drawn.KINDS)

    paths.figures("tiny").mkdir(parents=True)
    for kind in drawn.KINDS:
        (paths.figures("tiny") / f"{name}{kind}").write_text("drawn")
    assert drawn.stale(tiny) == [name]  # nobody knows from what
    drawn.remember(tiny, name)
    assert drawn.stale(tiny) == []

    table = paths.table("tiny", "runs", "micro-llama-s-base")
    table.parent.mkdir()
    table.write_text("rows")
    assert drawn.stale(tiny) == [name]
    drawn.remember(tiny, name)
    notebook.cells.insert(0, new_markdown_cell("# Better prose"))
    nbformat.write(notebook, paths.notebook(name))
    assert drawn.stale(tiny) == []
    (paths.figures("tiny") / f"{name}.csv").write_text("by hand")
    assert drawn.stale(tiny) == [name]


VERDICTS = pd.DataFrame(
    {
        "judge": "harm", "benchmark": "orders", "prompt": [0, 1, 2, 3], "run": "a.t.lora.r.s0",
        "step": 4, "probability": [0.9, 0.2, 0.1, 0.1], "mass": 1.0,
        "label": pd.array([True, False, False, None], dtype="boolean"),
        "parsed": True,
        "neutralised": False,
    }
)  # fmt: skip


def _write(folder: Path, frame: pd.DataFrame, inputs: str) -> None:
    path = folder / "verdicts" / "a-t.parquet"
    metadata = {"study": "fake", "runs": {"a.t.lora.r.s0": {"inputs": inputs}}}
    records.write(path, "verdicts", frame, metadata)


def test_comparison_counts_rows_and_moves_of_rates(home: Path) -> None:
    _write(home / "one", VERDICTS, "sha")
    _write(home / "same", VERDICTS, "sha")
    assert compare.folders(home / "one", home / "same").lines() == [
        "1 of 1 files are the same, byte for byte"
    ]
    _write(home / "inputs", VERDICTS, "other sha")
    assert compare.folders(home / "one", home / "inputs").different == [
        "verdicts/a-t.parquet: the same rows, from other inputs"
    ]
    moved = VERDICTS.assign(
        probability=[0.9, 0.7, 0.1, 0.1], label=pd.array([True, True, False, None], dtype="boolean")
    )
    _write(home / "moved", moved, "sha")
    assert compare.folders(home / "one", home / "moved").different == [
        "verdicts/a-t.parquet: 1 of 4 rows differ; probability by at most 0.5; "
        "the rate of label by at most 0.333 in a judge and run and step"
    ]
    _write(home / "fewer", VERDICTS.iloc[:3], "sha")
    assert "1 of 4 rows differ" in compare.folders(home / "one", home / "fewer").different[0]


@pytest.mark.parametrize("table", records.SCHEMAS)
def test_comparison_knows_every_table(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    asked = {"metric": "strict", "kappa": 0.5, "tolerance": 0.1, "every": 4, "goals": "goals.csv",
             "judge": "harm"}  # fmt: skip
    study = synthetic.study(models=["micro-llama-s"], anchoring=asked)  # so that it has `progress`
    synthetic.write(study)
    (file, *_) = (paths.data(study.name) / table).glob("*.parquet")
    frame = records.read(file, table)
    assert compare.tables(table, frame, frame.copy()) == "the same rows, from other inputs"
    assert f"1 of {len(frame):,} rows differ" in compare.tables(table, frame, frame.iloc[1:])


def test_comparison_tells_what_was_not_made_again(home: Path) -> None:
    _write(home / "one", VERDICTS, "sha")
    (home / "one" / ".hidden").touch()
    (home / "again" / "models").mkdir(parents=True)
    (home / "again" / "models" / "extra").touch()
    report = compare.folders(home / "one", home / "again")
    assert (report.missing, report.new) == (["verdicts/a-t.parquet"], ["models/extra"])


def test_tiny_models_are_summed_in_one_order_on_every_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process with torch says that was started after; real models keep what the CPU has."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "")  # so that it is put back
    monkeypatch.delenv("ATEN_CPU_CAPABILITY")
    workflow.ready("smol")
    assert "ATEN_CPU_CAPABILITY" not in os.environ
    workflow.ready("micro")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "AVX2" or platform.machine() not in ("x86_64", "AMD64")


def test_bare_make_names_every_target() -> None:
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = "figures test reproduce models notebooks bench lint clean test-all".split()
    listed = [line.split()[0] for line in shown.stdout.splitlines()[1:]]
    assert set(targets) <= set(listed)


def test_make_without_a_python_says_so_in_one_line() -> None:
    command = ["make", "-s", "figures", "PYTHON="]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode and len(shown.stderr.splitlines()) == 1
    assert "needs a Python from 3.11" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["figures", "nowhere"], "error: data/nowhere/study.yaml: found no such file")],
)
def test_bad_study_is_one_line(arguments: list[str], line: str, home: Path) -> None:
    command = [sys.executable, "-m", "workflow", *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 1
    assert len(shown.stderr.splitlines()) == 1 and shown.stderr.startswith(line)


def test_once_a_minute_a_log_too_says_how_far_the_jobs_are() -> None:
    text = io.StringIO()
    for label, done in (("finetune a-b", 1), ("a-b orders", 3)):
        with tqdm(total=4, desc=label, file=text, mininterval=0) as bar:
            bar.update(done)
    said = "Building DAG of jobs...\n" + text.getvalue()
    first, second = graph.under_way(said)
    assert first.startswith("finetune a-b: 1/4 [") and second.startswith("a-b orders: 3/4 [")
    assert graph.under_way("nothing: 5 of 6\n") == []


def test_a_disk_that_is_nearly_full_says_so_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    monkeypatch.setattr(graph, "ROOM", 2**80)
    with pytest.raises(GroundedError, match="bytes free on the disk, wanted"):
        graph.run("tiny", [], 1)
    assert list(tmp_path.iterdir()) == []


ENDS = {
    "import os, signal\nos.kill(os.getpid(), signal.SIGINT)": (130, "stopped; "),
    "def main(): raise KeyboardInterrupt": (130, "stopped; "),
    "import errno\ndef main(): raise OSError(errno.ENOSPC, 'full')": (1, "error: found no space"),
    "from grounded.errors import GroundedError\ndef main(): raise GroundedError('a\\nb')": (
        1, "error: a\nerror: b\n"),
    "def main(): return 3": (3, ""),
}  # fmt: skip


@pytest.mark.parametrize("source", ENDS)
def test_a_command_ends_in_lines_however_it_is_stopped(source: str, tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(source)
    code = "import sys; from workflow.__main__ import ended; sys.exit(ended('stand_in'))"
    there = {"PYTHONPATH": f"{tmp_path}:{paths.repository() / 'lib'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | there, capture_output=True, text=True
    )
    status, told = ENDS[source]
    assert done.returncode == status and done.stderr.startswith(told)
    assert "Traceback" not in done.stderr and bool(done.stderr) == bool(told)
