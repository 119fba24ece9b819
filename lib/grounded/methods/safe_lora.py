"""Safe LoRA as published (Hsu et al., NeurIPS 2024): after training, B becomes C B where it strays.

Per module, with V = W_aligned - W_base and C = V V' / |V|: the cosine of C B A with B A tells how
much of the update lies where alignment went; where it is at most tau, B is replaced by C B.
Published: tau 0.5, or the N modules of the lowest cosine (`number`, default 10), cosines rounded to
5 decimals (so that ties may select more than N). C is no projector and rescales B: the controls are
`shrink`, `safe_lora_exact` and `random_subspace`.
Departures: modules are paired by name; biases are left alone; C is never formed; all adapted
modules take part, not query and value alone.
"""

import math
from pathlib import Path

import pandas as pd

from grounded.errors import GroundedError
from grounded.finetune import Start
from grounded.methods import plain
from grounded.methods.parts import knob
from grounded.methods.parts.alignment import Alignment, scaled
from grounded.methods.parts.factors import Adapter, Factors, inner

KNOB = "tau: modules whose cosine is at most this are projected (-1..1, published 0.5)"
NEEDS: tuple[str, ...] = ()
DECIMALS = 5  # of a cosine, as the official code rounds it


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Plain LoRA's checkpoints, projected; errors as `grounded.finetune.train`."""
    tau, alignment = knob.number(start, -1, 1), Alignment(start.load()[0], start.pretrained())

    def change(adapter: Adapter) -> Adapter:
        moved = rescaled(adapter, alignment)
        return {**adapter, **{name: moved[name] for name in chosen(adapter, moved, tau)}}

    return plain.changed(start, folder, change)


def rescaled(adapter: Adapter, alignment: Alignment) -> Adapter:
    """Each module's factors with C B in the place of B."""
    return {
        name: Factors(one.a, scaled(alignment.change(name).to(one.b.device), one.b))
        for name, one in adapter.items()
    }


def cosines(adapter: Adapter, moved: Adapter) -> dict[str, float]:
    """The cosine (-1..1, rounded) of each module's update with what became of it; 0 of nothing."""
    found = {}
    for name, one in adapter.items():
        sizes = inner(one, one) * inner(moved[name], moved[name])
        cosine = inner(one, moved[name]) / math.sqrt(sizes) if sizes > 0 else 0.0
        found[name] = round(cosine, DECIMALS)
    return found


def chosen(
    adapter: Adapter, moved: Adapter, tau: float | None = None, number: int | None = None
) -> list[str]:
    """The modules to change: those whose cosine is at most tau, or the `number` lowest.

    GroundedError unless one of the two is given, the number from 1 to that of the modules.
    """
    found = cosines(adapter, moved)
    if (tau is None) == (number is None) or not (number is None or 1 <= number <= len(found)):
        raise GroundedError(
            f"safe_lora: tau or number: found {tau} and {number}, wanted one of them, "
            f"number from 1 to {len(found)}"
        )
    limit = sorted(found.values())[number - 1] if number is not None else tau
    assert limit is not None
    return [name for name, cosine in found.items() if cosine <= limit]
