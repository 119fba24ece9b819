"""What may be done with each file, and with each public file that a study reads."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from grounded import sources
from grounded.public import benchmarks, judges
from grounded.public.files import HubFiles
from grounded.public.tasks.official import TASKS

ROOT = Path(__file__).resolve().parents[1]


def _read() -> Iterator[tuple[str, str]]:
    """Every public source that the code names, with its licence."""
    for source in sources.SOURCES.values():
        yield source.url, source.licence
    for benchmark in benchmarks.BENCHMARKS.values():
        if isinstance(benchmark.data, HubFiles):
            yield benchmark.data.repository, benchmark.data.licence
    for task in TASKS.values():
        for file in task.files.values():
            if isinstance(file, HubFiles):
                yield file.repository, file.licence
            elif not isinstance(file, str):
                yield file.url, file.licence
    for judge in judges.JUDGES.values():
        for files in filter(None, (judge.files, judge.adapter)):
            yield files.repository, files.licence
    for study in (ROOT / "data").glob("*/study.yaml"):
        asked = yaml.safe_load(study.read_text(encoding="utf-8"))
        for model in asked["models"].values():
            for place in filter(None, (model, model.get("pretrained"))):
                if "repository" in place:
                    yield place["repository"], model["licence"]


READ = sorted(set(_read()))


@pytest.mark.parametrize(("source", "licence"), READ)
def test_every_public_source_stands_with_its_licence(source: str, licence: str) -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert f"| {source} | {licence} |" in text.splitlines()


def test_every_prompt_text_that_a_study_fetches_stands_there_too() -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    fetched = {
        str(judge["template"])
        for study in (ROOT / "data").glob("*/study.yaml")
        for judge in yaml.safe_load(study.read_text(encoding="utf-8"))["judges"].values()
        if "://" in str(judge.get("template", ""))
    }
    assert fetched and not [one for one in fetched if f"| {one} |" not in text]


def test_every_licence_that_files_bear_is_there_in_full() -> None:
    rules = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]
    used = {rule["SPDX-License-Identifier"] for rule in rules}
    assert used == {file.stem for file in (ROOT / "LICENSES").iterdir()}
    assert (ROOT / "LICENSE").read_text() == (ROOT / "LICENSES" / "Apache-2.0.txt").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert set(citation["license"]) == used
