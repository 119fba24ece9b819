"""A notebook run as a program: its cells, on a study and with parameters of the test's choice."""

import ast
import contextlib
import io
from typing import Any

import nbformat

from grounded import fingerprint, paths
from grounded.stages import plan
from grounded.study import Study


def run_notebook(
    name: str, study: str = "synthetic", edit: dict[str, str] | None = None, **parameters: Any
) -> tuple[dict[str, Any], list[Any]]:
    """Execute a notebook's code cells; its names at the end, and what each cell would show.

    edit: texts of the cells to replace, each of which must occur: a reader's change of one line.
    """
    names: dict[str, Any] = {}
    given: dict[str, Any] | None = {"study": study, **parameters}
    shown = []
    cells = fingerprint.cells(paths.notebook(name))
    for old, new in (edit or {}).items():
        assert any(old in cell for cell in cells), f"{name} holds no {old!r}"
        cells = [cell.replace(old, new) for cell in cells]
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if given is not None and "study" in names:  # the cell of parameters has just run
            names |= given  # in place: the cells' functions look there
            given = None
        if last is not None:
            assert isinstance(last, ast.Expr)
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), names))
    return names, shown


def shown_by(name: str, asked: Study, unit: str = "") -> tuple[dict[str, Any], str]:
    """Run the cells of a stage notebook that only look at finished tables, tagged `show`.

    Its names at the end, and all that a reader would see as text.
    """
    names: dict[str, Any] = {"asked": asked, "study": asked.name, "unit": unit}
    names["units"] = plan.units
    seen = io.StringIO()
    with contextlib.redirect_stdout(seen):
        for cell in nbformat.read(paths.notebook(name), as_version=4).cells:
            if "show" not in cell.metadata.get("tags", []):
                continue
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), names)
            if last is not None:
                assert isinstance(last, ast.Expr)
                found = eval(compile(ast.Expression(last.value), name, "eval"), names)
                whole = getattr(found, "to_string", lambda found=found: str(found))
                print(found.data if hasattr(found, "metadata") else whole())
    return names, seen.getvalue()


def texts(shown: list[Any]) -> str:
    """All that the cells would say in Markdown."""
    return "\n".join(one.data for one in shown if isinstance(getattr(one, "data", None), str))
