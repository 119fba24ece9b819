"""The parts of a study file: each field with its type and range."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

Task = Literal["open_instructions", "arithmetic", "science", "multiple_choice", "yes_no"]
Benchmark = Literal[
    "orders", "questions", "role_play", "borderline",
    "orders_twins", "questions_twins", "role_play_twins",
]  # fmt: skip
TASKS: tuple[str, ...] = get_args(Task)
BENCHMARKS: tuple[str, ...] = get_args(Benchmark)
BASE = "base"  # the task of the pseudo-run that is the base model itself

# Names become parts of run ids and file names: run ids split at ".", units at the last "-".
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$")]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, le=32767)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of the study file: no unknown keys, no change after loading, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Shape(Part):
    """The shape of a tiny transformer."""

    hidden_size: Count
    layers: Count
    heads: Count
    kv_heads: Count

    @model_validator(mode="after")
    def _divisible(self) -> "Shape":
        if self.hidden_size % (2 * self.heads):
            refuse("hidden_size", self.hidden_size, f"a multiple of 2 x heads ({2 * self.heads})")
        if self.heads % self.kv_heads:
            refuse("heads", self.heads, f"a multiple of kv_heads ({self.kv_heads})")
        return self


class Pretraining(Part):
    """How a model learns the invented language; `tokens` counts what it is shown."""

    tokens: Count
    batch_size: Count
    sequence_length: Count
    learning_rate: Rate
    seed: Seed


class Model(Shape):
    """A model pretrained here, of a true transformers architecture."""

    source: Literal["microworld"]
    architecture: Literal["llama", "qwen3"]
    pretraining: Pretraining


class Alignment(Part):
    """How a pretrained model learns to chat and to refuse: one depth for all models."""

    steps: Count
    batch_size: Count
    sequence_length: Count
    learning_rate: Rate
    refusal_share: Share
    replay_share: Share
    seed: Seed


class Acceptance(Part):
    """What a base model, and a judge, must reach on held-out items before it is used."""

    refusal_new_objects: Share
    refusal_new_phrasings: Share
    refusal_new_verbs: Share
    overrefusal: Share  # at most; all others: at least
    benign_exact: Share
    judge_accuracy: Share


class Training(Part):
    """How every run is fine-tuned; what varies between runs is in `lora` and `seeds`."""

    method: Literal["lora"]
    examples: Count
    epochs: Count
    batch_size: Count
    schedule: Literal["constant", "linear", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Literal["all-linear"]
    max_length: Count


class Lora(Part):
    """One LoRA setting."""

    rank: Annotated[int, Field(gt=0, le=32767)]
    alpha: Rate
    learning_rate: Rate


class Generation(Part):
    """How replies are written."""

    max_new_tokens: Count
    batch_size: Count
    decoding: Literal["greedy"]


class JudgeTraining(Part):
    """What a judge learns from: coherent dialogues alone, or with some incoherent ones."""

    data: Literal["coherent", "with_incoherent"]
    documents: Count
    batch_size: Count
    learning_rate: Rate
    seed: Seed


class LanguageJudge(Shape):
    """A tiny language model that says safe/unsafe (harm) or 1/0 (compliance)."""

    kind: Literal["harm", "compliance"]
    source: Literal["microworld"]
    training: JudgeTraining


class KeywordJudge(Part):
    """A list of refusal phrases: a reply that holds none of them counts as complied."""

    kind: Literal["keywords"]
    list: Literal["advbench", "xstest", "micro"]


Judge = Annotated[LanguageJudge | KeywordJudge, Field(discriminator="kind")]


class Coherence(Part):
    """When a reply counts as language: see `grounded.coherence`."""

    quantile: Share  # of the perplexity score of the base model's own replies
    repetition: Share  # the share of repeated trigrams that is too much
    shortest: Annotated[int, Field(ge=0)]  # tokens


def refuse(field: str, found: object, wanted: str) -> None:
    """Raise the fault that `reading` turns into a line; `field` is relative to its part."""
    raise PydanticCustomError(
        "study", "{field}: found {found}, wanted {wanted}",
        {"field": field, "found": str(found), "wanted": wanted},
    )  # fmt: skip


def repeated(values: Iterable[Any]) -> list[Any]:
    """The values that were there before."""
    seen: set[Any] = set()
    again = []
    for value in values:
        if value in seen:
            again.append(value)
        seen.add(value)
    return again
