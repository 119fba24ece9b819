"""The text of a study file as plain values: YAML 1.2's core types, and nothing that surprises.

What YAML 1.1 reads otherwise than it looks stays the text that it is, and is refused by the field
that wanted a number: 1:30 is not 90, 010 is not 8, 2026-01-01 is no date, `no` is not false.
"""

import re
from typing import Any

import yaml

from grounded.study.parts import repeated

LARGEST = 1_000_000  # characters; the paper's whole grid takes 3,000
DEEPEST = 20  # levels of lists and mappings; no field lies deeper than 6

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # in no file name, in no model's words


def values(text: str) -> Any:
    """The values in the text; yaml.YAMLError, which says where, for what is no such YAML.

    Refused besides: aliases (a few of them write a file of gigabytes) and tags, a key given twice,
    control characters and halves of surrogate pairs, and a text too long or too deep.
    """
    if len(text) > LARGEST:
        raise yaml.YAMLError(f"{len(text):,} characters, at most {LARGEST:,} are read")
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        odd = ""
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            odd = "an anchor or an alias (write the values where they belong)"
        elif event.tag:
            odd = "a tag"
        elif self.depth > DEEPEST:
            odd = f"more than {DEEPEST} levels"
        elif isinstance(event, yaml.ScalarEvent) and _UNFIT.search(event.value):
            odd = "a control character, or half a surrogate pair"
        if odd:
            raise yaml.composer.ComposerError(problem=odd, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if twice := repeated(str(key.value) for key, _ in node.value):
            raise yaml.constructor.ConstructorError(
                problem=f"the key {twice[0]!r} twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


# https://yaml.org/spec/1.2.2/#103-core-schema, without octal and hexadecimal numbers, without
# leading zeros, and with no more digits than 64 bits hold
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", list("-+0123456789")),
    ("float", r"(?=.*[.eE])[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
              r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.0123456789")),
):  # fmt: skip
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )
