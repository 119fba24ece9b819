"""The safety benchmarks of the field, as their authors published them, and a user's own.

A prompt is kept as its authors' code reads it, trailing spaces included. None of this text is in
the repository: it comes through `sources` (pinned URL and sha256) or from the hub (pinned
revision).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from grounded import fingerprint, paths, sources
from grounded.errors import GroundedError
from grounded.public.files import HubFiles, csv_rows, hub_files, jsonl_rows, text

# Between the context of a contextual HarmBench behaviour and the behaviour: the form of HELM's
# `harm_bench_scenario.py`.
CONTEXT_SEPARATOR = "\n\n---\n\n"


@dataclass(frozen=True)
class Prompt:
    """One safety prompt. `id` is its place in the benchmark's file(s), from 0; a subset keeps it.

    category: the kind of harm, in the benchmark's own words. harmful: False for a prompt that
    only looks it. key: the benchmark's own name of the prompt. context: what stands before the
    separator in the text of a contextual behaviour; a user's own rule (`---`) is text.
    """

    id: int
    text: str
    category: str
    harmful: bool
    key: str
    context: str = ""


Rows = Iterator[tuple[Path, int, dict[str, Any]]]


def _table(files: Sequence[Path], columns: Sequence[str]) -> Rows:
    """The rows of CSV files, one file after the other, with where they stand."""
    for file in files:
        for row, values in csv_rows(file, columns):
            yield file, row, values


def _harmbench(files: Sequence[Path], functional: str | None = None) -> Iterator[Prompt]:
    """Mazeika et al. 2024, text behaviours; `functional` keeps one functional category."""
    columns = ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID")
    for place, (file, row, values) in enumerate(_table(files, columns)):
        asked = text(file, row, "Behavior", values["Behavior"])
        # as HarmBench's own code reads it: two contexts of the full file have Windows line ends,
        # which those of its parts val and test have not
        asked, context = (one.replace("\r\n", "\n") for one in (asked, values["ContextString"]))
        if context:
            asked = context + CONTEXT_SEPARATOR + asked
        if functional in (None, values["FunctionalCategory"]):
            kind, name = values["SemanticCategory"], values["BehaviorID"]
            yield Prompt(place, asked, kind, True, name, context)


def _strongreject(files: Sequence[Path]) -> Iterator[Prompt]:
    """Souly et al. 2024: 313 forbidden prompts, or the 60 of the small set."""
    columns = ("category", "source", "forbidden_prompt")
    for place, (file, row, values) in enumerate(_table(files, columns)):
        asked = text(file, row, "forbidden_prompt", values["forbidden_prompt"])
        yield Prompt(place, asked, values["category"], True, str(place))


def _advbench(files: Sequence[Path]) -> Iterator[Prompt]:
    """Zou et al. 2023: the goals of harmful_behaviors.csv, which has no categories."""
    for place, (file, row, values) in enumerate(_table(files, ("goal", "target"))):
        yield Prompt(place, text(file, row, "goal", values["goal"]), "", True, str(place))


ALIGNED = 420  # of AdvBench's goals, by hash, that alignment may see; the rest may be asked


def advbench_goals(file: Path) -> tuple[list[tuple[str, str]], list[Prompt]]:
    """AdvBench in two parts: (goal, target) that alignment may see, and the prompts left to ask.

    Goals come in the order of their sha256, and one that says the same as an earlier one, case
    and punctuation aside, is left out. So no prompt that is asked was seen in other spelling.
    """
    goals: dict[str, tuple[str, str]] = {}
    prompts: dict[str, Prompt] = {}
    for prompt, (_, row, values) in zip(
        _advbench([file]), _table([file], ("goal", "target")), strict=True
    ):
        same = " ".join(re.findall(r"\w+", prompt.text.casefold()))
        goals.setdefault(same, (prompt.text, text(file, row, "target", values["target"])))
        prompts.setdefault(same, prompt)
    order = sorted(goals, key=lambda same: fingerprint.text(same))
    left = sorted((prompts[same] for same in order[ALIGNED:]), key=lambda prompt: prompt.id)
    return [goals[same] for same in order[:ALIGNED]], left


def _advbench_unseen(files: Sequence[Path]) -> Iterator[Prompt]:
    """The goals of AdvBench that alignment may not see."""
    yield from advbench_goals(files[0])[1]


def _xstest(files: Sequence[Path], label: str | None = None) -> Iterator[Prompt]:
    """Roettger et al. 2024, v2: 250 safe prompts and 200 unsafe contrasts, by type.

    `label` keeps the safe or the unsafe ones.
    """
    for place, (file, row, values) in enumerate(_table(files, ("id", "prompt", "type", "label"))):
        if values["label"] not in ("safe", "unsafe"):
            raise GroundedError(
                f"{paths.shown(file)}: row {row}: column 'label': found {values['label']!r}, "
                "wanted safe or unsafe"
            )
        asked = text(file, row, "prompt", values["prompt"])
        if label in (None, values["label"]):
            yield Prompt(place, asked, values["type"], values["label"] == "unsafe", values["id"])


def _sorrybench(files: Sequence[Path]) -> Iterator[Prompt]:
    """Xie et al. 2024: the base style only; the mutations ask the same questions again."""
    columns = ("question_id", "category", "turns", "prompt_style")
    place = 0
    for file in files:
        for row, values in jsonl_rows(file, columns):
            if values["prompt_style"] == "base":
                turns = values["turns"]
                first = turns[0] if isinstance(turns, list) and turns else turns
                asked = text(file, row, "turns", first)
                yield Prompt(
                    place, asked, str(values["category"]), True, str(values["question_id"])
                )
                place += 1


def _airbench(files: Sequence[Path]) -> Iterator[Prompt]:
    """Zeng et al. 2024: of each level-4 category the prompt whose sha256 comes first.

    So the choice (ours) hangs neither on the order of the rows nor on the other categories.
    The category is that of level 2, of which there are 16.
    """
    columns = ("cate-idx", "l2-name", "l3-name", "l4-name", "prompt")
    chosen: dict[tuple[str, ...], tuple[str, Prompt]] = {}
    for place, (file, row, values) in enumerate(_table(files, columns)):
        asked = text(file, row, "prompt", values["prompt"])
        prompt = Prompt(place, asked, values["l2-name"], True, values["cate-idx"])
        rank = fingerprint.text(asked)
        level_4 = tuple(values[f"l{level}-name"] for level in (2, 3, 4))
        if level_4 not in chosen or rank < chosen[level_4][0]:
            chosen[level_4] = rank, prompt
    yield from sorted((prompt for _, prompt in chosen.values()), key=lambda prompt: prompt.id)


def _beavertails(files: Sequence[Path]) -> Iterator[Prompt]:
    """Ji et al. 2023, BeaverTails-Evaluation: 14 categories of 50."""
    rows = ((file, *row) for file in files for row in jsonl_rows(file, ("prompt", "category")))
    for place, (file, row, values) in enumerate(rows):
        asked = text(file, row, "prompt", values["prompt"])
        yield Prompt(place, asked, str(values["category"]), True, str(place))


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark lies (the name of a source, or files on the hub) and how it is read."""

    data: str | HubFiles
    read: Callable[[Sequence[Path]], Iterator[Prompt]]


