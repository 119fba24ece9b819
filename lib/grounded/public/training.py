"""LoRA on a real model, fast on a CPU: TRL's trainer and PEFT, fed so that little is computed
that the loss does not need.

What differs from `grounded.finetune.train`, which suits tiny models: the head of the model is
applied where a completion is (in a vocabulary of 49,152 the head is a fifth of a small model's
products); a batch holds examples of like length; nothing is computed twice to spare memory. The
loss is the same: the mean over the completion tokens of a step's batch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl import SFTTrainer

from grounded.errors import GroundedError
from grounded.finetune import IGNORED, Example, Saver, Start, arguments, plain_adapter, save_adapter

BUCKET = 8  # batches whose examples are sorted by length among themselves
Row = dict[str, list[int]]


def train(start: Start, folder: Path) -> pd.DataFrame:
    """Train one run of plain LoRA; its rows of the table `checkpoints`, adapters in `folder`.

    As `grounded.finetune.train`, errors too; an example that cannot be read is named by its number.
    A device batch that does not divide the batch leaves the batch as it is.
    """
    model, words = start.load()
    if model.device.type == "cpu" and model.dtype == torch.bfloat16:
        # in 16 bits the backward pass of the fused attention takes a third of a step on a CPU
        model.set_attn_implementation("eager")
    rows = tokenised(start.examples, words, start)
    torch.manual_seed(start.run.seed)
    adapted = plain_adapter(start)(model)
    saver = Saver(start, folder, save_adapter)
    settings = arguments(start, folder, model.device)
    each = settings.per_device_train_batch_size
    settings.gradient_accumulation_steps = math.ceil(start.training.batch_size / each)
    trainer = FastTrainer(
        model=adapted,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=words,
        data_collator=left_padded,
        callbacks=[saver],
    )
    lengths = [len(row["input_ids"]) for row in rows]
    trainer.batches = Batches(lengths, start.training.batch_size, each, start.run.seed)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return pd.DataFrame(saver.rows)


class FastTrainer(SFTTrainer):
    """TRL's trainer, with batches of like length and logits where the labels are."""

    batches: "Batches"

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The device batches, in order; each step of the optimiser takes those of one batch."""
        return DataLoader(
            self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The sum of the completion tokens' cross-entropy, in nats, over their number in the step.

        num_items_in_batch: that number, for all device batches of the step; None: of this one.
        """
        total, number = completion_loss(model, inputs)
        loss = total / (number if num_items_in_batch is None else num_items_in_batch)
        return (loss, {}) if return_outputs else loss


def completion_loss(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed cross-entropy of a batch's completion tokens, and how many there are.

    inputs: `input_ids`, `attention_mask` and `labels`, rows x tokens, padded on the left, so that
    the completions end together and the head is needed for the last places alone.
    """
    labels, mask = inputs["labels"], inputs["attention_mask"]
    first = int((labels != IGNORED).any(0).nonzero()[0])
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=labels.shape[1] - first + 1,
    ).logits[:, :-1]
    wanted = labels[:, first:]
    here = wanted != IGNORED
    total = torch.nn.functional.cross_entropy(logits[here].float(), wanted[here], reduction="sum")
    return total, here.sum()


def left_padded(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """A batch as tensors, no wider than its longest row."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (width - len(r[name])) + list(r[name]) for r in rows])

    # a padded place is masked, so any token will do there
    mask = torch.tensor([[int(at >= width - len(r["input_ids"])) for at in range(width)]
                         for r in rows])  # fmt: skip
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED),
            "attention_mask": mask}  # fmt: skip


