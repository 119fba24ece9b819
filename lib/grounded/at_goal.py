"""Where every run of a study stands: at its goals, and at the epoch that it is compared with.

`grounded.anchor` says which of a run's measured checkpoints is at a goal; here is a row a run.
Nothing is interpolated: a run without a measured checkpoint at a goal has none here either.
"""

import pandas as pd

from grounded import anchor, tables
from grounded.errors import GroundedError
from grounded.study import Study
from grounded.study.anchoring import Anchoring

CELL = ["model", "task"]
AT, OVER, NEVER = "at the goal", "jumps over it", "never arrives"
STANDS = ("fixed", *anchor.ANCHORS)  # columns with a step: at the epoch, and at each goal
ENOUGH = 0.7  # share of a cell's runs at the goal, below which nothing is said of it


def asked(study: Study) -> Anchoring:
    """What the study compares at a goal; without a word of its own: half of the way, within .06."""
    if study.anchoring:
        return study.anchoring
    judge = next(iter(tables.measures(study)))
    return Anchoring(metric="format_free", kappa=0.5, tolerance=0.06, judge=judge)


def accuracy(study: Study, arm: str | None = "") -> pd.DataFrame:
    """One row a checkpoint: `select` and `report`, the share (0..1) of each half's items answered
    rightly in the study's reading of answers, and the columns of `tables.progress`. A base model
    has a row for every task. Between the epochs and the goals nothing is reported: NaN."""
    metric = asked(study).metric
    counts = tables.progress(study, arm)
    counts["select"] = counts[metric] / counts["items"]
    value = {"strict": "correct", "format_free": "correct_format_free"}[metric]
    by = tables.capability(study, arm, "report", goals=True)
    by = by.groupby(["run", "step", "task"], observed=True)
    found = counts.merge(by[value].mean().rename("report").reset_index(), how="left")
    return found.drop(columns=["items", "strict", "format_free"])


def goals(study: Study, measured: pd.DataFrame) -> pd.DataFrame:
    """One row a model and task: base, goal (accuracies, 0..1), loss, update_norm, epoch.

    From the study's file of goals, fixed beforehand. Without one: the goal lies kappa of the way
    from the base model's accuracy to 1, the epoch is the one of `measure_at` whose mean accuracy
    over plain LoRA's runs is nearest to it, and loss and update_norm are NaN. measured: `accuracy`.
    """
    plan, rows = asked(study), []
    tuned, base = measured[~measured["base"]], measured[measured["base"]]
    start = base.set_index(["model", "task"])["select"]
    for (model, task), own in tuned.groupby(CELL, observed=True):
        if plan.goals:
            one = study.goals(model, task).model_dump()
            rows.append(one | {"model": model, "goal": one.pop("capability")})
            continue
        goal = start[model, task] + plan.kappa * (1 - start[model, task])
        plain = own[own["method"].isin(["lora", "given"])]
        means = (plain if len(plain) else own).groupby("epoch")["select"].mean()
        rows.append({"model": model, "task": task, "base": start[model, task], "goal": goal,
                     "loss": None, "update_norm": None,
                     "epoch": (means - goal).abs().idxmin()})  # fmt: skip
    found = pd.DataFrame(rows, columns=[*CELL, "base", "goal", "loss", "update_norm", "epoch"])
    return found.astype(dict.fromkeys(found.columns[2:], "float64"))