_SORRY = "own agreement, no redistribution"
BENCHMARKS: dict[str, Benchmark] = {
    "harmbench": Benchmark("prompts_harmbench_all", _harmbench),
    **{
        f"harmbench_{functional}": Benchmark(
            "prompts_harmbench_all", partial(_harmbench, functional=functional)
        )
        for functional in ("standard", "contextual", "copyright")
    },
    "harmbench_test": Benchmark("prompts_harmbench_test", _harmbench),
    "harmbench_val": Benchmark("prompts_harmbench_val", _harmbench),
    "strongreject": Benchmark("prompts_strongreject", _strongreject),
    "strongreject_small": Benchmark("prompts_strongreject_small", _strongreject),
    "advbench": Benchmark("prompts_advbench", _advbench),
    "advbench_unseen": Benchmark("prompts_advbench", _advbench_unseen),
    "xstest": Benchmark("prompts_xstest", _xstest),
    **{
        f"xstest_{label}": Benchmark("prompts_xstest", partial(_xstest, label=label))
        for label in ("safe", "unsafe")
    },
    "sorrybench_202406": Benchmark(
        HubFiles("sorry-bench/sorry-bench-202406", ("question.jsonl",), None, _SORRY),
        _sorrybench,
    ),
    "sorrybench_202503": Benchmark(
        HubFiles(
            "sorry-bench/sorry-bench-202503",
            ("question.jsonl",),
            "612a4e1f45db8adf884fa62318ddf9fa1c6e75e9",
            _SORRY,
        ),
        _sorrybench,
    ),
    "airbench": Benchmark(
        HubFiles(
            "stanford-crfm/air-bench-2024",
            ("category_*.csv",),
            "976d9fbb0f52bce704dcbef5bd7a2652e65f2a21",
            "CC-BY-4.0",
        ),
        _airbench,
    ),
    "beavertails_evaluation": Benchmark(
        HubFiles("PKU-Alignment/BeaverTails-Evaluation", ("v1/*.jsonl.xz",), None, "CC-BY-NC-4.0"),
        _beavertails,
    ),
}


def load(name: str, revision: str | None = None) -> tuple[Prompt, ...]:
    """The prompts of a benchmark, in the order of its file(s).

    revision: of a benchmark on the hub, 40 hex digits, in place of the one pinned here.
    GroundedError for an unknown name or a file that is not in its format; SourceError and
    SourceAbsent as `sources.fetch` and `files.hub_files`.
    """
    if name not in BENCHMARKS:
        raise GroundedError(f"benchmark: found {name!r}, wanted one of {', '.join(BENCHMARKS)}")
    data, read = BENCHMARKS[name].data, BENCHMARKS[name].read
    files = [sources.fetch(data)] if isinstance(data, str) else hub_files(data, revision)
    return _whole(name, tuple(read(files)))


def from_csv(file: Path, prompt: str, category: str | None = None) -> tuple[Prompt, ...]:
    """A user's own benchmark: the columns of a CSV file that hold prompts and categories.

    Every prompt counts as harmful. GroundedError, which names file, row and column, for a missing
    column, another encoding than UTF-8, an empty prompt, and a file without rows.
    """
    prompts = []
    columns = [column for column in (prompt, category) if column is not None]
    for place, (row, values) in enumerate(csv_rows(file, columns)):
        kind = values[category] if category else ""
        asked = text(file, row, prompt, values[prompt])
        prompts.append(Prompt(place, asked, kind, True, str(place)))
    return _whole(paths.shown(file), tuple(prompts))


def _whole(name: str, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    if not prompts:
        raise GroundedError(f"{name}: found no prompts, wanted at least one")
    return prompts
