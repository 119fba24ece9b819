"""The two worlds, and the doors at which the stages knock: which module does what, and its shape.

A world is a package with a module a stage. Stages import it by name as they run, so that a run's
fingerprint holds the code of its own world alone; that both worlds have these doors is checked by
the types at the end.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from grounded.study import Run, Study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    import grounded.microworld.finetuning
    import grounded.microworld.judging
    import grounded.microworld.replying
    import grounded.public.finetuning
    import grounded.public.judging
    import grounded.public.replying
    from grounded.judges import Judge

MICROWORLD = "microworld"
WORK = {"finetune": "finetuning", "generate": "replying", "judge": "judging"}


class Finetuning(Protocol):
    """What runs are trained from."""

    def start(self, study: Study, run: Run) -> Any:
        """All that a method may ask for: a `grounded.finetune.Start`, or what was given."""


class Asker(Protocol):
    """Asks the checkpoints of one base model."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is the same for all replies, for the record."""

    def ask(self, run: Run, step: int, adapter: Path | None) -> "dict[str, pd.DataFrame]":
        """The rows of `replies` and `capability` of a checkpoint; without adapter, the base."""


class OnTheWay(Asker, Protocol):
    """An asker whose models are so small that they are asked between the epochs, too."""

    def answers(self, run: Run, step: int, adapter: Path | None, each: int = 1) -> "pd.DataFrame":
        """The rows of `capability` of a checkpoint; each: 2 for the selecting items alone."""


class Replying(Protocol):
    """What checkpoints reply and answer."""

    def Asker(self, study: Study, model: str) -> Asker:  # noqa: N802
        """An asker of a base model."""


class Judging(Protocol):
    """By what replies are judged, and how surprising they are."""

    def prompts(self, study: Study) -> dict[tuple[str, int], str]:
        """The text of each prompt, by benchmark and number."""

    def judge(self, study: Study, name: str) -> "Judge":
        """A judge, ready to judge."""

    def facts(self, study: Study, name: str) -> dict[str, Any]:
        """What a judge is, for the record."""

    def settled(
        self, study: Study, run: Run, frames: "dict[str, pd.DataFrame]"
    ) -> "dict[str, pd.DataFrame]":
        """The rows of a run by the world's own rule of coherence."""

    def Surprise(  # noqa: N802
        self, study: Study, model: str
    ) -> "Callable[[Sequence[str]], NDArray[np.float64]]":
        """Scores texts: the mean negative log-likelihood of their tokens, in nats."""


def module(study: Study, stage: str) -> str:
    """The name of the module of the study's world that does the work of a stage."""
    return f"grounded.{study.world}.{WORK[stage]}"


def finetuning(study: Study) -> Finetuning:
    """Where the study's runs are trained from."""
    return cast(Finetuning, import_module(module(study, "finetune")))


def replying(study: Study) -> Replying:
    """Where the study's checkpoints are asked."""
    return cast(Replying, import_module(module(study, "generate")))


def judging(study: Study) -> Judging:
    """Where the study's replies are judged."""
    return cast(Judging, import_module(module(study, "judge")))


if TYPE_CHECKING:  # both worlds have these doors
    _TRAINING: tuple[Finetuning, ...] = (grounded.microworld.finetuning, grounded.public.finetuning)
    _ASKING: tuple[Replying, ...] = (grounded.microworld.replying, grounded.public.replying)
    _JUDGING: tuple[Judging, ...] = (grounded.microworld.judging, grounded.public.judging)
