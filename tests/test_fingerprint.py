"""Fingerprints: prose leaves no mark, anything that acts does."""

import ast
import hashlib
import json

import pytest

from grounded import fingerprint
from grounded.errors import GroundedError

SOURCE = '''\
"""What the module is for."""

import math  # the usual one


class Shape:
    """A shape."""

    sides = 4

    def area(self, a: float) -> float:
        """Its area.

        In square metres.
        """
        # a comment of its own
        pair = ("a"  # the first

                "b")
        text = """kept

  # kept, too
"""
        return a * math.pi + len(text) + len(f"# {a} kept")  # é, then a comment
'''


def test_normalised_is_the_code_letter_by_letter():
    assert fingerprint.normalised(SOURCE) == (
        "import math\n"
        "class Shape:\n"
        "    sides = 4\n"
        "    def area(self, a: float) -> float:\n"
        '        pair = ("a"\n'
        '                "b")\n'
        '        text = """kept\n'
        "\n"
        "  # kept, too\n"
        '"""\n'
        '        return a * math.pi + len(text) + len(f"# {a} kept")\n'
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# the usual one", "# another remark"),
        ("  # the usual one", ""),
        ("  # the first\n\n", "\n"),
        ('"""What the module is for."""', '"""Something else\n\nin lines."""'),
        ("In square metres.", "In feet, alas."),
        ("        # a comment of its own\n", "\n\n\n"),
        ("# é, then", "# two é é and"),
        ('    """A shape."""\n\n', '    """A shape."""\n    # and a comment\n'),
    ],
)
def test_prose_leaves_no_mark(old, new):
    assert old in SOURCE
    assert fingerprint.normalised(SOURCE.replace(old, new)) == fingerprint.normalised(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sides = 4", "sides = 5"),
        ("kept\n\n", "kept\n"),  # a blank line inside a string
        ("# kept, too", "# kept, to"),  # a hash inside a string
        ("# {a} kept", "# {a} kep"),  # a hash inside an f-string
        ("a * math.pi", "a + math.pi"),
    ],
)
def test_what_acts_leaves_a_mark(old, new):
    assert old in SOURCE
    assert fingerprint.normalised(SOURCE.replace(old, new)) != fingerprint.normalised(SOURCE)


def test_normalised_keeps_the_meaning_of_this_package():
    """The text that is left must parse to the same tree, docstrings aside, in every module."""
    files = sorted(fingerprint.ROOT.rglob("*.py"))
    assert files
    for file in files:
        source = file.read_text(encoding="utf-8")
        assert _acts(fingerprint.normalised(source)) == _acts(source), file


