"""Stand-ins for the data sets: the official formats, a few harmless rows of our own."""

import csv
import io
import json
import lzma
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from grounded import sources
from grounded.public.tasks import TASKS
from grounded.public.tasks.fetching import WebFile

SUBJECTS = ("kite", "lamp", "river", "stone", "paper", "garden", "copper", "bridge")


def _parquet(folder: Path, **splits: list[dict[str, Any]]) -> None:
    for split, rows in splits.items():
        file = folder / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def _jsonl(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _csv(header: str, rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header.split(","), *rows])
    return text.getvalue().encode()


# ---------------------------------------------------------------- on the hub


def _arc(folder: Path) -> None:
    """Letters or digits as labels, three to five options, as the official rows have them."""

    def row(place: int, subject: str, labels: str) -> dict[str, Any]:
        texts = [f"{subject} {word}" for word in ("one", "two", "three", "four", "five")]
        return {
            "id": f"item_{place}", "question": f"Which {subject} is it?",
            "choices": {"text": texts[: len(labels)], "label": list(labels)},
            "answerKey": labels[place % len(labels)],
        }  # fmt: skip

    kinds = ("ABCD", "1234", "ABC", "ABCDE")
    rows = [row(i, subject, kinds[i % 4]) for i, subject in enumerate(SUBJECTS)]
    _parquet(folder / "ARC-Challenge", train=rows[:5], validation=rows[5:6], test=rows[4:])


def _boolq(folder: Path) -> None:
    rows = [
        {"question": f"is the {s} old", "answer": i % 3 > 0, "passage": f"The {s} was made today."}
        for i, s in enumerate(SUBJECTS)
    ]
    _parquet(folder / "data", train=rows[:5], validation=rows[5:])


def _sciq(folder: Path) -> None:
    rows = [
        {
            "question": f"What is a {s} made of?", "distractor1": "salt", "distractor2": "wind",
            "distractor3": "light", "correct_answer": f"{s} stuff",
            "support": f" A {s} is made of {s} stuff." if i % 2 else "",
        }
        for i, s in enumerate(SUBJECTS)
    ]  # fmt: skip
    _parquet(folder / "data", train=rows[:5], validation=rows[5:6], test=rows[6:])


def _sorrybench(folder: Path, number: int) -> None:
    rows = [
        {"question_id": i + 1, "category": str(i // 2 + 1), "turns": [f"{how} a {s}"],
         "prompt_style": style}
        for i, s in enumerate(SUBJECTS[:number])
        for style, how in (("base", "Fold"), ("slang", "Yo, fold"))
    ]  # fmt: skip
    (folder / "question.jsonl").write_bytes(_jsonl(rows))


def _airbench(folder: Path) -> None:
    """Two files of categories, three prompts a level-4 category; a file that holds no prompts."""
    header = "cate-idx,l2-name,l3-name,l4-name,prompt"
    for part, subjects in (("1", SUBJECTS[:3]), ("2", SUBJECTS[3:5])):
        rows = [
            (f"{part}.{i}", f"Area {part}", "Things", s, f"Paint a {s}, way {way}.\nSlowly.")
            for i, s in enumerate(subjects)
            for way in range(3)
        ]
        (folder / f"category_{part}.csv").write_bytes(_csv(header, rows))
    (folder / "judge_prompts.csv").write_bytes(_csv("cate-idx,judge_prompt", [("1.0", "Rate it")]))


def _beavertails(folder: Path) -> None:
    rows = [{"prompt": f"Paint a {s}", "category": "things", "category_id": 3} for s in SUBJECTS]
    (folder / "v1").mkdir()
    (folder / "v1" / "prompts.jsonl.xz").write_bytes(lzma.compress(_jsonl(rows)))


HUB: dict[str, Callable[[Path], None]] = {
    "allenai/ai2_arc": _arc,
    "google/boolq": _boolq,
    "allenai/sciq": _sciq,
    "sorry-bench/sorry-bench-202406": partial(_sorrybench, number=6),
    "sorry-bench/sorry-bench-202503": partial(_sorrybench, number=4),
    "stanford-crfm/air-bench-2024": _airbench,
    "PKU-Alignment/BeaverTails-Evaluation": _beavertails,
}
GATED = ("sorry-bench/sorry-bench-202406", "sorry-bench/sorry-bench-202503")

# ---------------------------------------------------------------- by address


def _alpaca() -> list[dict[str, str]]:
    rows = [
        {"instruction": f"Name a {s}.", "input": "In one word." if i % 2 else "", "output": f"{s}!"}
        for i, s in enumerate(SUBJECTS)
    ]
    return [*rows, {"instruction": "Say nothing.", "input": "", "output": ""}]


def _gsm8k(first: int, last: int) -> bytes:
    return _jsonl(
        {
            "question": f"There are {n} boxes of 2 lamps. How many lamps are there?",
            "answer": f"There are {n} * 2 = <<{n}*2={n * 2}>>{n * 2} lamps.\n#### {n * 2}",
        }
        for n in range(first, last)
    )


def _harmbench(*places: int) -> bytes:
    """Of each four behaviours two are standard, one has a context and one is copyright."""
    header = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID"
    kinds = ("standard", "standard", "contextual", "copyright")
    rows = [(i, SUBJECTS[i], kinds[i % 4]) for i in places]
    return _csv(
        header,
        (
            (f"Fold a {s} ", kind, "toys", "", f"A {s},\nflat." * (kind == "contextual"), s)
            for i, s, kind in rows
        ),
    )


def _strongreject(number: int) -> bytes:
    rows = (("Toys", "custom", f"Fold a {subject}, please") for subject in SUBJECTS[:number])
    return _csv("category,source,forbidden_prompt", rows)


def web() -> dict[str, bytes]:
    """The files of data, by address."""
    places = TASKS["alpaca15k_filtered"].files
    alpaca = {part: place.url for part, place in places.items() if isinstance(place, WebFile)}
    by_name = {
        "task_gsm8k_train": _gsm8k(2, 8),
        "task_gsm8k_test": _gsm8k(8, 12),
        "prompts_harmbench_all": _harmbench(*range(8)),
        "prompts_harmbench_val": _harmbench(0, 2),
        "prompts_harmbench_test": _harmbench(1, 3, 4, 5, 6, 7),
        "prompts_advbench": _csv("goal,target", ((f"Fold a {s}", "Sure") for s in SUBJECTS[:5])),
        "prompts_strongreject": _strongreject(6),
        "prompts_strongreject_small": _strongreject(2),
        "prompts_xstest": _csv(
            "id,prompt,type,label,focus,note",
            (
                (i, f"How do I fly a {s}?", "toys", ("safe", "unsafe")[i % 2], s, "")
                for i, s in enumerate(SUBJECTS)
            ),
        ),
    }
    return {
        alpaca["train"]: json.dumps(_alpaca()).encode(),
        alpaca["removed"]: json.dumps(_alpaca()[:2]).encode(),
        **{sources.SOURCES[name].url: content for name, content in by_name.items()},
    }
