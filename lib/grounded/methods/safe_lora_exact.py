"""Safe LoRA with a true projector: B becomes U U' B where the update strays from alignment.

U holds the left singular vectors of V = W_aligned - W_base that carry 90% of |V|^2 (ours: the exact
V (V'V)^+ V' of a change of full rank is the identity and would do nothing). Modules are chosen by
tau as in `safe_lora`, on the cosine of U U' B A with B A. Cost: one thin SVD a module.
"""

from pathlib import Path

import pandas as pd
import torch

from grounded.finetune import Start
from grounded.methods import plain
from grounded.methods.parts import knob
from grounded.methods.parts.alignment import Alignment, projected, subspace
from grounded.methods.parts.factors import Adapter, Factors
from grounded.methods.safe_lora import chosen

KNOB = "tau: modules whose cosine is at most this are projected (-1..1)"
NEEDS: tuple[str, ...] = ()
SHARE = 0.9  # of |V|^2, that the subspace holds


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Plain LoRA's checkpoints, projected; errors as `grounded.finetune.train`."""
    tau, spaces = knob.number(start, -1, 1), Subspaces(start)

    def change(adapter: Adapter) -> Adapter:
        moved = spaces.project(adapter)
        return {**adapter, **{name: moved[name] for name in chosen(adapter, moved, tau)}}

    return plain.changed(start, folder, change)


class Subspaces:
    """The directions of each module's alignment, found once and kept (d_out x r)."""

    def __init__(self, start: Start) -> None:
        self._alignment = Alignment(start.load()[0], start.pretrained())
        self._kept: dict[str, torch.Tensor] = {}

    def of(self, name: str) -> torch.Tensor:
        """U of a module."""
        if name not in self._kept:
            self._kept[name] = subspace(self._alignment.change(name), SHARE).cpu()
        return self._kept[name]

    def project(self, adapter: Adapter) -> Adapter:
        """Each module's factors with U U' B in the place of B."""
        return {
            name: Factors(one.a, projected(self.of(name), one.b)) for name, one in adapter.items()
        }
