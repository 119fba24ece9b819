"""`make book`: the repository as a static site in build/book/html, the explorer inside.

The pages are the README, whose questions are the contents, the notebooks as they are committed, a
page of all figures with their captions, and what else is written here. Sphinx runs with every
warning an error: a link or a reference that leads nowhere fails the build.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode

from grounded import paths, study
from grounded.errors import GroundedError
from grounded.stages.plan import NOTEBOOKS
from workflow import notebooks
from workflow.jobs import Job
from workflow.notebooks import EXPLORER, figure_notebooks
from workflow.run_notebook import execute

ROOT = paths.repository()
BUILD = ROOT / "build" / "book"
PAGES = (
    "README.md", "lib/book/pages/running.md", "lib/book/pages/choices.md",
    "lib/book/pages/world.md", "BENCHMARKS.md", "CHANGELOG.md", "REPRODUCIBILITY.md",
    "data/README.md", "lib/workflow/CLUSTER.md",
)  # fmt: skip
BESIDE = (
    "LICENSE", "CITATION.cff", "REUSE.toml", "LICENSES", "requirements.lock", "environment.yml",
    *(f"data/{name}/study.yaml" for name in ("micro", "paper", "colab")),
    "tests", "lib/grounded", "lib/workflow", "figures",
)  # fmt: skip
TREE = """
```{{toctree}}
:hidden:
:caption: {caption}
{pages}
```
"""
FIGURES = """\
# All figures

In the order in which the notebooks are read, each under the question that it answers. Of the study
`{name}`: {models}, and facts about no others. Everything at once, to play with:
<a href="explorer.html">the explorer</a>.
"""
QUESTION = """
## {question}

Drawn by [{notebook}](notebooks/{notebook}.ipynb).
"""
FIGURE = """
```{{figure}} figures/{study}/{name}.png
:alt: {alt}
:name: fig-{name}

{caption}

[Numbers](figures/{study}/{name}.csv), [statistics](figures/{study}/{statistics}.json),
[SVG](figures/{study}/{name}.svg)
```
"""
WORKED = "figures/worked/what_did_it_cost"  # a page by itself; GitHub shows its Markdown
ROW = re.compile(r"^\| (.+\?) \| (.*\.ipynb\).*) \|$", re.M)
LINK = re.compile(r"\(notebooks/(\w+)\.ipynb\)")


def contents() -> list[tuple[str, list[str]]]:
    """The questions of the README, in its order, each with the notebooks that answer it."""
    rows = ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    questions = ((question.replace("*", ""), LINK.findall(links)) for question, links in rows)
    return [(question[0].upper() + question[1:], names) for question, names in questions]


def build(name: str) -> Path:
    """Build the book of a study; the folder of its pages. GroundedError where Sphinx warns."""
    study.load(name)
    _check(name)
    source, html = BUILD / "source", BUILD / "html"
    for folder in (source, html):
        shutil.rmtree(folder, ignore_errors=True)
    _copy(source)
    front = source / "README.md"
    text = front.read_text(encoding="utf-8").replace(f"{WORKED}.md", f"{WORKED}.html")
    front.write_text(text + _trees(), encoding="utf-8")
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
            # pages that `make figures` executed lie beside its figures, and are none of the book's
            hidden = shutil.ignore_patterns("__pycache__", ".*", "*.md", "*.ipynb")
            shutil.copytree(origin, target, ignore=hidden, dirs_exist_ok=True)
        else:
            shutil.copy(origin, target)
    (source / "notebooks").mkdir(exist_ok=True)
    for page in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(page, source / "notebooks")


def _trees() -> str:
    """The contents by question, as Sphinx wants them at the end of the first page."""
    asked = contents()
    single = [f"{question} <notebooks/{names[0]}>" for question, names in asked if not names[1:]]
    trees = {"By question": ["All figures <figures>", *single]}
    trees |= {q: [f"notebooks/{name}" for name in names] for q, names in asked if names[1:]}
    trees["About"] = [page.removesuffix(".md") for page in PAGES if page != "README.md"]
    return "\n" + "".join(TREE.format(caption=c, pages="\n".join(p)) for c, p in trees.items())


def _figures(name: str) -> str:
    """The page of all figures, by question, with a label each to refer to."""
    asked, folder, drawn = study.load(name), paths.figures(name), figure_notebooks()
    models = "tiny models of an invented world" if asked.has_truth else ", ".join(asked.models)
    text = FIGURES.format(name=name, models=models)
    for question, (notebook, *_) in contents():
        if notebook not in drawn:
            continue
        text += QUESTION.format(question=question, notebook=notebook)
        own = sorted(
            folder.glob(f"{notebook}*.png"), key=lambda one: (one.stem != notebook, one.stem)
        )  # its first figure has its name
        shown = captions(notebooks.read(paths.notebook(notebook)))
        if len(own) != len(shown):
            raise GroundedError(
                f"notebooks/{notebook}.ipynb: found {len(shown)} figures in it, wanted "
                f"{len(own)}, as figures/{name} has"
            )
        for file, (alt, caption) in zip(own, shown, strict=True):
            about = file.stem if file.with_suffix(".json").exists() else notebook
            text += FIGURE.format(
                name=file.stem, study=name, alt=alt, caption=caption, statistics=about
            )
    return text


def captions(page: NotebookNode) -> list[tuple[str, str]]:
    """Of each figure that an executed notebook shows: it in words, and its caption.

    The caption is the Markdown in bold that comes next, whether a cell holds or shows it, and what
    follows it up to a heading; without one the words stand in for it.
    """
    found: list[tuple[str, str]] = []
    above = False  # whether the last figure is still what is spoken of
    for cell in page.cells:
        prose = [{"data": {"text/markdown": cell.source}}] if cell.cell_type == "markdown" else []
        for output in (*prose, *cell.get("outputs", [])):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            said = " ".join(output.get("data", {}).get("text/markdown", "").split())
            above = bool(alt) or (above and not said.startswith("#"))
            if alt:
                found.append((alt, ""))
            elif above and bool(found[-1][1]) != said.startswith("**"):
                links = re.sub(r"\]\((\w+\.ipynb)\)", r"](notebooks/\1)", said)
                found[-1] = (found[-1][0], f"{found[-1][1]} {links}".strip())
    return [(alt, caption or alt) for alt, caption in found]
