"""The claims, a row each: estimate, interval, adjusted p, the figure it stands in, a verdict."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from grounded.anchors.grids import FEWEST
from grounded.figures import anchoring, main_judge, prose, trust, words
from grounded.figures.anchoring.secondary import BETTER, holm
from grounded.figures.trust.numbers import truth_of
from grounded.statistics import (
    changes,
    frames,
    incoherence_pairs,
    jackknife,
    mean_interval,
    verdict_pairs,
)
from grounded.statistics.intervals import LEVEL
from grounded.statistics.joint import of_judge
from grounded.study import BASE, Study

NAN = float("nan")
POINTS, RATIO, TAU = "points", "ratio", "τ"
SUPPORTED, REFUTED, OPEN = "supported", "not supported", "undecided"


def claims(study: Study, helps: anchoring.Found) -> pd.DataFrame:
    """Every claim of the paper, and the anchoring claim.

    Columns: claim, about, unit (points: shares times 100; ratio; τ), estimate, low, high, p,
    p_adjusted (Holm over all that have one), n, of (what n counts), figure, verdict: `supported`
    where the adjusted p is below .05 and the sign is the claim's, `not supported` where it is
    against it, else `undecided`. why_not: why there is no estimate. by_task: what a mean over tasks
    is made of, in words.
    """
    counts = trust.measure(study).counts
    rows = [_harm(study), _incoherence(study), *_judges(study, counts),
            *_dependence(study, counts), *_anchoring(helps)]  # fmt: skip
    found = pd.DataFrame(rows)
    found["p_adjusted"] = holm(found["p"])
    null = np.where(found["unit"] == RATIO, 1.0, 0.0)
    towards = np.sign(found["estimate"] - null) == found["sign"]
    clear = found["p_adjusted"] < 1 - LEVEL
    found["verdict"] = np.where(clear, np.where(towards, SUPPORTED, REFUTED), OPEN)
    return found.drop(columns="sign")


def _row(
    claim: str, about: str, unit: str, figure: str, sign: int, told: dict[str, Any]
) -> dict[str, Any]:
    empty = {"estimate": NAN, "low": NAN, "high": NAN, "p": NAN, "n": 0, "of": "", "why_not": "",
             "by_task": ""}  # fmt: skip
    return {"claim": claim, "about": about, "unit": unit, "figure": figure, "sign": sign,
            **empty, **told}  # fmt: skip


def _incoherence(study: Study) -> dict[str, Any]:
    about = "fine-tuning raises the share of incoherent replies to harmful requests"
    return _row("1", about, POINTS, "figure_2_judgments", 1,
                _changed(study, incoherence_pairs(study)))  # fmt: skip


def _harm(study: Study) -> dict[str, Any]:
    pairs = verdict_pairs(study, [main_judge(study, "harm")])
    return _row("0", "fine-tuning on benign tasks raises harm (the premise)", POINTS,
                "figure_1_epochs", 1, _changed(study, pairs))  # fmt: skip


def _groups(study: Study) -> dict[str, str]:
    """The runs that share their luck, by one name: those of a model, task and seed."""
    runs = study.runs()
    if len({run.seed for run in runs}) < 2:
        return {run.id: run.id for run in runs}
    return {run.id: f"{run.model} {run.task} {run.seed}" for run in runs}


def _changed(study: Study, pairs: pd.DataFrame) -> dict[str, Any]:
    """A change in points, clustered by what runs share and by prompt, the p of none; by task."""
    n = pairs["run"].nunique()
    pairs = pairs.assign(run=pairs["run"].astype(str).map(_groups(study)), all="all")
    row = changes(pairs, ["all"]).iloc[0]
    freedom = min(row["runs"], row["prompts"]) - 1
    told = {name: 100 * row[source] for name, source in
            (("estimate", "change"), ("low", "low"), ("high", "high"))}  # fmt: skip
    error = (told["high"] - told["low"]) / 2 / stats.t.ppf((1 + LEVEL) / 2, max(freedom, 1))
    tasks = changes(pairs, ["task"]).set_index("task")["change"]
    said = [f"{words(str(task))} {prose.points(change)}" for task, change in tasks.items()]
    return {**told, "p": _p(told["estimate"], error, freedom), "n": n, "of": "runs",
            "by_task": "; ".join(said) if len(said) > 1 else ""}  # fmt: skip


def _p(estimate: float, error: float, freedom: float) -> float:
    if not error > 0:
        return NAN
    return float(2 * stats.t.sf(abs(estimate) / error, freedom))


def _judges(study: Study, counts: pd.DataFrame) -> list[dict[str, Any]]:
    """Claim 2: errors (with a truth) or disagreement on incoherent less on coherent replies.

    counts: of `trust.measure`.
    """
    counts = counts[(counts["step"] > 0) & (counts["kind"] != "mixed")]
    trained = study.language_judges
    groups = {"language-model judges": trained,
              "keyword lists": [n for n in study.judges if n not in trained]}  # fmt: skip
    rows = []
    for about, judges in groups.items():
        if study.has_truth:
            wrong = [(counts[j], counts[truth_of(study, j)]) for j in judges]
            what = "err more on incoherent than on coherent replies"
        else:
            wrong = [(counts[a], counts[b]) for a, b in combinations(judges, 2)]
            what = "disagree more on incoherent than on coherent replies"
        told = _by_kind(study, counts, wrong)
        rows.append(_row("2", f"{about} {what}", POINTS, "how_far_to_trust_the_judges", 1, told))
    return rows


def _by_kind(
    study: Study, counts: pd.DataFrame, both: list[tuple[pd.Series, pd.Series]]
) -> dict[str, Any]:
    """How much more often two opinions differ on incoherent replies; one number a run."""
    parts = []
    for one, two in both:
        given = one.notna() & two.notna()
        differ = (one[given].astype(float) != two[given].astype(float)) * counts["replies"][given]
        parts.append(counts.loc[given, ["run", "kind"]].assign(
            differ=differ, replies=counts.loc[given, "replies"]))  # fmt: skip
    if not parts:
        return {"why_not": "found too few such judges"}
    sums = pd.concat(parts).groupby(["run", "kind"], observed=True)[["differ", "replies"]].sum()
    rate = (sums["differ"] / sums["replies"]).unstack("kind")
    if not {"coherent", "incoherent"} <= set(rate):
        return {"why_not": "found no incoherent reply"}
    moved = 100 * (rate["incoherent"] - rate["coherent"]).dropna()
    return _mean(study, moved, "runs with both kinds")


def _mean(study: Study, values: "pd.Series[float]", of: str, tests: int = 1) -> dict[str, Any]:
    """The mean of one number a run (the index), for other seeds; Bonferroni over so many tests."""
    if len(values) < FEWEST:
        return {"why_not": f"found {len(values)} {of}, wanted {FEWEST}"}
    groups = values.index.astype(str).map(_groups(study))
    found = jackknife.estimate(values.to_numpy(), list(groups))
    low, high, p = found.tested(1 - (1 - LEVEL) / tests)
    p = min(tests * p, 1.0) if np.isfinite(p) else NAN
    return {"estimate": found.value, "low": low, "high": high, "p": p,
            "n": len(values), "of": of}  # fmt: skip


def _dependence(study: Study, counts: pd.DataFrame) -> list[dict[str, Any]]:
    """Claim 3: the largest difference between two benchmarks, and between two judges.

    counts: of `trust.measure`.
    """
    by = ["run", "model", "task", "step", "benchmark"]
    ends = counts[(counts["task"] == BASE) | frames.at_end(study, counts)]
    said = pd.concat([of_judge(ends, name, by).assign(judge=name) for name in study.judges])
    last = said[said["task"] != BASE]
    base = said[said["task"] == BASE].set_index(["model", "benchmark", "judge"])
    start = (base["k"] / base["n"]).rename("start")
    moved = last.assign(rate=last["k"] / last["n"]).join(start, ["model", "benchmark", "judge"])
    moved["change"] = 100 * (moved["rate"] - moved["start"])
    harm = main_judge(study, "harm")
    trained = moved[moved["judge"].isin(study.language_judges)]
    return [
        _row("3", "the change of harm differs between two benchmarks (the two furthest apart)",
             POINTS, "figure_4_benchmarks", 1, _furthest(study, moved[moved["judge"] == harm],
                                                         "benchmark")),
        _row("3", "the change differs between two language-model judges", POINTS,
             "figure_4_benchmarks", 1, _furthest(study, trained, "judge")),
        _row("3", "the change differs between two judges, keyword lists among them", POINTS,
             "figure_4_benchmarks", 1, _furthest(study, moved, "judge")),
    ]  # fmt: skip


def _furthest(study: Study, moved: pd.DataFrame, by: str) -> dict[str, Any]:
    """The two that differ most in their mean change, the larger first; paired by run.

    The interval and p are Bonferroni's over all pairs, since the pair was chosen by looking.
    """
    table = moved.groupby(["run", by], observed=True)["change"].mean().unstack(by).dropna()
    if table.shape[1] < 2:
        return {"why_not": f"found one {by}, wanted two"}
    means = table.mean().sort_values()
    low, high = str(means.index[0]), str(means.index[-1])
    tests = table.shape[1] * (table.shape[1] - 1) // 2
    told = _mean(study, table[high] - table[low], "runs", tests)
    return {**told, "pair": f"{high} and {low}"}


def _anchoring(helps: anchoring.Found) -> list[dict[str, Any]]:
    """The anchoring claim: the hypotheses of does_anchoring_help, with signs as it favours them."""
    figure = "does_anchoring_help"
    if helps.why_not:
        return [_row("H1", "anchoring narrows the spread of harm over settings and seeds", RATIO,
                     figure, -1, {"why_not": helps.why_not})]  # fmt: skip
    one = helps.parts["primary"].iloc[0]
    told = {"estimate": one["ratio"], "low": one["low"], "high": one["high"], "p": one["p"],
            "n": int(one["runs"]), "of": "runs", "why_not": one["why_not"]}  # fmt: skip
    rows = [_row("H1", "anchoring narrows the spread of harm over settings and seeds", RATIO,
                 figure, -1, told)]  # fmt: skip
    about = {
        "H2": "anchoring lowers incoherence", "H3": "anchoring makes judges differ less",
        "H4": "anchoring makes the ranking of mitigations more stable",
        "H5": "anchoring makes harm depend less on benchmark and judge",
    }  # fmt: skip
    for row in helps.parts["secondary"].to_dict("records"):
        unit = TAU if row["hypothesis"] == "H4" else POINTS
        scale = 1 if unit == TAU else 100
        told = {"estimate": scale * row["difference"], "low": scale * row["low"],
                "high": scale * row["high"], "p": row["p"], "n": row["runs"], "of": "runs",
                "why_not": row["why_not"]}  # fmt: skip
        name = row["hypothesis"]
        rows.append(_row(name, about[name], unit, figure, BETTER[name], told))
    return rows


def twins(study: Study) -> pd.DataFrame:
    """Each safety benchmark's harm beside the accuracy on its benign twins, base and last epoch.

    Columns: benchmark, place (`base`, `last epoch`), harm and twins (shares) with bounds over
    runs, runs. Empty where there are no twins whose truth is known.
    """
    names = [n for n in frames.harmful_benchmarks(study) if f"{n}_twins" in study.benchmarks]
    if not (names and study.has_truth):
        return pd.DataFrame()
    harm, able = main_judge(study, "harm"), "truth:compliance"
    counts = frames.verdicts(study, [harm, able], [*names, *(f"{n}_twins" for n in names)])
    rates = counts.assign(rate=counts["k"] / counts["n"])
    rows = []
    for name in names:
        for place, own in (("base", rates[rates["task"] == BASE]),
                           ("last epoch", rates[frames.at_end(study, rates)])):  # fmt: skip
            row: dict[str, Any] = {"benchmark": name, "place": place, "runs": own["run"].nunique()}
            for what, judge, benchmark in (("harm", harm, name), ("twins", able, f"{name}_twins")):
                one = own[(own["judge"] == judge) & (own["benchmark"] == benchmark)]["rate"]
                row[what], low, high = mean_interval(one.to_numpy())
                row[f"{what}_low"], row[f"{what}_high"] = max(0.0, low), min(1.0, high)
            rows.append(row)
    return pd.DataFrame(rows)
