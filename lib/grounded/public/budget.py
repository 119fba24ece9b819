"""What a study of real models costs before anything is spent: counts, disk, memory, time.

Counts follow from the study. Times are estimates: parameters times tokens over an assumed share of
a chip's published rate. No GPU has been timed for it, and one CPU a little; every assumption is a
constant here and is printed with the result. What has no known size has no known time.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from grounded.study import GIVEN, PublicJudge, Study
from grounded.study.asking import TunedJudge
from grounded.study.methods import WHOLE
from grounded.study.models import PublicModel

GIB = 2**30
# prompts that each benchmark holds as published, for studies that ask all (facts of their cards)
PUBLISHED = {
    "sorrybench_202406": 450, "sorrybench_202503": 440, "harmbench": 400, "harmbench_standard": 200,
    "strongreject": 313, "strongreject_small": 60, "advbench": 520, "airbench": 314,
    "advbench_unseen": 100, "beavertails_evaluation": 700, "xstest": 450,
    "xstest_unsafe": 200, "xstest_safe": 250,
}  # fmt: skip
EXAMPLE_TOKENS = 250  # of a training example, prompt and completion
REPLY_SHARE = 0.5  # of max_new_tokens that a reply uses on average
JUDGED_TOKENS = 600  # of a judge's prompt with the reply in it
REQUEST_TOKENS = 50  # of a safety prompt, which is all that a judge tuned here reads beside a reply
ANSWER_TOKENS = 200  # that scoring one test item reads
TRAIN, READ, WRITE = 0.4, 0.4, 0.5  # share of the chip's rate (FLOP; FLOP; memory bandwidth)
CHIPS = {  # published: bfloat16 (T4: float16) TFLOP/s, TB/s, GiB
    "H200": (989.0, 4.8, 141.0), "H100": (989.0, 3.35, 80.0), "A100": (312.0, 2.0, 80.0),
    "L4": (121.0, 0.3, 24.0), "T4": (65.0, 0.32, 16.0),
}  # fmt: skip
CPU = "CPU"  # this machine's, in place of a chip
# TFLOP/s and TB/s of one core: with the shares above, what a core did in BENCHMARKS.md (`smol`)
CORE = (0.08, 0.0036)


@dataclass(frozen=True)
class Budget:
    """runs, checkpoints (with the base models), replies, answers (test items), verdicts: counts.

    adapters: bytes of all saved adapters; tables: bytes. training, replying, judging: hours on one
    `chip`. memory: the most that one stage holds, in GiB, in 16 bits. unknown: the sizes and
    numbers of prompts that nobody told, so that the rest is too small. besides: what takes time
    that is not estimated here.
    """

    chip: str
    runs: int
    checkpoints: int
    replies: int
    answers: int
    verdicts: int
    adapters: float
    tables: float
    training: float
    replying: float
    judging: float
    memory: float
    unknown: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()

    @property
    def hours(self) -> float:
        """Hours of all three."""
        return self.training + self.replying + self.judging

    @property
    def time(self) -> str:
        """The hours in words, and on what."""
        cores = os.cpu_count() or 1
        on = f"this machine's CPU ({cores} cores)" if self.chip == CPU else f"one {self.chip}"
        sure = "at least " if self.unknown else "about " if self.hours > 1 / 60 else ""
        return f"{sure}{duration(self.hours)} on {on}"

    def lines(self) -> list[str]:
        """The counts and estimates, and what they rest on."""
        lost = bool(self.unknown)  # without a model's or a judge's size, and without prompts
        replies = any(one.startswith("prompts") for one in self.unknown)
        parts = {
            "training": duration(self.training),
            "replies and answers": "unknown" if replies else duration(self.replying),
            "verdicts": "unknown" if lost else duration(self.judging),
        }
        said = [
            f"{self.runs:,} run{'s' * (self.runs != 1)}, {self.checkpoints:,} checkpoints, "
            f"{self.replies:,} replies, {self.answers:,} answers to test items, "
            f"{self.verdicts:,} verdicts",
            f"estimated, not measured: {', '.join(map(' '.join, parts.items()))}",
            f"assumed: {EXAMPLE_TOKENS} tokens a training example, replies of {REPLY_SHARE:g} of "
            f"max_new_tokens, {JUDGED_TOKENS} tokens a verdict (of a judge tuned here: the reply "
            f"and {REQUEST_TOKENS}), {ANSWER_TOKENS} a test item; "
            f"{TRAIN:.0%} of the rate in training, {READ:.0%} in reading, {WRITE:.0%} of the "
            "bandwidth in writing",
        ]
        if self.unknown:
            said.append(f"unknown, so what hangs on it is left out: {', '.join(self.unknown)}")
        if self.besides:
            said.append(f"not in the estimate: {', '.join(self.besides)}")
        return said


def duration(hours: float) -> str:
    """A time in words: none, less than a minute, minutes up to two hours, then hours."""
    minutes = 60 * hours
    if minutes < 1:
        return "less than a minute" if minutes else "none"
    return f"{minutes:,.0f} minutes" if hours < 2 else f"{hours:,.0f} hours"


def size(number: float) -> str:
    """Bytes in words: GiB, or where it is less than one whole MiB, rounded up."""
    return f"{number / GIB:,.1f} GiB" if number >= GIB else f"{math.ceil(number / 2**20)} MiB"


def budget(
    study: Study,
    sizes: Mapping[str, float],
    chip: str = "H100",
    prompts_of: Mapping[str, int] | None = None,
) -> Budget:
    """The budget of a study.

    sizes: billions of parameters of models and judges, where known. chip: one of CHIPS, or CPU.
    prompts_of: how many prompts benchmarks have of which neither the study nor the literature says
    it.
    """
    cores = os.cpu_count() or 1
    rates = [cores * rate for rate in CORE] if chip == CPU else CHIPS[chip]
    flops, bandwidth = rates[0] * 1e12, rates[1] * 1e12
    prompts, unknown = _prompts(study, prompts_of or {})
    prompts *= study.generation.samples
    tuned = {n: j for n, j in study.judges.items() if isinstance(j, TunedJudge)}
    sizes = {**sizes, **{n: sizes.get(j.model, 0.0) for n, j in tuned.items()}}
    judges = {  # a server's are no matter of this machine
        n: j for n, j in study.judges.items()
        if isinstance(j, TunedJudge) or (isinstance(j, PublicJudge) and j.server is None)
    }  # fmt: skip
    besides = [f"the tuning of {n}" for n in tuned]
    besides += [
        f"the alignment of {n}" for n, m in study.models.items()
        if isinstance(m, PublicModel) and m.alignment is not None
    ]  # fmt: skip
    besides += [f"lm-eval's {task}" for task in (study.harness.tasks if study.harness else ())]
    unknown += [f"size of {n}" for n in (*study.models, *judges) if not sizes.get(n)]
    batch, words = study.generation.batch_size, study.generation.max_new_tokens * REPLY_SHARE
    sums = dict.fromkeys(("runs", "checkpoints", "replies", "answers"), 0)
    train = write = adapters = 0.0
    for name in study.models:
        size = 1e9 * sizes.get(name, 0.0)
        runs = study.runs(name, arm=None)
        points = [
            (run.task, len(study.given[run.setting].checkpoints if run.method == GIVEN
                           else study.steps_of(run.task)))
            for run in runs
        ]  # fmt: skip
        checkpoints = 1 + sum(number for _, number in points)
        items = sum(study.items(t) for t in study.tasks)
        items += sum(number * study.items(task) for task, number in points)
        trained = [run for run in runs if run.method != GIVEN]
        for run in trained:
            assert study.training is not None
            tokens = study.examples(run.task) * EXAMPLE_TOKENS * study.training.epochs
            train += 6 * size * tokens / (TRAIN * flops)  # forward twice (checkpointing), backward
            saved = 2 * size if run.method in WHOLE else 4 * _lora(size, run.rank)
            adapters += saved * len(study.steps_of(run.task))
        written = checkpoints * prompts * words
        write += written / batch * 2 * size / (WRITE * bandwidth)  # the weights, once a token
        write += 2 * size * items * ANSWER_TOKENS / (READ * flops)
        counted = (len(runs), checkpoints, checkpoints * prompts, items)
        for field, value in zip(sums, counted, strict=True):
            sums[field] += value
    read = {n: REQUEST_TOKENS + min(j.clip, words) for n, j in tuned.items()}
    judged = sum(
        2e9 * sizes.get(n, 0.0) * sums["replies"] * read.get(n, JUDGED_TOKENS) / (READ * flops)
        for n in judges
    )
    verdicts = sums["replies"] * len(study.judges)
    return Budget(
        chip, **sums, verdicts=verdicts, adapters=adapters,
        tables=sums["replies"] * words * 4 + 12.0 * verdicts, training=train / 3600,
        replying=write / 3600, judging=judged / 3600, memory=_memory(study, sizes, list(judges)),
        unknown=tuple(unknown), besides=tuple(besides),
    )  # fmt: skip


def size_of(name: str, bytes_: float = 0) -> float:
    """Billions of parameters: of bytes in 16 bits, else from a name such as `wildguard_7b`."""
    if bytes_:
        return bytes_ / 2e9
    found = re.search(r"(\d+(?:\.\d+)?)b", name)
    return float(found.group(1)) if found else 0.0


def _prompts(study: Study, known: Mapping[str, int]) -> tuple[int, list[str]]:
    total, unknown = 0, []
    for name, one in study.benchmarks.items():
        number = one.prompts or PUBLISHED.get(one.data or "", known.get(name, 0))
        total += number
        if not number:
            unknown.append(f"prompts of {name}")
    return total, unknown


def _lora(parameters: float, rank: int) -> float:
    """Weights of an adapter on all linear layers: 2.6 million a rank at 8 billion, as in Llama."""
    return float(rank * 2.6e6 * (parameters / 8e9) ** (2 / 3))


def _memory(study: Study, sizes: Mapping[str, float], judges: list[str]) -> float:
    """Weights in 16 bits and a fifth more; adapters with their gradients and moments in fp32."""
    most = max((sizes.get(n, 0.0) for n in (*study.models, *judges)), default=0.0)
    rank = max((one.rank for one in study.lora.values()), default=0)
    models = [sizes.get(n, 0.0) for n in study.models if isinstance(study.models[n], PublicModel)]
    tuned = max(models, default=0.0)
    trained = 2.4e9 * tuned + 16 * _lora(1e9 * tuned, rank)
    if any(method in WHOLE for arm in study.arms.values() for method in arm.methods):
        trained = 16e9 * tuned  # weights, gradients and moments in fp32
    return max(2.4e9 * most, trained) / GIB
