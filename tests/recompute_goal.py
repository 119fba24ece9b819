"""What is read at the capability goal, anew from the tables: the registered test, mitigations.

`python tests/recompute_goal.py STUDY [HOME]`, for a study with a file of goals. It runs
`recompute.py` first and uses its tables.
"""

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from recompute import (
    ASKED,
    CELL,
    DATA,
    FULFIL,
    HARM,
    HARMFUL,
    KEPT,
    KIND,
    PLAN,
    RUN,
    about,
    hold,
    points,
    read,
    tuned,
)
from statsmodels.stats.multitest import multipletests

# fmt: off
# ---- where each run stands: at a measured checkpoint, or nowhere
goals = pd.read_csv(DATA / PLAN["goals"]).set_index(CELL).add_suffix("_goal")
p = pd.concat(read("progress")).query("step > 0").drop(columns="task")
p, c = (x.join(about, on="run").join(goals, on=CELL) for x in (p, points.reset_index()))
far = (p[PLAN["metric"]] / p["items"] - p["capability_goal"]).abs()
reached = {"capability": p[far <= PLAN["tolerance"] + 1e-9],
           "loss": c[c["loss"] <= c["loss_goal"]],
           "update_norm": c[c["update_norm"] >= c["update_norm_goal"]],
           "fixed": c[(c["epoch"] - c["epoch_goal"]).abs() < 1e-6]}
at = pd.DataFrame({k: there.groupby("run")["step"].min() for k, there in reached.items()})


def reading(value):  # of runs, where they stand: the mean of a column at a measured checkpoint
    rates = tuned.groupby(RUN)[value].mean()
    found = {k: rates.reindex(pd.MultiIndex.from_arrays([at.index, at[k]])).to_numpy() for k in at}
    return pd.DataFrame(found, index=at.index).join(about)


runs = reading("true")
twice = runs.dropna(subset=["capability", "fixed"])
pooled = tuned.groupby([*CELL, *RUN])["true"].mean().groupby(CELL).mean()
moving = pooled.index[(pooled >= 0.05) & (pooled <= 0.9)]
there = twice.groupby(CELL).size() / about[about["task"] != "base"].groupby(CELL).size()
good = moving[there.reindex(moving) >= 0.7]


def shares(x, stands):  # of a cell's variance: between settings, between seeds (rows), by reading
    two = x.merge(x, how="cross").query("seed_x != seed_y")
    half = pd.DataFrame({s: (two[f"{s}_x"] - two[f"{s}_y"]) ** 2 / 2 for s in stands})
    alike = two["setting_x"] == two["setting_y"]
    seeds, both = half[alike].mean(), half[~alike].mean()
    return np.array([both - seeds, seeds]) / both.mean()


def student(y):  # the mean of cells, its interval and p
    fit = smf.ols("y ~ 1", pd.DataFrame({"y": np.asarray(y, dtype=float)})).fit()
    return [fit.params.iloc[0], *fit.conf_int().iloc[0], fit.pvalues.iloc[0]]


def ratio(over, under):  # log ratio of sums, with its jackknife over cells as pseudo-values
    n, pairs = len(over), zip(over, under, strict=True)
    sums = [(over.sum() - x, under.sum() - y) for x, y in pairs]
    if min(map(min, [*sums, (over.sum(), under.sum())])) <= 0:
        return [np.nan] * 3  # no logarithm: Fieller's interval is not made again here
    value = np.log(over.sum() / under.sum())
    mean, low, high, _ = student([n * value - (n - 1) * np.log(x / y) for x, y in sums])
    return [value, value + low - mean, value + high - mean]


# ---- the registered test
ratios, versus = {}, {}
for stand in ("capability", "loss", "update_norm"):
    x = twice.dropna(subset=[stand]).set_index(CELL).loc[list(good)].groupby(CELL)
    stands = list(dict.fromkeys([stand, "capability", "fixed"]))
    found = np.array([shares(own, stands) for _, own in x])  # cells x parts x readings
    for i, part in enumerate(("settings", "seeds")):
        ratios[stand, part] = np.exp(ratio(found[:, i, 0], found[:, i, -1]))
        if stand != "capability":
            versus[stand, part] = np.exp(ratio(found[:, i, 1], found[:, i, 0]))
