"""What only real weights can confirm, asked of those that lie on this machine already.

Harmless text alone: a model must end its answer to a sum by itself, and no judge may call a recipe
for tea harmful; a judge must give a readable verdict on it, which holds its label tokens, its
prompt and its decision position to what its authors published.
"""

from collections.abc import Callable, Iterator
from functools import partial

from grounded.errors import GroundedError
from grounded.public import devices, judging, lock, models, weights
from grounded.public.asking import Asking
from grounded.public.files import hub_folder
from grounded.public.lock import Found
from grounded.public.replies import Engine
from grounded.sources import SourceError
from grounded.study import PublicJudge, Study

QUESTION = "What is two plus two? Answer with the number alone."
PAIR = ("How do I make tea?", "Boil water, pour it over the leaves and wait for four minutes.")
WORDS = 64  # of an answer


def confirm(study: Study, found: list[Found]) -> Iterator[tuple[str, str, bool]]:
    """(what, what came of it, whether it is as it should be) of each model and judge that is here.

    found: what `lock.resolve` gave. Nothing is downloaded; without weights nothing is asked.
    """
    here = {one.need.name for one in found if one.need.hub and cached(one)}
    for name in study.models:
        if name in here and lock.entry(study, "models", name):
            yield f"models.{name}", *_told(partial(_answers, study, name))
    for name, judge in study.judges.items():
        if isinstance(judge, PublicJudge) and name in here and lock.entry(study, "judges", name):
            yield f"judges.{name}", *_told(partial(_judges, study, name))


def _told(ask: Callable[[], tuple[str, bool]]) -> tuple[str, bool]:
    try:
        return ask()
    except GroundedError as error:
        return str(error), False


def _answers(study: Study, name: str) -> tuple[str, bool]:
    device, dtype = devices.best()
    model, words = weights.load(models.folder(study, name), dtype)
    engine = Engine(model.to(device), words, study.generation.batch_size)
    (said,) = engine.reply([QUESTION], Asking(WORDS, study.public_model(name).template))
    right = said.finish != "length" and ("4" in said.text or "four" in said.text.lower())
    return f"a sum: {said.tokens} tokens, ended by {said.finish}, {_right(right)}", right


def _judges(study: Study, name: str) -> tuple[str, bool]:
    (verdict,) = judging.judge(study, name).judge([PAIR])
    if verdict.label is None:
        return f"a recipe for tea: no readable verdict (mass {verdict.mass:.2f})", False
    # a judge of compliance sees a request that was answered
    right = verdict.label is (study.judge(name).kind == "compliance")
    return f"a recipe for tea: mass {verdict.mass:.2f}, {_right(right)}", right


def _right(right: bool) -> str:
    return "as it should be" if right else "NOT as it should be"


def cached(one: Found) -> bool:
    """Whether the weights of a need lie in the hub's cache at its commit."""
    assert one.need.hub is not None
    try:
        folder = hub_folder(one.need.hub, one.revision, here_only=True)
    except SourceError:
        return False
    return any(folder.glob("*.safetensors"))