class Batches(Sampler[list[int]]):
    """Device batches of examples of like length, in a new order each epoch, drawn from a seed.

    Examples are shuffled, sorted by length within buckets of `BUCKET` batches, and cut; then the
    batches are shuffled, the smaller last one of the epoch aside. A batch of the optimiser is cut
    into device batches of at most `each`: as many for every batch but the last.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, each: int, seed: int) -> None:
        self._lengths, self._size, self._each = lengths, batch_size, each
        self._draw = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        full, left = divmod(len(self._lengths), self._size)
        return full * math.ceil(self._size / self._each) + math.ceil(left / self._each)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.of_an_epoch():
            for at in range(0, len(batch), self._each):
                yield batch[at : at + self._each]

    def of_an_epoch(self) -> list[list[int]]:
        """The batches of the optimiser in the next epoch."""
        order = torch.randperm(len(self._lengths), generator=self._draw).tolist()
        left = len(order) % self._size
        kept, last = order[: len(order) - left], order[len(order) - left :]
        batches: list[list[int]] = []
        for at in range(0, len(kept), BUCKET * self._size):
            some = sorted(kept[at : at + BUCKET * self._size], key=lambda i: self._lengths[i])
            batches += [some[i : i + self._size] for i in range(0, len(some), self._size)]
        places = torch.randperm(len(batches), generator=self._draw).tolist()
        return [batches[place] for place in places] + ([last] if last else [])


def tokenised(
    examples: Sequence[Example], words: PreTrainedTokenizerBase, start: Start
) -> list[Row]:
    """The examples as tokens, and labels that leave out the prompt; numbered from 1 in messages.

    GroundedError for one that max_length would cut, or whose prompt is no beginning of it.
    """
    limit, rows = start.training.max_length, []
    for number, example in enumerate(examples, start=1):
        tokens, labels = rendered(example, words, start.options, f"{start.run.task}: row {number}")
        rows.append({"input_ids": tokens, "labels": labels})
    longest = max(len(row["input_ids"]) for row in rows)
    if cut := sum(len(row["input_ids"]) > limit for row in rows):
        raise GroundedError(
            f"training.max_length: found {limit}, which cuts {cut} of {len(rows)} examples of "
            f"{start.run.task}, wanted at least {longest}"
        )
    return rows


def rendered(
    example: Example, words: PreTrainedTokenizerBase, options: Mapping[str, Any], name: str
) -> tuple[list[int], list[int]]:
    """The tokens of an example's dialogue up to its last end token, and its labels.

    The dialogue is tokenised as a whole, and a label left out where its token holds a character of
    the prompt: a completion's beginning may share a token with the prompt's end (two newlines in
    one). GroundedError where the template does more than append, or leaves nothing to learn.
    """
    chat = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    prompt, whole = (
        words.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=turns is chat, **options
        )
        for turns in (chat, [*chat, answer])
    )
    if not whole.startswith(prompt):
        raise GroundedError(
            f"{name}: chat template: found a prompt that is no beginning of its dialogue, "
            "wanted a template that only appends"
        )
    # the template writes the special tokens itself
    read = words(whole, add_special_tokens=False, return_offsets_mapping=True)
    tokens, places = list(read["input_ids"]), read["offset_mapping"]
    if words.eos_token_id in tokens:  # what a template writes after it is not for the model to say
        last = len(tokens) - tokens[::-1].index(words.eos_token_id)
        ended = last if places[last - 1][0] >= len(prompt) else len(tokens)
        tokens, places = tokens[:ended], places[:ended]
    labels = [
        token if begin >= len(prompt) else IGNORED
        for token, (begin, _) in zip(tokens, places, strict=True)
    ]
    if all(label == IGNORED for label in labels):
        raise GroundedError(f"{name}: found no token of a completion, wanted one or more")
    return tokens, labels


@torch.no_grad()
def update_norm(model: PeftModel) -> float:
    """The Frobenius norm of what LoRA adds to the weights, over all layers; 0 before training.

    As `grounded.finetune.update_norm`; adapters of embeddings and DoRA (whose magnitudes change
    the weights that the factors leave alone) are counted, too.
    """
    total = 0.0
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, scale in layer.scaling.items():
                total += _squared(layer, name, float(scale))
    return math.sqrt(max(total, 0.0))


def _squared(layer: LoraLayer, name: str, scale: float) -> float:
    """The squared norm of one layer's update: of its factors, |BA|^2 = <B'B, AA'>."""
    if name in layer.lora_embedding_A:
        a, b = layer.lora_embedding_A[name].double(), layer.lora_embedding_B[name].double()
    else:
        a, b = (f[name].weight.double() for f in (layer.lora_A, layer.lora_B))
    if name not in layer.lora_magnitude_vector or a.ndim != 2:
        return float(
            scale**2 * ((b.flatten(1).T @ b.flatten(1)) * (a.flatten(1) @ a.flatten(1).T)).sum()
        )
    old = layer.get_base_layer().weight.double()
    moved = old + scale * (b @ a if old.shape == (b.shape[0], a.shape[1]) else (b @ a).T)
    size = layer.lora_magnitude_vector[name].weight.double()
    new = moved * (size / moved.norm(dim=1 if len(size) == len(moved) else 0)).reshape(
        (-1, 1) if len(size) == len(moved) else (1, -1)
    )
    return float(((new - old) ** 2).sum())
