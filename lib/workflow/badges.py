"""`make badges REPOSITORY=owner/name`: links to Colab and Binder at the head of the notebooks.

Until an address is given the notebooks have none: a link that leads nowhere helps nobody. Without
REPOSITORY they are taken away again. The address stands in two cells of each notebook, the first
and the one tagged `setup`; neither counts in a fingerprint, so no figure is drawn anew.
"""

import re

import nbformat

from grounded import paths
from grounded.errors import GroundedError
from grounded.records import replacing
from grounded.stages.plan import NOTEBOOKS
from workflow import notebooks

NOWHERE = "OWNER/REPOSITORY"  # in the set-up cell, as long as no address is known
ADDRESS = re.compile(r"[\w.-]+/[\w.-]+")
COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"
NO_TORCH = tuple(notebooks.TOURS)  # they train, which Binder's small machines cannot


def badges(name: str, repository: str, tag: str) -> str:
    """The links at the head of a notebook, as Markdown."""
    colab = f"{COLAB}/github/{repository}/blob/{tag}/notebooks/{name}.ipynb"
    lines = [f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab})"]
    if name not in NO_TORCH:
        binder = f"{BINDER}/v2/gh/{repository}/{tag}?labpath=notebooks%2F{name}.ipynb"
        lines.append(f"[![Open in Binder]({BINDER}/badge_logo.svg)]({binder})")
    return "\n".join(lines)


def stamp(page: nbformat.NotebookNode, name: str, repository: str, tag: str) -> None:
    """Put the links in a notebook, or take them away where the repository is empty."""
    if page.cells and page.cells[0].source.startswith("[![Open in"):
        del page.cells[0]
    for cell in page.cells:
        if "setup" in cell.metadata.get("tags", []):
            place = repr(f"https://github.com/{repository or NOWHERE}").replace("'", '"')
            cell.source = re.sub(r"place, home = \"[^\"]*\"", f"place, home = {place}", cell.source)
            cell.source = re.sub(r'"--branch", "[^"]*"', f'"--branch", "{tag}"', cell.source)
    if repository:
        first = nbformat.v4.new_markdown_cell(badges(name, repository, tag))
        first["id"] = "badges"
        page.cells.insert(0, first)


def stamp_all(repository: str, tag: str) -> None:
    """Stamp every notebook that a reader may open by itself; stages run after each other.

    repository: owner/name; empty: no badges. GroundedError for one that is no such name.
    """
    if repository and not ADDRESS.fullmatch(repository):
        raise GroundedError(f"REPOSITORY: found {repository!r}, wanted owner/name")
    for file in sorted((paths.repository() / "notebooks").glob("*.ipynb")):
        if file.stem not in NOTEBOOKS.values():
            page = notebooks.read(file)
            stamp(page, file.stem, repository, tag)
            with replacing(file) as temporary:
                temporary.write_text(nbformat.writes(page) + "\n", encoding="utf-8")