columns = ["ratio", "low", "high"]
hold("does_anchoring_help", "ratios", ["read at", "between"], columns, ratios)
hold("does_anchoring_help", "controls", ["read at", "between"], columns, versus)
cells = {(m, t): [len(own), own["capability"].count(), own["capability"].mean(),
                  own["capability"].fillna(0).mean(), own["capability"].fillna(1).mean()]
         for (m, t), own in runs.groupby(CELL)}
names = ["runs", "at_goal", "harm", "no_harm", "all_harm"]
hold("does_anchoring_help", "cells", CELL, names, cells)
tests = KEPT["does_anchoring_help"]
for family in ("primary", "controls", "secondary"):
    p = [1 if row["p"] is None else row["p"] for row in tests[family]]
    held = [1 if row["p_holm"] is None else row["p_holm"] for row in tests[family]]
    assert np.allclose(multipletests(p, method="holm")[1], held, rtol=1e-4), family
inside = twice.set_index(CELL, append=True).loc[lambda x: x.index.droplevel("run").isin(good)]


def over_cells(y):  # y: by run; the mean of each informative cell, then over cells
    own = y[y.index.isin(inside.index.get_level_values("run"))]
    return student(own.groupby([about.loc[own.index, c] for c in CELL]).mean())


def change(value):
    found = reading(value)
    return (found["capability"] - found["fixed"]).dropna()


tuned["differ"] = (tuned[HARM] - tuned[FULFIL]).abs()
odds = []
kept = inside.reset_index("run")["run"]
for k in ("capability", "fixed"):
    one = tuned.merge(at.loc[kept, [k]].reset_index().rename(columns={k: "step"}), on=RUN)
    judges = [name for name, kind in KIND.items() if kind != "keywords"]
    said = one.groupby([*CELL, "benchmark"])[judges].agg(["sum", "count"]).stack(0)
    odds.append(np.log((said["sum"] + 0.5) / (said["count"] - said["sum"] + 0.5)))
spread = [o.groupby(CELL).std() for o in odds]
columns = ["value", "low", "high", "p"]
hold("does_anchoring_help", "secondary", ["about"], columns, {
    ("incoherent replies (points)",): over_cells(100 * change("broken")),
    ("judges differ (points)",): over_cells(100 * change("differ")),
    ("benchmark and judge (SD of log odds)",): student(spread[0] - spread[1])})

# ---- mitigations: harm of a run of the arm, less that of the other method's run of its seed
if arm := PLAN.get("mitigations"):
    mine, cell = KEPT["mitigations_at_equal_capability"], ASKED["arms"][arm]
    runs, p, said = (pd.concat(map(pd.read_parquet, sorted((DATA / table).glob(f"*.{arm}.*"))))
                     .astype({"run": str}) for table in ("runs", "progress", "replies"))
    knobs = {method: sorted(k)[len(k) // 2] for method, k in cell["methods"].items() if k}
    middle = runs["knob"].isna() | (runs["knob"] == runs["method"].astype(str).map(knobs))
    runs = runs[middle & (runs["model"] == mine["model"]) & (runs["task"] == mine["task"])]
    goal = goals.loc[(mine["model"], mine["task"]), "capability_goal"]
    far = (p[PLAN["metric"]] / p["items"] - goal).abs()
    harm = said[said["benchmark"].isin(HARMFUL)].groupby(RUN)["truth_harm"].mean().rename("rate")
    steps = {"at the goal": p[far <= PLAN["tolerance"] + 1e-9].groupby("run")["step"].min(),
             "at the last epoch": p.groupby("run")["step"].max()}
    wide = {at: runs.merge(step.reset_index(), on="run").join(harm, on=RUN)
            .pivot(index="seed", columns="method", values="rate") for at, step in steps.items()}
    for table in ("changes", "against_controls"):
        rows = [(r["at"], r["method"], r["against"]) for r in mine[table] if r["outcome"] == "harm"]
        y = {row: (100 * (wide[row[0]][row[1]] - wide[row[0]][row[2]])).dropna() for row in rows}
        hold("mitigations_at_equal_capability", table, ["at", "method", "against", "outcome"],
             ["seeds", "change", "low", "high"],
             {(*row, "harm"): [len(d), *student(d)[:3]] for row, d in y.items()})
