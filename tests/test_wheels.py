"""A model from a wheel: fetched by pip alone, held to its hashes, converted once."""

import importlib.util
import zipfile

import pytest
import torch
from standins import wheels as stand_ins

from grounded import loading
from grounded.errors import GroundedError
from grounded.public import wheels
from grounded.sources import SourceAbsent, SourceError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GROUNDED_MIRROR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder in place of the package registry, with the stand-in's wheel in it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    (tmp_path / "registry").mkdir()
    return stand_ins.wheel(tmp_path / "registry")


def test_a_model_from_a_wheel_is_what_the_gguf_file_holds(home, registry, monkeypatch):
    file, wheel = registry
    folder = wheels.folder(wheel)
    model, words = loading.load(folder)
    import gguf

    held = {t.name: t.data for t in gguf.GGUFReader(file.parent / "made" / "model.gguf").tensors}
    found = dict(model.named_parameters())
    for ours, theirs in {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    }.items():  # q and k lie in another order in GGUF: transformers puts them back
        assert torch.equal(found[ours], torch.tensor(held[theirs]).bfloat16().float())
    assert model.generation_config.eos_token_id == words.convert_tokens_to_ids("<|im_end|>")
    assert words.apply_chat_template(
        [{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True
    ) == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"  # fmt: skip
    # once: neither the registry nor the wheel is asked again
    file.unlink()
    for one in (home / ".cache" / "wheels").glob("*.whl"):
        one.unlink()
    assert wheels.folder(wheel) == folder
    assert not list((home / ".cache" / "wheels").glob(".*"))


def test_a_mirror_comes_before_the_registry(home, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("GROUNDED_MIRROR", str(tmp_path))
    (tmp_path / "wheels").mkdir()
    file, wheel = stand_ins.wheel(tmp_path / "wheels")
    assert wheels.fetch(wheel) == file
    file.write_bytes(b"another")
    with pytest.raises(SourceError, match="sha256: found .*, wanted "):
        wheels.fetch(wheel)


def test_offline_says_in_one_line_what_is_wanted_and_where(home, registry, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(SourceAbsent) as caught:
        wheels.folder(registry[1])
    line = str(caught.value)
    assert "\n" not in line and line.startswith("stand-in-model 0.1: found no way to its wheel")
    assert registry[1].sha256 in line and "GROUNDED_MIRROR" in line
    assert not [one for one in (home / ".cache" / "wheels").rglob("*") if one.is_file()]


def test_half_a_wheel_in_the_cache_is_fetched_again(home, registry):
    file, wheel = registry
    half = home / ".cache" / "wheels" / file.name
    half.parent.mkdir(parents=True)
    half.write_bytes(file.read_bytes()[:1000])
    assert wheels.fetch(wheel) == half and half.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("field", ["sha256", "file_sha256"])
def test_another_file_than_the_study_names_is_refused_and_not_kept(home, registry, field):
    wheel = registry[1].model_copy(update={field: "0" * 64})
    with pytest.raises(SourceError, match=f"sha256: found [0-9a-f]{{64}}, wanted {'0' * 64}"):
        wheels.folder(wheel)
    assert not list((home / ".cache" / "wheels").glob("*/config.json"))


def test_a_wheel_without_the_file_is_refused(home, registry):
    wheel = registry[1].model_copy(update={"file": "stand_in_model/other.gguf"})
    with pytest.raises(SourceError, match=r"found no stand_in_model/other.gguf, wanted it in the"):
        wheels.folder(wheel)


def test_without_gguf_the_package_is_named(home, registry, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GroundedError, match="found no package gguf"):
        wheels.folder(registry[1])


def test_a_file_that_is_no_gguf_is_refused_in_one_line(home, registry, tmp_path):
    file, wheel = registry
    with zipfile.ZipFile(file, "a") as made:
        made.writestr("stand_in_model/broken.gguf", "no model")
    changed = {"file": "stand_in_model/broken.gguf", "sha256": stand_ins._sha(file)}
    broken = tmp_path / "broken"
    broken.write_text("no model")
    changed["file_sha256"] = stand_ins._sha(broken)
    with pytest.raises(GroundedError, match="broken.gguf: found no model that") as caught:
        wheels.folder(wheel.model_copy(update=changed))
    assert "\n" not in str(caught.value)
