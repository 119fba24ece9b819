"""What training and replies of the study `smol` cost on this CPU, beside the libraries as they are.

By turns in one process, on one thread, a CPU-second: tokens of TRL's `SFTTrainer` with its defaults
in fp32 against `grounded.finetune`, on the same examples and batches of the same size; new tokens
of `generate` of transformers, one prompt at a time, against the engine, on the same prompts; and
verdicts of a tuned judge, from one pass against 20 tokens of `generate`, on completions that people
labelled. Loading is not timed. Replies and training are of ARC-Easy, which is harmless.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from bench import verdicts
from grounded import finetune as training
from grounded import loading
from grounded.finetune import Start, plain_adapter
from grounded.public import data, devices, finetuning, models, weights
from grounded.public.asking import Asking
from grounded.public.replies import Engine
from grounded.study import Study, TunedJudge, load

EXAMPLES, TURNS, ALONE, WORDS, VERDICTS = 32, 2, 8, 32, 96
Turn = Callable[[], float]


def by_turns(pairs: dict[str, Turn]) -> dict[str, list[float]]:
    """The rate of each, measured `TURNS` times, one after the other."""
    found: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(TURNS):
        for name, turn in pairs.items():
            found[name].append(turn())
            print(f"  {name}: {found[name][-1]:,.0f} tokens a CPU-second", flush=True)
    return found


def training_rates(study: Study, name: str) -> dict[str, list[float]]:
    """Tokens a CPU-second, padding not counted, of TRL as it comes and of this project."""
    run = study.runs(name)[-1]
    begun = finetuning.start(study, run)
    assert isinstance(begun, Start) and study.training is not None
    some = begun.examples[:EXAMPLES]
    folder = models.folder(study, name, "pretrained")
    settings = study.training.model_copy(update={"examples": EXAMPLES, "epochs": 1})
    steps = EXAMPLES // settings.batch_size
    dtype = devices.of(study.public_model(name))[1]
    start = Start(
        run=run, training=settings, steps={steps: 1.0}, steps_per_epoch=steps,
        load=lambda: weights.load(folder, dtype), pretrained=begun.pretrained, examples=some,
        material=begun.material, monitor=begun.monitor,
    )  # fmt: skip
    words = loading.load(folder)[1]
    rows = training.tokenised(some, words, start)
    tokens = sum(len(row["input_ids"]) for row in rows)

    def ours() -> float:
        loaded = start.load()
        with tempfile.TemporaryDirectory() as scratch:
            return tokens / _cpu(lambda: training.train(start, Path(scratch), loaded=loaded))

    def plain() -> float:
        model = plain_adapter(start)(loading.load(folder)[0])
        with tempfile.TemporaryDirectory() as scratch:
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(
                    output_dir=scratch, num_train_epochs=1, use_cpu=True, bf16=False,
                    per_device_train_batch_size=settings.batch_size, disable_tqdm=True,
                    learning_rate=run.learning_rate, lr_scheduler_type="constant",
                    save_strategy="no", logging_strategy="no", report_to="none",
                ),
                train_dataset=Dataset.from_list(rows),
                processing_class=words,
            )  # fmt: skip
            return tokens / _cpu(trainer.train)

    return by_turns({"training here": ours, "SFTTrainer as it comes, fp32": plain})


def reply_rates(study: Study, name: str) -> dict[str, list[float]]:
    """New tokens a CPU-second, of the engine and of `generate`, one prompt at a time."""
    folder = models.folder(study, name, "pretrained")
    model, words = weights.load(folder, devices.of(study.public_model(name))[1])
    prompts = [one.prompt for one in data.task(study, "arc_easy", 0).test]
    engine, how = Engine(model, words, study.generation.batch_size), Asking(WORDS)

    def batched() -> float:
        said: list[Any] = []
        return _rate(lambda: said.extend(engine.reply(prompts, how)),
                     lambda: sum(one.tokens for one in said))  # fmt: skip

    def alone() -> float:
        made: list[int] = []
        return _rate(lambda: made.extend(_one_by_one(model, words, prompts[:ALONE])),
                     lambda: sum(made))  # fmt: skip

    return by_turns({"replies here": batched, "generate, one by one": alone})


def verdict_rates(study: Study) -> dict[str, list[float]]:
    """Verdicts a CPU-second, of the study's first tuned judge and of writing its answer."""
    judge = next(n for n, one in study.judges.items() if isinstance(one, TunedJudge))
    return {
        f"verdicts, {way}": [VERDICTS / seconds]
        for way, seconds in verdicts.cost(study, judge, VERDICTS).items()
    }


def _one_by_one(model: PreTrainedModel, words: Any, prompts: list[str]) -> list[int]:
    made = []
    for prompt in prompts:
        chat = [{"role": "user", "content": prompt}]
        read = words.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out: Any = model.generate(**read, max_new_tokens=WORDS, do_sample=False)
        made.append(out.shape[1] - read["input_ids"].shape[1])
    return made


def _rate(work: Callable[[], Any], count: Callable[[], int]) -> float:
    seconds = _cpu(work)
    return count() / seconds


def _cpu(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Print the rates and their ratios."""
    torch.set_num_threads(1)
    study = load("smol")
    name = next(iter(study.models))
    dtype = str(devices.of(study.public_model(name))[1]).removeprefix("torch.")
    print(f"{name} in {dtype}, one thread")
    for rates in (reply_rates(study, name), training_rates(study, name), verdict_rates(study)):
        (ours, first), *others = ((n, statistics.median(v)) for n, v in rates.items())
        for theirs, second in others:
            print(f"{ours}: {first:.3g} a CPU-second, {first / second:.1f} times {theirs}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, kilobytes here
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    print(f"most memory of all: {most:.1f} GiB")


if __name__ == "__main__":
    main()
