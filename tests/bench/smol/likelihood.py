"""Capability by likelihood beside lm-eval's own `HFLM`, on the same requests and the same model.

Requests a CPU-second: each is a question of ARC-Easy and one of its choices, as the study asks
them, in batches of the study's size.
"""

from importlib import import_module
from typing import Any

import torch

from bench.smol.turns import LeftOutError, Rates, Sizes, by_turns, cpu_seconds
from grounded.errors import GroundedError
from grounded.public import capability, data, devices, harness, likelihood, models, weights
from grounded.study import Study

NOISE = {torch.bfloat16: 0.25, torch.float32: 1e-3}  # a token, on average; logits stand near 20


def rates(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of the base model; LeftOutError where lm-eval cannot be imported."""
    wrapped = _harness()
    setting, generation = study.public_model(name), study.generation
    dtype = devices.of(setting)[1]
    model, words = weights.load(models.folder(study, name), dtype)
    asked = [
        pair
        for item in data.task(study, "arc_easy", 0).test[: sizes.items]
        for pair in likelihood.requests(
            words, item.alone or item.prompt, item.choices, generation.chat, setting.template
        )
    ]
    likely = capability.likely(model, words, generation.batch_size, special=not generation.chat)
    theirs = wrapped(pretrained=model, tokenizer=words, batch_size=generation.batch_size)
    instance = import_module("lm_eval.api.instance").Instance
    requests = [instance("loglikelihood", {}, pair, number) for number, pair in enumerate(asked)]
    found: dict[str, list[Any]] = {}

    def here() -> float:
        return len(asked) / cpu_seconds(lambda: found.update(here=likely(asked)))

    def there() -> float:
        def work() -> None:
            found.update(there=theirs.loglikelihood(requests, disable_tqdm=True))

        return len(asked) / cpu_seconds(work)

    ways = {"likelihoods here": here, f"lm-eval {harness.RELEASE}": there}
    rated = by_turns(ways, "requests", sizes.turns)
    _agree(found["here"], [one for one, _ in found["there"]], dtype)
    return rated


def _harness() -> Any:
    try:
        harness.installed()
        return import_module("lm_eval.models.huggingface").HFLM
    except (GroundedError, ImportError) as error:
        raise LeftOutError(
            f"capability beside lm-eval: {error} (put it into a folder of its own with "
            f"--no-deps, and name that: make bench-smol BESIDE=FOLDER)"
        ) from None


def _agree(ours: list[likelihood.Likelihood], theirs: list[float], dtype: torch.dtype) -> None:
    """Print how far the two differ; GroundedError where that is more than the dtype's noise."""
    apart = [abs(a.logprob - b) / a.tokens for a, b in zip(ours, theirs, strict=True)]
    mean, most = sum(apart) / len(apart), max(apart)
    print(f"  log-likelihoods differ by {mean:.2g} a token on average, {most:.2g} at most")
    if not mean <= NOISE[dtype]:
        raise GroundedError(
            f"log-likelihoods: found {mean:.2g} a token beside lm-eval's, wanted at most "
            f"{NOISE[dtype]} in {dtype}"
        )
