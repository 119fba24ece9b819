"""Control of Safe LoRA: the same modules made smaller by the same ratio, in no new direction.

At the same knob, a module that `safe_lora` would turn into C B A is multiplied by
|C B A| / |B A| instead: what remains of Safe LoRA's effect here is plain shrinkage. Ours.
"""

import math
from pathlib import Path

import pandas as pd

from grounded.finetune import Start
from grounded.methods import plain
from grounded.methods.parts import knob
from grounded.methods.parts.alignment import Alignment
from grounded.methods.parts.factors import Adapter, Factors, inner
from grounded.methods.safe_lora import chosen, rescaled

KNOB = "tau of safe_lora, whose modules and norms are taken"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Plain LoRA's checkpoints, shrunk; errors as `grounded.finetune.train`."""
    tau, alignment = knob.number(start, -1, 1), Alignment(start.load()[0], start.pretrained())

    def change(adapter: Adapter) -> Adapter:
        moved = rescaled(adapter, alignment)
        return {**adapter, **shrunk(adapter, moved, chosen(adapter, moved, tau))}

    return plain.changed(start, folder, change)


def shrunk(adapter: Adapter, moved: Adapter, names: list[str]) -> Adapter:
    """These modules with their own directions and the norms of `moved`."""
    found = {}
    for name in names:
        one, size = adapter[name], inner(adapter[name], adapter[name])
        ratio = math.sqrt(inner(moved[name], moved[name]) / size) if size > 0 else 0.0
        found[name] = Factors(one.a, one.b * ratio)
    return found
