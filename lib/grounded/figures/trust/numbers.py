"""The numbers of how_far_to_trust_the_judges: what is drawn and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from grounded import records
from grounded.figures.benchmarks.numbers import everyone
from grounded.figures.judgments.numbers import CLASSES
from grounded.figures.trust import untold
from grounded.statistics import frames
from grounded.statistics.components import Verdicts, components
from grounded.statistics.joint import count, joint, of_judge, patterns
from grounded.statistics.reliability import (
    MEASURES,
    against_truth,
    difference,
    estimates,
    four,
)
from grounded.statistics.shift import changes_by_kind
from grounded.study import BASE, LanguageJudge, Study

KINDS = ("coherent", "mixed", "incoherent")
ALL = "all"
AGREEMENT = ("kappa", "ac1", "alpha")


@dataclass(frozen=True)
class Measured:
    """What every number here comes from: replies to harmful requests, and all verdicts on them.

    counts: replies counted by checkpoint, benchmark, kind (coherent, mixed, incoherent), truth and
    verdicts, base models included; `truth:harm` and `truth:compliance` stand among the judges.
    Where no truth is known the kind is the detector's, and only judges are there.
    last: verdicts of the last checkpoint of every run, runs x prompts x judges (of the study).
    """

    counts: pd.DataFrame
    last: Verdicts


def measure(study: Study) -> Measured:
    """Read every reply to a harmful request with all that was said of it."""
    parts, ends = [], []
    for unit in study.units():
        replies = joint(study, unit)
        parts.append(count(study, replies))
        ends.append(replies[frames.at_end(study, replies)])
    counts, last = patterns(study, parts), records.join(ends)
    if study.has_truth:
        counts["kind"] = counts["truth"].map(CLASSES)
        for kind, column in frames.TRUTH_JUDGES.items():
            counts[f"truth:{kind}"] = counts[column].astype(float)
    else:
        counts["kind"] = np.where(counts["coherent"], "coherent", "incoherent")
    last = last.astype({"run": str, "benchmark": str})
    last = last.sort_values(["run", "benchmark", "prompt"])
    prompts = last[["benchmark", "prompt"]].drop_duplicates()
    said = last[list(study.judges)].to_numpy(dtype=float)
    shape = last["run"].nunique(), len(prompts), len(study.judges)
    return Measured(counts, Verdicts(said.reshape(shape), pd.factorize(prompts["benchmark"])[0]))


def kind_of(study: Study, judge: str) -> str:
    """What a judge is held to: `harm` for a judge of harm, `compliance` for all others.

    A keyword list says whether a request was refused; its yes is held to fulfilment.
    """
    return "harm" if study.judge(judge).kind == "harm" else "compliance"


def truth_of(study: Study, judge: str) -> str:
    """The column of the world's truth that a judge is held to."""
    return frames.TRUTH_JUDGES[kind_of(study, judge)]


