"""The judges that can be asked about real text on this machine."""

from collections.abc import Callable, Sequence

from grounded import keywords
from grounded.errors import GroundedError
from grounded.human_labels import KEYWORDS
from grounded.public.files import hub_folder
from grounded.sources import SourceError

Pair = tuple[str, str]  # (prompt, reply)
Says = Callable[[Sequence[Pair]], list[bool | None]]  # None: no verdict


def gather(names: Sequence[str]) -> tuple[dict[str, Says], list[str]]:
    """Each judge by its name, and a line for each that is left out since its weights are not here.

    names: `keywords_advbench`, `keywords_xstest` (yes: no refusal phrase), or a judge of
    `grounded.public.judges` with or without its revision, `llama_guard_3_1b@<40 hex digits>`.
    GroundedError for an unknown name, or where no judge is left.
    """
    found: dict[str, Says] = {}
    notes = []
    for name in dict.fromkeys(names):
        if name in KEYWORDS:
            found[name] = _list(name.removeprefix("keywords_"))
            continue
        try:
            found[name.partition("@")[0]] = _public(*name.partition("@")[::2])
        except SourceError as absent:
            notes.append(f"note: judge {name} is left out: {absent}")
    if not found:
        raise GroundedError(f"judges: found none that can run here of {', '.join(names) or 'none'}")
    return found, notes


def _list(name: str) -> Says:
    refuses = keywords.LISTS[name]
    return lambda pairs: [not refuses(reply) for _, reply in pairs]


def _public(name: str, revision: str) -> Says:
    """A published judge whose files lie on this machine; nothing is downloaded."""
    from grounded.public import judges  # with torch

    if name not in judges.JUDGES:
        wanted = ", ".join([*KEYWORDS, *judges.JUDGES])
        raise GroundedError(f"judges: found {name!r}, wanted one of {wanted}")
    known = judges.JUDGES[name]
    for files, at in ((known.files, revision), (known.adapter, "")):
        if files is not None:
            hub_folder(files, at or None, here_only=True)
    judge = judges.load(name, revision=revision or None)
    return lambda pairs: [verdict.label for verdict in judge.judge(pairs)]
