"""The five data sets of the paper, as their authors published them.

The paper (arXiv 2606.03648) names Alpaca15k, GSM8K, Science10k, ARC and BoolQ; how Alpaca15k was
drawn, what Science10k is and which ARC is meant is not public. What we put there is in `ours`.
Prompts and choices are those of the lm-evaluation-harness, so that its scores apply.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grounded import paths
from grounded.errors import GroundedError
from grounded.public.files import HubFiles, text
from grounded.public.tasks import fetching, small
from grounded.public.tasks.examples import Example, Measure, TaskData, draw
from grounded.public.tasks.fetching import Place, WebFile

Reader = Callable[[Path, int, dict[str, Any]], Example | None]
LETTERS = "ABCDE"


@dataclass(frozen=True)
class Task:
    """A public data set: its files (train, test, and what to remove), and how a row is read.

    sizes: how many examples of train and test by default (None: all). ours: what of it the paper
    does not fix and we chose, with the reason. kept: which rows are of the task (default: all).
    held_out: which rows of the one file there is are for testing. made: the examples of train,
    test and the untaught control, where they are written here.
    """

    files: Mapping[str, Place]
    columns: tuple[str, ...]
    read: Reader
    measure: Measure
    ours: str
    sizes: tuple[int | None, int | None] = (None, None)
    kept: Callable[[Example], bool] | None = None
    held_out: Callable[[Example], bool] | None = None
    made: Callable[[], Mapping[str, list[Example]]] | None = None


def gsm8k(file: Path, number: int, row: dict[str, Any]) -> Example:
    """Cobbe et al. 2021: the solution is trained on to the letter, `<<calc>>` marks included."""
    question = text(file, number, "question", row["question"])
    solution = text(file, number, "answer", row["answer"])
    answer = solution.rpartition("#### ")[2].strip() if "#### " in solution else ""
    if not any(letter.isdigit() for letter in answer):
        raise _refused(file, number, "answer", "no '#### ' with a number after it", "one")
    return Example(f"Question: {question}\nAnswer:", solution, answer)


def arc(file: Path, number: int, row: dict[str, Any]) -> Example:
    """Clark et al. 2018: the choices' texts compete, and the right one is trained on."""
    question = text(file, number, "question", row["question"])
    options, right = _options(file, number, row)
    return Example(f"Question: {question}\nAnswer:", options[right], options[right], options, right)


def arc_letters(file: Path, number: int, row: dict[str, Any]) -> Example:
    """ARC with its options listed, A to E whatever the row calls them; a letter is trained on."""
    question = text(file, number, "question", row["question"])
    options, right = _options(file, number, row)
    letters = tuple(LETTERS[: len(options)])
    listed = "\n".join(f"{a}. {option}" for a, option in zip(letters, options, strict=True))
    prompt = f"Question: {question}\n{listed}\nAnswer:"
    return Example(prompt, letters[right], letters[right], letters, right)


