"""Replies of real models, on whatever device there is: one base model, adapters swapped on it.

The same replies as `grounded.generate`, which suits tiny models; here transformers' own `generate`
writes them on a GPU, `greedy` on a CPU, and the batch size is what the device's memory allows.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.public import adapters, memory, weights
from grounded.public.asking import Asking
from grounded.public.greedy import greedy
from grounded.public.kv_cache import padded


class Engine:
    """A base model that replies, with one adapter at a time or none.

    The model is the engine's from then on: adapters are put into it in place, and its generation
    config keeps nothing but its end tokens: `generate` would follow a penalty that an author set
    there, and the first choice of the model would no longer be what it replies.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int = 64
    ) -> None:
        """batch_size: prompts at a time, 1 or more; it is halved as the device's memory asks for.

        GroundedError for a model without end tokens.
        """
        self.batch_size, self.on_cpu = batch_size, model.device.type == "cpu"
        self._model, self._tokenizer = model.eval(), tokenizer
        self._ends = end_tokens(model, tokenizer)
        self._name = Path(model.name_or_path).name
        self._worn: adapters.Worn | None = None
        model.generation_config = GenerationConfig(
            eos_token_id=sorted(self._ends), pad_token_id=tokenizer.pad_token_id
        )

    def wear(self, adapter: Path | None) -> None:
        """Take the adapter off, and put that of a folder on; None: the base model as it was.

        GroundedError as `adapters.put_on`; the model is then the base.
        """
        if self._worn is not None:
            self._worn.take_off()
            self._worn = None
        if adapter is not None:
            self._worn = adapters.put_on(self._model, adapter)

    def reply(
        self,
        prompts: Sequence[str],
        how: Asking,
        continuous: ContinuousBatchingConfig | None = None,
        label: str | None = None,
    ) -> list[Reply]:
        """The reply to each prompt, in the given order; the longest prompts are asked first.

        Each prompt is asked as a chat of one user turn. Special tokens that a reply holds stay in
        its text, but for the one that ends it. continuous: transformers' continuous batching with
        these settings, in place of batches. label: of a progress bar on stderr.
        GroundedError for prompts that leave no room for a reply in the model's context (before
        any is asked), logits that are NaN, or a prompt that does not fit into memory alone.
        """
        rows = [self._tokens(prompt, how) for prompt in prompts]
        self._check_room(rows, how)
        if how.temperature > 0:
            torch.manual_seed(how.seed)
        found = self._continuous(rows, how, continuous) if continuous else self._batches(rows, how)
        shown = tqdm(found, label, len(rows), disable=label is None, file=sys.stderr)
        said = {place: self._read(tokens) for place, tokens in shown}
        return [said[place] for place in range(len(rows))]

    def _tokens(self, prompt: str, how: Asking) -> list[int]:
        text = weights.asked(self._tokenizer, prompt, how.options)
        # the template writes the special tokens itself
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def _check_room(self, rows: list[list[int]], how: Asking) -> None:
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        room = None if context is None else context - how.max_new_tokens
        if room is not None and (long := [i for i, row in enumerate(rows) if len(row) > room]):
            shown = ", ".join(map(str, long[:5])) + (", ..." if len(long) > 5 else "")
            raise GroundedError(
                f"{self._name}: prompts {shown} ({len(long)} of {len(rows)}): found up to "
                f"{max(len(rows[i]) for i in long)} tokens, wanted at most {room} (a context of "
                f"{context} less max_new_tokens, {how.max_new_tokens})"
            )

    def _read(self, tokens: list[int]) -> Reply:
        """A reply from the tokens that were written, which may go on after its end."""
        end = next((n for n, token in enumerate(tokens) if token in self._ends), None)
        text = self._tokenizer.decode(
            tokens[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return Reply(text, "length" if end is None else "stop", len(tokens[:end]))

    def _batches(self, rows: list[list[int]], how: Asking) -> Iterator[tuple[int, list[int]]]:
        # the longest first: what fits them fits the others, and the bar promises too little
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))

        def write(some: Sequence[int]) -> list[list[int]]:
            try:
                return self._batch([rows[i] for i in some], how)
            except torch.OutOfMemoryError:
                self.batch_size = len(some) // 2 or 1  # of the prompts that come later, too
                raise

        written = memory.in_batches(write, order, self.batch_size, self._name)
        yield from zip(order, written, strict=True)

    @torch.inference_mode()
    def _batch(self, rows: list[list[int]], how: Asking) -> list[list[int]]:
        """The new tokens of each row, and what fills up after them."""
        if self.on_cpu and how.temperature == 0:
            return greedy(self._model, rows, how.max_new_tokens, self._ends)
        ids, mask = padded(rows, self._model.device)
        longest = ids.shape[1]
        made = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=self._config(how),
            logits_processor=LogitsProcessorList([_Numbers(self._name, longest)]),
        )
        written: list[list[int]] = made[:, longest:].tolist()
        return written

    def _continuous(
        self, rows: list[list[int]], how: Asking, settings: ContinuousBatchingConfig
    ) -> Iterator[tuple[int, list[int]]]:
        made = self._model.generate_batch(
            rows,
            generation_config=self._config(how),
            continuous_batching_config=replace(settings, return_logprobs=True, seed=how.seed),
        )
        # equal prompts have replies of their own; where it broke down, some are missing
        done: dict[tuple[int, ...], list[Any]] = {}
        for out in made.values():
            if out.error is None:
                done.setdefault(tuple(out.prompt_ids), []).append(out)
        missing = []
        for i, row in enumerate(rows):
            if not (outs := done.get(tuple(row))):
                missing.append(i)
                continue
            out = outs.pop()
            if any(map(math.isnan, out.logprobs)):
                raise _not_numbers(self._name, [*map(math.isnan, out.logprobs)].index(True) + 1)
            yield i, out.generated_tokens
        if missing:
            raise GroundedError(
                f"{self._name}: prompt {missing[0]}: found no reply by continuous batching (nor to "
                f"{len(missing) - 1} others), wanted one to each of {len(rows)}"
            )

    def _config(self, how: Asking) -> GenerationConfig:
        drawn: dict[str, Any] = {"do_sample": False}
        if how.temperature > 0:
            drawn = {"do_sample": True, "temperature": how.temperature, "top_k": 0, "top_p": 1.0}
        return GenerationConfig(
            max_new_tokens=how.max_new_tokens,
            eos_token_id=sorted(self._ends),
            pad_token_id=self._tokenizer.pad_token_id,
            **drawn,
        )


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a reply: the generation config's, the tokenizer's, the chat template's.

    That of the template is the special token that it writes after an assistant's turn.
    GroundedError where there is none.
    """
    told = model.generation_config.eos_token_id
    ends = set(told if isinstance(told, list) else [told])
    ends = (ends | {tokenizer.eos_token_id, _turn_end(tokenizer)}) - {None}
    if not ends:
        raise GroundedError(f"{tokenizer.name_or_path}: eos token: found none, wanted one")
    return ends


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    answer = "quartz"
    turns = [{"role": "user", "content": "zebra"}, {"role": "assistant", "content": answer}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception:  # whatever a template's own code raises: it is told nothing yet
        return None
    _, found, after = text.rpartition(answer)
    added = {str(token.content): i for i, token in tokenizer.added_tokens_decoder.items()}
    begins = [one for one in added if found and after.lstrip().startswith(one)]
    return added[max(begins, key=len)] if begins else None


class _Numbers(LogitsProcessor):
    """Lets logits pass as they are, unless one is NaN."""

    def __init__(self, name: str, prompt: int) -> None:
        self._name, self._prompt = name, prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores`, rows x vocabulary; GroundedError for NaN."""
        if scores.isnan().any():
            raise _not_numbers(self._name, input_ids.shape[1] - self._prompt + 1)
        return scores


def _not_numbers(name: str, step: int) -> GroundedError:
    return GroundedError(f"{name}: logits: found NaN at reply token {step}, wanted numbers")
