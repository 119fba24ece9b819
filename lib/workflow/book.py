"""`make book`: the repository as a static site in build/book/html, the explorer inside.

The pages are the README, the notebooks as they are committed, a page of all figures, and what
else is written here. Sphinx runs with every warning an error: a link or a reference that leads
nowhere fails the build.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from grounded import paths, study
from grounded.errors import GroundedError
from grounded.stages.plan import NOTEBOOKS
from workflow import notebooks
from workflow.jobs import Job
from workflow.notebooks import EXPLORER, QUICKSTART, figure_notebooks
from workflow.run_notebook import execute

ROOT = paths.repository()
BUILD = ROOT / "build" / "book"
PAGES = (
    "README.md", "lib/book/pages/running.md", "lib/book/pages/choices.md", "BENCHMARKS.md",
    "CHANGELOG.md", "REPRODUCIBILITY.md", "data/README.md", "lib/workflow/CLUSTER.md",
)  # fmt: skip
BESIDE = (
    "LICENSE", "CITATION.cff", "REUSE.toml", "LICENSES", "requirements.lock", "environment.yml",
    *(f"data/{name}/study.yaml" for name in ("micro", "paper", "colab", "crossed")),
    "tests", "lib/grounded", "lib/workflow", "figures",
)  # fmt: skip
TREES = """

```{{toctree}}
:hidden:
:caption: The study
{study}
```

```{{toctree}}
:hidden:
:caption: Results
figures
{results}
```

```{{toctree}}
:hidden:
:caption: About
{about}
```
"""
FIGURES = """\
# All figures

Each with the numbers that are drawn, the statistics, and the notebook that drew it. Of the study
`{name}`: tiny models of an invented world, and facts about no others. FIRST
"""
FIGURE = """
(fig-{name})=
## {title}

```{{figure}} figures/{study}/{name}.png
:alt: {title}
:name: picture-{name}

Numbers: [CSV](figures/{study}/{name}.csv). Statistics:
[JSON](figures/{study}/{statistics}.json). Picture: [SVG](figures/{study}/{name}.svg). Drawn by
[{notebook}](notebooks/{notebook}.ipynb).
```
"""


def build(name: str) -> Path:
    """Build the book of a study; the folder of its pages. GroundedError where Sphinx warns."""
    study.load(name)
    _check(name)
    source, html = BUILD / "source", BUILD / "html"
    for folder in (source, html):
        shutil.rmtree(folder, ignore_errors=True)
    _copy(source)
    with (source / "README.md").open("a", encoding="utf-8") as front:
        front.write(_trees())
    (source / "figures.md").write_text(_figures(name), encoding="utf-8")
    (source / "extra").mkdir()
    _explore(name, source / "extra" / "explorer.html")
    command = [
        *(sys.executable, "-m", "sphinx", "-b", "html", "-c", str(ROOT / "lib" / "book")),
        *("--fail-on-warning", "--keep-going", "--quiet", "-d", str(BUILD / "doctrees")),
        *("-D", f"html_extra_path={source / 'extra'}", str(source), str(html)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise GroundedError("\n".join(f"book: {line}" for line in lines[-20:]))
    shutil.copy(html / "README.html", html / "index.html")
    return html


def _explore(name: str, page: Path) -> None:
    """The explorer's charts as one page, by its notebook."""
    source, output = paths.notebook(EXPLORER), BUILD / f"{EXPLORER}.ipynb"
    execute(Job(f"notebooks/{EXPLORER}", source, output, {"study": name, "page": str(page)}))


def _check(name: str) -> None:
    """GroundedError unless the notebooks that the book would show are of the study."""
    for page in (*NOTEBOOKS.values(), *figure_notebooks()):
        shown = notebooks.read(paths.notebook(page)).metadata.get("grounded", {}).get("study")
        if shown != name:
            raise GroundedError(
                f"notebooks/{page}.ipynb: found it executed on {shown}, wanted {name} (make "
                f"notebooks STUDY={name} executes them anew)"
            )


def _copy(source: Path) -> None:
    """The pages, and the files that they link to, laid out as here."""
    for name in (*PAGES, *BESIDE):
        origin, target = ROOT / name, source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            hidden = shutil.ignore_patterns("__pycache__", ".*", "*.md")
            shutil.copytree(origin, target, ignore=hidden, dirs_exist_ok=True)
        else:
            shutil.copy(origin, target)
    (source / "notebooks").mkdir(exist_ok=True)
    for page in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(page, source / "notebooks")


def _trees() -> str:
    """The contents, as Sphinx wants them at the end of the first page."""
    stages = [QUICKSTART, *NOTEBOOKS.values()]
    return TREES.format(
        study="\n".join(f"notebooks/{name}" for name in stages),
        results="\n".join(f"notebooks/{name}" for name in (*figure_notebooks(), EXPLORER)),
        about="\n".join(page.removesuffix(".md") for page in PAGES if page != "README.md"),
    )


def _figures(name: str) -> str:
    """The page of all figures, with a label each to refer to."""
    folder, text = ROOT / "figures" / name, FIGURES.format(name=name)
    for file in sorted(folder.glob("*.png")):
        notebook = max((n for n in figure_notebooks() if file.stem.startswith(n)), key=len)
        title = file.stem.replace("_", " ").capitalize()
        about = file.stem if file.with_suffix(".json").exists() else notebook
        text += FIGURE.format(
            name=file.stem, title=title, study=name, notebook=notebook, statistics=about
        )
    link = '<a href="explorer.html">the explorer</a>'
    return text.replace("FIRST", f"Everything at once, to play with: {link}.", 1)


def main(name: str = "micro") -> int:
    """Build, and say where it lies."""
    try:
        html = build(name)
    except GroundedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*((html / page).relative_to(ROOT) for page in ("index.html", "explorer.html")), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
