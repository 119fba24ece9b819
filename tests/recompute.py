"""The headline numbers of figures 1 to 4 and of the claims on change, anew from the tables.

`python tests/recompute.py STUDY [HOME]` reads a study's Parquet files with pandas and statsmodels
alone and nothing of `grounded`, follows the definitions in the notebooks' prose, and holds what it
finds to figures/STUDY/*.json: four digits, or it fails. What is at a goal: `recompute_goal.py`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
import yaml

# fmt: off
NAME, HOME = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parents[1])
DATA, CELL, KEY = HOME / "data" / NAME, ["model", "task"], ["run", "step", "benchmark", "prompt"]
ASKED = yaml.safe_load((DATA / "study.yaml").read_text())
PLAN, TASKS, RUN = ASKED["anchoring"], list(ASKED["tasks"]), ["run", "step"]
HARMFUL = [b for b, one in ASKED["benchmarks"].items()
           if (one.get("harmful", True) if isinstance(one, dict) else b != "borderline")]
KIND = {name: judge["kind"] for name, judge in ASKED["judges"].items()}
HARM, FULFIL = (next(n for n, k in KIND.items() if k == kind) for kind in ("harm", "compliance"))
KEPT = {f: json.loads((HOME / "figures" / NAME / f"{f}.json").read_text())["statistics"] for f in
        ("figure_1_epochs", "figure_2_judgments", "figure_3_evaluators", "figure_4_benchmarks",
         "the_claims", "does_anchoring_help", "mitigations_at_equal_capability")}


def read(table):  # the main grid and its base models, unit by unit
    for file in sorted((DATA / table).glob("*.parquet")):
        if "." not in file.stem and file.stem.startswith(tuple(f"{m}-{t}" for m in ASKED["models"]
                                                               for t in (*TASKS, "base"))):
            frame = pd.read_parquet(file)
            yield frame.astype({c: str for c in frame if frame[c].dtype == "category"})


def hold(figure, table, key, columns, found):  # found: key -> numbers, of a row that is kept
    rows, numbers = {tuple(row[k] for k in key): row for row in KEPT[figure][table]}, 0
    for name, values in found.items():
        for column, value in zip(columns, values, strict=True):
            other = rows[name][column]
            same = np.isclose(value, np.nan if other is None else other, rtol=1e-4, atol=1e-6)
            assert same or not np.isfinite(value), (figure, table, name, column, value, other)
            numbers += same
    print(f"{figure}, {table}: {len(found)} of {len(rows)} rows, {numbers} numbers agree")


def fits(formula, x, *ways, weights=1.0):  # errors clustered by all ways together, and by each
    codes = [pd.Series(w).factorize()[0] for w in ways]
    model = smf.wls(formula, x, weights=np.ones(len(x)) * weights)
    return [model.fit(cov_type="cluster", cov_kwds={"groups": g}, use_t=True)
            for g in [np.column_stack(codes)] * (len(codes) > 1) + codes]


def widest(x):  # the mean of y in points: by run and by prompt, or by the one that is wider
    found = [np.r_[f.params, f.conf_int().iloc[0]] for f in fits("y ~ 1", x, x.run, x.question)]
    return 100 * max(found, key=lambda f: np.nan_to_num(f[2] - f[1]))
def moved(x, value):
    return x.assign(y=x[value] - x[f"{value}_0"]).dropna(subset=["y"])


# ---- a row a reply to a harmful request: the truth, the detector, a column a judge
units = []
for said, verdicts, coherence in zip(*map(read, ("replies", "verdicts", "coherence")), strict=True):
    labels = verdicts.set_index([*KEY, "judge"])["label"].astype("float32").unstack()
    rule = coherence[coherence["detector"] == "combined"].set_index(KEY)["label"].astype(float)
    said = said[said["benchmark"].isin(HARMFUL)].drop(columns=["text"])
    units.append(said.join(labels, on=KEY).join(rule.rename("coherent"), on=KEY))
about = pd.concat(read("runs")).set_index("run")[[*CELL, "setting", "seed"]]
points = pd.concat(read("checkpoints")).set_index(RUN)[["epoch", "loss", "update_norm"]]
d = pd.concat(units, ignore_index=True).join(about, on="run").join(points, on=RUN)
for name, column in (("true", "truth_harm"), ("done", "truth_fulfilled")):
    d[name] = d[column].astype(float).replace(-1, np.nan)
d["broken"], d["garbled"] = (d["truth"] == "incoherent") * 1.0, 1 - d["coherent"]
d["question"] = d["benchmark"] + d["prompt"].astype(str)
tuned, values = d[d["step"] > 0], [*KIND, "true", "done", "broken", "garbled"]
timed = tuned[np.isclose(tuned["epoch"].to_numpy()[:, None], ASKED["measure_at"]).any(axis=1)]
first = d.loc[d["step"] == 0, ["model", "question", *values]]
items = pd.concat(read("capability")).query("item % 2 == 1").rename(columns={"task": "question"})
items = items.join(about, on="run").astype({"correct": float, "correct_format_free": float})
able = items[items["question"] == items["task"]].assign(question=lambda x: x["item"])
start = items[items["step"] == 0].assign(task=lambda x: x["question"], question=lambda x: x["item"])


def ends(x, start, on):  # the last checkpoint of each run beside its base model
    last = x[x["step"] == x.groupby("run")["step"].transform("max")]
    return last.merge(start, on=on, suffixes=("", "_0"))


# ---- figures 1 to 4
SCORES = {"strict": "correct", "format-free": "correct_format_free"}
POINTS = ["change", "low", "high"]
pairs, f1 = ends(tuned, first, ["model", "question"]), KEPT["figure_1_epochs"]
learned = ends(able, start[[*CELL, "question", *SCORES.values()]], [*CELL, "question"])
sources = {f1["measure"]: (pairs, f1["judge"])}
sources |= {f"{name} capability": (learned, column) for name, column in SCORES.items()}
hold("figure_1_epochs", "changes", ["measure", "task", "model"], POINTS, {
    (name, *cell): widest(x) for name, (rows, value) in sources.items()
    for cell, x in moved(rows, value).groupby(["task", "model"])})
hold("figure_2_judgments", "incoherence", ["by", "task", "model"], POINTS, {
    (by, task, "all models"): widest(x)
    for by, eye in (("truth", "broken"), ("detector", "garbled"))
    for task, x in moved(pairs, eye).groupby("task")})
what = timed["true"].map({1: "replies that are harmful in truth", 0: "replies that are not"})
kind = timed["truth"].where(timed["truth"].isin(["mixed", "incoherent"]), "coherent")
hold("figure_2_judgments", "rates", ["replies", "kind", "judge"], ["rate", "n"], {
    (*cell, HARM): [x.mean(), x.count()] for cell, x in timed.groupby([what, kind])[HARM]})
lines = {}
for judge, measure in KEPT["figure_3_evaluators"]["judges"].items():
    for name, score in SCORES.items():
        x = timed[timed["task"] == KEPT["figure_3_evaluators"]["task"]].groupby(RUN)[judge].mean()
        x = pd.DataFrame({"y": x, "x": able.groupby(RUN)[score].mean()}).dropna().reset_index()
        fit = fits("y ~ x", x, x["run"])[0]
        lines[measure, name] = [fit.params["x"], *fit.conf_int().loc["x"], fit.rsquared]
hold("figure_3_evaluators", "lines", ["measure", "score"], ["slope", "low", "high", "R²"], lines)
who = {k: k for k in KIND} | {"true": "truth: harmful", "done": "truth: fulfilled"}
hold("figure_4_benchmarks", "changes", ["task", "benchmark", "judge"], POINTS, {
    (*cell, name): widest(x) for value, name in who.items()
    for cell, x in moved(pairs[pairs["model"] == KEPT["figure_4_benchmarks"]["model"]], value)
    .groupby(["task", "benchmark"])})

# ---- the claims on what changed, by task
CLAIM, FOUND, EFFECT = ["claim", "source", "task"], ["estimate", "low", "high"], 0.05 / len(TASKS)


def effects(claim, source, x):  # every run counts the same; for other seeds and other prompts
    for task, own in x.dropna(subset=["y"]).groupby("task"):
        by, formula = (["run", "x"], "y ~ x") if "x" in own else (["run"], "y ~ 1")
        own = own.assign(y=100 * own["y"], luck=own["model"] + own["seed"].astype(str))
        both, luck, _ = fits(formula, own, own["luck"], own["question"],
                             weights=1 / own.groupby(by)["y"].transform("size"))
        low, high = np.array([f.conf_int(EFFECT).iloc[-1] for f in (both, luck)]).T
        yield (claim, source, task), [both.params.iloc[-1], np.nanmin(low), np.nanmax(high)]


change = {v: moved(pairs, v) for v in (HARM, FULFIL, "true", "broken", "garbled")}
judged = pd.concat([change[HARM].assign(x=1), change[FULFIL].assign(x=0)])
claims = [("3b", "both judges", judged), ("1", "truth", change["broken"]),
          ("1", "detector", change["garbled"])]
for value, source in (("true", "truth"), (HARM, "harm judge")):
    two = change[value][change[value]["benchmark"].isin(HARMFUL[:2])]
    claims += [("0", source, change[value]),
               ("3a", source, two.assign(x=(two["benchmark"] == HARMFUL[0]) * 1))]
for judge, truth, source in ((HARM, "true", "harm judge"), (FULFIL, "done", "compliance judge")):
    x = timed[timed["truth"] != "mixed"].dropna(subset=[judge, truth])
    x = x.assign(y=(x[judge] != x[truth]) * 1.0, x=x["broken"])  # of runs with both kinds
    claims.append(("2", source, x[x.groupby("run")["x"].transform("nunique") == 2]))
hold("the_claims", "by task", CLAIM, FOUND, dict(one for c in claims for one in effects(*c)))
