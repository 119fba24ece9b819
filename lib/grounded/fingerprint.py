"""What a result came from, in one sha: code, the study's values and the content of the inputs.

Code counts by what it does: comments, docstrings and blank lines leave no mark, so that better
prose never retrains a model. The text of the code is used as it stands, not a parse tree's dump,
because the latter changes from one Python to the next.
"""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from grounded import paths
from grounded.errors import GroundedError

ROOT = Path(__file__).parent

# These carry values and files about; what they carry is in the fingerprint itself.
PLUMBING = (
    "grounded.errors",
    "grounded.fingerprint",
    "grounded.paths",
    "grounded.public.lock",
    "grounded.public.needs",
    "grounded.records",
    "grounded.stages.common",
    "grounded.stages.plan",
    "grounded.stages.public",
    "grounded.stages.status",
    "grounded.stages.worlds",
    "grounded.study",
)


ASIDE = {"show", "setup"}  # tags of a notebook's cells whose code has no part in a result


def sha(value: Any) -> str:
    """The sha256 of a value's canonical JSON (sorted keys, no spaces)."""
    return text(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False))


def text(value: str) -> str:
    """The sha256 of a text, in UTF-8."""
    return hashlib.sha256(value.encode()).hexdigest()


def file(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder(path: Path, but: Iterable[str] = (), only: Collection[str] | None = None) -> str | None:
    """The sha256 of a folder's files, by name and content, or None where there is no file.

    only: what of the folder counts. Hidden files, and those that systems leave, never do.
    """
    files = {
        str(p.relative_to(path)): file(p)
        for p in _files(path)
        if p.name not in set(but) and (only is None or p.relative_to(path).parts[0] in only)
    }
    return sha(files) if files else None


def results(study: str) -> str | None:
    """The sha256 of what a study's figures are drawn from: its file, lock, models and tables."""
    from grounded.records.schemas import SCHEMAS

    only = {"study.yaml", "lock.json", "goals.csv", "models", "judges", *SCHEMAS}
    return folder(paths.data(study), only=only)


def stamp(path: Path) -> str | None:
    """A sha of a folder's files by name, size and time; None where there is no file.

    For weights, which are large: their content is read once, and again when this has changed.
    """
    stats = {str(p.relative_to(path)): p.stat() for p in _files(path)}
    return sha({name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()}) if stats else None


def _files(path: Path) -> list[Path]:
    """The files in a folder, sorted, but for those that nobody put there on purpose."""
    return [
        p
        for p in (sorted(path.rglob("*")) if path.is_dir() else [])
        if p.is_file()
        and p.name not in ("Thumbs.db", "desktop.ini")
        and not any(part[0] == "." or part == "__pycache__" for part in p.relative_to(path).parts)
    ]


def normalised(source: str) -> str:
    """Python source without comments, docstrings and blank lines, otherwise letter by letter.

    Blank lines inside a string stay: they are part of its value. GroundedError for source that
    is not Python.
    """
    try:
        return _normalised(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise GroundedError(f"found source that is not Python ({error}), wanted Python") from None


@cache
def _normalised(source: str) -> str:
    lines = source.splitlines(keepends=True)
    cuts: list[tuple[int, int, int, int]] = []
    inside: set[int] = set()  # lines that go on inside a string, numbered from 1
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (row, column), (end_row, _) = token.start, token.end
        name = tokenize.tok_name[token.type]
        if name == "COMMENT":
            start = len(lines[row - 1][:column].encode())  # ast counts bytes, tokenize letters
            cuts.append((row, start, row, start + len(token.string.encode())))
        elif name == "STRING":
            inside.update(range(row, end_row))
        elif name in ("FSTRING_START", "TSTRING_START"):  # one STRING token before Python 3.12
            opened.append(row)
        elif name in ("FSTRING_END", "TSTRING_END"):
            inside.update(range(opened.pop(), end_row))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and _is_text(first.value):
                end_row, end = first.end_lineno or 0, first.end_col_offset or 0
                cuts.append((first.lineno, first.col_offset, end_row, end))
                inside.difference_update(range(first.lineno, end_row))
    for top, start, bottom, end in sorted(cuts, reverse=True):
        head, tail = lines[top - 1].encode()[:start], lines[bottom - 1].encode()[end:]
        lines[top - 1 : bottom] = [(head + tail).decode()] + [""] * (bottom - top)
    kept = [
        line if number in inside else line.rstrip() + "\n"
        for number, line in enumerate(lines, start=1)
        if number in inside or line.strip()
    ]
    return "".join(kept)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def modules(*names: str) -> list[str]:
    """The grounded modules that these use, themselves included, plumbing left out; sorted.

    Imports are read, not run, wherever in a module they stand.
    """
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found or _is_plumbing(name):
            continue
        found.add(name)
        todo += _imports(_source(name), name, _module_file(name).name == "__init__.py")
    return sorted(found)


def imports(source: str) -> list[str]:
    """The grounded modules that a piece of source names in its imports."""
    return _imports(source, "", False)


def code(*names: str, notebook: Path | None = None) -> dict[str, str]:
    """Module -> sha of its normalised source, for these modules and all that they use.

    With a notebook, its code cells count too (as `notebook`).
    """
    shas = {name: _seen(_source(name))[0] for name in modules(*names)}
    if notebook is not None:
        shas["notebook"] = text("".join(normalised(cell) for cell in cells(notebook)))
    return shas


def cells(notebook: Path) -> list[str]:
    """The code cells of a notebook that take part in its result: not those tagged `show`, `setup`.

    A cell tagged `show` only looks at finished tables; one tagged `setup` brings the repository to
    another machine. Editing them must not make anything anew.
    """
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise GroundedError(
            f"{paths.shown(notebook)}: found no readable file, wanted a notebook"
        ) from None
    return [
        "".join(cell["source"])
        for cell in content["cells"]
        if cell["cell_type"] == "code" and not ASIDE & set(cell["metadata"].get("tags", []))
    ]


def _is_plumbing(name: str) -> bool:
    packages = ("grounded", "grounded.stages")  # these hold nothing but their docstring and names
    return name in packages or any(name == p or name.startswith(f"{p}.") for p in PLUMBING)


def _module_file(name: str) -> Path:
    base = ROOT.joinpath(*name.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _exists(name: str) -> bool:
    return name.split(".")[0] == "grounded" and _module_file(name).is_file()


def _source(name: str) -> str:
    return _module_file(name).read_text(encoding="utf-8")


@cache
def _seen(source: str) -> tuple[str, list[tuple[str | None, int, list[str]]]]:
    """The sha of normalised source, and its import statements: module, dots before it, names.

    What was found is remembered in .cache, by the source and by the code that looked at it: that
    is most of the time of a `make` with nothing to do. GroundedError as for `normalised`.
    """
    key = text(Path(__file__).read_text(encoding="utf-8") + source)
    memory = paths.home() / ".cache" / "code" / f"{key}.json"
    with suppress(OSError, ValueError):
        sha, found = json.loads(memory.read_text(encoding="utf-8"))
        return sha, found
    sha, found = text(normalised(source)), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module, node.level, [alias.name for alias in node.names]))
    from grounded.records import replacing

    with suppress(OSError, GroundedError), replacing(memory) as file:  # a full disk, a frozen clone
        file.write_text(json.dumps([sha, found]), encoding="utf-8")
    return sha, found


@cache
def _imports(source: str, name: str, is_package: bool) -> list[str]:
    found: list[str] = []
    package = name if is_package else name.rpartition(".")[0]
    for module, level, names in _seen(source)[1]:
        base = resolve_name("." * level + (module or ""), package)
        found += [base, *(f"{base}.{one}" for one in names)]
    # importing a.b runs a first
    named = {".".join(n.split(".")[:i]) for n in found for i in range(1, n.count(".") + 2)}
    return sorted(n for n in named if _exists(n))
