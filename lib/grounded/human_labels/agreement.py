"""How well judges agree with people, and people with one another.

Proportions carry Wilson's intervals. Kappa, AC1 and alpha carry those of resampling whole
clusters (a behaviour's two completions share a request), as `statistics` resamples runs.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa

from grounded.human_labels.completions import JUDGES, KEYWORDS, PEOPLE
from grounded.statistics import bootstrap, kappa, measures_by_run, wilson
from grounded.statistics.agreement import CELLS, cells
from grounded.statistics.intervals import Array
from grounded.statistics.regressions import binomial, terms, wald

ALL = "all"
COLUMNS = [
    "completions", "reference", "part", "judge", "n", *CELLS, "truth_rate", "truth_rate_low",
    "truth_rate_high", "rate", "rate_low", "rate_high", "sensitivity", "sensitivity_low",
    "sensitivity_high", "specificity", "specificity_low", "specificity_high", "agreement", "kappa",
    "kappa_low", "kappa_high", "ac1", "ac1_low", "ac1_high",
]  # fmt: skip


def agreement(
    frame: pd.DataFrame, judges: Sequence[str], cluster: str, part: str | None = None
) -> pd.DataFrame:
    """Each judge against `truth`, over all completions or for each value of the column `part`.

    Columns: part, judge, n, the four counts (tp: both say yes; fp: only the judge; fn: only
    people; tn: neither), truth_rate and rate (share of yes by people and by the judge: the
    attack-success rate), sensitivity, specificity and agreement; bounds as `_low` and `_high`.
    """
    by = ["part", "judge"]
    found = cells(_counts(frame, judges, cluster, part), "truth", by)
    tp, fp, fn, tn = (found[name].to_numpy() for name in CELLS)
    n = tp + fp + fn + tn
    shares = {
        "truth_rate": (tp + fn, n),
        "rate": (tp + fp, n),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
    }
    for name, (k, of) in shares.items():
        found[name] = np.divide(k, of, out=np.full(len(n), np.nan), where=of > 0)
        found[f"{name}_low"], found[f"{name}_high"] = wilson(k, of)
    return found.assign(n=n, agreement=(tp + tn) / n)


def beyond_chance(
    frame: pd.DataFrame, judges: Sequence[str], cluster: str, part: str | None = None
) -> pd.DataFrame:
    """`agreement` with Cohen's kappa and Gwet's AC1, which take from it what chance would give."""
    by = ["part", "judge"]
    resampled = measures_by_run(_counts(frame, judges, cluster, part), "truth", by)
    kept = [f"{name}{bound}" for name in ("kappa", "ac1") for bound in ("", "_low", "_high")]
    return agreement(frame, judges, cluster, part).merge(resampled[by + kept], on=by)


def _counts(
    frame: pd.DataFrame, judges: Sequence[str], cluster: str, part: str | None
) -> pd.DataFrame:
    """Counts as `statistics` takes them, a cluster in the place of a run."""
    long = frame.assign(part=frame[part] if part else ALL, run=frame[cluster]).melt(
        id_vars=["run", "part", "truth"], value_vars=list(judges), var_name="judge"
    )
    keys = ["run", "part", "judge", "truth"]
    return long.groupby(keys, sort=False)["value"].agg(n="size", k="sum").reset_index()


def everything(harmbench: pd.DataFrame, xstest: pd.DataFrame) -> pd.DataFrame:
    """All that figure 5 draws, one row a set of completions, reference, part and judge.

    reference: `majority` of people (HarmBench); `compliance` or `no full refusal` (XSTest: what
    becomes of partial refusals, which a keyword list cannot know). Single attacks have too few
    completions for kappa and AC1, which are blank there.
    """
    partial = xstest.assign(truth=xstest["final"].ne("refusal"))
    sets = [
        ("HarmBench", "majority", beyond_chance(harmbench, list(JUDGES), "behavior")),
        ("HarmBench", "majority", agreement(harmbench, list(JUDGES), "behavior", "attack")),
        ("XSTest", "compliance", beyond_chance(xstest, list(KEYWORDS), "prompt", "model")),
        ("XSTest", "no full refusal", beyond_chance(partial, list(KEYWORDS), "prompt", "model")),
    ]
    rows = [part.assign(completions=name, reference=truth) for name, truth, part in sets]
    return pd.concat(rows, ignore_index=True)[COLUMNS]


def people(labels: pd.DataFrame, clusters: pd.Series) -> dict[str, Any]:
    """How persons (columns of `labels`) agree on nominal labels; every person labels every item.

    unanimous: share of items; alpha: Krippendorff's, nominal; ac1: Gwet's for many raters; both
    with bounds; kappa: Cohen's, mean over pairs of persons. nan where there is one label alone.
    """
    values = np.unique(labels.to_numpy().astype(str))
    votes = np.stack([(labels.astype(str) == value).sum(axis=1) for value in values], axis=1)
    persons = labels.shape[1]
    agreed = (votes * (votes - 1)).sum(axis=1) / (persons * (persons - 1))
    items = pd.DataFrame(np.column_stack([agreed, votes])).groupby(clusters.to_numpy(), sort=False)
    sums = np.column_stack([items.size(), items.sum()])
    pairs = [_cohen(labels[a], labels[b], values) for a, b in combinations(labels, 2)]
    found = {
        "items": len(labels),
        "persons": persons,
        "unanimous": float((votes.max(axis=1) == persons).mean()),
        "kappa": float(np.mean(pairs)),
    }
    for name, statistic in (("alpha", _alpha), ("ac1", _ac1)):
        found[name] = float(statistic(sums.sum(axis=0, keepdims=True))[0])
        found[f"{name}_low"], found[f"{name}_high"] = bootstrap(sums, statistic)
    return found


def with_one_person(harmbench: pd.DataFrame, judges: Sequence[str]) -> dict[str, float]:
    """Cohen's kappa of each judge with a single person, mean over the persons.

    The fair match for the kappa of two persons: the majority that a judge is otherwise compared
    with errs less than any one person does.
    """
    found = {}
    for judge in judges:
        says = harmbench[judge]
        tables = [
            (says & yes, says & ~yes, ~says & yes, ~says & ~yes)
            for yes in (harmbench[person] for person in PEOPLE)
        ]
        kappas = [kappa(*(int(cell.sum()) for cell in table)).value for table in tables]
        found[judge] = float(np.mean(kappas))
    return found


def ranks(table: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation of attack-success rates by judge and by people, across attacks."""
    by_attack = table[(table["completions"] == "HarmBench") & (table["part"] != ALL)]
    return {
        str(judge): float(part["rate"].corr(part["truth_rate"], method="spearman"))
        for judge, part in by_attack.groupby("judge", sort=False)
    }


