"""Lisa (git-disl/Lisa): alignment and task steps in turn, each held to where the other ended.

K_a steps on refusals, then K_f on the task, and so on; in each state (rho / 2) |w - w_other|^2 is
added for every trained tensor, w_other its value when the other state was left last; not in the
first 10% of all steps. Published: rho 1, K_a 100, K_f 900, 20 epochs, learning rate 1e-5, batch 5.
Ours: K_a 1, K_f 9, the same ratio for runs of a hundred steps. A step of alignment takes the place
of one of the task: by the same step a tenth less of the task has been seen. Control: `alternation`.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Loss, Start, train
from grounded.methods.parts import knob
from grounded.methods.parts.batches import accumulated, mixed

KNOB = "rho: weight of the proximal term (published 1)"
NEEDS: tuple[str, ...] = ("refusals",)
ALIGNMENT_STEPS, TASK_STEPS = 1, 9
FREE = 0.1  # the share of all steps that has no proximal term


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train in turns; errors as `grounded.finetune.train`."""
    return in_turns(start, folder, knob.number(start))


def in_turns(start: Start, folder: Path, rho: float) -> pd.DataFrame:
    """Train in turns with a proximal term of that weight."""
    loaded = start.load()
    refusals = mixed(start, loaded[1], "refusals")
    steps = round(start.training.epochs * start.steps_per_epoch)
    loss = turns(refusals, rho, FREE * steps, accumulated(start))
    return train(start, folder, loaded=loaded, loss=loss)


def turns(
    refusals: Callable[[torch.nn.Module], torch.Tensor], rho: float, free: float, parts: int = 1
) -> Loss:
    """The loss of each step: of refusals in the first K_a of every K_a + K_f, else of the task.

    free: the steps before the first with a proximal term. parts: how many losses make a step.
    """
    left: dict[bool, list[torch.Tensor]] = {}  # was it alignment -> the weights when it ended
    aligning: bool | None = None

    def loss(task: Callable[[], torch.Tensor], model: torch.nn.Module, step: int) -> torch.Tensor:
        nonlocal aligning
        now = step % (ALIGNMENT_STEPS + TASK_STEPS) < ALIGNMENT_STEPS
        weights = [w for w in model.parameters() if w.requires_grad]
        if aligning is not None and now != aligning:
            left[aligning] = [w.detach().clone() for w in weights]
        aligning = now
        found = refusals(model) / parts if now else task()
        if rho and step >= free and (not now) in left:
            found = found + proximal(weights, left[not now], rho) / parts
        return found

    return loss


def proximal(weights: list[torch.Tensor], other: list[torch.Tensor], rho: float) -> torch.Tensor:
    """(rho / 2) |w - w_other|^2 over all tensors."""
    squares = [(w - o).square().sum() for w, o in zip(weights, other, strict=True)]
    return rho / 2 * torch.stack(squares).sum()