def reliability(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Each judge against the truth, over all replies and on each kind; after the base model.

    Columns: judge, stratum, those of `against_truth`, and the rate of yes with its imputations.
    Where no truth is known: each judge's rate and its agreement with the others, `untold.by_kind`.
    """
    if not study.has_truth:
        return untold.by_kind(study, counts)
    tuned = counts[counts["step"] > 0]
    parts = []
    for judge in study.judges:
        truth = truth_of(study, judge)
        own = of_judge(tuned, judge, ["run", "kind", truth])
        both = pd.concat([own.assign(stratum=ALL), own.assign(stratum=own["kind"])])
        found = against_truth(both, truth, ["stratum"])
        rates = frames.pooled(both, ["stratum"]).drop(columns=["n", "k", "missing"])
        parts.append(found.merge(rates, on="stratum").assign(judge=judge))
    found = pd.concat(parts, ignore_index=True)
    order = [ALL, *(kind for kind in KINDS if kind in set(found["stratum"]))]
    found["stratum"] = pd.Categorical(found["stratum"], order, ordered=True)
    names = pd.Categorical(found["judge"], list(study.judges), ordered=True)
    found = found.assign(judge=names).sort_values(["judge", "stratum"], ignore_index=True)
    return found.astype({"judge": str, "stratum": str})


def version_pairs(study: Study) -> list[tuple[str, str]]:
    """(first, second) of each kind: a judge that learned from coherent text, one from both."""
    trained = {n: j for n, j in study.judges.items() if isinstance(j, LanguageJudge)}
    return [
        (first, second)
        for first, one in trained.items()
        for second, other in trained.items()
        if one.kind == other.kind
        and (one.training.data, other.training.data) == ("coherent", "with_incoherent")
    ]


def versions(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """What each second version changes, on replies on which both gave a verdict, by kind.

    Columns: first, second, stratum, runs, n, mended (first wrong, second right), broken (the
    reverse), and for sensitivity, specificity, kappa, ac1 and alpha second less first, bounded.
    """
    tuned = counts[counts["step"] > 0]
    rows = []
    for first, second in version_pairs(study):
        truth = truth_of(study, first)
        both = tuned[[first, second, truth, "kind", "run", "replies"]].dropna()
        for stratum in (ALL, *KINDS):
            own = both if stratum == ALL else both[both["kind"] == stratum]
            if own.empty:
                continue
            one, other = (
                four(own[j], own[truth], own["replies"], own["run"]) for j in (first, second)
            )
            right = [own[j].astype(bool) == own[truth] for j in (first, second)]
            rows.append(
                {
                    "first": first, "second": second, "stratum": stratum, "runs": len(one),
                    "n": int(own["replies"].sum()),
                    "mended": int(own.loc[~right[0] & right[1], "replies"].sum()),
                    "broken": int(own.loc[right[0] & ~right[1], "replies"].sum()),
                    **difference(one, other, ["sensitivity", "specificity", *AGREEMENT]),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def shifts(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Where the change from base to last epoch comes from, by task and judge (the truth as one).

    Columns: task (or `all`), judge, against (the truth of what it judges), n, n_base, missing (of
    the last epoch), those of `changes_by_kind`, truth (the change of that truth). Empty where no
    truth is known.
    """
    if not study.has_truth:
        return pd.DataFrame(columns=["task", "judge"])
    rows = []
    against = {judge: f"truth:{kind_of(study, judge)}" for judge in study.judges}
    named = everyone(study)
    named = [*(name for name in dict.fromkeys(against.values()) if name not in named), *named]
    counts = counts[(counts["task"] == BASE) | frames.at_end(study, counts)]
    for judge in named:
        by = ["run", "model", "task", "kind"]
        said = of_judge(counts, judge, [*by, "step"]).astype(dict.fromkeys(by, str))
        base = said[said["task"] == BASE].set_index(["model", "kind"])
        last = said[said["task"] != BASE]
        runs = last[["run", "model", "task"]].drop_duplicates()
        grid = runs.merge(pd.DataFrame({"kind": KINDS}), how="cross")
        grid = grid.merge(last[["run", "kind", "n", "k"]], on=["run", "kind"], how="left")
        grid = grid.rename(columns={"n": "n1", "k": "k1"})
        grid = grid.join(base[["n", "k"]].rename(columns={"n": "n0", "k": "k0"}), ["model", "kind"])
        grid = grid.fillna({name: 0 for name in ("n0", "k0", "n1", "k1")})
        for task in [*study.tasks, ALL]:
            own = grid if task == ALL else grid[grid["task"] == task]
            lost = last if task == ALL else last[last["task"] == task]
            missing = int(lost["missing"].sum())
            about = {"task": task, "judge": judge, "against": against.get(judge, judge)}
            n = {"n": int(own["n1"].sum()), "n_base": int(base["n"].sum()), "missing": missing}
            rows.append(about | n | changes_by_kind(own, KINDS))
    found = pd.DataFrame(rows)
    truth = found.set_index(["judge", "task"])["change"].rename("truth")
    return found.join(truth, on=["against", "task"])


def pairs(study: Study, counts: pd.DataFrame) -> pd.DataFrame:
    """Agreement of each pair of judges, by benchmark and over all, after the base model.

    The truths of harm and of compliance are a pair too: two judges that err in nothing agree no
    better than that. Columns: benchmark, first, second, runs, n (replies with both verdicts),
    agreed (share), kappa, ac1, alpha with bounds.
    """
    tuned = counts[counts["step"] > 0]
    names = list(combinations(study.judges, 2))
    if study.has_truth:
        names.append(("truth:harm", "truth:compliance"))
    agree = {name: MEASURES[name] for name in AGREEMENT}
    rows = []
    for benchmark in [*dict.fromkeys(tuned["benchmark"]), ALL]:
        own = tuned if benchmark == ALL else tuned[tuned["benchmark"] == benchmark]
        runs, times = pd.factorize(own["run"])[0], own["replies"].to_numpy()
        said = {name: own[name].to_numpy(dtype=float) for name in dict.fromkeys(sum(names, ()))}
        for first, second in names:
            one, two = said[first], said[second]
            both = np.isfinite(one) & np.isfinite(two)
            table = four(two[both], one[both], times[both], runs[both])
            about = {"benchmark": benchmark, "first": first, "second": second, "runs": len(table)}
            agreed = table[:, [0, 3]].sum() / table.sum()
            rows.append({**about, "n": int(table.sum()), "agreed": agreed,
                         **estimates(table, agree)})  # fmt: skip
    return pd.DataFrame(rows)


def variance(study: Study, last: Verdicts) -> pd.DataFrame:
    """Variance components of the verdicts at the last epoch: all judges, and without keywords.

    Columns: judges (`all` or `trained`), n (verdicts), missing, those of `components`.
    """
    trained = [i for i, judge in enumerate(study.judges.values()) if judge.kind != "keywords"]
    parts = []
    for name, kept in ((ALL, list(range(len(study.judges)))), ("trained", trained)):
        if name == ALL or 0 < len(kept) < len(study.judges):
            said = last.said[:, :, kept]
            given = int(np.isfinite(said).sum())
            found = components(Verdicts(said, last.benchmark))
            parts.append(found.assign(judges=name, n=given, missing=said.size - given))
    return pd.concat(parts, ignore_index=True)


def statistics(
    parts: dict[str, pd.DataFrame], names: Sequence[str], **about: Any
) -> dict[str, Any]:
    """The tables named as a figure's JSON holds them."""
    return {**about, **{name: parts[name].to_dict("records") for name in names}}


def data(parts: dict[str, pd.DataFrame], panels: Sequence[str]) -> pd.DataFrame:
    """Everything drawn in one frame: the tables named, a panel a letter."""
    letters = zip("abcdef", panels, strict=False)
    return pd.concat([parts[name].assign(panel=at) for at, name in letters], ignore_index=True)
