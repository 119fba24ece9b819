"""Control of PTST (Lyu et al., NeurIPS 2024): the safety words in training too."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from grounded.errors import GroundedError
from grounded.finetune import Start, train

KNOB = ""
NEEDS: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Prefixed:
    prompt: str
    completion: str


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train on prefixed prompts; GroundedError where the world has no such words."""
    if "safety" not in start.prefixes:
        raise GroundedError(f"{start.run.id}: prefixes: found no 'safety', wanted its words")
    words = start.prefixes["safety"]
    examples = [_Prefixed(words + one.prompt, one.completion) for one in start.examples]
    return train(replace(start, examples=examples), folder)
