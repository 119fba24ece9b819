"""One look for all figures, and one way to keep them: picture, numbers drawn, statistics.

Each figure has a module of its own here; what they share is in this file. Nothing is drawn or
read at import.
"""

import io
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grounded import fingerprint, paths, records
from grounded.study import Study, load

if TYPE_CHECKING:
    from IPython.display import Image

COLUMN, PAGE = 3.3, 6.9  # inches: the widths of one and of two columns of a paper
DPI = 250
# Okabe and Ito's colours, safe for colour-blind readers, ordered so that neighbours are pairs of
# one hue: two sizes of one family.
PALETTE = (
    "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#000000", "#B8A800",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#8a8a8a"

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.titlesize": 7.5,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 7,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "grounded",  # without it every drawing names its parts anew
    "xtick.labelsize": 6.5,
    "xtick.major.size": 2.2,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 6.5,
    "ytick.major.size": 2.2,
    "ytick.major.width": 0.6,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, for the length of a `with` block, whatever the user's own is."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of the palette for each name, in the order given; the palette may come round."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker for each name, so that no reader depends on colour alone."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def words(name: str) -> str:
    """A name of the study as a reader writes it: `open_instructions` is "open instructions"."""
    return {"yes_no": "yes/no", "role_play": "role-play"}.get(name, name.replace("_", " "))


def families(study: Study) -> dict[str, list[str]]:
    """The study's models by architecture, both in the study's order."""
    found: dict[str, list[str]] = {}
    for name, model in study.models.items():
        found.setdefault(model.architecture, []).append(name)
    return found


def share_axis(axes: Axes, direction: str = "y") -> None:
    """An axis for shares: 0 to 1 with a little air, ticks at quarters."""
    axis = axes.yaxis if direction == "y" else axes.xaxis
    (axes.set_ylim if direction == "y" else axes.set_xlim)(-0.03, 1.03)
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def ratio_axis(axes: Axes) -> None:
    """A logarithmic x axis for ratios: as many round ticks as there is room for, at least three."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    axes.set_xticks(ticks, [f"{tick:g}".removeprefix("0") for tick in ticks])
    axes.set_xticks([], minor=True)


def letter(axes: Axes, text: str, left: float = 0.0) -> None:
    """The bold letter by which a caption names a panel, above its left corner."""
    axes.annotate(
        text, (0, 1), (left, 3), xycoords="axes fraction", textcoords="offset points",
        fontsize=9, fontweight="bold", va="bottom", ha="left", annotation_clip=False,
    )  # fmt: skip


def save(
    figure: Figure,
    study: Study | str,
    name: str,
    data: pd.DataFrame,
    statistics: Mapping[str, Any],
    tables: Sequence[str] = (),
    notebook: str | None = None,
) -> None:
    """Keep a figure as figures/<study>/<name>.png, .svg, .csv (data) and .json (statistics).

    tables: the tables of the study that it was drawn from; with `notebook` (default: `name`) they
    give the fingerprint that is written beside the statistics. The same figure gives the same
    bytes: no dates, no random names, numbers at six digits.
    """
    study = load(study) if isinstance(study, str) else study
    path = paths.figures(study.name) / name
    about = {
        "figure": name,
        "study": study.name,
        "inputs": inputs(study, tables, notebook or name),
        "statistics": rounded(statistics),
    }
    with style():
        with records.replacing(path.with_suffix(".png")) as file:
            figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        figure.set_layout_engine(None)  # the one of the picture holds for its other forms
        with records.replacing(path.with_suffix(".svg")) as file:
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    with records.replacing(path.with_suffix(".csv")) as file:
        data.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")
    with records.replacing(path.with_suffix(".json")) as file:
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


def show(figure: Figure, alt: str, dpi: int = 150) -> "Image":
    """The figure as a picture inside a notebook, with a text for those who cannot see it."""
    from IPython.display import Image

    file = io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    width = round(figure.get_figwidth() * 130)
    return Image(data=file.getvalue(), format="png", alt=alt, width=width)


def caption(title: str, text: str, ours: Sequence[str], study: Study | None = None) -> str:
    """A caption in Markdown: a bold title, what is drawn, and which choices are ours.

    study: what of it is absent on this machine is named.
    """
    choices = "; ".join(ours)
    said = f"**{title}** {text}\n\n*Ours, not the paper's:* {choices}."
    return said + (_absent(study) if study and study.absent else "")


def _absent(study: Study) -> str:
    """A sentence for every judge and benchmark of the study that this machine has no access to."""
    lines = []
    for name, why in study.absent.items():
        field, _, one = name.partition(".")
        lines.append(f"The {field.removesuffix('s')} `{one}` of the study is left out: {why}.")
    return "\n\n" + " ".join(lines)


def main_judge(study: Study, kind: str, name: str = "") -> str:
    """The judge asked for; where none is, the study's first of a kind (`harm`, `compliance`).

    Where it has none of that kind: of compliance a keyword list, else its first judge.
    """
    if name:
        study.judge(name)
        return name
    for wanted in (kind, "keywords" if kind == "compliance" else ""):
        for one, judge in study.judges.items():
            if judge.kind == wanted:
                return one
    return next(iter(study.judges))


def note(text: str) -> Figure:
    """A figure that says why there is none, so that a reader misses nothing in silence."""
    with style():
        figure = Figure((COLUMN, 0.9), layout="constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        lines = textwrap.fill(text.replace("`", ""), 58)
        axes.text(0.5, 0.5, lines, transform=axes.transAxes, ha="center", va="center", color="#444")
    return figure
