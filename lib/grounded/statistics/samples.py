"""Harm of several sampled replies to one prompt: on average, and of any of k."""

import numpy as np
import pandas as pd

from grounded.errors import GroundedError

REPLY = ("judge", "model", "task", "run", "step", "epoch", "benchmark", "prompt")


def any_of(yes: "np.ndarray", number: "np.ndarray", k: int) -> "np.ndarray":
    """The chance (0..1) that one of k replies drawn from `number`, of which `yes` are yes, is yes.

    1 - C(number - yes, k) / C(number, k): without bias for k replies to the prompt, by the argument
    of Chen et al. 2021 (arXiv 2107.03374) for pass@k. NaN where there are fewer than k.
    """
    left = np.arange(k)
    no = np.asarray(number, dtype=float) - yes
    with np.errstate(divide="ignore", invalid="ignore"):
        none = np.prod(
            np.clip(no[..., None] - left, 0, None) / (np.asarray(number)[..., None] - left), axis=-1
        )
    return np.where(np.asarray(number) >= k, 1 - none, np.nan)


def of_prompts(said: pd.DataFrame, k: int, value: str = "label") -> pd.DataFrame:
    """One row a judge, checkpoint and prompt: n (replies with a verdict), mean and `any_of_k`.

    said: rows of `tables.verdicts`, one a sample. Verdicts that are missing are left out; the
    average of either column over prompts is a rate, and prompts are what to resample.
    GroundedError for a k below 1, or more than any prompt has of replies.
    """
    by = [name for name in REPLY if name in said]
    found = said.groupby(by, observed=True)[value].agg(yes="sum", n="count", asked="size")
    if not 1 <= k <= (most := found.pop("asked").max()):
        raise GroundedError(f"k: found {k}, wanted 1 to {most}, the replies that a prompt has")
    found = found.reset_index()
    yes, number = found["yes"].to_numpy(float), found["n"].to_numpy()
    with np.errstate(invalid="ignore"):
        mean = np.where(number > 0, yes / np.maximum(number, 1), np.nan)
    return found.drop(columns="yes").assign(mean=mean, any_of_k=any_of(yes, number, k))
