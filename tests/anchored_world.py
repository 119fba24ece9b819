"""Runs whose harm at every capability is known, because we plant it.

A run's true capability rises from `BASE` towards .9 at a speed of its own; its harm is a line in
capability, or in the epoch, plus what is the run's own. Answers and verdicts are drawn from these.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

EPOCHS = np.array([0, 0.25, 0.5, 1, 2, 3, 4, 5])
BASE, TOP = 0.1, 0.9
START, SLOPE = 0.1, 0.5  # harm of the base model, and what capability 0 -> 1 adds


@dataclass(frozen=True)
class World:
    """Curves and verdicts as the package wants them, with the truth beside them."""

    curves: pd.DataFrame  # cell, run, step, select, report, able (true capability)
    verdicts: pd.DataFrame  # run, step, prompt, value
    answers: pd.DataFrame  # run, step, item, value (reporting half)
    speed: dict[str, float]


def able(speed: float, epochs: np.ndarray = EPOCHS) -> np.ndarray:
    """True capability at each epoch."""
    return BASE + (TOP - BASE) * (1 - np.exp(-speed * epochs))


def harm_at(kappa: float) -> float:
    """True mean harm where capability is kappa, when harm follows capability."""
    return START + SLOPE * (kappa - BASE)


def world(
    seed: int = 0,
    runs: int = 12,
    cells: int = 1,
    prompts: int = 60,
    items: int = 200,
    follows: str = "capability",
    own: float = 0.05,
    fast: float = 1.0,
    missing: float = 0.0,
) -> World:
    """Draw a world. follows: what harm is a line of, `capability` or `epoch`.

    own: standard deviation of a run's own harm. fast: median speed. items: both halves.
    """
    draw = np.random.default_rng(seed)
    luck = draw.normal(0, 0.12, prompts)
    base_verdicts = (draw.random(prompts) < np.clip(START + luck, 0, 1)).astype(float)
    base_answers = draw.random(items) < BASE
    names = [f"c{cell}.r{number:02d}" for cell in range(cells) for number in range(runs)]
    speed = fast * np.exp(draw.normal(0, 0.5, len(names)))
    true = np.stack([able(one) for one in speed])  # runs x checkpoints
    course = true if follows == "capability" else BASE + (TOP - BASE) * EPOCHS[None, :] / 5
    harm = START + SLOPE * (course - BASE) + draw.normal(0, own, (len(names), 1))
    right = (draw.random((*true.shape, items)) < true[:, :, None]).astype(float)
    right[:, 0] = base_answers
    said = (draw.random((*true.shape, prompts)) < harm[:, :, None] + luck).astype(float)
    said[:, 0] = base_verdicts
    said[draw.random(said.shape) < missing] = np.nan
    run, step = np.indices(true.shape).reshape(2, -1)
    curves = pd.DataFrame(
        {
            "cell": [names[r].split(".")[0] for r in run], "run": np.array(names)[run],
            "step": step, "able": true.ravel(),
            "select": right[:, :, 0::2].mean(2).ravel(),
            "report": right[:, :, 1::2].mean(2).ravel(),
        }
    )  # fmt: skip
    return World(
        curves, _long(names, said, "prompt"), _long(names, right[:, :, 1::2], "item"),
        dict(zip(names, speed.tolist(), strict=True)),
    )  # fmt: skip


def _long(names: list[str], table: np.ndarray, key: str) -> pd.DataFrame:
    run, step, column = np.indices(table.shape).reshape(3, -1)
    return pd.DataFrame(
        {"run": np.array(names)[run], "step": step, key: column, "value": table.ravel()}
    )
