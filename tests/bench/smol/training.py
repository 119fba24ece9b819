"""Training: `grounded.finetune` beside TRL's `SFTTrainer` with its defaults, in fp32.

Tokens a CPU-second, padding not counted, of the same examples of ARC-Easy in batches of one size.
"""

import tempfile
from pathlib import Path

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from bench.smol.turns import Rates, Sizes, by_turns, cpu_seconds
from grounded import finetune as training
from grounded import loading
from grounded.finetune import Start, plain_adapter
from grounded.public import devices, finetuning, models, weights
from grounded.study import Study


def rates(study: Study, name: str, sizes: Sizes) -> Rates:
    """Of one pass over the examples; loading is not timed."""
    run = study.runs(name)[-1]
    begun = finetuning.start(study, run)
    assert isinstance(begun, Start) and study.training is not None
    some = begun.examples[: sizes.examples]
    folder = models.folder(study, name, "pretrained")
    settings = study.training.model_copy(update={"examples": len(some), "epochs": 1})
    steps = len(some) // settings.batch_size
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
            return tokens / cpu_seconds(lambda: training.train(start, Path(scratch), loaded=loaded))

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
            return tokens / cpu_seconds(trainer.train)

    ways = {"training here": ours, "SFTTrainer as it comes, fp32": plain}
    return by_turns(ways, "tokens", sizes.turns)
