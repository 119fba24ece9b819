"""How likely a model finds each choice, tokens as the lm-evaluation-harness cuts them.

The rules are those of lm-eval 0.4.13: `ConfigurableTask.construct_requests`, `LM._encode_pair`,
`HFLM.tok_encode` and `HFLM._loglikelihood_tokens`. A slow test runs that release beside this.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.errors import GroundedError
from grounded.public import weights
from grounded.public.kv_cache import Beginnings


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a text after a context.

    logprob: natural log, summed over the text's tokens. greedy: tokens of the text that are the
    model's own first choice, given those before.
    """

    logprob: float
    tokens: int
    greedy: int

    @property
    def share(self) -> float:
        """The share of the text's tokens that the model would choose, from 0 to 1.

        A capability for answers in free text: ours, for the harness has none.
        """
        return self.greedy / self.tokens


def requests(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    choices: Sequence[str],
    chat: bool,
    options: Mapping[str, object] | None = None,
) -> list[tuple[str, str]]:
    """(context, continuation) for each choice of an item, as texts.

    Plain, a space stands between prompt and choice. In chat format the prompt is one user turn
    in the tokenizer's own template, and nothing stands between. The flag belongs in the record
    of the measurement: it moves instruct models by several points. options: what the template is
    told beside the turn, as `enable_thinking` of Qwen3.
    GroundedError for chat format without a template.
    """
    if not chat:
        return [(prompt, f" {text}") for text in choices]
    if not tokenizer.chat_template:
        raise GroundedError(f"{tokenizer.name_or_path}: chat template: found none, wanted one")
    context = weights.asked(tokenizer, prompt, options or {})
    return [(context, text) for text in choices]


def encode(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, special: bool = True
) -> tuple[list[int], list[int]]:
    """The tokens of a context and of what follows it.

    White space at the end of the context moves to the continuation; both are encoded as one
    text, whose tokens after the context's own number are the continuation's. The tokenizer adds
    its special tokens, unless the text already starts with the first of them; an empty context is
    that token (BOS, or EOS where there is none). special: False where a chat template wrote them:
    what it left out is not added, as in training and replies (the harness would add BOS).
    GroundedError where either of them is left without a token.
    """
    start = tokenizer.bos_token_id
    start = tokenizer.eos_token_id if start is None else start
    if not context:
        tokens = tokenizer.encode(continuation, add_special_tokens=False)
        before, after = ([start], tokens) if tokens[:1] != [start] else (tokens[:1], tokens[1:])
    else:
        kept = context.rstrip()
        whole = _encode(tokenizer, context + continuation, start, special)
        before = _encode(tokenizer, kept, start, special)
        after = whole[len(before) :]
    if not before or not after:
        raise GroundedError(
            f"{tokenizer.name_or_path}: found {len(before)} tokens of context and {len(after)} of "
            "continuation, wanted one or more of each"
        )
    return before, after


def _encode(
    tokenizer: PreTrainedTokenizerBase, text: str, start: int | None, special: bool
) -> list[int]:
    opening = tokenizer.decode(start) if start is not None else None
    begun = bool(opening) and text.startswith(str(opening))
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=special and not begun)
    return tokens


def likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    batch_size: int,
    special: bool = True,
) -> list[Likelihood]:
    """How likely each continuation is after its context, in the given order.

    pairs: (context, continuation), as `requests` writes them. Batches are padded on the left and
    sorted by length, and a context that several continue is read once; only the logits of the
    continuations are kept. What is longer than the model's max_position_embeddings loses its start.
    special: as in `encode`.
    Probabilities are computed in fp32 whatever the model's dtype.
    GroundedError for a continuation longer than that, or logits that are not numbers.
    """
    limit = model.config.get_text_config().max_position_embeddings
    rows = [encode(tokenizer, *pair, special) for pair in pairs]
    for _, after in rows:
        if len(after) > limit:
            raise GroundedError(
                f"{model.name_or_path}: found a continuation of {len(after)} tokens, "
                f"wanted at most {limit}"
            )
    # the continuations of a context together, for it is read once
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i][0]), rows[i][0], len(rows[i][1])))
    found: dict[int, Likelihood] = {}
    for at in range(0, len(order), batch_size):
        some = order[at : at + batch_size]
        found.update(zip(some, _batch(model, [rows[i] for i in some], limit), strict=True))
    return [found[i] for i in range(len(rows))]


@torch.inference_mode()
def _batch(
    model: PreTrainedModel, rows: list[tuple[list[int], list[int]]], limit: int
) -> list[Likelihood]:
    shared = Counter(tuple(before) for before, _ in rows)
    asked = []
    for before, after in rows:
        row = (before + after)[-(limit + 1) :][:-1]
        kept = len(row) - len(after) if shared[tuple(before)] > 1 else 0
        asked.append((row[:kept], row[kept:]))
    logits = Beginnings(model).logits(asked, max(len(after) for _, after in rows))
    scores: list[Likelihood] = []
    for (_, after), some in zip(rows, logits, strict=True):
        said = some[-len(after) :].float().log_softmax(-1)
        tokens = torch.tensor(after, device=said.device)
        logprob = said.gather(1, tokens[:, None]).sum()
        greedy = (said.argmax(-1) == tokens).sum()
        scores.append(Likelihood(float(logprob), len(after), int(greedy)))
    return scores
