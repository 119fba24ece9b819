"""The prompt texts of published judges, read where their authors keep them.

None is in this repository. A text is known by its sha256: where one is pinned, another text is an
error; where none is, the caller keeps the one that it found at the first run.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.public.files import jsonl_rows

# What could close or open a part of a prompt text: <tag>, <|tag|>, [TAG], [/TAG].
_TAG = re.compile(r"<[^\s<>{}%][^<>{}%\n]*>|\[/?[A-Z]+\]")


def constant(file: Path, name: str, key: str | None = None) -> str:
    """The string that a Python file assigns to `name` at its top level, or to an entry of it.

    The file is parsed, never run. GroundedError where there is no such constant.
    """
    shown = f"{paths.shown(file)}: {name}" + (f"[{key!r}]" if key else "")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise _unreadable(file, error, "Python source") from error
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    try:
        found = ast.literal_eval(values[-1]) if values else None
    except ValueError:  # computed, not written down
        found = None
    if key is not None:
        found = found.get(key) if isinstance(found, dict) else None
    return _string(shown, found)


def whole(file: Path) -> str:
    """The text of a file, without a line break at its end; GroundedError where it is no UTF-8."""
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise _unreadable(file, error, "a text in UTF-8") from error


def json_entry(file: Path, key: str) -> str:
    """The string under `key` of a JSON object; GroundedError where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(file, error, "a JSON object") from error
    entry = found.get(key) if isinstance(found, dict) else None
    return _string(f"{paths.shown(file)}: {key!r}", entry)


def jsonl_entry(file: Path, name: str, field: str = "prompt_template") -> str:
    """`field` of the JSON line that is called `name` (FastChat's form of judges' prompts).

    GroundedError where there is none.
    """
    rows = [row for _, row in jsonl_rows(file, ("name",)) if row["name"] == name]
    found = rows[0].get(field) if rows else None
    return _string(f"{paths.shown(file)}: {name!r}: {field!r}", found)


def verify(judge: str, text: str, wanted: str | None) -> str:
    """The sha256 of a judge's prompt text; GroundedError where another one is wanted."""
    found = fingerprint.text(text)
    if wanted is not None and found != wanted:
        raise GroundedError(
            f"judge {judge}: prompt text: sha256: found {found}, wanted {wanted}; "
            "its verdicts would not be those of the judge that this study names"
        )
    return found


def fill(judge: str, text: str, **values: str) -> str:
    """The text with its slots `{name}` filled; braces in the values stay as they are.

    GroundedError where the text lacks one of the slots or has others.
    """
    try:
        if not all(f"{{{slot}}}" in text for slot in values):
            raise KeyError
        return text.format(**values)
    except (KeyError, IndexError, ValueError) as error:
        slots = ", ".join(f"{{{slot}}}" for slot in values)
        raise GroundedError(
            f"judge {judge}: prompt text: found other slots, wanted {slots}"
        ) from error


def tags(text: str) -> set[str]:
    """What marks the parts of a prompt text, by its form: no reply may hold it."""
    return set(_TAG.findall(text))


def _string(shown: str, found: Any) -> str:
    if not isinstance(found, str):
        kind = "none" if found is None else f"a {type(found).__name__}"
        raise GroundedError(f"{shown}: found {kind}, wanted a text")
    return found


def _unreadable(file: Path, error: Exception, wanted: str) -> GroundedError:
    return GroundedError(f"{paths.shown(file)}: found {type(error).__name__}, wanted {wanted}")