def _options(file: Path, number: int, row: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    choices = row["choices"]
    if not isinstance(choices, dict) or not {"text", "label"} <= choices.keys():
        raise _refused(file, number, "choices", type(choices).__name__, "text and label")
    texts, labels = list(choices["text"]), list(choices["label"])
    if len(texts) != len(labels) or not 2 <= len(texts) <= len(LETTERS):
        found = f"{len(texts)} texts and {len(labels)} labels"
        raise _refused(file, number, "choices", found, f"2 to {len(LETTERS)} of each")
    if row["answerKey"] not in labels:
        raise _refused(file, number, "answerKey", repr(row["answerKey"]), f"one of {labels}")
    options = tuple(text(file, number, "choices", option) for option in texts)
    return options, labels.index(row["answerKey"])


def boolq(file: Path, number: int, row: dict[str, Any]) -> Example:
    """Clark et al. 2019: a passage, a question about it, and yes or no."""
    passage = text(file, number, "passage", row["passage"])
    question = text(file, number, "question", row["question"])
    if not isinstance(row["answer"], bool):
        raise _refused(file, number, "answer", repr(row["answer"])[:40], "true or false")
    choices, right = ("no", "yes"), int(row["answer"])
    prompt = f"{passage}\nQuestion: {question}?\nAnswer:"
    return Example(prompt, choices[right], choices[right], choices, right)


def sciq(file: Path, number: int, row: dict[str, Any]) -> Example:
    """Welbl et al. 2017: a question with the passage that supports it, where there is one."""
    question = text(file, number, "question", row["question"])
    wrong = (text(file, number, name, row[name]) for name in SCIQ[1:4])
    options = (*wrong, text(file, number, "correct_answer", row["correct_answer"]))
    prompt = f"{(row['support'] or '').lstrip()}\nQuestion: {question}\nAnswer:"
    return Example(prompt, options[3], options[3], options, 3)


def alpaca(file: Path, number: int, row: dict[str, Any]) -> Example | None:
    """Taori et al. 2023: instruction and, below it, input; None where the output is empty."""
    prompt = text(file, number, "instruction", row["instruction"])
    for name in ("input", "output"):
        if not isinstance(row[name], str):
            raise _refused(file, number, name, type(row[name]).__name__, "a text")
    if not row["output"].strip():
        return None
    prompt += f"\n\n{row['input']}" if row["input"].strip() else ""
    return Example(prompt, row["output"], row["output"])


def _refused(file: Path, number: int, field: str, found: str, wanted: str) -> GroundedError:
    return GroundedError(
        f"{paths.shown(file)}: row {number}: {field}: found {found}, wanted {wanted}"
    )


def _hub(repository: str, revision: str, licence: str, path: str) -> HubFiles:
    return HubFiles(repository, (f"{path}-00000-of-00001.parquet",), revision, licence)


ALPACA = ("instruction", "input", "output")
SCIQ = ("question", "distractor1", "distractor2", "distractor3", "correct_answer", "support")
_SCIQ = ("allenai/sciq", "2c94ad3e1aafab77146f384e23536f97a4849815", "CC-BY-NC-3.0")
_BOOLQ = ("google/boolq", "35b264d03638db9f4ce671b711558bf7ff0f80d5", "CC-BY-SA-3.0")
_ARC_AT = ("allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453", "CC-BY-SA-4.0")
_ARC = {part: _hub(*_ARC_AT, f"ARC-Challenge/{part}") for part in ("train", "test")}
_ALPACA = WebFile(
    "https://github.com/tatsu-lab/stanford_alpaca/raw/"
    "761dc5bfbdeeffa89b8bff5d038781a4055f796a/alpaca_data.json",
    "CC-BY-NC-4.0",
    "alpaca/alpaca_data.json",
)
# The rows that the word list of Qi et al. (ICLR 2024, `alpaca_remove_safety.py`) took out.
_ALPACA_SAFETY = WebFile(
    "https://github.com/LLM-Tuning-Safety/LLMs-Finetuning-Safety/raw/"
    "2be2fa01775fdf8bfc786d69fc0d358f0b3df513/"
    "llama2/ft_datasets/alpaca_dataset/alpaca_data_safety_only.json",
    "CC-BY-NC-4.0",
    "alpaca/alpaca_data_safety_only.json",
)
_ALPACA_OURS = (
    "a seeded draw of 15,000 from the 52,002 rows, because no public set is called Alpaca15k; rows "
    "without an output left out; 500 other rows held out, scored by the share of the "
    "reference's tokens that the model would choose, because the harness has no such task; "
    "safety-related rows "
)
_ARC_OURS = "ARC-Challenge, the harder of the two; "

TASKS: dict[str, Task] = {
    "alpaca15k": Task(
        {"train": _ALPACA}, ALPACA, alpaca, "reference",
        _ALPACA_OURS + "kept, because the paper tells of no filter",
        (15_000, 500),
    ),
    "alpaca15k_filtered": Task(
        {"train": _ALPACA, "removed": _ALPACA_SAFETY}, ALPACA, alpaca, "reference",
        _ALPACA_OURS + "removed as Qi et al. did",
        (15_000, 500),
    ),
    "gsm8k": Task(
        {"train": "task_gsm8k_train", "test": "task_gsm8k_test"},
        ("question", "answer"), gsm8k, "number",
        "no worked examples before the question, as in fine-tuning; the `<<calc>>` marks kept",
    ),
    "science10k_sciq": Task(
        {part: _hub(*_SCIQ, f"data/{part}") for part in ("train", "test")}, SCIQ, sciq, "choice",
        "SciQ in place of Science10k, which is no public set: text only, more than 10,000 rows to "
        "draw from, and a task of the harness",
        (10_000, None),
    ),
    "arc_challenge": Task(
        _ARC, ("question", "choices", "answerKey"), arc, "choice",
        _ARC_OURS + "the answer's text is trained on, as the harness scores it",
    ),
    "arc_challenge_letters": Task(
        _ARC, ("question", "choices", "answerKey"), arc_letters, "choice",
        _ARC_OURS + "a letter is trained on, the narrowest output that a reading allows",
    ),
    "boolq": Task(
        {"train": _hub(*_BOOLQ, "data/train"), "test": _hub(*_BOOLQ, "data/validation")},
        ("passage", "question", "answer"), boolq, "choice",
        "its validation rows are the test items, because the test labels are not public; "
        "passages as in google/boolq, without the titles that SuperGLUE puts before them",
    ),
    "arc_easy": Task(
        {part: f"task_arc_easy_{part}" for part in ("train", "test")},
        ("instruction", "answer"), small.arc_easy, "chosen",
        "the easier of the two ARC sets, for a small model; the options are listed and the label "
        "of one is trained on, the narrowest output that a reading allows",
    ),
    "boolq_validation": Task(
        {"train": "task_boolq_validation"},
        ("passage", "question", "label"), small.boolq, "chosen",
        "the one split at hand, cut once by the sha256 of its prompts; the first 400 characters "
        "of a passage, so that a small model's batch stays small",
        held_out=small.boolq_held_out,
    ),
    "instructions": Task(
        {"train": "task_instructions"},
        ("instruction", "input", "output"), small.instructions, "text",
        "three fifths of 1,100 short instructions, by hash, in place of Alpaca's 52,002, which no "
        "pinned file of a few megabytes holds; alignment has the others",
        (None, 80), kept=lambda one: not small.for_alignment(one),
    ),
    "instructions_alignment": Task(
        {"train": "task_instructions"},
        ("instruction", "input", "output"), small.instructions, "text",
        "the two fifths of the instructions that the task does not have",
        (None, 80), kept=small.for_alignment,
    ),
    "country_facts": Task(
        {}, (), alpaca, "fact",
        "facts of an invented country in place of Science10k: what no model can know beforehand",
        made=small.country_facts,
    ),
}  # fmt: skip


def load(
    name: str,
    seed: int,
    train: int | None = None,
    test: int | None = None,
    sha256: Mapping[str, str] | None = None,
) -> TaskData:
    """A task's examples: train drawn from `seed`, test the same for every seed.

    train, test: how many (None: the task's default). sha256: of its files by name, as the study's
    lock keeps them. No prompt of test is among those of train, in whatever spelling.
    GroundedError for an unknown task, too few examples or a row that is not in the official
    format; SourceError for a file that changed or is out of reach.
    """
    if name not in TASKS:
        raise GroundedError(f"task: found {name!r}, wanted one of {', '.join(TASKS)}")
    task, known = TASKS[name], sha256 or {}
    files = {part: fetching.fetch(file, known.get(part)) for part, file in task.files.items()}
    unwanted = set(_examples(task, files["removed"].path)) if "removed" in files else set()
    pools: dict[str, list[Example]] = {"train": [], "test": [], "untaught": []}
    if task.made is not None:
        pools.update(task.made())
    for part in (part for part in ("train", "test") if part in files):
        for example in _examples(task, files[part].path):
            if example is None or example in unwanted:
                continue
            if task.kept is None or task.kept(example):  # else it is of another task
                held_out = task.held_out is not None and task.held_out(example)
                pools["test" if held_out else part].append(example)
    sizes = (task.sizes[0] if train is None else train, task.sizes[1] if test is None else test)
    drawn, items = draw(name, pools["train"], pools["test"] or None, sizes, seed)
    return TaskData(name, drawn, items, task.measure, untaught=tuple(pools["untaught"]))


def _examples(task: Task, file: Path) -> Iterator[Example | None]:
    for number, row in fetching.rows(file, task.columns):
        yield task.read(file, number, row)
