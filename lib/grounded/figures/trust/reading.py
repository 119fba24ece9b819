"""The reading of how_far_to_trust_the_judges, each number computed."""

from collections.abc import Callable

import pandas as pd

from grounded.figures import prose, words
from grounded.figures.trust import untold
from grounded.figures.trust.numbers import ALL
from grounded.statistics import conclusion
from grounded.study import Study

Parts = dict[str, pd.DataFrame]
METHODS = ("PPI", "Rogan-Gladen", "Rogan-Gladen, carried over")


def main_task(moved: pd.DataFrame) -> str:
    """The task on which some judge's change strays farthest from the truth's: the one drawn."""
    if moved.empty:
        return ""
    return str(_astray(moved).iloc[0]["task"])


def reading(study: Study, parts: Parts, labelled: int) -> str:
    """What came out, in sentences that hold whatever it is."""
    if not study.has_truth:
        return "\n\n".join(
            (
                untold.reading(parts["reliability"]),
                _agreement(study, parts["pairs"]),
                _variance(parts["variance"]),
            )
        )
    said = (
        _truth(parts["reliability"]),
        _versions(parts["versions"]),
        _shift(parts["shifts"]),
        _agreement(study, parts["pairs"]),
        _variance(parts["variance"]),
        _correction(parts["correction"], labelled),
        _missing(parts["reliability"]),
    )
    return "\n\n".join(said)


def _truth(found: pd.DataFrame) -> str:
    table = found.set_index(["judge", "stratum"])
    both = [j for j in dict.fromkeys(found["judge"])
            if {(j, "coherent"), (j, "incoherent")} <= set(table.index)]  # fmt: skip
    text = "**Against the truth.** "
    if not both:
        return text + "No judge saw both coherent and incoherent replies."
    for judge in both:
        one, other = (table.loc[(judge, kind)] for kind in ("coherent", "incoherent"))
        share = (
            "no error on incoherent replies" if pd.isna(other["false_yes"]) else
            f"of its {prose.count(int(other['fp'] + other['fn']), 'error')} on incoherent replies "
            f"{prose.percent(other['false_yes'])} are a false yes"
        )  # fmt: skip
        text += (
            f"`{judge}`: sensitivity {prose.percent(one['sensitivity'])} on coherent and "
            f"{prose.percent(other['sensitivity'])} on incoherent replies, specificity "
            f"{prose.percent(one['specificity'])} and {prose.percent(other['specificity'])}, "
            f"κ {_bounded(one, 'kappa')} and {_bounded(other, 'kappa')}; {share}. "
        )
    lean = [conclusion(table.loc[(j, "incoherent"), "bias_low"],
                       table.loc[(j, "incoherent"), "bias_high"]) for j in both]  # fmt: skip
    lower = [
        j
        for j in both
        if table.loc[(j, "incoherent"), "ac1_high"] < table.loc[(j, "coherent"), "ac1_low"]
    ]
    return text + (
        f"On incoherent replies the rate of yes is too high for {lean.count('rises')} of "
        f"{prose.count(len(both), 'judge')}, too low for {lean.count('falls')}, and not clearly "
        f"either for {lean.count('unclear')}; AC1 lies below that on coherent ones, intervals "
        f"apart, for {len(lower)}."
    )  # fmt: skip


def _versions(found: pd.DataFrame) -> str:
    text = "**Second versions.** "
    if found.empty:
        return text + "The study has no second version of a judge."
    says = {"rises": "rises", "falls": "falls", "unclear": "does not clearly change"}
    for row in found[found["stratum"] == "incoherent"].to_dict("records"):
        goes = {
            name: says[conclusion(row[f"{name}_low"], row[f"{name}_high"])]
            for name in ("ac1", "kappa", "sensitivity", "specificity")
        }
        text += (
            f"On {row['n']:,} incoherent replies `{row['second']}` mends "
            f"{prose.count(row['mended'], 'verdict')} of `{row['first']}` and breaks "
            f"{row['broken']:,}. AC1 with the truth {goes['ac1']} ({_fine(row['ac1'])} "
            f"{_interval(row, 'ac1', _fine)}), κ {goes['kappa']} ({_fine(row['kappa'])} "
            f"{_interval(row, 'kappa', _fine)}), sensitivity {goes['sensitivity']} "
            f"({prose.points(row['sensitivity'])} {_interval(row, 'sensitivity', prose.points)} "
            f"points) and specificity {goes['specificity']} ({prose.points(row['specificity'])} "
            f"{_interval(row, 'specificity', prose.points)}). "
        )
    return text.strip()


def _shift(found: pd.DataFrame) -> str:
    whole = found[found["task"] == ALL]
    text = "**Where the change comes from.** Over all tasks, in points: "
    text += "; ".join(
        f"{_name(row['judge'])} {prose.points(row['change'])} "
        f"{_interval(row, 'change', prose.points)}, of which "
        f"{prose.points(row['composition'])} {_interval(row, 'composition', prose.points)} from "
        f"other kinds of reply and {prose.points(row['verdicts'])} "
        f"{_interval(row, 'verdicts', prose.points)} from verdicts within a kind"
        for row in whole.to_dict("records")
    )
    row = _astray(found).iloc[0]
    return text + (
        f". The change that strays farthest from the truth's is that of `{row['judge']}` on "
        f"{words(row['task'])}: {prose.points(row['change'])} where the truth changes by "
        f"{prose.points(row['truth'])}; {prose.points(row['composition'])} come from other kinds "
        f"of reply, {prose.points(row['verdicts_coherent'])} from verdicts on coherent, "
        f"{prose.points(row['verdicts_mixed'])} on mixed and "
        f"{prose.points(row['verdicts_incoherent'])} on incoherent ones."
    )


