"""Preference tuning on the same task: TRL's DPO (Rafailov et al., NeurIPS 2023).

Chosen is an example's answer, rejected another example's, drawn from those that differ; the
reference is the base model. Everything else is as in every run. Ours: the pairs.
"""

import random
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback, TrainingArguments
from trl import DPOConfig, DPOTrainer

from grounded.errors import GroundedError
from grounded.finetune import Saver, Start, arguments, plain_adapter, save_adapter, tokenised
from grounded.methods.parts import knob
from grounded.progress import Bar

KNOB = "beta: how strongly the model is held to the base model"
NEEDS: tuple[str, ...] = ()


def finetune(start: Start, folder: Path) -> pd.DataFrame:
    """Train on pairs; GroundedError for a beta of 0 or a task whose answers are all alike."""
    beta = knob.number(start, 1e-6)
    model, tokenizer = start.load()
    rows = pairs(start)
    for answers in ("chosen", "rejected"):  # nothing may be cut, as in every run
        shown = [_Pair(row["prompt"][0]["content"], row[answers][0]["content"]) for row in rows]
        tokenised(shown, tokenizer, start)
    shared = arguments(start, folder, model.device)
    same = {f.name: getattr(shared, f.name) for f in fields(TrainingArguments) if f.init}
    disable_progress_bars()  # TRL reads the pairs through one
    torch.manual_seed(start.run.seed)
    saver = Saver(start, folder, save_adapter)
    trainer = DPOTrainer(
        model=plain_adapter(start)(model),
        args=DPOConfig(**same, beta=beta, max_length=None, disable_dropout=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Bar(start.label), saver],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return pd.DataFrame(saver.rows)


def pairs(start: Start) -> list[dict[str, Any]]:
    """Each example with another's answer to reject, as TRL reads dialogues."""
    draw = random.Random(start.run.seed)
    answers = sorted({one.completion for one in start.examples})
    if len(answers) < 2:
        raise GroundedError(
            f"{start.run.id}: answers of {start.run.task}: found {len(answers)} different, wanted 2"
        )
    rows = []
    for one in start.examples:
        other = draw.choice([answer for answer in answers if answer != one.completion])
        rows.append(
            {
                "prompt": [{"role": "user", "content": one.prompt}],
                "chosen": [{"role": "assistant", "content": one.completion}],
                "rejected": [{"role": "assistant", "content": other}],
                **({"chat_template_kwargs": dict(start.options)} if start.options else {}),
            }
        )
    return rows


@dataclass(frozen=True)
class _Pair:
    prompt: str
    completion: str
