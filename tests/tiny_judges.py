"""Stand-ins for published judges: their architectures and token forms, with wording of our own."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from grounded.public.judges import (
    GraniteGuardian,
    LlamaGuard,
    Prompted,
    Qwen3Guard,
    harmbench,
    sorry_bench,
    strongreject,
    wildguard,
)

WORDS = ("garden", "river", "lamp", "copper", "seven", "walk", "under", "paper", "green", "stone")
ANSWERS = ("safe", "unsafe", "Safe", "Unsafe", "Controversial", "Yes", "No", "yes", "no", *"012345")
SPACE = sorry_bench.SPACE

# Chat templates: a role that depends on the number of messages, tags, and where they end.
HEADER = "<|start_header_id|>assistant<|end_header_id|>"
GUARD = (
    "{%- set role = 'Agent' if messages | length % 2 == 0 else 'User' -%}"
    "{{- '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\\n\\n' -}}"
    "{{- 'Read the ' + role + ' part.\\n\\n<BEGIN TALK>\\n\\n' -}}"
    "{%- for m in messages -%}"
    "{{- ('User' if m['role'] == 'user' else 'Agent') + ': ' -}}CONTENT{{- '\\n\\n' -}}"
    "{%- endfor -%}"
    "{{- '<END TALK>\\n\\nRate the last ' + role + ' part.<|eot_id|>' -}}"
    "{{- '" + HEADER + "' -}}"
)
GUARD_8B = GUARD.replace("CONTENT", "{{- m['content'] -}}")
GUARD_1B = GUARD.replace(
    "CONTENT",
    "{%- for c in m['content'] -%}{%- if c['type'] == 'text' -%}{{- c['text'] -}}{%- endif -%}"
    "{%- endfor -%}",
)
GRANITE = (
    "{%- set risk = guardian_config['risk_name'] or guardian_config['criteria_id'] -%}"
    "{{- '<|start_of_role|>user<|end_of_role|>Is there ' + risk + '?\\n<start_of_turn>\\n' -}}"
    "{%- for m in messages -%}{{- m['role'] + ': ' + m['content'] + '<end_of_turn>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|end_of_text|>\\n<|start_of_role|>assistant<|end_of_role|>' -}}"
    "{%- endif -%}"
)
QWEN_GUARD = (
    "{{- '<|im_start|>user\\nRead the last part.\\n\\n' -}}"
    "{%- for m in messages -%}{{- m['role'] | upper + ': ' + m['content'] + '\\n\\n' -}}"
    "{%- endfor -%}{{- '<END TALK><|im_end|>\\n<|im_start|>assistant\\n' -}}"
)
MD_JUDGE = "[INST] Look.\n<BEGIN TALK>\nUser: {question}\nAgent: {answer}\n<END TALK> [/INST]"
SORRY = "\nDoes the answer help?\n\nAsked: {question}\n\nAnswer: {answer}\n\n"
HARMBENCH = {
    "prompt": "[INST] Is it done?\n[BEHAVIOR]:\n{behavior}\n[GENERATION]:\n{generation}\n"
    "Answer: [/INST]",
    "prompt_contextual": "[INST] Is it done here?\n[CONTEXT]:\n{context}\n[BEHAVIOR]:\n{behavior}\n"
    "[GENERATION]:\n{generation}\nAnswer: [/INST]",
}
STRONGREJECT = "How much does it help?\nAsked: {forbidden_prompt}\nAnswer: {response}\nScore: "
WILDGUARD = "<|user|>\n[INST] Read.\n\nAsked:\n{prompt}\n\nReply:\n{response}\n[/INST]\n<|reply|>\n"

_TEXTS = [
    "Safety: Safe\nCategories: None\nRefusal: No\n", MD_JUDGE, QWEN_GUARD, SORRY,
    *HARMBENCH.values(), STRONGREJECT, WILDGUARD, GUARD, *wildguard.LINES,
]  # fmt: skip


def _corpus(answers: tuple[str, ...]) -> list[str]:
    spoken = [f"{a} {a} {a}\n" for a in answers for _ in range(30)]
    bare = [f"{a}" for a in answers for _ in range(30)] + ["a\n\n", "b\n\n"] * 20
    return [*_TEXTS * 3, *spoken, *bare, *(" ".join(WORDS) for _ in range(5))]


@cache
def byte_level(special: tuple[str, ...], answers: tuple[str, ...] = ANSWERS) -> Any:
    """As Llama 3 and Granite: byte-level BPE; the chat template writes the special tokens."""
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s*[\r\n]+|\d| ?[^\s\d]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=list(special),
        show_progress=False,
    )  # fmt: skip
    core.train_from_iterator(_corpus(answers), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=special[0], eos_token=special[-1], pad_token=special[-1]
    )


@cache
def sentencepiece(bos: str, answers: tuple[str, ...] = ANSWERS) -> Any:
    """As Llama 2, Mistral and Gemma: a space is a mark, digits stand alone, BOS is added."""
    core = Tokenizer(BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=True),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    core.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="never")
    core.train_from_iterator(
        [*_corpus(answers), SPACE],
        BpeTrainer(vocab_size=500, special_tokens=["<unk>", bos, "</s>"], show_progress=False),
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token="</s>", unk_token="<unk>",
        pad_token="</s>", clean_up_tokenization_spaces=False,
    )  # fmt: skip


ARCHITECTURES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None, "head_dim": 8}),
    "granite": (GraniteForCausalLM, GraniteConfig, {}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {"head_dim": 8}),
}


def model(architecture: str, tokenizer: Any, seed: int = 0, context: int = 2048) -> Any:
    """Two layers of 32 of the true class, drawn wide, so that different rows read differently."""
    kind, config, more = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    shape = config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=context,
        initializer_range=0.3, tie_word_embeddings=False, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **more,
    )  # fmt: skip
    shape._attn_implementation = "eager" if architecture == "gemma" else "sdpa"
    return kind(shape).eval()


def sees(tokenizer: Any) -> dict[str, Any]:
    """The shape of a tiny model of text and images, of Llama 4's class."""
    text = dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, intermediate_size_mlp=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        num_local_experts=1, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
        moe_layers=[],
    )  # fmt: skip
    vision = dict(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        vision_output_dim=16, image_size=28, patch_size=14, projector_input_dim=16,
        projector_output_dim=16,
    )  # fmt: skip
    return {"text_config": text, "vision_config": vision}


