"""The work that `bench_gpu` times: training, replies and verdicts of a model at random weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    PreTrainedModel,
)

from bench import shapes
from bench.shapes import Shape
from bench.timing import seconds
from grounded.errors import GroundedError
from grounded.public.judges.reading import Reader


@dataclass(frozen=True)
class Plan:
    """How much of each is measured; lengths in tokens.

    repeats: how often each is timed; the middle time counts. matrix: rows of the square matrices
    of the matrix rate. copied: bytes of the copies of the memory bandwidth. checkpointing: whether
    training computes activations again instead of keeping them. verdict_tokens: written by the
    judge that generates. continuous: settings of transformers' continuous batching, None: leave
    it out.
    """

    shape: Shape = shapes.LLAMA_3_1_8B
    repeats: int = 3
    matrix: int = 8192
    copied: int = 2**31
    train_length: int = 1024
    train_batch: int = 4
    lora_rank: int = 16
    checkpointing: bool = False
    prompt: int = 128
    new_tokens: int = 128
    reply_batches: tuple[int, ...] = (1, 16, 64)
    judge_length: int = 512
    judge_batch: int = 32
    verdict_tokens: int = 20
    continuous: Mapping[str, int] | None = None


TINY = Plan(
    shape=shapes.TINY, repeats=2, matrix=256, copied=2**20, train_length=16, train_batch=2,
    lora_rank=4, prompt=8, new_tokens=4, reply_batches=(1, 3), judge_length=12, judge_batch=4,
)  # fmt: skip
# without bounds the cache of continuous batching takes what memory there is
TINY_CACHE = {"num_blocks": 16, "page_size": 16, "max_batch_tokens": 64}


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A Llama of that shape with weights drawn at random, made on the device itself."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size, intermediate_size=shape.inner, max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
    )  # fmt: skip
    with device:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    model.generation_config = GenerationConfig(pad_token_id=0)  # no end: all write to the last
    return model


def training(plan: Plan, model: PreTrainedModel, rate: float) -> dict[str, Any]:
    """LoRA steps with AdamW on all layers' matrices; the adapters stay on the model.

    rate: operations per second of the device's matrix products, of which the share is told.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=plan.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
    trained = get_peft_model(model, config).train()
    if plan.checkpointing:
        trained.enable_input_require_grads()
        trained.activation_checkpointing_enable()
    own = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(own, fused=True)
    ids = _tokens(plan, model, plan.train_batch, plan.train_length)

    def step() -> None:
        with torch.autocast(ids.device.type, model.dtype, enabled=model.dtype != torch.float32):
            loss = trained(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    tokens = ids.numel() / seconds(step, ids.device, plan.repeats)
    flops = shapes.lora_training_flops(plan.shape, plan.lora_rank, plan.train_length)
    return {
        "tokens_per_second": tokens,
        "flops_per_token": flops,
        "share_of_matrix_rate": tokens * flops / rate,
        "lora_parameters": sum(weight.numel() for weight in own),
    }


def replies(plan: Plan, model: PreTrainedModel, batch: int, bandwidth: float) -> dict[str, Any]:
    """Greedy replies of a batch by `generate`, beside the time that reading the memory takes.

    bandwidth: bytes per second. The time holds the reading of the prompts, the floor does not.
    """
    ids = _tokens(plan, model, batch, plan.prompt)
    took = seconds(lambda: _generate(model, ids, plan.new_tokens), ids.device, plan.repeats)
    size = model.dtype.itemsize
    read = shapes.generation_bytes(plan.shape, batch, plan.prompt, plan.new_tokens, size)
    return {
        "batch": batch,
        "tokens_per_second": batch * plan.new_tokens / took,
        "floor_bytes": read,
        "floor_tokens_per_second": batch * plan.new_tokens * bandwidth / read,
        "times_floor": took * bandwidth / read,
    }


def continuous_replies(plan: Plan, model: PreTrainedModel, batch: int) -> dict[str, Any]:
    """The same replies by transformers' continuous batching, its start included.

    GroundedError where some do not come.
    """
    ids = _tokens(plan, model, batch, plan.prompt)
    how = GenerationConfig(max_new_tokens=plan.new_tokens, do_sample=False, eos_token_id=-1)
    settings = ContinuousBatchingConfig(**(plan.continuous or {}))

    def work() -> None:
        made = model.generate_batch(
            ids.tolist(), generation_config=how, continuous_batching_config=settings
        )
        lengths = [len(out.generated_tokens) for out in made.values()]
        if lengths != [plan.new_tokens] * batch:
            raise GroundedError(
                f"continuous batching: found {lengths.count(plan.new_tokens)} whole replies of "
                f"{batch}, wanted all: leave --continuous out"
            )

    took = seconds(work, ids.device, plan.repeats)
    return {"batch": batch, "tokens_per_second": batch * plan.new_tokens / took}


def verdicts(plan: Plan, model: PreTrainedModel) -> dict[str, Any]:
    """Verdicts by one forward pass, as the judges read them, and by writing them out."""
    ids = _tokens(plan, model, plan.judge_batch, plan.judge_length)
    rows, reader = ids.tolist(), Reader("bench", model)
    once = seconds(lambda: reader.log_probabilities(rows, [0, 1]), ids.device, plan.repeats)
    long = seconds(lambda: _generate(model, ids, plan.verdict_tokens), ids.device, plan.repeats)
    return {
        "one_pass_per_second": plan.judge_batch / once,
        "generated_per_second": plan.judge_batch / long,
        "times_faster": long / once,
    }


@torch.inference_mode()
def _generate(model: PreTrainedModel, ids: torch.Tensor, new: int) -> None:
    how = GenerationConfig(max_new_tokens=new, do_sample=False)
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=how)
    assert made.shape == (len(ids), ids.shape[1] + new)


def _tokens(plan: Plan, model: PreTrainedModel, rows: int, length: int) -> torch.Tensor:
    return torch.randint(plan.shape.vocabulary, (rows, length), device=model.device)
