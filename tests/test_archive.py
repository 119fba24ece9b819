"""What leaves the machine: tables without text, and a study as one file that can be put back."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic
from pages import run_notebook

from grounded import fingerprint, paths, records, tables
from grounded.errors import GroundedError
from grounded.records.redacted import redact, texts
from grounded.study import Study, load
from workflow import archive, unpack
from workflow import command as workflow

RISE = {"open_instructions": 0.7, "yes_no": 0.3}


@pytest.fixture()
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    found = synthetic.study(models=["micro-llama-s"])
    synthetic.write(found, RISE)
    return found


# ---- redacted


def test_no_text_is_left_and_nothing_else_is_changed(study: Study) -> None:
    made = archive.redact_tables(study)
    assert len(made) == len(tables.names(study)) * len(study.units(arm=None))
    for file in made:
        table = file.parent.name
        source = paths.table(study.name, table, file.stem)
        before, after = (records.read(f, table) for f in (source, file))
        hidden = texts(table)
        pd.testing.assert_frame_equal(before.drop(columns=hidden), after.drop(columns=hidden))
        for name in hidden:
            assert after[name].tolist() == [fingerprint.text(one) for one in before[name]]
        one, other = records.metadata(source), records.metadata(file)
        assert other.pop("redacted") is True
        for about in other["runs"].values():
            assert re.fullmatch("[0-9a-f]{64}", about.pop("redacted"))
        assert other == one
    assert {t: texts(t) for t in records.SCHEMAS if texts(t)} == {
        "capability": ["answer"], "replies": ["text"]
    }  # fmt: skip
    raw = b"".join(file.read_bytes() for file in made)
    assert b"reply 7" not in raw
    again = made[0].with_name("again.parquet")
    for file in made:  # hashes are not hashed again
        redact(file, again, table := file.parent.name)
        pd.testing.assert_frame_equal(records.read(again, table), records.read(file, table))


def test_redacted_rows_are_not_taken_for_the_rows_themselves(study: Study, tmp_path: Path) -> None:
    unit = study.units()[1]
    file = tmp_path / "replies.parquet"
    redact(paths.table(study.name, "replies", unit), file, "replies")
    with pytest.raises(GroundedError, match="found rows without their texts"):
        records.verify(file, "replies")
    table = pq.read_table(file, partitioning=None)
    shorter = table.set_column(6, "tokens", pa.array([1] * len(table), pa.int16()))
    pq.write_table(shorter.replace_schema_metadata(table.schema.metadata), file)
    with pytest.raises(GroundedError, match="found other rows of .* than it records"):
        records.read(file, "replies")
    with pytest.raises(GroundedError, match="found no such file, wanted a table"):
        redact(tmp_path / "nothing.parquet", file, "replies")


def test_the_same_figures_come_from_redacted_tables(study: Study) -> None:
    run_notebook("figure_1_epochs")
    folder = paths.figures(study.name)
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    for file in archive.redact_tables(study):
        file.replace(paths.table(study.name, file.parent.name, file.stem))
    run_notebook("figure_1_epochs")
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before


# ---- the archive


def test_a_fresh_folder_has_the_same_study_and_draws_the_same_figures(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_notebook("figure_1_epochs")
    made = archive.export(study)
    kept = tmp_path / "kept.zip"
    made.replace(kept)
    folder = paths.figures(study.name)
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    tables = {f: f.read_bytes() for f in paths.data(study.name).rglob("*.parquet")}
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "elsewhere"))
    assert unpack.bring(kept) == study.name
    for file, content in tables.items():
        again = paths.data(study.name) / file.relative_to(tmp_path / "home/data/synthetic")
        assert again.read_bytes() == content
    fresh = paths.figures(study.name)
    assert fresh != folder and {f.name: f.read_bytes() for f in fresh.iterdir()} == before
    for file in fresh.iterdir():
        file.unlink()
    run_notebook("figure_1_epochs")
    assert {f.name: f.read_bytes() for f in fresh.iterdir()} == before
    unpack.bring(kept)  # once more changes nothing
    paths.study_file(study.name).write_text("name: mine\n")
    with pytest.raises(GroundedError, match="study.yaml: found another content than the archive"):
        unpack.bring(kept)
    assert paths.study_file(study.name).read_text() == "name: mine\n"


def test_the_same_study_gives_the_same_bytes_and_every_file_has_its_sum(study: Study) -> None:
    made = archive.export(study)
    first = made.read_bytes()
    assert archive.export(study).read_bytes() == first
    with zipfile.ZipFile(made) as opened:
        names = set(opened.namelist())
        graph = json.loads(opened.read(archive.METADATA))["@graph"]
        told = {one["@id"]: one for one in graph}
        assert names - {archive.METADATA} == {n for n, one in told.items() if "sha256" in one}
        for name in names - {archive.METADATA}:
            assert told[name]["sha256"] == hashlib.sha256(opened.read(name)).hexdigest()
    assert {"data/synthetic/study.yaml", "requirements.lock", "CITATION.cff",
            "notebooks/figure_1_epochs.ipynb", "LICENSE"} <= names  # fmt: skip
    assert not [n for n in names if "/." in n or n.startswith("/")]
    action = told["#drawn"]
    assert action["@type"] == "CreateAction" and action["instrument"] == {"@id": "#code"}
    assert re.fullmatch("[0-9a-f]{40}|not known", told["#code"]["version"])
    assert told["./"]["creator"] == {"@id": "#contributors"}
    assert told["#contributors"]["name"] == "The contributors"
    made.unlink()


def test_an_archive_that_was_changed_puts_nothing_in_place(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = archive.export(study)
    with zipfile.ZipFile(made) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    made.unlink()
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "elsewhere"))

    def packed(changed: dict[str, bytes | None]) -> Path:
        file = tmp_path / "changed.zip"
        with zipfile.ZipFile(file, "w") as opened:
            for name, content in (files | changed).items():
                if content is not None:
                    opened.writestr(name, content)
        return file

    name = "data/synthetic/study.yaml"
    for changed, message in (
        ({name: b"name: other"}, f"{name}: found sha256 .*, wanted [0-9a-f]{{64}}"),
        ({name: None}, f"{name}: found sha256 no such file, wanted [0-9a-f]{{64}}"),
        ({"data/synthetic/new": b"x"}, "data/synthetic/new: found sha256 .*, wanted no such file"),
        ({archive.METADATA: b"{"}, "wanted an archive of `make export`"),
    ):
        with pytest.raises(GroundedError, match=message):
            unpack.bring(packed(changed))  # type: ignore[arg-type]
    graph = json.loads(files[archive.METADATA])
    outside = "data/../../outside"
    graph["@graph"].append({"@id": outside, "sha256": hashlib.sha256(b"x").hexdigest()})
    with pytest.raises(GroundedError, match="found the name 'data/../../outside'"):
        unpack.bring(packed({outside: b"x", archive.METADATA: json.dumps(graph).encode()}))
    assert not (tmp_path / "elsewhere").exists()
    nothing = tmp_path / "nothing.zip"
    nothing.write_bytes(b"PK")
    with pytest.raises(GroundedError, match="wanted an archive"):
        unpack.bring(nothing)


TINY = Path(__file__).parent / "studies" / "tiny" / "study.yaml"
ASKS = "data/tiny/study.yaml"


def zipped(
    file: Path, files: dict[str, bytes], metadata: object = None, compression: int = 0
) -> Path:
    """A zip of these files, and metadata that name each with its sha256 (or others)."""
    sums = [{"@id": n, "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()]
    with zipfile.ZipFile(file, "w", compression) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
        told = {"@graph": sums} if metadata is None else metadata
        opened.writestr(unpack.METADATA, told if isinstance(told, bytes) else json.dumps(told))
    return file


HOSTILE: dict[str, tuple[dict[str, bytes], object, str]] = {
    "another folder": ({"data/tiny2/study.yaml": b"@"}, None, "name: found 'tiny', wanted its"),
    "a folder too deep": ({"data/a/b/study.yaml": b"@"}, None, "found a below data/ and figures/"),
    "no study": ({"figures/tiny/a.png": b"x"}, None, "wanted one study, with its study.yaml"),
    "nothing": ({}, None, "found nothing below data/ and figures/"),
    "two studies": ({ASKS: b"@", "data/micro/x": b"x"}, None, "found micro, tiny below data/"),
    "figures of another": ({ASKS: b"@", "figures/micro/x": b"x"}, None, "found micro, tiny below"),
    "no folder": ({ASKS: b"@", "data/x": b"x"}, None, "found tiny, x below data/"),
    "a folder's entry": ({ASKS: b"@", "data/tiny/runs/": b""}, None, "found the name 'data/tiny/r"),
    "a file as a folder": (
        {ASKS: b"@", "data/tiny/runs": b"x", "data/tiny/runs/a": b"x"}, None,
        "found 'data/tiny/runs' as a file and as a folder",
    ),
    "the study a folder": ({f"{ASKS}/a": b"x"}, None, "wanted one study, with its study.yaml"),
    "outside": ({ASKS: b"@", "data/tiny/../../x": b"x"}, None, "found the name 'data/tiny/../../x"),
    "absolute": ({ASKS: b"@", "/tmp/x": b"x"}, None, "found the name '/tmp/x'"),
    "another world's": ({ASKS: b"@", "data\\tiny\\x": b"x"}, None, "found the name 'data"),
    "a control character": ({ASKS: b"@", "data/tiny/\x07": b"x"}, None, "found the name 'data/tin"),
    "no study file": ({ASKS: b"name: ["}, None, "data/tiny/study.yaml: line 1"),
    "a study in Latin-1": ({ASKS: b"about: \xfc"}, None, "wanted an archive of `make export`"),
    "a huge study": ({ASKS: b"a" * 1_000_001}, None, "found more than 1,000,000 bytes"),
    "no id": ({ASKS: b"@"}, {"@graph": [{"sha256": "x"}]}, "found Field required, wanted an arch"),
    "numbers": ({ASKS: b"@"}, {"@graph": [1, 2]}, "wanted an archive of `make export`"),
    "no graph": ({ASKS: b"@"}, [], "wanted an archive of `make export`"),
    "deep": ({ASKS: b"@"}, b"[" * 100_000, "wanted an archive of `make export`"),
    "no sums": ({ASKS: b"@"}, {"@graph": []}, "wanted no such file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_that_does_not_fit_is_one_line_and_writes_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    files, metadata, line = HOSTILE[kind]
    files = {n: TINY.read_bytes() if c == b"@" else c for n, c in files.items()}
    file = zipped(tmp_path / "a.zip", files, metadata)
    with pytest.raises(GroundedError) as error:
        unpack.bring(file)
    assert line in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(f"{file}: ")
    assert [p.name for p in tmp_path.rglob("*")] == ["a.zip"]


def test_an_archive_is_weighed_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    files = {ASKS: TINY.read_bytes(), "data/tiny/x": bytes(10**7)}
    bomb = zipped(tmp_path / "bomb.zip", files, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 20_000
    monkeypatch.setattr(unpack, "LARGEST", 10**7)
    with pytest.raises(GroundedError, match="found 10,00.* bytes unpacked, wanted 10,000,000 at"):
        unpack.bring(bomb)
    monkeypatch.undo()
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(GroundedError, match="found 0 bytes free in .*, wanted room for 10,00"):
        unpack.bring(bomb)
    assert not (tmp_path / "home").exists()


def test_a_file_where_a_folder_belongs_on_this_machine_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    file = zipped(tmp_path / "a.zip", {ASKS: TINY.read_bytes(), "data/tiny/runs/a": b"x"})
    for taken, folder in ((tmp_path / "home/data/tiny/runs", False),
                          (tmp_path / "home/data/tiny/runs/a", True)):  # fmt: skip
        (taken if folder else taken.parent).mkdir(parents=True)
        if not folder:
            taken.write_bytes(b"mine")
        with pytest.raises(GroundedError, match="found a file where the archive has a folder, or"):
            unpack.bring(file)
        assert not paths.study_file("tiny").exists()
        shutil.rmtree(tmp_path / "home")
    assert unpack.bring(file) == "tiny"
    assert (tmp_path / "home/data/tiny/runs/a").read_bytes() == b"x"


def test_the_goals_of_a_study_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    asked = {"metric": "strict", "kappa": 0.5, "tolerance": 0.1, "every": 4, "goals": "goals.csv",
             "judge": "harm"}  # fmt: skip
    study = synthetic.study(models=["micro-llama-s"], anchoring=asked)
    synthetic.write(study, RISE)
    goals = (paths.data(study.name) / "goals.csv").read_bytes()
    names = dict(archive._content(study, tmp_path))
    assert names["data/synthetic/goals.csv"].read_bytes() == goals
    assert any(name.startswith("data/synthetic/progress/") for name in names)


def test_a_reproduction_has_what_lies_beside_the_study_file(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    (paths.data(study.name) / "mine").mkdir()
    for name in ("lookalikes.csv", "mine/adapter.bin", workflow.IN_PARTS):
        (paths.data(study.name) / name).write_text("x")
    monkeypatch.setattr(workflow, "bring_up", lambda *_: None)
    monkeypatch.setenv("GROUNDED_HOME", str(home := paths.home()))  # which `reproduce` sets
    with pytest.raises(GroundedError, match="not all that is committed was made again"):
        workflow.reproduce(study, 1)
    made = home / "reproduced" / study.name / "data" / study.name
    assert sorted(file.name for file in made.iterdir()) == ["lookalikes.csv", "mine", "study.yaml"]
    assert (made / "mine" / "adapter.bin").read_text() == "x"


def test_what_a_model_was_aligned_with_goes_with_it(tmp_path: Path) -> None:
    names = dict(archive._content(load("smol"), tmp_path))
    assert names["data/smol/lookalikes.csv"].is_file()


def test_a_reproduction_of_real_models_is_compared_without_texts(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed tables have none; those made again have, and are held to them redacted."""
    home, data = paths.home(), paths.data(study.name)
    again = home / "reproduced" / study.name / "data" / study.name
    whole = shutil.copytree(data, home / "whole")
    monkeypatch.setattr(
        workflow, "bring_up", lambda *_: shutil.copytree(whole, again, dirs_exist_ok=True)
    )
    monkeypatch.setattr(Study, "has_truth", False)
    monkeypatch.setenv("GROUNDED_HOME", str(home))  # which `reproduce` sets
    made = archive.redact_tables(study)
    for file in made:
        (data / file.parent.name / file.name).unlink()
    workflow.reproduce(study, 1)
    said = (again.parents[1] / "report.txt").read_text().splitlines()
    assert said == [f"{len(made) + 1} of {len(made) + 1} files are the same, byte for byte"]


def test_a_study_that_is_not_measured_cannot_be_exported(study: Study) -> None:
    unit = study.units()[1]
    paths.table(study.name, "verdicts", unit).unlink()
    with pytest.raises(GroundedError, match=f"verdicts/{unit}.parquet: found no such file"):
        archive.export(study)


def test_the_command_line_says_what_it_did(study: Study, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workflow", "redact", study.name]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "18 tables without texts in data/synthetic/redacted" in told.stdout
    command = [sys.executable, "-m", "workflow", "import", str(tmp_path / "none.zip")]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith("error: ")
    assert len(failed.stderr.splitlines()) == 1
    file = paths.data(study.name) / "redacted" / "replies"
    assert pq.read_table(next(file.iterdir())).num_rows > 0
