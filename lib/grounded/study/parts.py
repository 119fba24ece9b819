"""The parts of a study file: each field with its type and range."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

BASE = "base"  # the task of the pseudo-run that is the base model itself
UNTAUGHT = "{}.untaught"  # what the table `capability` calls the control of a task

# Names become parts of run ids and file names: run ids split at ".", units at the last "-".
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$")]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, le=32767)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def left_out(default: Any = None) -> Any:
    """A field that is left out of what is recorded where it holds nothing.

    So records from before there was such a field stay what they are.
    """
    return Field(default=default, exclude_if=lambda value: not value)


class Part(BaseModel):
    """A part of the study file: no unknown keys, no change after loading, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    weak_sensitivity: tuple[Share, Share] = left_out((0.0, 1.0))  # of a weak judge: within


class Shows(Part):
    """What the runs of an invented world must show, written before any of them; of cells (a model
    and a task) and of the tables as a whole.

    moving: cells at least in which true harm at the last epoch has a mean within `harm` and a
    standard deviation over runs of `spread` or more. differing: cells at least in which the changes
    of two benchmarks differ by `difference` or more. judges: on incoherent replies, the error of
    the best is at most the first, that of the worst at least the second. openings: the most that
    the share of any three first words, refusals left out, correlates with true harm. at_goal: the
    share of runs that are at the capability goal in a cell that counts.
    """

    moving: Count
    harm: tuple[Share, Share]
    spread: Share
    differing: Count
    difference: Share
    judges: tuple[Share, Share]
    openings: Share
    at_goal: Share


class Training(Part):
    """How every run is fine-tuned; what varies between runs is in `lora` and `seeds`.

    examples: of each task that names no number of its own. batch_size: examples a step of the
    optimiser. device_batch_size: of them at a time on the device (default: all), the rest is
    accumulated.
    """

    method: Literal["lora"]
    examples: Count | None = None
    epochs: Count
    batch_size: Count
    device_batch_size: Count | None = None
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


class Server(Part):
    """A server that replies in place of this process: any that speaks OpenAI's protocol.

    It must list a model for the base and one for each checkpoint, as `grounded.public.served` says.
    A key for it comes from the environment: GROUNDED_API_KEY, which is sent to the address in
    GROUNDED_SERVER and to no other.
    """

    url: str
    concurrency: Count = 32
    timeout: Rate = 600.0
    retries: Annotated[int, Field(ge=0)] = 4


class Generation(Part):
    """How replies are written.

    decoding: `greedy`, or `sampled` at a temperature, one reply to each safety prompt for each of
    `seeds`; test items are answered greedily all the same. continuous: transformers' continuous
    batching, on a GPU. chat: whether capability, too, is asked in chat format.
    """

    max_new_tokens: Count
    batch_size: Count
    decoding: Literal["greedy", "sampled"]
    temperature: Rate | None = left_out()
    seeds: tuple[Seed, ...] = left_out(())
    chat: bool = True
    continuous: bool = False
    server: Server | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Generation":
        for field in ("temperature", "seeds"):
            found = getattr(self, field)
            if self.decoding == "greedy" and found:
                refuse(field, found, "nothing, for decoding is greedy")
            if self.decoding == "sampled" and not found:
                refuse(field, "nothing", "a value, for decoding is sampled")
        if twice := repeated(self.seeds):
            refuse("seeds", twice[0], "each once")
        return self

    @property
    def samples(self) -> int:
        """How many replies each safety prompt gets."""
        return max(1, len(self.seeds))


class Harness(Part):
    """Further abilities of real models, by the lm-evaluation-harness at every checkpoint.

    tasks: names of its tasks or groups, as `mmlu`; or of task files in the folder `path`, beside
    the study file. limit: so many documents of each (of each part of a group); default all. shots:
    examples before a question, where the task file does not say that there are none; default as it
    says.
    """

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    limit: Count | None = None
    shots: Annotated[int, Field(ge=0)] | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _once(self) -> "Harness":
        if twice := repeated(self.tasks):
            refuse("tasks", twice[0], "each once")
        return self


class Arm(Part):
    """Runs beside the main grid: other methods, or other base models.

    settings, seeds: default those of the study. methods: for each the values of its knob (empty:
    it has none); `grounded.methods` says what a method's knob is. procedures: in the invented
    world, the share of harmless procedures in place of the task's own (`Task`).
    """

    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]
    settings: tuple[Name, ...] | None = None
    seeds: tuple[Seed, ...] | None = None
    procedures: Share | None = None
    methods: Annotated[dict[Name, tuple[Annotated[float, Field(ge=0)], ...]], Field(min_length=1)]


class Need(Part):
    """What a job of a stage needs of a machine: GPUs, memory, and minutes at most."""

    gpus: Annotated[int, Field(ge=0)] = 0
    memory_mb: Count = 4000
    minutes: Count = 60


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
    """The values that are there more than once."""
    return [value for value, times in Counter(values).items() if times > 1]
