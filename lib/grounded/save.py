"""A figure kept as PNG and SVG, beside the numbers drawn (CSV) and what is said of them (JSON)."""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grounded import fingerprint, paths, records
from grounded.study import Study, load

if TYPE_CHECKING:
    from IPython.display import Image

DPI = 250  # of the picture that is kept
PAGE_DPI = 150  # of its copy in the notebook


def figure(drawn: Figure, study: Study | str, name: str, data: pd.DataFrame, alt: str) -> "Image":
    """Keep a figure as figures/<study>/<name>.png and .svg, its numbers as .csv; what to show.

    data: the numbers drawn, one row a mark. alt: the picture in words. The same figure gives the
    same bytes: no dates, no random names, numbers at six digits. A file takes its place when it is
    whole.
    """
    study = load(study) if isinstance(study, str) else study
    path = paths.figures(study.name) / name
    drawn.set_layout_engine("constrained")  # seaborn's own leaves titles outside
    page = io.BytesIO()
    drawn.savefig(page, format="png", dpi=PAGE_DPI, metadata={"Software": None})
    with records.replacing(path.with_suffix(".png")) as file:
        drawn.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    drawn.set_layout_engine(None)  # the one of the picture holds for its other form
    with records.replacing(path.with_suffix(".svg")) as file:
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    with records.replacing(path.with_suffix(".csv")) as file:
        data.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")
    plt.close(drawn)  # a notebook would show it a second time
    from IPython.display import Image

    width = round(drawn.get_figwidth() * 130)
    return Image(data=page.getvalue(), format="png", alt=alt, width=width)


def statistics(
    study: Study | str,
    name: str,
    found: Mapping[str, Any],
    tables: Sequence[str],
    notebook: str = "",
) -> None:
    """Keep what is said of a figure as figures/<study>/<name>.json, with what it came from.

    found: numbers, texts and frames (as lists of rows). tables: the tables of the study that were
    read; with `notebook` (default: `name`) they give the fingerprint.
    """
    study = load(study) if isinstance(study, str) else study
    about = {
        "figure": name,
        "study": study.name,
        "inputs": inputs(study, tables, notebook or name),
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


def rounded(value: Any, digits: int = 6) -> Any:
    """A value as JSON can hold it: numbers at so many digits, what is not finite as null."""
    if isinstance(value, pd.DataFrame):
        value = value.to_dict("records")
    if isinstance(value, Mapping):
        return {str(key): rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray | pd.Series):
        return [rounded(one, digits) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{digits}g}") + 0.0 if math.isfinite(value) else None
    return value