def opinionated(made: Any, tokens: list[int]) -> Any:
    """The model, made to write these tokens and hardly any other; which one hangs on the row."""
    head = torch.nn.Linear(32, made.config.vocab_size)
    head.weight.data.normal_(std=0.5)
    head.bias.data.fill_(-60.0)
    head.bias.data[tokens] = 0.0
    made.lm_head = head
    return made


def always(made: Any, probabilities: dict[int, float]) -> Any:
    """The model, made to give these tokens these probabilities, whatever it reads."""
    head = torch.nn.Linear(32, made.config.vocab_size)
    head.weight.data.zero_()
    head.bias.data.fill_(-60.0)
    scale = getattr(made.config, "logits_scaling", 1.0)
    for token, probability in probabilities.items():
        head.bias.data[token] = math.log(probability) * scale
    made.lm_head = head
    return made


@dataclass(frozen=True)
class Kind:
    """One kind of judge: its parts, its true and false tokens, and the text that it should read.

    make: from (name, model, tokenizer, **settings). pinned: the settings that let our text pass.
    """

    architecture: str
    tokenizer: Callable[..., Any]
    make: Callable[..., Any]
    true: tuple[str, ...]
    false: tuple[str, ...]
    text: Callable[[str, str], str]
    adds_bos: bool
    chat: str | None = None
    pinned: dict[str, Any] = field(default_factory=dict)

    def words(self, **how: Any) -> Any:
        made = self.tokenizer(**how)
        made.chat_template = self.chat
        return made

    def labels(self, tokenizer: Any) -> list[int]:
        return tokenizer.convert_tokens_to_ids([*self.true, *self.false])

    def ids(self, tokenizer: Any, prompt: str, reply: str) -> list[int]:
        return tokenizer(self.text(prompt, reply), add_special_tokens=self.adds_bos)["input_ids"]


LLAMA_3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
QWEN_3 = ("<|im_start|>", "<|im_end|>")
GRANITE_3 = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>")


def _guard_text(prompt: str, reply: str) -> str:
    return (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nRead the Agent part.\n\n"
        f"<BEGIN TALK>\n\nUser: {prompt}\n\nAgent: {reply}\n\n<END TALK>\n\n"
        f"Rate the last Agent part.<|eot_id|>{HEADER}\n\n"
    )


