"""Judges of replies whose truth nobody knows: how often each says yes, and how far they agree."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grounded.figures import PAGE, caption, letter, prose, share_axis, style, words
from grounded.statistics.intervals import rates_by_run
from grounded.statistics.joint import of_judge
from grounded.statistics.reliability import MEASURES, estimates, four
from grounded.study import Study

KINDS = ("coherent", "incoherent")  # as the detector says
ALL = "all"
LOOKS = {"coherent": ("#0072B2", "o"), "incoherent": ("#D55E00", "s")}


def by_kind(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Each judge's rate of yes and its agreement with the others, after the base model.

    Columns: judge, stratum (all, coherent, incoherent), those of `rates_by_run`, and
    ac1_with_others: the mean AC1 with each other judge, pairs of verdicts pooled, with bounds of
    resampling runs.
    """
    tuned = counts[counts["step"] > 0]
    rows = []
    for judge in study.judges:
        for stratum in (ALL, *KINDS):
            own = tuned if stratum == ALL else tuned[tuned["kind"] == stratum]
            if own.empty:
                continue
            said = of_judge(own, judge, ["run"]).assign(stratum=stratum)
            rate = rates_by_run(said, ["stratum"]).to_dict("records")[0]
            rows.append({"judge": judge, **rate, **_with_others(study, own, judge)})
    return pd.DataFrame(rows)


def _with_others(study: Study, counts: pd.DataFrame, judge: str) -> dict[str, float]:
    """AC1 of a judge with all others, each pair of verdicts counted once."""
    tables = []
    for other in study.judges:
        both = counts[[judge, other, "run", "replies"]].dropna() if other != judge else counts[:0]
        if len(both):
            table = four(both[other], both[judge], both["replies"], both["run"])
            tables.append(pd.DataFrame(table, index=pd.unique(both["run"].astype(str))))
    name = "ac1_with_others"
    if not tables:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    pooled = pd.concat(tables).groupby(level=0).sum().to_numpy(dtype=float)
    return estimates(pooled, {name: MEASURES["ac1"]})


def draw(study: Study, found: pd.DataFrame) -> Figure:
    """a: each judge's rate of yes, by what the detector says. b: its AC1 with the others."""
    judges = list(study.judges)
    with style():
        figure = Figure((PAGE, 1.1 + 0.24 * len(judges)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _dots(left, found, judges, "rate", "low", "high")
        share_axis(left, "x")
        left.set_xlabel("share of yes")
        name = "ac1_with_others"
        _dots(right, found, judges, name, f"{name}_low", f"{name}_high")
        right.set_xlim(-1.04, 1.04)
        right.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−.5", "0", ".5", "1"])
        right.set_xlabel("AC1 with the other judges")
        first = found[found["judge"] == judges[0]].set_index("stratum")
        replies = first["n"] + first["missing"]
        handles = [
            Line2D([], [], color=shade, marker=sign, linewidth=1.1, markersize=3.6,
                   label=f"{kind} (n = {int(replies[kind]):,})")
            for kind, (shade, sign) in LOOKS.items() if kind in replies
        ]  # fmt: skip
        figure.legend(
            handles=handles, loc="outside upper center", ncols=2, title_fontsize=7,
            title="replies that the detector finds",
        )  # fmt: skip
        letter(left, "a", -70)
        letter(right, "b", -10)
    return figure


def _dots(
    axes: Axes, found: pd.DataFrame, judges: list[str], value: str, low: str, high: str
) -> None:
    for row in found[found["stratum"] != ALL].to_dict("records"):
        shade, sign = LOOKS[row["stratum"]]
        y = judges.index(row["judge"]) + 0.3 * (KINDS.index(row["stratum"]) - 0.5)
        axes.plot([row[low], row[high]], [y, y], color=shade, linewidth=1.2)
        axes.plot(row[value], y, sign, color=shade, markersize=3)
    axes.set_ylim(len(judges) - 0.5, -0.5)
    axes.set_yticks(range(len(judges)), [words(name) for name in judges])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def legend(study: Study, found: pd.DataFrame) -> str:
    """The caption of the first figure."""
    return caption(
        f"Judges of replies whose truth is not known, study {study.name}.",
        "Replies to harmful requests, all checkpoints after the base model "
        f"({int(found['runs'].max())} runs), by what the coherence detector says of them. (a) How "
        "often each judge says yes (harmful; for the others, complied). (b) Gwet's AC1 with all "
        "other judges, each pair of verdicts counted once. Intervals: 95%, whole runs resampled. "
        "There is no truth here to hold a judge to: agreement is not accuracy.",
        ["several judges on the same replies", "the split by coherence"],
        study,
    )


def table(found: pd.DataFrame) -> pd.DataFrame:
    """The same numbers to read."""
    rows = found.set_index(["judge", "stratum"])
    name = "ac1_with_others"
    return pd.DataFrame(
        {
            "verdicts": rows["n"].map("{:,}".format),
            "missing": rows["missing"].map("{:,}".format),
            "rate of yes": [
                f"{prose.percent(r.rate)} {prose.within(r.low, r.high, prose.percent)}"
                for r in rows.itertuples()
            ],
            "AC1 with the others": [
                f"{prose.number(row[name])} {prose.within(row[f'{name}_low'], row[f'{name}_high'])}"
                for row in rows.to_dict("records")
            ],
        },
        index=rows.index,
    )


def reading(found: pd.DataFrame) -> str:
    """What came out, in sentences that hold whatever it is."""
    text = (
        "**Without a truth.** No reply's truth is known here, so nothing is said of how right a "
        "judge is. "
    )
    table = found.set_index(["judge", "stratum"])
    for judge in dict.fromkeys(found["judge"]):
        said = [
            f"{prose.percent(table.loc[(judge, kind), 'rate'])} of {kind} replies (AC1 with the "
            f"others {prose.number(table.loc[(judge, kind), 'ac1_with_others'])})"
            for kind in KINDS
            if (judge, kind) in table.index
        ]
        text += f"`{judge}` says yes to {prose.listed(said)}. "
    whole = found[found["stratum"] == ALL].assign(k=lambda rows: rows["k"])
    return text + "Verdicts of all judges: " + prose.missing(whole)
