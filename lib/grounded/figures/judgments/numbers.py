"""The numbers of figure 2: what is drawn and what is said of it."""

from typing import Any

import numpy as np
import pandas as pd

from grounded.figures import prose
from grounded.statistics import (
    changes,
    frames,
    incoherence_pairs,
    mean_interval,
    measures_by_run,
    rates_by_run,
)
from grounded.statistics.regressions import binomial, ols, separated, terms, wald
from grounded.study import Study

# verdict and coherence of a reply; what is called harmful first
PARTS = ("harmful_coherent", "harmful_incoherent", "harmless_incoherent", "harmless_coherent")
CLASSES = {
    "refusal": "coherent", "harmful": "coherent", "answer": "coherent", "mixed": "mixed",
    "incoherent": "incoherent",
}  # fmt: skip


def measure(study: Study, judge: str) -> pd.DataFrame:
    """Counts of verdicts by run, checkpoint, judge of harm, truth of the reply and coherence.

    The judge named comes first, then the study's other judges of harm. Benchmarks of harmful
    requests, pooled. Columns as `frames.verdicts`, with kind: coherent, mixed, incoherent; where
    no truth is known, it is the detector's, never mixed, and the truth has no columns.
    """
    kind = study.judge(judge).kind
    judges = [judge, *(n for n, other in study.judges.items() if other.kind == kind and n != judge)]
    by = [*(["truth", "truth_harm"] if study.has_truth else []), "coherent"]
    counts = frames.verdicts(study, judges, frames.harmful_benchmarks(study), by=by)
    keys = ["run", "model", "task", "setting", "seed", "step", "epoch", "judge", *by]
    counts = counts.groupby(keys, observed=True)[["n", "k", "missing"]].sum().reset_index()
    if study.has_truth:
        counts["kind"] = counts["truth"].astype(str).map(CLASSES)
    else:
        counts["kind"] = np.where(counts["coherent"].astype(bool), "coherent", "incoherent")
    return counts


def told(frame: pd.DataFrame) -> bool:
    """Whether the truth of the replies is known."""
    return "truth_harm" in frame


