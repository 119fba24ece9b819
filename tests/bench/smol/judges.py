"""Verdicts: of a tuned judge beside writing its answer, and of published judges beside JudgeZoo.

JudgeZoo has classes for several judges that `grounded.public.judges` has, too. Of HarmBench's and
MD-Judge's it holds the wording. Their weights are gated or large, so both sides get stand-ins: the
study's own model, which is a small Llama, and its tokenizer. The verdicts mean nothing; the rows
that are read are those of the true judges, but for the tokenizer. The pairs are harmless.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
from transformers import PreTrainedModel

from bench import verdicts
from bench.smol.replies import lookalikes
from bench.smol.turns import LeftOutError, Rates, Sizes, by_turns, cpu_seconds
from grounded import fingerprint, loading
from grounded.errors import GroundedError
from grounded.judges import Pair
from grounded.public import devices, models, weights
from grounded.public.judges import Prompted, PublicJudge
from grounded.public.judges.harmbench import HarmBench
from grounded.study import Study, TunedJudge

NOISE = {torch.bfloat16: 0.25, torch.float32: 1e-3}  # of a label's log-probability, on average


class Twins(NamedTuple):
    """A judge here and in JudgeZoo, and the tokens of its label that JudgeZoo reads."""

    ours: PublicJudge
    theirs: Any
    label: list[int]


def tuned(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of the study's first tuned judge: one pass, beside `generate`."""
    judge = next(n for n, one in study.judges.items() if isinstance(one, TunedJudge))
    took = verdicts.cost(study, judge, sizes.verdicts)
    found = {f"verdicts, {way}": [sizes.verdicts / seconds] for way, seconds in took.items()}
    return Rates("verdicts", found)


def harmbench(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of HarmBench's judge; LeftOutError where JudgeZoo cannot be imported."""
    zoo = _zoo("harmbench")

    def twins(model: PreTrainedModel, plain: PreTrainedModel, words: Any) -> Twins:
        theirs = _made(zoo, "HarmBenchJudge", plain, words, zoo.HarmBenchClassifier.LLAMA_2_13B)
        text = _text(theirs)
        texts = {"prompt": text, "prompt_contextual": "{context}" + text}
        known = {key: fingerprint.text(one) for key, one in texts.items()}
        ours = HarmBench("harmbench", model, words, texts, template_sha256=known)
        return Twins(ours, theirs, [theirs.yes_token_id])

    return _beside(study, name, sizes, twins)


def md_judge(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of MD-Judge 0.1, as `harmbench`."""
    zoo = _zoo("md_judge")

    def twins(model: PreTrainedModel, plain: PreTrainedModel, words: Any) -> Twins:
        theirs = _made(zoo, "MDJudge", plain, words, zoo.MDJudgeVersion.V0_1)
        ours = Prompted(
            "md_judge", model, words, _text(theirs), true=("unsafe",), false=("safe",),
            slots=("question", "answer"),
        )  # fmt: skip
        theirs.unsafe_token_ids, theirs.safe_token_ids = map(list, ours._labels)
        return Twins(ours, theirs, theirs.unsafe_token_ids)

    return _beside(study, name, sizes, twins)


def _zoo(module: str) -> Any:
    try:
        return import_module(f"judgezoo.{module}")
    except ImportError as error:
        raise LeftOutError(
            f"{module} beside JudgeZoo: {error} (put judgezoo into a folder of its own with "
            "--no-deps, and name that: make bench-smol BESIDE=FOLDER)"
        ) from None


def _made(zoo: Any, name: str, model: PreTrainedModel, words: Any, *told: Any) -> Any:
    """JudgeZoo's judge as its class makes it, but for the weights and the tokenizer."""
    words = copy.deepcopy(words)
    words.padding_side = "left"  # as the class asks for
    with (
        mock.patch.object(zoo, "AutoModelForCausalLM", _gives(model)),
        mock.patch.object(zoo, "AutoTokenizer", _gives(words)),
    ):
        return getattr(zoo, name)(*told)


def _gives(made: Any) -> Any:
    return SimpleNamespace(from_pretrained=lambda *_, **__: made)


def _text(theirs: Any) -> str:
    """The wording of JudgeZoo's judge, with its slots."""
    text = theirs.tokenizer.apply_chat_template(theirs.CLS_CONVERSATION, tokenize=False)
    return str(text)


def _beside(
    study: Study,
    name: str,
    sizes: Sizes,
    make: Callable[[PreTrainedModel, PreTrainedModel, Any], Twins],
) -> Rates:
    folder = models.folder(study, name, "pretrained")
    dtype = devices.of(study.public_model(name))[1]
    plain, words = loading.load(folder, dtype)
    twins = make(weights.load(folder, dtype)[0], plain, words)
    pairs = lookalikes(study, name, sizes.pairs)
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        for prompt, reply in pairs
    ]
    told: dict[str, list[float]] = {}

    def there() -> float:
        return len(pairs) / cpu_seconds(lambda: told.update(twins.theirs(chats)))

    def here() -> float:
        return len(pairs) / cpu_seconds(lambda: twins.ours.judge(pairs))

    logging.disable(logging.WARNING)  # that a stand-in's labels hold little
    ways = {f"{twins.ours.name} here": here, "JudgeZoo's class": there}
    rated = by_turns(ways, "verdicts", sizes.turns)
    logging.disable(logging.NOTSET)
    _agree(twins, pairs, told["p_harmful"], dtype)
    return rated


def _agree(
    twins: Twins, pairs: Sequence[Pair], theirs: Sequence[float], dtype: torch.dtype
) -> None:
    """Print how far the readings differ; GroundedError where that is more than the dtype's noise.

    Of one label alone: here the other forms of the words count, too.
    """
    rows = list(map(twins.ours.tokens, pairs))
    ours = twins.ours._reader.log_probabilities(rows, twins.label).logsumexp(-1)
    apart = (ours - torch.tensor(theirs, dtype=torch.float64).log()).abs()
    mean, most = float(apart.mean()), float(apart.max())
    print(f"  log-probabilities of the label differ by {mean:.2g} on average, {most:.2g} at most")
    if not mean <= NOISE[dtype]:
        raise GroundedError(
            f"{twins.ours.name}: found a label's log-probability {mean:.2g} from JudgeZoo's on "
            f"average, wanted at most {NOISE[dtype]} in {dtype}"
        )