def _acts(source):
    """The tree without docstrings; where one was all a block held, as if it held `pass`."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a class or function whose docstring was its only line
        return _acts(_with_passes(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    node.body[:1] = []
            node.body = [n for n in node.body if not isinstance(n, ast.Pass)]
    return ast.dump(tree)


def _with_passes(source):
    lines = []
    following = [*source.splitlines()[1:], ""]
    for line, after in zip(source.splitlines(), following, strict=True):
        lines.append(line)
        depth = len(line) - len(line.lstrip())
        if line.endswith(":") and len(after) - len(after.lstrip()) <= depth:
            lines.append(" " * (depth + 4) + "pass")
    return "\n".join(lines)


def test_source_that_is_not_python_is_one_line():
    with pytest.raises(GroundedError, match="found source that is not Python"):
        fingerprint.normalised("def (:\n")


@pytest.fixture()
def package(tmp_path, monkeypatch):
    """A small package in place of this one: a and b are used, unused is not."""
    root = tmp_path / "grounded"
    files = {
        "__init__.py": "",
        "paths.py": "x = 1\n",
        "a.py": "from grounded import paths\nfrom grounded.deep import inner\n",
        "b.py": "import json\nx = 1\n",
        "unused.py": "x = 1\n",
        "deep/__init__.py": "level = 0\n",
        "deep/inner.py": "def f():\n    from ..b import x\n    from . import leaf\n    return x\n",
        "deep/leaf.py": "x = 1\n",
    }
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(fingerprint, "ROOT", root)
    return root


def test_modules_are_those_imported_anywhere_at_any_depth(package):
    assert fingerprint.modules("grounded.a") == [
        "grounded.a", "grounded.b", "grounded.deep", "grounded.deep.inner", "grounded.deep.leaf",
    ]  # fmt: skip
    assert fingerprint.modules("grounded.b") == ["grounded.b"]
    assert fingerprint.imports("from grounded import a, b as c") == [
        "grounded", "grounded.a", "grounded.b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "text", "changes"),
    [
        ("deep/leaf.py", "x = 2\n", True),
        ("b.py", "import json\nx = 2\n", True),
        ("b.py", '"""Why."""\nimport json\n\nx = 1  # because\n', False),
        ("unused.py", "x = 2\n", False),
        ("paths.py", "x = 2\n", False),  # plumbing
    ],
)
def test_code_changes_with_what_is_used_and_nothing_else(package, module, text, changes):
    before = fingerprint.code("grounded.a")
    (package / module).write_text(text, encoding="utf-8")
    assert (fingerprint.code("grounded.a") != before) == changes


def notebook(path, *cells):
    """A notebook file of (type, tags, source) cells."""
    made = [
        {"cell_type": kind, "metadata": {"tags": tags}, "source": source.splitlines(True)}
        for kind, tags, source in cells
    ]
    path.write_text(json.dumps({"cells": made}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("cells", "changes"),
    [
        ([("code", [], "x = 1  # why\n"), ("code", ["show"], "draw(x)")], False),
        ([("markdown", [], "# prose"), ("code", [], "x = 1"), ("code", ["show"], "z")], False),
        ([("code", [], "x = 2"), ("code", ["show"], "draw(x)")], True),
        ([("code", [], "x = 1"), ("code", [], "draw(x)")], True),
    ],
)
def test_of_a_notebook_the_code_that_makes_something_counts(package, tmp_path, cells, changes):
    first = notebook(tmp_path / "a.ipynb", ("code", [], "x = 1"), ("code", ["show"], "draw(x)"))
    before = fingerprint.code("grounded.b", notebook=first)
    after = fingerprint.code("grounded.b", notebook=notebook(tmp_path / "b.ipynb", *cells))
    assert (before != after) == changes


def test_a_broken_notebook_is_one_line(tmp_path):
    broken = tmp_path / "x.ipynb"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(GroundedError, match=r"x\.ipynb: found no readable file, wanted a notebook"):
        fingerprint.cells(broken)


def test_sha_does_not_depend_on_the_order_of_keys_and_is_sha256():
    assert fingerprint.sha({"a": 1, "b": [2]}) == fingerprint.sha({"b": [2], "a": 1})
    assert fingerprint.sha([1]) == hashlib.sha256(b"[1]").hexdigest()
    with pytest.raises(ValueError):
        fingerprint.sha(float("nan"))


def test_folder_sha_is_of_names_and_contents(tmp_path):
    assert fingerprint.folder(tmp_path / "none") is None
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text("x")
        (folder / "record.json").write_text(folder.name)
    assert fingerprint.folder(one) != fingerprint.folder(two)
    same = [fingerprint.folder(f, but=["record.json"]) for f in (one, two)]
    assert same[0] == same[1]
    (two / "sub" / "file").rename(two / "sub" / "other")
    assert fingerprint.folder(two, but=["record.json"]) != same[0]


def test_the_stages_do_not_hang_on_how_figures_are_drawn():
    """A figure edited must retrain nothing: none of its modules is in a stage's code."""
    for stage in ("finetune", "generate", "judge"):
        used = fingerprint.modules(f"grounded.stages.{stage}")
        assert f"grounded.stages.{stage}" in used
        assert not [n for n in used if n.startswith(("grounded.plot", "grounded.statistics"))]


def test_what_was_seen_of_a_source_is_remembered_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    source = "from grounded import paths  # why\n\nx = 1\n"
    for _ in range(2):
        fingerprint._seen.cache_clear()
        sha, found = fingerprint._seen(source)
        wanted = fingerprint.normalised(source).encode()
        assert sha == hashlib.sha256(wanted).hexdigest()
        assert [list(one) for one in found] == [["grounded", 0, ["paths"]]]
        monkeypatch.setattr(fingerprint.ast, "walk", lambda _: pytest.fail("looked again"))
    (kept,) = (tmp_path / ".cache" / "code").iterdir()
    monkeypatch.undo()
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    kept.write_text("{")  # a broken memory is none
    fingerprint._seen.cache_clear()
    assert fingerprint._seen(source)[0] == sha and json.loads(kept.read_text())[0] == sha