def composition(study: Study, measured: pd.DataFrame, judge: str) -> pd.DataFrame:
    """Panel a: of the replies judged, the share of each verdict and coherence, a row a bar.

    A row a model, task and epoch; shares are means over runs; low and high: 95% interval over
    runs of the share called harmful. Missing verdicts are counted and left out.
    """
    own = measured[measured["judge"] == judge]
    split = own.assign(
        harmful_coherent=own["k"].where(own["coherent"], 0),
        harmful_incoherent=own["k"].where(~own["coherent"], 0),
        harmless_incoherent=(own["n"] - own["k"]).where(~own["coherent"], 0),
        harmless_coherent=(own["n"] - own["k"]).where(own["coherent"], 0),
    )
    parts = list(PARTS)
    keys = ["run", "model", "task", "setting", "seed", "step", "epoch"]
    sums = split.groupby(keys, observed=True)[[*parts, "n", "k", "missing"]].sum().reset_index()
    sums[parts] = sums[parts].div(sums["n"], axis=0)
    sums["rate"] = sums["k"] / sums["n"]
    rows = []
    for (model, task, epoch), part in frames.with_base(study, sums).groupby(
        ["model", "task", "epoch"], sort=False
    ):
        once = part.iloc[:1] if part["base"].all() else part
        _, low, high = mean_interval(once["rate"].to_numpy())
        rows.append(
            {
                "model": model, "task": task, "epoch": epoch, **once[parts].mean(),
                "harmful": once["rate"].mean(), "low": low, "high": high,
                "runs": 0 if part["base"].all() else len(once), "n": int(once["n"].sum()),
                "missing": int(once["missing"].sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def by_truth(measured: pd.DataFrame) -> pd.DataFrame:
    """Panels b and c: how often each judge says harmful, by kind of reply and by what it holds.

    The latter where the truth is known. All checkpoints after the base model, pooled; interval:
    whole runs resampled.
    """
    tuned = measured[measured["step"] > 0]
    return rates_by_run(tuned, ["judge", "kind", *(["truth_harm"] if told(measured) else [])])


def regression(
    study: Study, measured: pd.DataFrame, judge: str, linear: bool = False
) -> Any | None:
    """The judge's verdict on capability, coherence (of the detector) and their product.

    A binomial GLM of single verdicts, errors clustered by run, base models left out; `linear`:
    weighted shares by least squares, which no separation can harm.
    """
    own = measured[(measured["judge"] == judge) & (measured["step"] > 0)]
    keys = ["run", "step", "coherent"]
    counts = own.groupby(keys, observed=True)[["n", "k"]].sum().reset_index()
    able = frames.capability(study)
    able = able.loc[able["step"] > 0, ["run", "step", "capability"]]
    counts = counts.merge(able, on=["run", "step"], validate="many_to_one")
    counts["incoherent"] = (~counts["coherent"].astype(bool)).astype(int)
    if not linear:
        return binomial("capability * incoherent", counts)
    some = counts[counts["n"] > 0]
    return ols("rate ~ capability * incoherent", some.assign(rate=some["k"] / some["n"]))


def statistics(study: Study, measured: pd.DataFrame, judge: str) -> dict[str, Any]:
    """Verdicts against the truth, the detector against the truth, and the regression.

    Where no truth is known, nothing is held against it.
    """
    tuned = measured[measured["step"] > 0]
    logistic = regression(study, measured, judge)
    straight = regression(study, measured, judge, linear=True)
    first = tuned[tuned["judge"] == judge]
    last = first[first["step"] == first.groupby("run")["step"].transform("max")]
    garbled = ~last["coherent"].astype(bool)
    true = garbled & last["truth_harm"].astype(bool) if told(measured) else None
    return {
        "judge": judge,
        "by_truth": by_truth(measured).to_dict("records"),
        "agreement": _agreement(tuned) if told(measured) else [],
        "detector": _detector(first) if told(measured) else None,
        "binomial": None if logistic is None else terms(logistic).to_dict("records"),
        "binomial_wald": None if logistic is None else wald(logistic).to_dict("records"),
        "binomial_separated": [] if logistic is None else separated(logistic),
        "linear": None if straight is None else terms(straight).to_dict("records"),
        "last_epoch": {
            "n": int(last["n"].sum()), "k": int(last["k"].sum()),
            "missing": int(last["missing"].sum()),
            "n_incoherent": int(last.loc[garbled, "n"].sum()),
            "k_incoherent": int(last.loc[garbled, "k"].sum()),
            "k_incoherent_true": None if true is None else int(last.loc[true, "k"].sum()),
            "missing_incoherent": int(last.loc[garbled, "missing"].sum()),
        },
        "incoherence": incoherence(study).to_dict("records"),
    }  # fmt: skip


def _agreement(tuned: pd.DataFrame) -> list[dict[str, Any]]:
    """Each judge against the truth, over all replies and on each side of the detector."""
    against = tuned.assign(
        stratum=np.where(tuned["coherent"].astype(bool), "coherent", "incoherent")
    )
    both = pd.concat([against.assign(stratum="all"), against])
    return measures_by_run(both, "truth_harm", ["judge", "stratum"]).to_dict("records")


def _detector(first: pd.DataFrame) -> dict[str, Any]:
    """The detector as a rater of incoherence: a row a reply, whatever the verdict."""
    replies = first.assign(
        n=first["n"] + first["missing"],
        k=(first["n"] + first["missing"]).where(~first["coherent"].astype(bool), 0),
        incoherent=first["truth"].astype(str) == "incoherent",
        detector="combined",
    )
    return measures_by_run(replies, "incoherent", ["detector"]).to_dict("records")[0]


def incoherence(study: Study) -> pd.DataFrame:
    """How the share of incoherent replies (detector) changes, base to last epoch."""
    return changes(incoherence_pairs(study), ["model", "task"])


def data(bars: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Everything drawn in one frame: the bars of panel a, the dots of b and c."""
    panel = np.where(rates["truth_harm"].astype(bool), "b", "c") if told(rates) else "b"
    return pd.concat([bars.assign(panel="a"), rates.assign(panel=panel)], ignore_index=True)


def agreement(found: dict[str, Any]) -> pd.DataFrame:
    """How each judge agrees with the truth, as a table to read; empty where none is known."""
    if not found["agreement"]:
        return pd.DataFrame()
    rows = pd.DataFrame(found["agreement"]).set_index(["judge", "stratum"])
    names = {"sensitivity": prose.percent, "specificity": prose.percent}
    return pd.DataFrame(
        {
            "verdicts": rows["n"].map("{:,}".format),
            **{
                name: [
                    f"{say(row[name])} {prose.within(row[f'{name}_low'], row[f'{name}_high'], say)}"
                    for row in rows.to_dict("records")
                ]
                for name in ("sensitivity", "specificity", "kappa", "ac1")
                for say in [names.get(name, prose.number)]
            },
        },
        index=rows.index,
    ).rename(columns={"kappa": "κ", "ac1": "AC1"})
