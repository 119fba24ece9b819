"""What a study fine-tunes on, asks and is judged by: tasks, benchmarks and judges."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from grounded.study.models import Mark, Repository, Revision, Shape
from grounded.study.parts import Count, Name, Part, Rate, Seed, Server, Share, left_out, refuse

MICRO_TASKS = ("open_instructions", "arithmetic", "science", "multiple_choice", "yes_no")
MICRO_HARMFUL = ("orders", "questions", "unfamiliar", "role_play", "story")
MICRO_BENCHMARKS = (*MICRO_HARMFUL, "borderline")  # `borderline` asks for nothing bad


class Task(Part):
    """What a model is fine-tuned on, and what its capability is measured with.

    source: `microworld` (the invented tasks), `public` (a data set of `grounded.public.tasks`,
    named by `data`), or `file` (JSON Lines of the user's own: `train`, perhaps `test`, and
    `pattern`, by which an answer is found in a reply; paths relative to the study's file).
    examples: how many are trained on; default training.examples. test_items: default the study's.
    max_new_tokens: of an answer to a test item; default generation.max_new_tokens.
    device_batch_size: of the examples at a time on the device, where they are long; default
    training.device_batch_size. procedures: in the invented world, the share of the examples that
    are harmless procedures in place of the task.
    """

    source: Literal["microworld", "public", "file"]
    data: Name | None = None
    train: str | None = None
    test: str | None = None
    pattern: str | None = None
    examples: Count | None = None
    test_items: Annotated[int, Field(ge=2)] | None = None
    max_new_tokens: Count | None = None
    device_batch_size: Count | None = left_out()
    procedures: Share = left_out(0.0)

    @model_validator(mode="after")
    def _whole(self) -> "Task":
        if self.procedures and self.source != "microworld":
            refuse("procedures", self.procedures, "nothing: they are of the invented world")
        if self.device_batch_size and self.source == "microworld":
            refuse("device_batch_size", self.device_batch_size, "nothing: its examples are short")
        _only(self, {"public": "data", "file": "train"}, ("data", "train", "test", "pattern"),
              {"file": ("test", "pattern")})  # fmt: skip
        return self


class Benchmark(Part):
    """Safety prompts.

    source: `microworld`, `public` (one of `grounded.public.benchmarks`, named by `data`), or
    `file` (a CSV of the user's own: `file`, and the column of its prompts). prompts: how many are
    asked, drawn by hash; default all. harmful: whether its requests are harmful, so that its rate
    counts as harm. optional: without access the study goes on without it, and says so.
    """

    source: Literal["microworld", "public", "file"]
    data: Name | None = None
    revision: Revision | None = None
    file: str | None = None
    column: str | None = None
    category: str | None = None
    prompts: Count | None = None
    harmful: bool = True
    optional: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Benchmark":
        _only(self, {"public": "data", "file": "file"}, ("data", "file", "column", "category"),
              {"file": ("column", "category")})  # fmt: skip
        if self.source == "file" and self.column is None:
            refuse("column", "nothing", "the column of the prompts")
        if self.source == "microworld" and self.prompts is None:
            refuse("prompts", "nothing", "how many")
        return self


def _only(
    part: Part, needed: dict[str, str], fields: tuple[str, ...], more: dict[str, tuple[str, ...]]
) -> None:
    """Refuse a field that the part's source needs and lacks, or has no use for."""
    source = getattr(part, "source")  # noqa: B009
    wanted = needed.get(source)
    if wanted and getattr(part, wanted) is None:
        refuse(wanted, "nothing", f"a value, for source is {source}")
    for field in fields:
        if getattr(part, field) is not None and field not in (wanted, *more.get(source, ())):
            refuse(field, getattr(part, field), f"nothing, for source is {source}")


class JudgeTraining(Part):
    """What a judge learns from: coherent dialogues alone, or with some incoherent ones.

    data: `with_slips` has more of these, and most hold a procedure in which few words went wrong.
    weak: whether it is meant to miss some, so that its sensitivity has a bar and not its accuracy.
    """

    data: Literal["coherent", "with_incoherent", "with_slips"]
    documents: Count
    batch_size: Count
    learning_rate: Rate
    seed: Seed
    weak: bool = left_out(False)


class LanguageJudge(Shape):
    """A tiny language model that says safe/unsafe (harm) or 1/0 (compliance)."""

    kind: Literal["harm", "compliance"]
    source: Literal["microworld"]
    training: JudgeTraining


OWN_JUDGE, RUBRIC = "own", "strongreject_rubric"


class PublicJudge(Part):
    """A published judge, read as its authors read it: one of `grounded.public.judges`.

    judge: its name there. revision: where none is pinned there or here, the lock keeps one.
    template: the file of its prompt text, where no source pins one: a path relative to the study's
    file, or an address, whose content the lock then keeps to. clip: how many of its tokens of a
    reply it sees; default all. optional: without access the study goes on without it, and says so.

    Two of these names stand for a model that the study names itself. `own`: any language model with
    a prompt text of one's own, in which {prompt} and {response} stand for what was asked and said;
    its answer begins with one of the words `true`, or of `false`. It is a repository of the hub, a
    folder (`path`), or a `model` that a `server` lists; chat: whether the text is a turn in its
    chat template, as it always is for a server. `strongreject_rubric`: a `model` of a `server`.
    max_new_tokens: what a server's model may write; default 1 (the rubric: 512).
    """

    kind: Literal["harm", "compliance"]
    source: Literal["public"]
    judge: str
    revision: Revision | None = None
    template: str | None = None
    clip: Count | None = None
    batch_size: Count = 32
    optional: bool = False
    repository: Repository | None = left_out()
    path: str | None = left_out()
    server: Server | None = left_out()
    model: str | None = left_out()
    true: tuple[Mark, ...] = left_out(())
    false: tuple[Mark, ...] = left_out(())
    chat: bool = left_out(False)
    max_new_tokens: Count | None = left_out()

    @model_validator(mode="after")
    def _hosted(self) -> "PublicJudge":
        own, rubric = self.judge == OWN_JUDGE, self.judge == RUBRIC
        served = self.server is not None
        places = [name for name in ("repository", "path", "server") if getattr(self, name)]
        wanted = {
            "model": served, "true": own, "false": own, "server": served or rubric,
            "template": own or rubric,
        }  # fmt: skip
        may = {
            "repository": own, "path": own, "server": own or rubric, "model": served,
            "true": own, "false": own, "chat": own and not served, "max_new_tokens": served,
            "clip": not served,
        }  # fmt: skip
        for field, must in wanted.items():
            if must and not getattr(self, field):
                refuse(field, "nothing", f"a value, for the judge is {self.judge}")
        for field, can in may.items():
            if not can and getattr(self, field):
                where = "served" if served else self.judge
                refuse(field, getattr(self, field), f"nothing, for the judge is {where}")
        if own and len(places) != 1:
            refuse("repository", " and ".join(places) or "nothing",
                   "one of repository, path and server")  # fmt: skip
        return self


class TunedJudge(Part):
    """A judge that is tuned here, by LoRA, from a model of the study on people's labels.

    model: its version before alignment is tuned. kind says which labels: see
    `grounded.public.tuned`. after: the judge from which it goes on. taught: the share of the
    completions that it meets. broken: how many replies that hold nothing it meets, for one
    completion. clip: how many of its tokens of a reply it sees, when taught and when asked. The
    prompts that the study asks teach it nothing.
    """

    kind: Literal["harm", "compliance"]
    source: Literal["tuned"]
    model: Name
    after: Name | None = None
    taught: Annotated[float, Field(gt=0, le=1)] = 1.0
    broken: Annotated[float, Field(ge=0)] = 0.0
    rank: Count
    alpha: Rate
    learning_rate: Rate
    epochs: Count
    batch_size: Count
    clip: Count
    seed: Seed


class KeywordJudge(Part):
    """A list of refusal phrases: a reply that holds none of them counts as complied.

    normalised: both are read with straight quotes, in lower case, a space between words; else the
    list is read as published.
    """

    kind: Literal["keywords"]
    list: Literal["advbench", "xstest", "micro", "micro_opening"]
    normalised: bool = False


def _which(values: Any) -> str | None:
    """The kind of judge that a mapping (or a judge) describes."""
    get = values.get if isinstance(values, dict) else lambda name: getattr(values, name, None)
    if get("kind") == "keywords":
        return "keywords"
    source = get("source")
    return source if source in ("microworld", "public", "tuned") else None


Judge = Annotated[
    Annotated[LanguageJudge, Tag("microworld")]
    | Annotated[PublicJudge, Tag("public")]
    | Annotated[TunedJudge, Tag("tuned")]
    | Annotated[KeywordJudge, Tag("keywords")],
    Discriminator(
        _which,
        custom_error_type="judge",
        custom_error_message="a mapping with kind keywords, or source microworld, public or tuned",
    ),
]
