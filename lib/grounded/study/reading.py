"""Reading a study file, and saying in one line what is wrong with it."""

import json
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from grounded import paths
from grounded.errors import GroundedError
from grounded.study import locked
from grounded.study.checks import expanded
from grounded.study.grid import Study, StudyError
from grounded.study.text import values as values_in


def load(name: str) -> Study:
    """Read and check data/<name>/study.yaml; StudyError with one line a fault.

    What the study's lock says is absent on this machine is left out, and named in `absent`.
    """
    return as_here(whole(name))


def whole(name: str) -> Study:
    """The study as its file has it; errors as `load`."""
    file = paths.study_file(name)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        known = sorted(p.parent.name for p in paths.home().glob("data/*/study.yaml")) or ["none"]
        raise StudyError(
            f"{paths.shown(file)}: found no such file, wanted a study ({', '.join(known)})"
        ) from None
    except UnicodeError as error:
        raise StudyError(f"{paths.shown(file)}: found {error}, wanted a text in UTF-8") from None
    except OSError as error:
        raise StudyError(f"{paths.shown(file)}: found {error.strerror}, wanted a file") from None
    study = parse(text, paths.shown(file))
    if study.name != name:
        raise StudyError(
            f"{paths.shown(file)}: name: found {study.name!r}, wanted its folder's name {name!r}"
        )
    return study


def as_here(study: Study) -> Study:
    """The study without the optional judges and benchmarks that its lock says are absent."""
    if study.world == "microworld" or not (lost := absent(study)):
        return study
    left = {
        field: {n: one for n, one in getattr(study, field).items() if f"{field}.{n}" not in lost}
        for field in OPTIONAL
    }
    for field, ones in left.items():
        if not ones:
            raise StudyError(
                f"{paths.shown(paths.study_file(study.name))}: {field}: found access to none "
                f"({'; '.join(lost.values())}), wanted it to one"
            )
    here = study.model_copy(update=left)
    here._absent = lost
    return here


def absent(study: Study) -> dict[str, str]:
    """What the study's lock says is absent, such as `judges.wildguard`, and why.

    Only what the study's file calls optional.
    """
    try:
        lost = locked.read(study.name).get("absent", {})
    except GroundedError:
        return {}  # one that is broken: `grounded.public.lock` says so
    may_lack = {
        f"{field}.{name}"
        for field in OPTIONAL
        for name, one in getattr(study, field).items()
        if getattr(one, "optional", False)
    }
    return {name: str(why) for name, why in lost.items() if name in may_lack}


def parse(text: str, file: str = "study.yaml") -> Study:
    """A study from the text of its file; `file` is the name that messages give it."""
    try:
        values = values_in(text)
    except yaml.YAMLError as error:
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        told = " ".join(str(problem or error).split())
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise StudyError(f"{file}: {at}found {told}, wanted YAML without it") from None
    try:
        values = expanded(values)
    except PydanticCustomError as fault:
        raise StudyError(f"{file}: {fault.message()}") from None
    try:
        # JSON mode lets a list be a tuple and still holds every type to the letter.
        return Study.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        lines = [f"{file}: {_line(fault)}" for fault in error.errors()]
        raise StudyError("\n".join(lines)) from None


OPTIONAL = ("judges", "benchmarks")  # the fields whose parts may be optional


# What each kind of pydantic fault asks for; the rest say it well enough themselves.
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "missing": "a value",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least one (the grid is empty)",
    "string_pattern_mismatch": "a name of a-z, 0-9, - and _",
    "union_tag_invalid": "{expected_tags}",
    "union_tag_not_found": "a mapping with a source",
}


def _line(fault: Any) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    path, keys = _place(fault["loc"])
    if kind == "study":
        return f"{path}.{fault['msg']}" if path else fault["msg"]
    found = repr(fault["input"])
    wanted = _WANTED[kind].format(**context) if kind in _WANTED else fault["msg"]
    if kind == "missing":
        found = "nothing"
    elif kind == "extra_forbidden":
        found, wanted = "an unknown key", f"one of {', '.join(keys)}"
    elif kind == "union_tag_invalid":
        path, found = f"{path}.source", repr(context["tag"])
    elif kind == "judge":
        given = fault["input"] if isinstance(fault["input"], dict) else {}
        found = f"kind {given.get('kind')!r}, source {given.get('source')!r}"
    elif len(found) > 60:
        found = found[:57] + "..."
    return f"{path or 'the file'}: found {found}, wanted {wanted}"


def _place(loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The path of a fault as the file writes it, and the keys that its place may hold."""
    schema = Study.model_json_schema()

    def resolved(one: dict[str, Any]) -> dict[str, Any]:
        choices = one.get("anyOf", [one])
        one = next((choice for choice in choices if "$ref" in choice), choices[0])
        return schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one

    here, path, keys = schema, [], []
    for part in loc:
        if part == "[key]":
            continue
        if "oneOf" in here:
            # pydantic puts the source or kind of the member into the path; the file does not
            members = [resolved(one) for one in here["oneOf"]]
            here = next((one for one in members if f"'{part}'" in str(one["properties"])), {})
            continue
        path.append(str(part))
        fields = here.get("properties", {})
        keys = list(fields)
        named = [*here.get("patternProperties", {}).values(), here.get("additionalProperties")]
        here = resolved(fields.get(part) or named[0] or here.get("items", {}))
    return ".".join(path), keys