def places(study: Study, arm: str | None = "") -> pd.DataFrame:
    """One row a run: model, task, method, setting, seed, `goal`, and where it stands.

    fixed, capability, loss, update_norm: its step at the epoch of its cell and at each goal;
    missing where it has none. place: `AT`, `OVER` (its accuracy passes the goal between two
    measured checkpoints) or `NEVER`. able: its accuracy on the reporting half at the goal.
    """
    measured, plan = accuracy(study, arm), asked(study)
    cells = goals(study, measured).set_index(CELL)
    course = tables.checkpoints(study, arm).query("step > 0").set_index(["run", "step"])
    rows = []
    for run, own in measured[~measured["base"]].groupby("run", observed=True, sort=False):
        first, own = own.iloc[0], own.set_index("step").sort_index()
        goal = cells.loc[(first["model"], first["task"])]
        loss, norm = (course.loc[run][name].to_dict() for name in ("loss", "update_norm"))
        at = anchor.at_capability(own["select"].to_dict(), goal["goal"], plan.tolerance)
        near = (own["epoch"] - goal["epoch"]).abs() < 1e-6
        place = AT if at is not None else OVER if (own["select"] > goal["goal"]).any() else NEVER
        rows.append({
            "run": run, **first[[*CELL, "method", "setting", "seed"]], "goal": goal["goal"],
            "fixed": near.idxmax() if near.any() else None, "capability": at,
            "loss": anchor.at_loss(loss, goal["loss"]),  # at a goal that is NaN: nowhere
            "update_norm": anchor.at_norm(norm, goal["update_norm"]), "place": place,
            "able": own.loc[at, "report"] if at is not None else None,
        })  # fmt: skip
    kinds = {"able": "float64", **dict.fromkeys(STANDS, "Int64")}
    return pd.DataFrame(rows).astype(kinds)


def middle(study: Study, arm: str) -> pd.DataFrame:
    """The `places` of an arm's runs at the middle value of each method's knob, which is fixed with
    the study's file; "", the main grid, has no knobs."""
    found, methods = places(study, arm), study.arms[arm].methods if arm else {}
    knobs = {m: sorted(k)[len(k) // 2] if k else None for m, k in methods.items()}
    wanted = [run.id for run in study.runs(arm=arm) if run.knob == knobs.get(run.method)]
    return found[found["run"].isin(wanted)]


def compared(study: Study) -> str:
    """What is compared at the goal: "harm", in truth or as a harm judge says; else the rate of the
    judge that stands for it, by its own name."""
    kind = "harm" if study.has_truth else study.judge(asked(study).judge).kind
    return kind if kind == "harm" else tables.MEANS[kind]


def harm(study: Study, arm: str | None = "") -> pd.DataFrame:
    """One row a reply to a harmful request, at every measured checkpoint: the columns of
    `tables.replies` or `tables.verdicts`, and `yes` (1 or 0): whether it is harmful in truth, or,
    where that is not known, what the study's judge says (NaN where it could not be read)."""
    if study.has_truth:
        known = tables.replies(study, arm, goals=True).query("truth_harm >= 0")
        return known.assign(yes=known["truth_harm"])
    return tables.verdicts(study, arm, judges=[asked(study).judge], goals=True).eval("yes = label")


def incoherence(study: Study, arm: str | None = "") -> pd.DataFrame:
    """As `harm`, of replies that are incoherent: in truth, or as the study's detector says."""
    if study.has_truth:
        return harm(study, arm).assign(yes=lambda d: d["truth"] == "incoherent")
    return tables.coherence(study, arm, goals=True).eval("yes = 1 - coherent")


def readings(places: pd.DataFrame, rates: pd.Series) -> pd.DataFrame:
    """What runs show where they stand: indexed by run, a column for each of `STANDS`.

    rates: by run and step, of measured checkpoints. NaN where a run does not stand, or where its
    rate there is missing; GroundedError where it stands and nothing was measured.
    """
    steps = places.melt("run", list(STANDS), "stand", "step").dropna(subset=["step"])
    steps = steps.astype({"run": str, "step": "int64"})
    measured = rates.rename("rate").reset_index().astype({"run": str})
    found = steps.merge(measured, how="left", on=["run", "step"], indicator="there")
    if (lost := found[found["there"] == "left_only"]).size:
        run, step = lost[["run", "step"]].iloc[0]
        raise GroundedError(f"{run}: found nothing measured at step {step}, wanted a rate")
    wide = found.pivot(index="run", columns="stand", values="rate")
    return wide.reindex(index=places["run"].astype(str), columns=list(STANDS)).astype("float64")
