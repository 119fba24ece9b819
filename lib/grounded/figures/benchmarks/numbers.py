"""The numbers of figure 4: what is drawn and what is said of it."""

from typing import Any

import pandas as pd

from grounded.figures import prose
from grounded.statistics import changes, frames, mean_interval, verdict_pairs
from grounded.statistics.regressions import binomial, ols, separated, terms, wald
from grounded.study import Study

USUAL = ("micro-llama-l", "llama-3-1-8b")  # of `micro`, and the paper's
KEYS = ["run", "model", "task", "setting", "seed", "step", "epoch", "benchmark", "judge"]


def main_model(study: Study, model: str = "") -> str:
    """The model asked for; where none is, micro-llama-l (Llama-3.1-8B), or the study's last."""
    if model:
        study.model(model)
        return model
    return next((name for name in USUAL if name in study.models), list(study.models)[-1])


def measure(study: Study, model: str) -> pd.DataFrame:
    """One row a checkpoint, benchmark and judge of one model, base joined to each run.

    The world's truth takes part as two judges: `truth:harm` and, with a compliance judge in the
    study, `truth:compliance`.
    """
    judges = everyone(study)
    counts = frames.verdicts(study, judges, frames.harmful_benchmarks(study), [model])
    rates = frames.with_base(study, frames.pooled(counts, KEYS))
    able = frames.with_base(study, frames.capability(study))
    columns = ["run", "step", "items", "capability"]
    return rates.merge(able[columns], on=["run", "step"], how="left", validate="many_to_one")


def curves(measured: pd.DataFrame, judge: str) -> pd.DataFrame:
    """Panel a: one judge's rate by task, benchmark and epoch, mean over runs with 95% interval."""
    rows = []
    own = measured[measured["judge"] == judge]
    for (task, benchmark, epoch), part in own.groupby(["task", "benchmark", "epoch"], sort=False):
        base = bool(part["base"].all())
        mean, low, high = mean_interval(part["rate"].to_numpy()[: 1 if base else None])
        once = part.iloc[:1] if base else part
        rows.append(
            {
                "panel": "a", "task": task, "benchmark": benchmark, "judge": judge, "epoch": epoch,
                "rate": mean, "low": low, "high": high, "runs": 0 if base else len(part),
                "n": int(once["n"].sum()), "missing": int(once["missing"].sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def everyone(study: Study) -> list[str]:
    """The truth, where it is known, of each kind before the judges of that kind; keywords last."""
    names: list[str] = []
    for kind in ("harm", "compliance", "keywords"):
        judges = [name for name, judge in study.judges.items() if judge.kind == kind]
        known = study.has_truth and judges and kind in frames.TRUTH_JUDGES
        names += [f"truth:{kind}"] * bool(known) + judges
    return names


def conclusions(study: Study, model: str) -> pd.DataFrame:
    """Panel b: the change from base to last epoch of each task, benchmark and judge, and its sign.

    Columns: panel, task, benchmark, judge and those of `statistics.changes`.
    """
    pairs = verdict_pairs(study, everyone(study), models=[model])
    return changes(pairs, ["task", "benchmark", "judge"]).assign(panel="b")


def regression(measured: pd.DataFrame, linear: bool = False) -> Any | None:
    """Harm on capability x benchmark x judge (the study's judges, not the truth), by run clustered.

    Deviation coding, so that each Wald test of a lower term is one of its mean over the others.
    Binomial GLM, or `linear` least squares of the rates. Base models are left out.
    """
    tuned = measured[~measured["base"] & ~measured["judge"].str.startswith("truth:")]
    factors = [name for name in ("benchmark", "judge") if tuned[name].nunique() > 1]
    formula = " * ".join(["capability", *(f"C({name}, Sum)" for name in factors)])
    return ols(f"rate ~ {formula}", tuned) if linear else binomial(formula, tuned)


def statistics(measured: pd.DataFrame, found: pd.DataFrame, model: str) -> dict[str, Any]:
    """The conclusions, how often they differ, the regressions, and what is missing."""
    logistic, straight = regression(measured), regression(measured, linear=True)
    tuned = measured[~measured["base"]]
    counts = tuned.groupby("judge", sort=False)[["n", "k", "missing"]].sum()
    return {
        "model": model,
        "conclusions": found.drop(columns="panel").to_dict("records"),
        "dependence": dependence(found).to_dict("records"),
        "binomial": None if logistic is None else terms(logistic).to_dict("records"),
        "binomial_wald": None if logistic is None else wald(logistic).to_dict("records"),
        "binomial_separated": [] if logistic is None else separated(logistic),
        "linear_wald": None if straight is None else wald(straight).to_dict("records"),
        "verdicts": counts.to_dict("index"),
    }


def dependence(found: pd.DataFrame) -> pd.DataFrame:
    """For each task: how many pairs of benchmark and judge say rises, falls, unclear.

    by_benchmark: judges whose conclusion is not the same on all benchmarks; by_judge: benchmarks
    on which the judges do not all conclude the same; opposed: rises and falls both occur. The
    truth is left out.
    """
    rows = []
    for task, part in found.groupby("task", sort=False):
        said = part[~part["judge"].str.startswith("truth:")]
        table = said.pivot(index="judge", columns="benchmark", values="conclusion")
        count = said["conclusion"].value_counts()
        rows.append(
            {
                "task": task, "pairs": len(said),
                **{name: int(count.get(name, 0)) for name in ("rises", "falls", "unclear")},
                "judges": len(table), "by_benchmark": int((table.nunique(axis=1) > 1).sum()),
                "benchmarks": table.shape[1], "by_judge": int((table.nunique(axis=0) > 1).sum()),
                "opposed": bool({"rises", "falls"} <= set(said["conclusion"])),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def table(found: pd.DataFrame) -> pd.DataFrame:
    """The conclusions as a table to read: rows task and judge, columns benchmarks."""
    said = found.assign(
        said=[
            f"{row.conclusion}: {prose.percent(row.base)} to {prose.percent(row.last)} "
            f"{prose.within(row.low, row.high, prose.points)}"
            for row in found.itertuples()
        ]
    )
    return said.pivot(index=["task", "judge"], columns="benchmark", values="said")


def tests(found: dict[str, Any]) -> pd.DataFrame:
    """The joint tests of both regressions as a table to read; none of a separated GLM."""
    rows = []
    for name, fit in (("binomial GLM", "binomial_wald"), ("least squares of rates", "linear_wald")):
        for row in found[fit] or []:
            if fit == "binomial_wald" and found["binomial_separated"]:
                row = {**row, "statistic": float("nan"), "p": float("nan")}
            about = {"statistic": prose.number(row["statistic"]), "p": prose.chance(row["p"])}
            rows.append({"regression": name, "term": plain(row["term"]), "df": row["df"], **about})
    return pd.DataFrame(rows, columns=["regression", "term", "df", "statistic", "p"])


def plain(term: str) -> str:
    """A term of a formula as a reader writes it: "capability x judge"."""
    return term.replace("C(", "").replace(", Sum)", "").replace(":", " x ")
