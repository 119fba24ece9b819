"""The bench of a device: its counts are those of a hand and of the models, its fields are whole."""

import json
import math
from dataclasses import replace

import pytest
import tiny_models as tiny
import torch
from bench import gpu as bench_gpu
from bench import gpu_work, shapes
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from grounded import loading
from grounded.errors import GroundedError

CPU = torch.device("cpu")


def test_llama_8b_has_its_8_billion_weights():
    # a layer: q, o 2 * 4096^2, k, v 2 * 4096*1024, gate, up, down 3 * 4096*14336, 2 norms of 4096
    layer = 33_554_432 + 8_388_608 + 176_160_768 + 8_192
    # embedding and head 2 * 128256*4096, the last norm
    assert shapes.LLAMA_3_1_8B.parameters == 32 * layer + 1_050_673_152 + 4_096
    made = gpu_work.random_model(shapes.LLAMA_3_1_8B, torch.device("meta"), torch.bfloat16)
    assert sum(weight.numel() for weight in made.parameters()) == shapes.LLAMA_3_1_8B.parameters


def test_operations_of_training_are_those_of_a_hand():
    # a layer: q 32*32 + k, v 2 * 32*16 + o 32*32 + gate, up, down 3 * 32*64 = 9216; head 100*32
    weights = 2 * 9216 + 3200
    assert shapes.TINY.multiplied == weights
    # a layer, rank 4: q, o 2 * 4*(32+32), k, v 2 * 4*(32+16), gate, up, down 3 * 4*(32+64)
    lora = 2 * (512 + 384 + 1152)
    assert shapes.lora_parameters(shapes.TINY, 4) == lora
    # 2 layers, 4 heads of 8, sequences of 16: 8 places on average, 4 operations forward
    attention = 2 * 4 * 8 * 4 * 8
    assert shapes.lora_training_flops(shapes.TINY, 4, 16) == 4 * weights + 6 * lora + 3 * attention


def test_bytes_of_generation_are_those_of_a_hand():
    # 3 tokens after 5, 2 rows: places before are 5, 6, 7 a row; keys and values of 2 layers,
    # 2 heads of 8; numbers of 4 bytes
    wanted = 4 * (3 * (2 * 9216 + 3200) + 2 * (5 + 6 + 7) * (2 * 2 * 2 * 8))
    assert shapes.generation_bytes(shapes.TINY, 2, 5, 3, 4) == wanted


def test_the_counts_are_those_of_the_model_itself():
    loading.quiet()
    length, rank, shape = 16, 4, shapes.TINY
    model = gpu_work.random_model(shape, CPU, torch.float32)
    assert sum(weight.numel() for weight in model.parameters()) == shape.parameters
    model.set_attn_implementation("eager")  # whose products torch counts, to all 16 places
    beyond = 2 * 4 * 8 * 4 * (length / 2)
    ids = torch.zeros(1, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model(input_ids=ids, use_cache=False)
    assert counted.get_total_flops() == length * (2 * shape.multiplied + 2 * beyond)
    config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    trained = get_peft_model(model, config)
    with FlopCounterMode(display=False) as counted:
        trained(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    # the embedding wants no gradient: q, k, v of the first layer, and A beside them, pass none on
    first = 2 * (32 * 32 + 2 * 32 * 16) + 3 * 2 * 32 * rank
    flops = shapes.lora_training_flops(shape, rank, length)
    assert counted.get_total_flops() == length * (flops + 3 * beyond - first)


@pytest.mark.parametrize("tied", [False, True])
def test_a_shape_is_read_from_a_config(tmp_path, tied):
    model = tiny.model("llama")
    model.config.tie_word_embeddings = tied
    model.config.save_pretrained(tmp_path)
    shape = shapes.read(tmp_path / "config.json")
    weights = sum(weight.numel() for weight in model.parameters())  # its embedding is its head
    assert shape.parameters == weights + (0 if tied else len(tiny.tokenizer()) * 32)


def test_a_config_without_a_width_is_one_line(tmp_path):
    file = tmp_path / "config.json"
    with pytest.raises(GroundedError, match=r"config.json: found no JSON \(FileNotFoundError\)"):
        shapes.read(file)
    file.write_text('{"vocab_size": 10, "hidden_size": 0}', encoding="utf-8")
    with pytest.raises(GroundedError, match="hidden_size: found 0, wanted 1 or more"):
        shapes.read(file)


def test_the_bench_fills_every_field(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_gpu.devices, "best", lambda: (CPU, torch.float32))
    out = tmp_path / "new" / "bench.json"
    bench_gpu.main(["--tiny", "--continuous", "--out", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["device"], found["dtype"], found["parameters"]) == ("CPU", "float32", 24992)
    assert set(found["training"]) == {
        "tokens_per_second", "flops_per_token", "share_of_matrix_rate", "lora_parameters",
        "peak_bytes",
    }  # fmt: skip
    assert set(found["verdicts"]) == {
        "one_pass_per_second", "generated_per_second", "times_faster", "peak_bytes",
    }  # fmt: skip
    assert [one["batch"] for one in found["replies"]] == [1, 3]
    assert found["continuous"]["batch"] == 3
    parts = [found["training"], found["verdicts"], found["continuous"], *found["replies"]]
    rates = [value for part in [found, *parts] for name, value in part.items()
             if name.endswith("_per_second")]  # fmt: skip
    assert len(rates) == 2 + 1 + 2 + 1 + 2 * 2
    assert all(rate > 0 and math.isfinite(rate) for rate in rates)
    assert all(part["peak_bytes"] is None for part in parts)  # of a CPU it is not known
    # the shares are what the rates beside them say
    training = found["training"]
    assert training["lora_parameters"] == shapes.lora_parameters(shapes.TINY, 4)
    assert training["share_of_matrix_rate"] == pytest.approx(
        training["tokens_per_second"] * training["flops_per_token"]
        / found["matrix_flops_per_second"]
    )  # fmt: skip
    for one in found["replies"]:
        assert one["times_floor"] == pytest.approx(
            one["floor_tokens_per_second"] / one["tokens_per_second"]
        )
        assert one["floor_tokens_per_second"] == pytest.approx(
            one["batch"] * 4 * found["bytes_per_second"] / one["floor_bytes"]
        )
    verdicts = found["verdicts"]
    assert verdicts["times_faster"] == pytest.approx(
        verdicts["one_pass_per_second"] / verdicts["generated_per_second"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 2 + 1 + 1 + 1 and lines[0].startswith("CPU, float32, 24,992")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_moves_the_adapters_alone(checkpointing):
    loading.quiet()
    plan = replace(gpu_work.TINY, checkpointing=checkpointing)
    model = gpu_work.random_model(plan.shape, CPU, torch.float32)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    gpu_work.training(plan, model, rate=1.0)
    after = {name.replace(".base_layer", ""): w for name, w in model.named_parameters()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    moved = [weight.any() for name, weight in after.items() if "lora_B" in name]  # they start at 0
    assert len(moved) == 2 * 7 and all(moved)


def test_without_a_gpu_it_asks_for_tiny(monkeypatch):
    monkeypatch.setattr(bench_gpu.devices, "best", lambda: (CPU, torch.float32))
    with pytest.raises(GroundedError, match="found no GPU, wanted one, or --tiny"):
        bench_gpu.main([])


def test_too_little_memory_says_for_what(monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(gpu_work, "verdicts", full)
    with pytest.raises(GroundedError, match="CPU: found no memory for verdicts, wanted smaller"):
        bench_gpu.measure(gpu_work.TINY, CPU, torch.float32)
