"""Notebooks as programs and as pages: stripped to be run, cleaned to be read."""

import copy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.stages.plan import NOTEBOOKS

# tours, each with its study: they measure one run, and read no table
TOURS = {"quickstart": "smol", "quickstart_invented": "micro"}
EXPLORER = "explorer"  # a page to play with; draws no figure
LARGEST = 500_000  # bytes of a committed notebook: GitHub shows it, and clones stay small


def figure_notebooks() -> list[str]:
    """The notebooks that draw, by name: all but tours, explorer and stages."""
    names = sorted(path.stem for path in (paths.repository() / "notebooks").glob("*.ipynb"))
    return [name for name in names if name not in (*TOURS, EXPLORER, *NOTEBOOKS.values())]


def read(path: Path) -> NotebookNode:
    """A notebook; GroundedError where there is none that can be read."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises whatever its parser met
        line = " ".join(str(error).split())
        raise GroundedError(f"{paths.shown(path)}: found {line}, wanted a notebook") from None


def stripped(notebook: NotebookNode, but: str = "") -> NotebookNode:
    """A copy without outputs, counts and injected parameters; without cells tagged `but`."""
    bare = copy.deepcopy(notebook)
    drop = {"injected-parameters", but}
    bare.cells = [c for c in bare.cells if not drop & set(c.metadata.get("tags", []))]
    bare.metadata = NotebookNode(kernelspec=bare.metadata.get("kernelspec", {}))
    for cell in bare.cells:
        cell.metadata = NotebookNode(tags=cell.metadata.get("tags", []))
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def code_sha(notebook: NotebookNode) -> str:
    """The sha256 of a notebook's code cells as they stand, without the set-up elsewhere."""
    cells = stripped(notebook, but="setup").cells
    return fingerprint.sha([c.source for c in cells if c.cell_type == "code"])


def readable(executed: NotebookNode, study: str) -> NotebookNode:
    """An executed notebook as it is committed: what it shows, and nothing that changes each time.

    Left out: times, the machine's Python, paths, and stderr, where progress goes. Its metadata
    says what code was executed on what data: a test holds that to what is committed.
    """
    page = copy.deepcopy(executed)
    page.cells = [c for c in page.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    page.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
        grounded={
            "study": study,
            "data": fingerprint.results(study),
            "code": code_sha(executed),
        },
    )
    count = 0
    for cell in page.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode(tags=tags) if tags else NotebookNode()
        if cell.cell_type == "code":
            count += 1  # an injected cell was counted, and is gone
            cell.execution_count = count
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return page
