"""A figure kept as PNG and SVG, beside the numbers drawn (CSV) and what is said of them (JSON)."""

import base64
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from grounded import fingerprint, paths, records
from grounded.sources import SourceAbsent
from grounded.study import Study

if TYPE_CHECKING:
    from IPython.display import Image

DPI = 250  # of the picture that is kept
PAGE_DPI = 150  # of its copy in the notebook
_PART = re.compile(r"\b[mp][0-9a-f]{10}\b")  # of an SVG: a marker, a clipping path
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}
img{{max-width:100%}}
table{{border-collapse:collapse;display:block;overflow-x:auto;font-size:.85rem}}
th,td{{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}}
th:first-child,td:first-child{{text-align:left}}</style></head>
<body>{body}</body></html>
"""


def figure(drawn: Figure, study: Study, name: str, data: pd.DataFrame, alt: str) -> "Image":
    """Keep a figure as figures/<study>/<name>.png and .svg, its numbers as .csv; what to show.

    data: the numbers drawn, one row a mark. alt: the picture in words. The same figure gives the
    same bytes: no dates, no random names, numbers at six digits. A file takes its place when it is
    whole.
    """
    path = paths.figures(study.name) / name
    shown = picture(drawn, alt)
    with records.replacing(path.with_suffix(".png")) as file:
        drawn.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    drawn.set_layout_engine(None)  # the one of the picture holds for its other form
    with records.replacing(path.with_suffix(".svg")) as file:
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        file.write_text(_named(file.read_text(encoding="utf-8")), encoding="utf-8")
    _csv(data, path.with_suffix(".csv"))
    return shown


def picture(drawn: Figure, alt: str) -> "Image":
    """A figure as a notebook shows it, with the words `alt`, and nothing kept on disk."""
    from IPython.display import Image

    drawn.set_layout_engine("constrained")  # seaborn's own leaves titles outside
    page = io.BytesIO()
    drawn.savefig(page, format="png", dpi=PAGE_DPI, metadata={"Software": None})
    plt.close(drawn)  # a notebook would show it a second time
    width = round(drawn.get_figwidth() * 130)
    return Image(data=page.getvalue(), format="png", alt=alt, width=width)


def measured(study: Study, name: str, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """What `measure()` finds, kept as figures/<study>/<name>.csv; without its data, as it was kept.

    For numbers of public files, which not every machine can fetch: where they are absent the
    study's own CSV is read, else that of `micro`, and a line says so. Either way the frame is the
    CSV's, at six digits, so that the same figure comes of it. SourceAbsent where there is none.
    """
    file = f"{name}.csv"
    own = paths.figures(study.name) / file
    try:
        _csv(measure(), own)
    except SourceAbsent as absent:
        places = (own, paths.repository() / "figures" / "micro" / file)
        kept = next((place for place in places if place.exists()), None)
        if kept is None:
            raise
        print(f"note: {file} stays as it was kept, its data is absent: {absent}")
        return pd.read_csv(kept)
    return pd.read_csv(own)


def statistics(study: Study, name: str, found: Mapping[str, Any], tables: Sequence[str]) -> None:
    """Keep what is said of a figure as figures/<study>/<name>.json, with what it came from.

    found: numbers, texts and frames (as lists of rows). tables: the tables of the study that were
    read; with the notebook of that name they give the fingerprint.
    """
    about = {
        "figure": name,
        "study": study.name,
        "inputs": inputs(study, tables, name),
        "statistics": rounded(found),
    }
    with records.replacing(paths.figures(study.name) / f"{name}.json") as file:
        text = json.dumps(about, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")


def inputs(study: Study, tables: Iterable[str], notebook: str) -> dict[str, str]:
    """What a figure came from: the sha of the rows of its tables, and of the code that drew it."""
    rows = {
        f"{table}/{unit}": {run: about["rows"] for run, about in recorded.items()}
        for table in tables
        for unit in study.units()
        for recorded in [records.metadata(paths.table(study.name, table, unit))["runs"]]
    }
    shas = {"tables": fingerprint.sha(rows)} if rows else {}
    page = paths.notebook(notebook)
    if page.exists():
        used = fingerprint.imports("\n".join(fingerprint.cells(page)))
        shas["code"] = fingerprint.sha(fingerprint.code(*used, notebook=page))
    return shas


def _csv(data: pd.DataFrame, path: Path) -> None:
    with records.replacing(path) as file:
        data.to_csv(file, index=False, float_format=_short, lineterminator="\n")


def _short(number: float) -> str:
    """A number at six digits. It is rounded at twelve first: of what lies halfway, as 16.04375
    does, the last bit would decide, and that changes from one process to the next."""
    return f"{float(f'{number:.12g}'):.6g}"


def _named(svg: str) -> str:
    """The same picture with its parts named in order: Matplotlib's names change with a last bit."""
    names = {name: f"{name[0]}{n}" for n, name in enumerate(dict.fromkeys(_PART.findall(svg)))}
    return _PART.sub(lambda found: names[found[0]], svg)


def rounded(value: Any) -> Any:
    """A value as JSON can hold it: numbers at six digits, what is not finite as null."""
    if isinstance(value, pd.DataFrame):
        value = value.to_dict("records")
    if isinstance(value, Mapping):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray | pd.Series):
        return [rounded(one) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(_short(float(value))) + 0.0 if math.isfinite(value) else None
    return value


def page(study: Study, name: str, title: str, sections: Mapping[str, str | pd.DataFrame]) -> Path:
    """Keep what a notebook found as one page, figures/<study>/<name>.md and .html; the latter.

    sections: heading -> Markdown or a table; an empty table is left out. The figure of that name
    stands after the first section, in the HTML inside the file, so that it can be sent alone.
    """
    folder, text = paths.figures(study.name), [f"# {title}", f"Study `{study.name}`. {study.about}"]
    picture = f"![The figure {title}]({name}.png)"
    for number, (heading, found) in enumerate(sections.items()):
        if isinstance(found, pd.DataFrame):
            found = (
                "" if found.empty else found.to_html(index=found.index.name is not None, border=0)
            )
        text += [f"## {heading}", found, picture if number == 0 else ""] if found else []
    source = "\n\n".join(one for one in text if one) + "\n"
    with records.replacing(folder / f"{name}.md") as file:
        file.write_text(source, encoding="utf-8")
    inside = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
    body = MarkdownIt().render(source).replace(f"{name}.png", f"data:image/png;base64,{inside}")
    with records.replacing(folder / f"{name}.html") as file:
        file.write_text(PAGE.format(title=title, body=body), encoding="utf-8")
    return folder / f"{name}.html"
