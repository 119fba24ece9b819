"""Stand-ins for the published judges, by the parts of `tiny_judges`, and their authors' files.

Where a judge's label tokens are pinned by number, the stand-in's tokenizer has them at those
numbers, so that the check of the real ones is what runs.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tiny_judges as tiny
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import (
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    Llama4Config,
    Llama4ForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from grounded import sources
from grounded.public.judges import JUDGES, harmbench, sorry_bench, strongreject, wildguard
from standins.models import begins, copied

# The authors' files that no source pins: a study names them itself.
FILES = {
    "sorry_bench": "https://github.com/SORRY-Bench/sorry-bench/raw/main/data/sorry_bench/"
    "judge_prompts.jsonl",
    "md_judge": "https://authors.example/md_judge.txt",
    "strongreject": "https://github.com/dsbowen/strong_reject/raw/main/strong_reject/eval_files/"
    "judge_templates.json",
}
_BASE, _ADAPTER = "google/gemma-2b", "qylu4156/strongreject-15k-v1"


def web() -> dict[str, bytes]:
    """The files that hold prompt texts, by address: their form, our wording."""
    texts = {
        sources.SOURCES["template_harmbench"].url: (
            f"import os\n{harmbench.CONSTANT} = {tiny.HARMBENCH!r}\n"
        ),
        sources.SOURCES["template_wildguard"].url: (
            f"import os\n{wildguard.CONSTANT} = {tiny.WILDGUARD!r}\n"
        ),
        FILES["sorry_bench"]: json.dumps(
            {"name": sorry_bench.ENTRY, "type": "single", "prompt_template": tiny.SORRY}
        ),
        FILES["md_judge"]: f"{tiny.MD_JUDGE}\n",
        FILES["strongreject"]: json.dumps({strongreject.ENTRY: tiny.STRONGREJECT}),
    }
    return {address: text.encode() for address, text in texts.items()}


def numbered(words: Any, ids: Mapping[str, int]) -> Any:
    """The tokenizer with these tokens at these numbers; what lies between are fillers."""
    whole = json.loads(words.backend_tokenizer.to_str())
    order = sorted(whole["model"]["vocab"], key=whole["model"]["vocab"].__getitem__)
    order += [f"filler{i}" for i in range(len(order), max(ids.values()) + 1)]
    for token, place in ids.items():
        now = order.index(token)
        order[now], order[place] = order[place], order[now]
    whole["model"]["vocab"] = {token: place for place, token in enumerate(order)}
    core = Tokenizer.from_str(json.dumps(whole))
    tokens = {name: getattr(words, name) for name in ("bos_token", "eos_token", "pad_token")}
    made = PreTrainedTokenizerFast(tokenizer_object=core, **tokens)
    made.chat_template = words.chat_template
    return made


def _words(kind: tiny.Kind) -> Any:
    shared = kind.words()
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    tokens = {name: getattr(shared, name) for name in names if getattr(shared, name)}
    words = copied(shared, **tokens)
    words.chat_template = kind.chat
    return words


def _judge(folder: Path, kind: str, ids: Mapping[str, int] | None = None) -> None:
    one = tiny.KINDS[kind]
    words = _words(one)
    if kind.startswith("llama_guard"):
        words = begins(words)
    words = numbered(words, ids) if ids else words
    _save(folder, answering(tiny.model(one.architecture, words), one.labels(words)), words)


def answering(made: Any, labels: list[int]) -> Any:
    """The model, made to write its labels; which one hangs on what it reads.

    The true classes have no bias to do it with, so one place of the hidden state says the same
    everywhere: the embedding puts it there, no layer moves it, and the head reads it.
    """
    with torch.no_grad():
        made.model.embed_tokens.weight[:, 0] = 10.0
        for name, weight in made.model.layers.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "output_linear.weight")):
                weight.select(-2, 0).zero_()
        made.lm_head.weight[:, 0] = -10.0
        made.lm_head.weight[labels, 0] = 10.0
    return made


def _mixture(folder: Path) -> None:
    """Granite Guardian 3.2's smaller model: the same family, with experts."""
    one = tiny.KINDS["granite_3.1"]
    words = _words(one)
    torch.manual_seed(0)
    config = GraniteMoeConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
        tie_word_embeddings=False, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    _save(folder, answering(GraniteMoeForCausalLM(config), one.labels(words)), words)


def _sees(folder: Path) -> None:
    """Llama Guard 4: a model of images, too."""
    one = tiny.KINDS["llama_guard_1b"]
    words = begins(_words(one))
    torch.manual_seed(0)
    made = Llama4ForConditionalGeneration(Llama4Config(**tiny.sees(words)))
    answering(made.language_model, one.labels(words))
    _save(folder, made, words)


def _adapter(folder: Path) -> None:
    one = tiny.KINDS["strongreject"]
    words = _words(one)
    base = answering(tiny.model(one.architecture, words), one.labels(words))
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.0))
    tuned.peft_config["default"].base_model_name_or_path = _BASE
    for name, weight in tuned.named_parameters():  # fresh, this part would change nothing
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    _save(folder, tuned, words, save_embedding_layers=False)  # else it asks the hub for the base


def _save(folder: Path, made: Any, words: Any, **how: Any) -> None:
    made.to(torch.bfloat16).save_pretrained(folder, **how)
    words.save_pretrained(folder)


def _repository(name: str) -> str:
    return JUDGES[name].files.repository


def _guard(name: str, kind: str) -> dict[str, Callable[[Path], None]]:
    # 271 is what two line breaks are to Llama 3, forced before the label
    ids = {**dict(JUDGES[name].ids), "\u010a\u010a": 271}
    return {_repository(name): partial(_judge, kind=kind, ids=ids)}


MAKERS: dict[str, Callable[[Path], None]] = {
    **_guard("llama_guard_3_8b", "llama_guard_8b"),
    **_guard("llama_guard_3_1b", "llama_guard_1b"),
    _repository("llama_guard_4_12b"): _sees,
    **{
        _repository(name): partial(_judge, kind="qwen3guard")
        for name in JUDGES
        if name.startswith("qwen3guard_")
    },
    _repository("md_judge"): partial(_judge, kind="md_judge"),
    _repository("sorry_bench"): partial(_judge, kind="sorry_bench"),
    _repository("harmbench"): partial(_judge, kind="harmbench", ids=dict(JUDGES["harmbench"].ids)),
    **{
        _repository(name): partial(_judge, kind="granite_3.3" if "_3.3_" in name else "granite_3.1")
        for name in JUDGES
        if name.startswith("granite_guardian_")
    },
    _repository("granite_guardian_3.2_3b-a800m"): _mixture,
    _BASE: partial(_judge, kind="strongreject"),
    _ADAPTER: _adapter,
    _repository("wildguard_harm"): partial(_judge, kind="wildguard"),
}
GATED = tuple(
    _repository(name)
    for name in (
        "llama_guard_3_8b", "llama_guard_3_1b", "llama_guard_4_12b", "wildguard_harm",
        "strongreject",
    )
)  # fmt: skip