def _astray(found: pd.DataFrame) -> pd.DataFrame:
    """Changes of judges on single tasks, the farthest from the truth's first."""
    single = found[(found["task"] != ALL) & (found["judge"] != found["against"])]
    gap = (single["change"] - single["truth"]).abs()
    return single.loc[gap.sort_values(ascending=False, kind="stable").index]


def _agreement(study: Study, found: pd.DataFrame) -> str:
    trained = [name for name, judge in study.judges.items() if judge.kind != "keywords"]
    text = "**Among themselves.** "
    judges = found[found["first"].isin(study.judges) & (found["benchmark"] != ALL)]
    groups = {
        "trained judges": judges["first"].isin(trained) & judges["second"].isin(trained),
        "pairs with a keyword list": ~judges["second"].isin(trained),
    }
    for name, own in groups.items():
        part = judges[own]
        if part["ac1"].notna().any():
            least = part.loc[part["ac1"].idxmin()]
            text += (
                f"AC1 of {name} lies between {_fine(part['ac1'].min())} and "
                f"{_fine(part['ac1'].max())}, least for `{least['first']}` and "
                f"`{least['second']}` on {words(least['benchmark'])}. "
            )
    spread = judges.groupby(["first", "second"])["ac1"].agg(lambda x: x.max() - x.min())
    if len(spread):
        first, second = spread.idxmax()
        text += (
            f"From benchmark to benchmark the AC1 of a pair differs by up to "
            f"{prose.number(spread.max())} (`{first}` and `{second}`). "
        )
    if not study.has_truth:
        return text.strip()
    truth = found[~found["first"].isin(study.judges) & (found["benchmark"] == ALL)].iloc[0]
    return text + (
        f"The two truths agree with AC1 {_bounded(truth, 'ac1')}, so two judges of different "
        "questions cannot be asked for more."
    )


def _variance(found: pd.DataFrame) -> str:
    text = "**Variance of a verdict at the last epoch.** "
    names = {ALL: "all judges", "trained": "the judges without keyword lists"}
    for kind, part in found.groupby("judges", sort=False):
        if part["share"].isna().any():
            text += f"For {names[str(kind)]} verdicts never vary. "
            continue
        most = part.nlargest(3, "share").to_dict("records")
        said = [f"{row['factor'].replace(' x ', ' × ')} {prose.percent(row['share'])} "
                f"{_interval(row, 'share', prose.percent)}" for row in most]  # fmt: skip
        judge = part.loc[part["factor"].str.contains("judge"), "share"].sum()
        bench = part.loc[part["factor"].str.contains("benchmark"), "share"].sum()
        text += (
            f"For {names[str(kind)]}, most lies with {prose.listed(said)}; all that the judge has "
            f"a part in comes to {prose.percent(max(judge, 0))}, all that the benchmark has to "
            f"{prose.percent(max(bench, 0))}. "
        )
    return text.strip()


def _correction(found: pd.DataFrame, labelled: int) -> str:
    by = {str(name): part for name, part in found.groupby("method", sort=False)}
    naive, alone, ppi = by["naive"], by["labels alone"], by["PPI"]
    narrower = (ppi["width"].to_numpy() < alone["width"].to_numpy()).sum()
    wrong = naive[naive["coverage"] == 0]
    text = (
        f"**Correction.** In {len(wrong)} of {len(naive)} pools of a judge and a task the naive "
        f"interval misses the true rate; the naive error is at most "
        f"{prose.points(naive['bias'].abs().max()).lstrip('+')} points. "
        f"With {labelled} labels, "
    )
    for method in METHODS:
        part = by.get(method)
        if part is None or part["mean"].isna().all():
            text += f"{method} is defined nowhere; "
            continue
        given = part.dropna(subset=["mean"])
        text += (
            f"{method} is off by at most "
            f"{prose.points(given['bias'].abs().max()).lstrip('+')} points on average, and in "
            "every pool its intervals hold the truth in at least "
            f"{prose.percent(given['coverage'].min())} of draws"
            + (f" (undefined in {prose.percent(part['undefined'].mean())} of all draws)"
               if part["undefined"].any() else "") + "; "
        )  # fmt: skip
    text += (
        f"the labels alone, without the judge, hold it in at least "
        f"{prose.percent(alone['coverage'].min())}. PPI is narrower than the labels alone in "
        f"{narrower} of {len(ppi)} pools"
    )
    if narrower < len(ppi):
        text += "; in the others the judge adds more noise than knowledge"
    return text + (
        ". Sensitivity and specificity that are carried over from the coherent replies of all "
        "tasks serve only where the pool's own are the same."
    )


def _missing(found: pd.DataFrame) -> str:
    whole = found[found["stratum"] == ALL]
    lost = whole[whole["missing"] > 0]
    if lost.empty:
        return f"No verdict of {prose.count(len(whole), 'judge')} is missing."
    said = [
        f"`{judge}`: " + prose.missing(part.assign(k=part["tp"] + part["fp"])).rstrip(".")
        for judge, part in lost.groupby("judge", sort=False)
    ]
    others = " The other judges miss none." if len(lost) < len(whole) else ""
    return f"Verdicts missing, by judge. {'; '.join(said)}.{others}"


def _name(judge: str) -> str:
    return f"the truth ({judge[6:]})" if judge.startswith("truth:") else f"`{judge}`"


def _bounded(row: pd.Series | dict, name: str) -> str:
    if pd.isna(row[name]):
        return prose.NONE
    return f"{prose.number(row[name])} {_interval(row, name)}"


def _interval(row: pd.Series | dict, name: str, say: Callable[[float], str] = prose.number) -> str:
    return prose.within(row[f"{name}_low"], row[f"{name}_high"], say)


def _fine(value: float) -> str:
    return prose.number(value, 3)
