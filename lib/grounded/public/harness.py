"""Further abilities of a real model, by EleutherAI's lm-evaluation-harness itself.

Any of its tasks can be named, MMLU among them, or task files of one's own. The harness is not among
this project's packages: with it come twenty more, and dateutil goes back to 2.9. Who names its
tasks installs it beside them, `pip install lm-eval==0.4.13`.
"""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

from grounded import paths
from grounded.errors import GroundedError
from grounded.public import memory
from grounded.study import Study
from grounded.study.models import PublicModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RELEASE = "0.4.13"  # of lm-eval; the rules of `scoring` and `likelihood` are those of the same
SEED = 0  # of the examples that a task shows before its question


class Row(NamedTuple):
    """A document of a task: the answer, and whether it is right by the task's own metrics.

    correct: by the first of them that is 0 or 1, and its first filter (`acc`, `strict-match`).
    correct_format_free: by `acc_norm` where the task has it, else by its last filter
    (`flexible-extract`).
    """

    task: str
    item: int
    answer: str
    correct: bool
    correct_format_free: bool


def installed() -> str:
    """The release that is here; GroundedError for none, or for another than `RELEASE`."""
    try:
        found = version("lm-eval")
    except PackageNotFoundError:
        found = "no such package"
    if found != RELEASE:
        raise GroundedError(f"lm-eval: found {found}, wanted pip install lm-eval=={RELEASE}")
    return found


class Harness:
    """The harness's tasks that a study names.

    They are asked as the task file says, in chat format where the study's own items are: without
    the words that a method puts before its prompts.
    """

    def __init__(self, study: Study) -> None:
        """GroundedError where the harness is not installed, or has no task of a name."""
        asked = study.harness
        assert asked is not None
        installed()
        self._asked, self._chat = asked, study.generation.chat
        self._batch = study.generation.batch_size
        own = str(paths.data(study.name) / asked.path) if asked.path else None
        try:
            self._tasks: Any = import_module("lm_eval.tasks").TaskManager(include_path=own)
        except ImportError as error:
            raise GroundedError(f"lm-eval: found {error}, wanted all that it needs") from None
        for name in asked.tasks:
            if name not in self._tasks.all_tasks:
                file = paths.shown(paths.study_file(study.name))
                raise GroundedError(
                    f"{file}: harness.tasks: found {name!r}, wanted a task of lm-eval {RELEASE}"
                    f"{f' or of {asked.path}' if own else ''}"
                )

    def measure(
        self, model: "PreTrainedModel", words: "PreTrainedTokenizerBase", about: PublicModel
    ) -> list[Row]:
        """A row for each document of each task, in the harness's order.

        about: the study's words on the model: what its chat template is told, and what ends its
        thoughts, which are not scored. GroundedError where a task's data cannot be had, or none of
        its metrics says whether a document is answered rightly.
        """
        wrapped = import_module("lm_eval.models.huggingface").HFLM(
            pretrained=model,
            tokenizer=words,
            batch_size=self._batch,
            chat_template_args=dict(about.template),
            think_end_token=about.thoughts[1],
        )
        return [row for name in self._asked.tasks for row in self._rows(name, wrapped)]

    def _rows(self, name: str, wrapped: Any) -> Iterator[Row]:
        readings: dict[tuple[str, int], list[dict[str, Any]]] = {}  # of a document, by filter
        for part, samples in self._samples(name, wrapped).items():  # a group is of several tasks
            for sample in samples:
                readings.setdefault((part, sample["doc_id"]), []).append(sample)
        for item, same in enumerate(readings.values()):
            yield Row(name, item, *_read(name, same))

    def _samples(self, name: str, wrapped: Any) -> dict[str, list[dict[str, Any]]]:
        from torch import OutOfMemoryError

        while True:
            try:
                with redirect_stdout(io.StringIO()):
                    found: dict[str, Any] = import_module("lm_eval").simple_evaluate(
                        model=wrapped,
                        tasks=[name],
                        task_manager=self._tasks,
                        num_fewshot=self._asked.shots,
                        limit=self._asked.limit,
                        apply_chat_template=self._chat,
                        log_samples=True,
                        bootstrap_iters=0,
                        random_seed=SEED,
                        numpy_random_seed=SEED,
                        torch_random_seed=SEED,
                        fewshot_random_seed=SEED,
                    )
                return dict(found["samples"])
            except OutOfMemoryError:
                if wrapped.batch_size_per_gpu == 1:
                    raise GroundedError(
                        f"harness.tasks: {name}: found no memory for one text alone, wanted a "
                        "larger device"
                    ) from None
            except Exception as error:  # of the network, of a data set, of a task file
                line = " ".join(str(error).split())[:200]
                raise GroundedError(
                    f"harness.tasks: {name}: found {type(error).__name__} ({line}), wanted a task "
                    "that lm-eval can measure here"
                ) from error
            wrapped.batch_size_per_gpu //= 2
            memory.free()  # only out here has the error let go of what the batch held


def _read(name: str, same: list[dict[str, Any]]) -> tuple[str, bool, bool]:
    """A document's answer, and whether it is right strictly, and format-free."""
    first, last = same[0], same[-1]
    strict, free = (
        [name for name in one["metrics"] if one[name] in (0, 1)]  # numpy's numbers, too
        for one in (first, last)
    )
    if not (strict and free):
        raise GroundedError(
            f"harness.tasks: {name}: found metrics {', '.join(first['metrics'])}, wanted one that "
            "is 0 or 1 of each document (as acc and exact_match are)"
        )
    right = first[strict[0]] == 1, last["acc_norm" if "acc_norm" in free else free[0]] == 1
    said = last["filtered_resps"]
    if isinstance(said[0], str):
        return said[0], *right
    likely = [one[0] for one in said]  # of each choice its log-likelihood, and whether it is greedy
    return str(likely.index(max(likely))), *right
