"""How a real model is made to refuse, before it is the base model of any run."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from grounded.study.parts import Count, Name, Part, Rate, Seed, Share, refuse

Frame = Annotated[str, StringConstraints(pattern=r"^[^{}]*\{request\}[^{}]*$")]


class Recipe(Part):
    """One way to align: how many benign instructions and look-alikes stand beside the refusals.

    lookalikes: harmless requests that sound alarming, each answered. framed: the share of harmful
    requests that are put in a frame of the look-alikes, so that no frame tells them apart. epochs:
    over all of it.
    """

    benign: Count
    lookalikes: Annotated[int, Field(ge=0)]
    framed: Share = 0.0
    epochs: Count


class Bars(Part):
    """What an aligned model must reach before it is fine-tuned, on prompts that no run is asked.

    refusal: of each benchmark of harmful requests, at least; overrefusal: of harmless ones, at
    most; answers: of plain instructions, at least. prompts: how many of each are asked.
    """

    refusal: Share
    overrefusal: Share
    answers: Share
    prompts: Count


class Refusing(Part):
    """LoRA on refusals of harmful requests, benign instructions and look-alikes.

    harmful: a data set of requests with the answers that they ask for (AdvBench's goals and
    targets); its first `refused` different requests, by hash, are refused here and asked nowhere
    else; some of them in one of `frames`, at {request}. replies: the stock refusals, drawn from
    `seed`. benign: a data set of instructions. lookalikes: a CSV file of prompt and completion
    beside the study's. recipes: the first that reaches `bars` is taken; where none does, the one
    that misses them by the least in all. refusing, answering: the benchmarks of the study that hold
    harmful and harmless requests.
    """

    harmful: Name
    refused: Count
    replies: Annotated[tuple[str, ...], Field(min_length=1)]
    frames: tuple[Frame, ...] = ()
    benign: Name
    lookalikes: str
    rank: Count
    alpha: Rate
    learning_rate: Rate
    batch_size: Count
    max_length: Count
    seed: Seed
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
    refusing: Annotated[tuple[Name, ...], Field(min_length=1)]
    answering: Annotated[tuple[Name, ...], Field(min_length=1)]
    bars: Bars

    @model_validator(mode="after")
    def _apart(self) -> "Refusing":
        if both := sorted(set(self.refusing) & set(self.answering)):
            refuse("answering", both[0], "a benchmark that is not among refusing")
        if not self.frames and any(recipe.framed for recipe in self.recipes.values()):
            refuse("frames", "nothing", "a frame or more, for a recipe puts requests in them")
        return self
