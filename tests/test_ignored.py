"""What a user puts beside a study file stays out of git, and out of what a figure hangs on."""

import shutil
import subprocess
from pathlib import Path

import pytest

from grounded import fingerprint, paths

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "tests" / "studies").iterdir())
STRAY = (".DS_Store", "._study.yaml", ".cache/huggingface/x.lock", "Thumbs.db", "desktop.ini")


def git(where: Path, *command: str) -> list[str]:
    told = subprocess.run(["git", *command], cwd=where, capture_output=True, text=True, check=True)
    return told.stdout.splitlines()


def test_of_a_users_study_git_sees_the_study_file_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    for example in EXAMPLES:
        shutil.copytree(example, tmp_path / "data" / example.name)
    mine = tmp_path / "data" / "mine"
    own = ("study.yaml", "lock.json", "prompts.csv", "train.jsonl", "adapter/x.safetensors")
    for name in (*own, "replies/a.parquet", "redacted/replies/a.parquet", "notes.txt", *STRAY):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).touch()
    git(tmp_path, "init", "--quiet")
    seen = git(tmp_path, "status", "--porcelain", "--untracked-files=all")
    studies = [f"data/{name}/study.yaml" for name in sorted([*(e.name for e in EXAMPLES), "mine"])]
    assert seen == [f"?? {name}" for name in (".gitignore", *studies)]


def test_what_comes_with_the_clone_is_not_ignored() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no clone of git")
    assert git(ROOT, "ls-files", "--cached", "--ignored", "--exclude-standard", "data") == []


def test_stray_files_change_no_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    data = paths.data("mine")
    (data / "models" / "a").mkdir(parents=True)
    (data / "models" / "a" / "model.safetensors").write_bytes(b"weights")
    (data / "study.yaml").write_text("name: mine\n")
    looks = (fingerprint.results, lambda s: fingerprint.folder(paths.data(s) / "models" / "a"),
             lambda s: fingerprint.stamp(paths.data(s) / "models" / "a"))  # fmt: skip
    before = [look("mine") for look in looks]
    assert None not in before and len(set(before)) == 3
    for folder in (data, data / "models" / "a"):
        for name in STRAY:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    (data / "notes.txt").touch()
    assert [look("mine") for look in looks] == before
    (data / "models" / "a" / "config.json").touch()
    after = [look("mine") for look in looks]
    assert not set(after) & set(before)
