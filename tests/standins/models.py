"""Stand-ins for the models: the true class at tiny size, random weights, templates of our wording.

What a study could stumble over is kept: Llama 3 has no pad token, writes its first token by itself
and dates its system turn; Qwen3 has no first token, thinks unless told not to, and has more rows
than tokens; all of them would sample; the larger ones come in parts.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tiny_judges as tiny
import torch
from tokenizers import Tokenizer, processors
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LLAMA_3 = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip
QWEN_3 = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_OPEN, _SHUT = "<|start_header_id|>", "<|end_header_id|>\\n\\n"
# Llama 3.2 dates its system turn by the clock, where the template is told no date; 3.1 does not.
CLOCK = (
    "{%- if not date_string is defined -%}{%- if strftime_now is defined -%}"
    "{%- set date_string = strftime_now('%d %b %Y') -%}{%- endif -%}{%- endif -%}"
)
LLAMA = (
    "{{- bos_token -}}CLOCK"
    "{%- if not date_string is defined -%}{%- set date_string = '01 Jan 2024' -%}{%- endif -%}"
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set told = messages[0]['content'] | trim -%}{%- set messages = messages[1:] -%}"
    "{%- else -%}{%- set told = '' -%}{%- endif -%}"
    f"{{{{- '{_OPEN}system{_SHUT}Day: ' + date_string + '\\n\\n' + told + '<|eot_id|>' -}}}}"
    "{%- for m in messages -%}"
    f"{{{{- '{_OPEN}' + m['role'] + '{_SHUT}' + m['content'] | trim + '<|eot_id|>' -}}}}"
    "{%- endfor -%}"
    f"{{%- if add_generation_prompt -%}}{{{{- '{_OPEN}assistant{_SHUT}' -}}}}{{%- endif -%}}"
)
QWEN = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' -}}"
    "{%- if m.role == 'assistant' and loop.last -%}{{- '<think>\\n\\n</think>\\n\\n' -}}"
    "{%- endif -%}{{- m.content + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
)


def copied(words: Any, **tokens: str) -> Any:
    """A tokenizer of its own with the same vocabulary; `tokens` are its bos, eos, pad, ..."""
    core = Tokenizer.from_str(words.backend_tokenizer.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=core, **tokens)


def begins(words: Any) -> Any:
    """The tokenizer, made to write its first token by itself, as Llama 3's does."""
    first = [(words.bos_token, words.bos_token_id)]
    words.backend_tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single=f"{words.bos_token} $A", special_tokens=first),
        ]
    )
    return words


def llama_words(clock: bool) -> Any:
    words = copied(tiny.byte_level(LLAMA_3), bos_token=LLAMA_3[0], eos_token=LLAMA_3[-1])
    words.chat_template = LLAMA.replace("CLOCK", CLOCK if clock else "")
    return begins(words)


def qwen_words() -> Any:
    words = copied(tiny.byte_level(QWEN_3), eos_token="<|im_end|>", pad_token="<|endoftext|>")
    words.add_tokens(["<think>", "</think>"])
    words.chat_template = QWEN
    return words


def _llama(folder: Path, factor: float, tied: bool, clock: bool) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": factor, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 256,
    }  # fmt: skip
    words = llama_words(clock)
    ends = words.convert_tokens_to_ids(["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
    shape = _shape(len(words), tied, words, ends) | {"rope_parameters": rope}
    _save(folder, LlamaForCausalLM, LlamaConfig(**shape), words, ends)


def _qwen(folder: Path, tied: bool) -> None:
    words = qwen_words()
    ends = words.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    shape = _shape(len(words) + 7, tied, words, ends[0]) | {"head_dim": 8}
    _save(folder, Qwen3ForCausalLM, Qwen3Config(**shape), words, ends)


def _shape(vocabulary: int, tied: bool, words: Any, ends: Any) -> dict[str, Any]:
    return dict(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=2048,
        initializer_range=0.3, tie_word_embeddings=tied, bos_token_id=words.bos_token_id,
        eos_token_id=ends, pad_token_id=words.pad_token_id,
    )  # fmt: skip


def _save(folder: Path, kind: Any, config: Any, words: Any, ends: list[int]) -> None:
    torch.manual_seed(0)
    made = kind(config).to(torch.bfloat16)
    made.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, eos_token_id=ends
    )
    parts = {} if config.tie_word_embeddings else {"max_shard_size": "60KB"}
    made.save_pretrained(folder, **parts)
    words.save_pretrained(folder)
    # beside the weights that are read lies what must never be: a pickle
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"not to be read")


def _before(folder: Path, words: Any, config: Any, kind: Any) -> None:
    """A model before alignment: the same shape and words, other weights, no chat template."""
    torch.manual_seed(1)
    words.chat_template = None
    kind(config).to(torch.bfloat16).save_pretrained(folder)
    words.save_pretrained(folder)


def _llama_before(folder: Path) -> None:
    words = llama_words(clock=False)
    end = words.convert_tokens_to_ids("<|end_of_text|>")
    _before(folder, words, LlamaConfig(**_shape(len(words), True, words, end)), LlamaForCausalLM)


def _qwen_before(folder: Path) -> None:
    words = qwen_words()
    end = words.convert_tokens_to_ids("<|endoftext|>")
    shape = _shape(len(words) + 7, True, words, end) | {"head_dim": 8}
    _before(folder, words, Qwen3Config(**shape), Qwen3ForCausalLM)


MAKERS: dict[str, Callable[[Path], None]] = {
    "meta-llama/Llama-3.2-1B-Instruct": partial(_llama, factor=32.0, tied=True, clock=True),
    "meta-llama/Llama-3.1-8B-Instruct": partial(_llama, factor=8.0, tied=False, clock=False),
    "Qwen/Qwen3-4B": partial(_qwen, tied=True),
    "Qwen/Qwen3-8B": partial(_qwen, tied=False),
}
# the models before alignment, by which coherence is told, and the small one of the study `colab`
OTHERS: dict[str, Callable[[Path], None]] = {
    "meta-llama/Llama-3.2-1B": _llama_before,
    "meta-llama/Llama-3.1-8B": _llama_before,
    "Qwen/Qwen3-4B-Base": _qwen_before,
    "Qwen/Qwen3-8B-Base": _qwen_before,
    "Qwen/Qwen3-0.6B": partial(_qwen, tied=True),
}
GATED = tuple(name for name in (*MAKERS, *OTHERS) if name.startswith("meta-llama/"))
