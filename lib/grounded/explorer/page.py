"""The explorer as one HTML file: Vega-Altair's charts, their library and the numbers, inside.

It needs no server and asks for nothing from elsewhere.
"""

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import vl_convert

from grounded.explorer.numbers import data
from grounded.figures import PALETTE
from grounded.records import replacing
from grounded.study import Study

if TYPE_CHECKING:
    from IPython.display import HTML

HERE = Path(__file__).parent
QUANTITIES = {
    "accuracy": ("Accuracy on the task", PALETTE[1]),
    "harm": ("Harm", PALETTE[3]),
    "compliance": ("Compliance", PALETTE[5]),
    "coherent": ("Coherent replies", PALETTE[4]),
}
SNIPPET = "window.vegaEmbed = vegaEmbed;"
LARGEST = 5_000_000  # bytes of the page


def charts(study: Study) -> dict[str, Any]:
    """The Vega-Lite specifications, by the id of their place: one a quantity, and `anchored`."""
    epochs = max((0.0, *study.measure_at))
    found = {name: _curve(*about, epochs) for name, about in QUANTITIES.items()}
    found["anchored"] = _anchored(len(study.tasks))
    return {name: chart.to_dict() for name, chart in found.items()}


def _curve(title: str, colour: str, epochs: float) -> alt.LayerChart:
    """A thin line a run, their mean in bold, the base model dashed."""
    source = alt.Chart(alt.NamedData("rows"))
    x = alt.X("epoch:Q", title="epoch", scale=alt.Scale(domain=[0, epochs]))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]),
              axis=alt.Axis(format="%", tickCount=5))  # fmt: skip
    told = [alt.Tooltip("run:N", title="run"), alt.Tooltip("epoch:Q"),
            alt.Tooltip("value:Q", format=".1%")]  # fmt: skip
    thin = source.mark_line(opacity=0.25, strokeWidth=1, color=colour).encode(
        x=x, y=y, detail="run:N"
    )
    dots = source.mark_point(opacity=0.35, size=14, filled=True, color=colour).encode(
        x=x, y=y, tooltip=told
    )
    mean = source.mark_line(strokeWidth=3, color=colour).encode(x=x, y="mean(value):Q")
    base = (
        alt.Chart(alt.NamedData("base"))
        .mark_rule(strokeDash=[4, 3], color="#555")
        .encode(y=alt.Y("value:Q", scale=alt.Scale(domain=[0, 1])))
    )
    layered = alt.layer(base, thin, dots, mean)
    return layered.properties(title=title, width="container", height=170).configure(**_config())


def _anchored(tasks: int) -> alt.LayerChart:
    """A row a task: the judge's rate at the goal and at the fixed epoch, with one sd."""
    source = alt.Chart(alt.NamedData("cells"))
    y = alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=220))
    arms = ["at the goal", "fixed epoch"]
    colour = alt.Color("arm:N", title=None, scale=alt.Scale(
        domain=arms, range=[PALETTE[1], PALETTE[3]]))  # fmt: skip
    shape = alt.Shape("arm:N", title=None, scale=alt.Scale(domain=arms))
    offset = alt.YOffset("arm:N")
    x = alt.X("value:Q", title="rate of the judge, mean ± 1 sd over runs",
              scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))  # fmt: skip
    bars = source.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=alt.Scale(domain=[0, 1])), x2="high:Q", y=y, yOffset=offset,
        color=colour,
    )  # fmt: skip
    points = source.mark_point(filled=True, size=55, opacity=1).encode(
        x=x, y=y, yOffset=offset, color=colour, shape=shape,
        tooltip=[alt.Tooltip("label:N", title="task"), alt.Tooltip("arm:N"),
                 alt.Tooltip("value:Q", format=".1%"), alt.Tooltip("sd:Q", format=".1%")],
    )  # fmt: skip
    layered = alt.layer(bars, points).properties(width="container", height=34 * tasks)
    return layered.configure(**_config())


def _config() -> dict[str, Any]:
    text = {"font": "system-ui, sans-serif", "fontSize": 12}
    return {
        "axis": {"labelFont": text["font"], "labelFontSize": 11, "gridColor": "#e6e6e6"},
        "title": {"font": text["font"], "fontSize": 13, "anchor": "start"},
        "legend": {"labelFont": text["font"], "labelFontSize": 11, "orient": "top"},
        "view": {"stroke": None},
    }


def page(study: Study) -> str:
    """The page's HTML."""
    told = {"data": data(study), "charts": charts(study)}
    # a text that ends a script element would end it, whatever it stands in
    content = json.dumps(told, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    html = (HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "LIBRARY": vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script"),
        "CONTENT": content,
        "PROGRAM": (HERE / "page.js").read_text(encoding="utf-8"),
    }
    for name, part in parts.items():
        before, found, after = html.partition(f"/*{name}*/")
        assert found, name
        html = before + part + after
    return html


def write(study: Study, file: Path) -> int:
    """Write the page; its size in bytes."""
    html = page(study)
    with replacing(file) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return len(html.encode("utf-8"))


def frame(study: Study, height: int = 1400) -> "HTML":
    """The page inside a notebook."""
    from IPython.display import HTML

    source = escape(page(study), quote=True)
    style = f"width: 100%; height: {height}px; border: 0"
    return HTML(f'<iframe title="Explorer" style="{style}" srcdoc="{source}"></iframe>')