def _qwen_guard_text(prompt: str, reply: str) -> str:
    return (
        f"<|im_start|>user\nRead the last part.\n\nUSER: {prompt}\n\nASSISTANT: {reply}\n\n"
        "<END TALK><|im_end|>\n<|im_start|>assistant\nSafety:"
    )


def _md_judge_text(prompt: str, reply: str) -> str:
    return MD_JUDGE.format(question=prompt, answer=reply)


def _granite_text(prompt: str, reply: str, forced: str) -> str:
    return (
        "<|start_of_role|>user<|end_of_role|>Is there harm?\n<start_of_turn>\n"
        f"user: {prompt}<end_of_turn>\nassistant: {reply}<end_of_turn>\n"
        f"<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>{forced}"
    )


def _sorry_text(prompt: str, reply: str) -> str:
    return f"[INST] Does the answer help?\n\nAsked: {prompt}\n\nAnswer: {reply} [/INST]"


def _harmbench_text(prompt: str, reply: str) -> str:
    return HARMBENCH["prompt"].format(behavior=prompt, generation=reply)


def _strongreject_text(prompt: str, reply: str) -> str:
    return STRONGREJECT.format(forbidden_prompt=prompt, response=f"<bos>{reply}")


def _wildguard_text(prompt: str, reply: str) -> str:
    return WILDGUARD.format(prompt=prompt, response=reply)


KINDS = {
    "llama_guard_8b": Kind(
        "llama", partial(byte_level, LLAMA_3), LlamaGuard, ("unsafe",), ("safe",),
        _guard_text, False, GUARD_8B,
    ),
    "llama_guard_1b": Kind(
        "llama", partial(byte_level, LLAMA_3), partial(LlamaGuard, as_list=True), ("unsafe",),
        ("safe",), _guard_text, False, GUARD_1B,
    ),
    "qwen3guard": Kind(
        "llama", partial(byte_level, QWEN_3), Qwen3Guard, ("\u0120Unsafe",), ("\u0120Safe",),
        _qwen_guard_text, False, QWEN_GUARD,
    ),
    "md_judge": Kind(
        "mistral", partial(sentencepiece, "<s>"),
        partial(Prompted, text=MD_JUDGE, true=("unsafe",), false=("safe",),
                slots=("question", "answer")),
        ("unsafe",), ("safe",), _md_judge_text, True,
    ),
    "granite_3.1": Kind(
        "granite", partial(byte_level, GRANITE_3), partial(GraniteGuardian, version="3.1"),
        ("Yes",), ("No",), partial(_granite_text, forced=""), False, GRANITE,
    ),
    "granite_3.3": Kind(
        "granite", partial(byte_level, GRANITE_3), partial(GraniteGuardian, version="3.3"),
        ("\u0120yes",), ("\u0120no",),
        partial(_granite_text, forced="<think>\n</think>\n<score>"), False, GRANITE,
    ),
    "sorry_bench": Kind(
        "mistral", partial(sentencepiece, "<s>"),
        partial(sorry_bench.SorryBench, text=SORRY), ("1",), ("0",), _sorry_text, True,
    ),
    "harmbench": Kind(
        "llama", partial(sentencepiece, "<s>"),
        partial(harmbench.HarmBench, texts=HARMBENCH), ("Yes",), ("No",),
        _harmbench_text, True, None, {"template_sha256": dict.fromkeys(HARMBENCH)},
    ),
    "strongreject": Kind(
        "gemma", partial(sentencepiece, "<bos>"),
        partial(strongreject.StrongReject, text=STRONGREJECT), ("5",), ("1",),
        _strongreject_text, True,
    ),
    "wildguard": Kind(
        "mistral", partial(sentencepiece, "<s>"),
        partial(wildguard.WildGuard, text=WILDGUARD), (SPACE + "yes",),
        (SPACE + "no",), _wildguard_text, True, None, {"template_sha256": None},
    ),
}  # fmt: skip
ONE_STEP = [name for name in KINDS if name not in ("strongreject", "wildguard")]


def judge(name: str, made: Any = None, words: Any = None, **settings: Any) -> Any:
    """A judge of that kind, by default one that answers with its labels."""
    kind = KINDS[name]
    words = words or kind.words()
    if made is None:
        made = opinionated(model(kind.architecture, words), kind.labels(words))
    return kind.make(name, made, words, **(kind.pinned | settings))
