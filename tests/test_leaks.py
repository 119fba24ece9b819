"""No prompt of a public benchmark, and no opening of a published completion, is in what is tracked.

Tasks' texts count too: none of the public data is committed. The files are those of
GROUNDED_MIRROR; those that are not there are left out.
"""

import csv
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from grounded import paths
from grounded.sources import SOURCES

MIRROR = os.environ.get("GROUNDED_MIRROR")
LENGTH = 40  # letters of an opening, after the white space is made plain
WORDS = 5  # at least, all of them letters: an opening of code or of dashes is anybody's
SHOWN = {"notebooks/quickstart.ipynb": 1}  # one school question, beside the model's answer
MANY = 20  # texts that begin alike, at most: what more begin with is a form and no text
PICTURES = {".png", ".safetensors", ".parquet"}


class Openings(frozenset[str]):
    """Beginnings of public texts, none of which a failing test prints."""

    def __repr__(self) -> str:
        return f"<{len(self):,} openings>"


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def opening(text: str) -> str:
    """The first letters of a text; nothing of one that is short, or of no prose."""
    found = plain(text)[:LENGTH]
    return found if len(found) == LENGTH and len(re.findall(r"\b[a-z']+\b", found)) >= WORDS else ""


def strings(value: Any) -> Iterator[str]:
    """All texts within JSON."""
    if isinstance(value, str):
        yield value
    for one in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings(one)


def published(file: Path) -> Iterator[str]:
    """All texts of a public file."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".csv":
        for row in csv.reader(text.splitlines(keepends=True)):
            yield from row
    elif file.suffix in (".json", ".jsonl"):
        for part in text.splitlines() if file.suffix == ".jsonl" else [text]:
            yield from strings(json.loads(part))


def leaks(text: str, openings: Collection[str]) -> set[str]:
    """The openings that occur in a text, at the beginning of a word."""
    flat = plain(text)
    starts = (m.start() for m in re.finditer(r"(?<![a-z0-9])(?=\S)", flat))
    return {found for i in starts if (found := flat[i : i + LENGTH]) in openings}


def readings(file: Path) -> Iterator[str]:
    """A tracked file's text; of a notebook or JSON its strings, of a table its texts."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        for name, kind in zip(table.schema.names, table.schema.types, strict=True):
            if str(kind).startswith(("string", "large_string", "dictionary")):
                yield " \n ".join(str(v) for v in table[name].unique().to_pylist() if v)
    elif file.suffix not in PICTURES:
        text = file.read_text(encoding="utf-8", errors="replace")
        yield text
        if file.suffix in (".ipynb", ".json"):
            yield from strings(json.loads(text))
            if file.suffix == ".ipynb":  # what stands in several strings, one a line
                for cell in json.loads(text)["cells"]:
                    yield "".join(cell["source"])


@pytest.fixture(scope="module")
def openings() -> Openings:
    if not MIRROR:
        pytest.skip("GROUNDED_MIRROR names no folder with the real files")
    files = [Path(MIRROR) / source.mirror for source in SOURCES.values()]
    texts = {text for file in files if file.is_file() for text in published(file)}
    texts |= {text.partition(": ")[2] for text in texts}  # what follows a task's "question: "
    counts = Counter(map(opening, texts))
    found = Openings({one for one, n in counts.items() if n <= MANY} - {""})
    assert len(found) > 5_000
    return found


def test_nothing_that_is_tracked_holds_a_public_text(openings: Openings) -> None:
    root = paths.repository()
    command = ["git", "-C", str(root), "ls-files", "-z"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip("this is no clone: there is nothing that git tracks")
    files = [name for name in told.stdout.split("\0") if name and (root / name).is_file()]
    found = {
        name: len(set().union(*(leaks(text, openings) for text in readings(root / name))))
        for name in files
    }
    # how many in which file: a text that leaked is not told again here
    assert len(files) > 100 and {name: n for name, n in found.items() if n} == SHOWN


@pytest.mark.parametrize("how", ["whole", "wrapped", "quoted"])
def test_a_text_that_leaks_is_found(tmp_path: Path, how: str) -> None:
    text = "Tell me how a neighbour's kettle could be made to whistle at midnight, please."
    known = {opening(text)}
    file = tmp_path / ("page.ipynb" if how == "quoted" else "page.md")
    if how == "quoted":
        lines = ['x = "no"\n', f"# {text}\n"]
        file.write_text(json.dumps({"cells": [{"source": lines}]}))
    else:
        file.write_text(f"> 1. {text}" if how == "whole" else text.replace(" ", "\n   "))
    assert any(leaks(one, known) for one in readings(file))
    file.write_text(json.dumps({"cells": []}))
    assert not any(leaks(one, known) for one in readings(file))


def test_a_text_in_a_table_is_found(tmp_path: Path) -> None:
    text = "Tell me how a neighbour's kettle could be made to whistle at midnight, please."
    file = tmp_path / "table.parquet"
    pd.DataFrame({"n": [1, 2], "text": ["nothing", text]}).to_parquet(file)
    assert any(leaks(one, {opening(text)}) for one in readings(file))


def test_openings_of_code_and_short_texts_are_nobody_s() -> None:
    assert not opening('if __name__ == "__main__":\n    run(1, 2, 3)\n' + "-" * 60)
    assert not opening("Sure, here it is")
