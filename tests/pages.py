"""A notebook run as a program: its cells, on a study and with parameters of the test's choice."""

import ast
from typing import Any

from grounded import fingerprint, paths


def run_notebook(
    name: str, study: str = "synthetic", edit: dict[str, str] | None = None, **parameters: Any
) -> tuple[dict[str, Any], list[Any]]:
    """Execute a notebook's code cells; its names at the end, and what each cell would show.

    edit: texts of the cells to replace, each of which must occur: a reader's change of one line.
    """
    names: dict[str, Any] = {}
    shown = []
    cells = fingerprint.cells(paths.notebook(name))
    for old, new in (edit or {}).items():
        assert any(old in cell for cell in cells), f"{name} holds no {old!r}"
        cells = [cell.replace(old, new) for cell in cells]
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if names.get("study") == "micro":  # the cell of parameters has just run
            names |= {"study": study, **parameters}
        if last is not None:
            assert isinstance(last, ast.Expr)
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), names))
    return names, shown


def texts(shown: list[Any]) -> str:
    """All that the cells would say in Markdown."""
    return "\n".join(one.data for one in shown if isinstance(getattr(one, "data", None), str))
