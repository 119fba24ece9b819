"""Replies: the engine beside `generate`, one prompt at a time, and beside llama.cpp, in batches.

New tokens a CPU-second, the token that ends a reply not counted. The prompts are the study's own
harmless look-alikes; how many new tokens, and how many prompts at a time, is what the study says.
"""

import json
import os
import random
import subprocess
import tempfile
from pathlib import Path
from typing import Any, cast

import torch

from bench.smol import llama
from bench.smol.turns import LeftOutError, Rates, Sizes, Turn, by_turns, cpu_seconds
from grounded import paths
from grounded.generate import Reply
from grounded.public import devices, models, weights, wheels
from grounded.public.asking import Asking
from grounded.public.files import csv_rows
from grounded.public.replies import Engine, end_tokens
from grounded.study import Study

PYTHON = "GROUNDED_LLAMA_PYTHON"
AT_A_TIME = (16, 80)  # sequences in a batch of llama.cpp


def lookalikes(study: Study, name: str, number: int) -> list[tuple[str, str]]:
    """So many of the study's harmless (prompt, completion), drawn from all of them."""
    setting = study.public_model(name).alignment
    assert setting is not None
    file = paths.data(study.name) / setting.lookalikes
    rows = csv_rows(file, ("prompt", "completion"))
    pairs = [(values["prompt"], values["completion"]) for _, values in rows]
    return random.Random(0).sample(pairs, number)


def rates(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of the aligned base model, batched and one by one; both ask a sample of the same prompts."""
    asked = Asked(study, name, "base", sizes)

    def alone() -> float:
        made: list[int] = []
        some = asked.rows[: sizes.alone]
        seconds = cpu_seconds(lambda: made.extend(map(asked.written, some)))
        return sum(made) / seconds

    ways = {"replies here": asked.batched, "generate, one by one": alone}
    return by_turns(ways, "tokens", sizes.turns)


def beside_llama(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of the model as the wheel brings it, not aligned, here and in llama.cpp, from one GGUF.

    Here its weights are taken out of the GGUF once; llama.cpp computes with the file's own 4 bits.
    LeftOutError where no python with llama-cpp-python is named.
    """
    python, wheel = os.environ.get(PYTHON), study.public_model(name).wheel
    if not python or wheel is None:
        raise LeftOutError(
            f"replies beside llama.cpp: {PYTHON} names no python that has llama-cpp-python "
            "(python -m venv FOLDER && FOLDER/bin/pip install llama-cpp-python)"
        )
    asked = Asked(study, name, "pretrained", sizes)
    with tempfile.TemporaryDirectory() as scratch:
        file = wheels._unpacked(wheel, wheels.fetch(wheel), Path(scratch))
        said: dict[str, list[list[int]]] = {}

        def there(way: str, sequences: int) -> Turn:
            job = Path(scratch) / "job.json"

            def turn() -> float:
                told = llama.Job(str(file), asked.rows, asked.how.max_new_tokens, sequences,
                                 sorted(asked.ends))  # fmt: skip
                job.write_text(json.dumps(told._asdict()), encoding="utf-8")
                found = _run(python, job)
                said[way] = found["replies"]
                return found["tokens"] / found["seconds"]

            return turn

        ways: dict[str, Turn] = {"replies here": asked.batched}
        for number in sorted({min(number, len(asked.rows)) for number in AT_A_TIME}):
            way = f"llama.cpp, {number} at a time"
            ways[way] = there(way, number)
        found = by_turns(ways, "tokens", sizes.turns)
    first = [asked.words(one.text, add_special_tokens=False)["input_ids"] for one in asked.said]
    for way, replies in said.items():
        alike = sum(a[:1] == b[:1] for a, b in zip(first, replies, strict=True))
        print(f"  {way}: {alike} of {len(replies)} replies begin with the same token as here")
    return found


def _run(python: str, job: Path) -> Any:
    done = subprocess.run([python, "-I", llama.__file__, str(job)], capture_output=True, text=True)
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LeftOutError(f"replies beside llama.cpp: {PYTHON}: {line[:300]}")
    return json.loads(done.stdout)


class Asked:
    """A model of the study, with its engine, and prompts as it reads them."""

    def __init__(self, study: Study, name: str, version: str, sizes: Sizes) -> None:
        setting, generation = study.public_model(name), study.generation
        self.model, self.words = weights.load(
            models.folder(study, name, version), devices.of(setting)[1]
        )
        self.ends = end_tokens(self.model, self.words)
        # which tells the model, too, what ends a reply
        self.engine = Engine(self.model, self.words, generation.batch_size)
        self.how = Asking(sizes.new_tokens or generation.max_new_tokens, setting.template)
        self.prompts = [prompt for prompt, _ in lookalikes(study, name, sizes.prompts)]
        self.rows = [self.engine._tokens(prompt, self.how) for prompt in self.prompts]
        self.said: list[Reply] = []  # in the last turn

    def batched(self) -> float:
        """The rate of the engine, on all prompts."""

        def work() -> None:
            self.said = self.engine.reply(self.prompts, self.how)

        seconds = cpu_seconds(work)
        return sum(one.tokens for one in self.said) / seconds

    def written(self, row: list[int]) -> int:
        """How many tokens `generate` writes after one prompt."""
        ids, model = torch.tensor([row]), cast(Any, self.model)
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids),
            max_new_tokens=self.how.max_new_tokens, do_sample=False,
        )  # fmt: skip
        return sum(token not in self.ends for token in made[0, len(row) :].tolist())