def misses(harmbench: pd.DataFrame, judge: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """Does it hang on the attack whether the judge finds what people call harmful?

    Logistic regression of the judge's yes among harmful completions on the attack, against the
    plain request, errors clustered by behaviour. Returns the terms (log-odds) and the joint test.
    """
    harmful = harmbench[harmbench["truth"]].assign(k=harmbench[judge].astype(int), n=1)
    fit = binomial("C(attack, Treatment('DirectRequest'))", harmful, "behavior")
    joint = wald(fit).set_index("term").iloc[-1]
    table = terms(fit).assign(term=lambda rows: rows["term"].map(_plain))
    about = {"statistic": float(joint["statistic"]), "df": int(joint["df"]), "p": float(joint["p"])}
    return table, {**about, "n": len(harmful), "clusters": int(harmful["behavior"].nunique())}


def one_of_two(harmbench: pd.DataFrame, column: str) -> float:
    """The share of behaviours of whose two completions exactly one is called harmful.

    Near 1 it shows how the set was put together: by design, not by drawing completions.
    """
    return float(harmbench.groupby("behavior")[column].sum().eq(1).mean())


def _cohen(a: pd.Series, b: pd.Series, values: Array) -> float:
    table = pd.crosstab(a.astype(str), b.astype(str)).reindex(
        index=values, columns=values, fill_value=0
    )
    return float(cohens_kappa(table.to_numpy()).kappa)


def _alpha(sums: Array) -> Array:
    """Krippendorff 2011, nominal, no label missing; sums: items, agreed, votes for each label."""
    items, agreed, votes = sums[:, 0], sums[:, 1], sums[:, 2:]
    labels = votes.sum(axis=1)
    chance = (votes * (votes - 1)).sum(axis=1) / (labels * (labels - 1))
    return 1 - (1 - agreed / items) / (1 - chance)


def _ac1(sums: Array) -> Array:
    """Gwet 2008 for many raters; sums as in `_alpha`."""
    items, agreed, votes = sums[:, 0], sums[:, 1], sums[:, 2:]
    shares = votes / votes.sum(axis=1, keepdims=True)
    chance = (shares * (1 - shares)).sum(axis=1) / (votes.shape[1] - 1)
    return (agreed / items - chance) / (1 - chance)


def _plain(term: str) -> str:
    return term.partition("[T.")[2].rstrip("]") or "DirectRequest (intercept)"
