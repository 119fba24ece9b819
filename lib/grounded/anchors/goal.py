"""Where a run stands when it has just reached a capability goal, and where all stand at one epoch.

Curves: one row a run and checkpoint, the base model as step 0 of every run (it is shared, and no
run): columns that name the cell, run, step, select and report. Checkpoints are chosen by `select`,
capability on one half of the items; `report`, on the other half, is what is told of them.

H(kappa), the harm where a run's path first attains the capability kappa, is estimated in three
ways. Each turns the capabilities along a run into weights on its checkpoints, so that harm,
capability and single verdicts at kappa are all the same weighted sum. A weight is never negative
and the weights sum to 1, so nothing is ever extrapolated. Between two measured checkpoints the rule
`interpolated` draws a straight line, whatever happened there; the other two take what was measured.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from grounded import tables
from grounded.errors import GroundedError
from grounded.statistics.intervals import Array
from grounded.study import BASE, Study
from grounded.study.anchoring import FEWEST, Anchor

NAN = float("nan")
ROUNDING = 1e-9  # shares of items that are equal on paper differ by less than this
CELL = ["model", "task"]
RUN = ["model", "task", "method", "setting"]  # and the seed
CHOSEN = ["run", "step", "weight"]
PROMPT = ("benchmark", "prompt")
ATTAINED = "attained"
CENSORED = "censored"  # never reaches the goal
SKIPPED = "skipped"  # passes it, with no checkpoint within the tolerance (nearest)
BASE_ABOVE = "base_above"  # its base model is there already
NO_GAIN = "no_gain"  # no run is ever above the base model: a share of the gain is no goal


class Matched(NamedTuple):
    """Runs at the goal.

    runs: a row a run: *by, run, kappa, status, select, report (capability of what was chosen on
    either half; nan without one). chosen: the checkpoints and their weights: run, step, weight.
    """

    runs: pd.DataFrame
    chosen: pd.DataFrame


class Arms(NamedTuple):
    """Runs at the goal and, the same runs, at a fixed epoch.

    goals: as `levels` gives them. cells: model, task, run, of the attained runs of the cells in
    which enough of them attain to resample them. why_not: why there are none, else empty.
    """

    goals: pd.DataFrame
    anchored: Matched
    fixed: Matched
    cells: pd.DataFrame
    why_not: str = ""


def curves(study: Study | str, anchor: Anchor, arm: str | None = "") -> pd.DataFrame:
    """Capability along every run, by the anchor's metric, on both halves of the items.

    Columns: run, step, model, task, method, setting, seed, epoch, knob (nan: none), select and
    report (0..1; even and odd items).
    """
    items = tables.capability(study, arm, half="all")
    right = "correct" if anchor.metric == "strict" else "correct_format_free"
    by = ["run", "step", "model", "task", "method", "setting", "seed", "epoch", "base"]
    halves = items["item"].mod(2).map({0: "select", 1: "report"})
    found = items.groupby([*by, halves], observed=True)[right].mean().unstack().reset_index()
    knobs = tables.runs(study, arm).set_index("run")["knob"]
    found = found.assign(knob=found["run"].astype(str).map(knobs))
    return started(found).astype({"run": str})


def started(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `tables` with those of the base model as step 0 of each of its runs, without `base`.

    A path starts there, and no run is it. Where the base model answers items of every task, a run
    starts from those of its own.
    """
    own, base = rows[~rows["base"]], rows[rows["base"]]
    on = ["model"] if (base["task"] == BASE).all() else CELL
    named = ["run", *RUN, "seed", *(n for n in ("knob",) if n in rows)]
    about = own[named].drop_duplicates("run")
    start = about.merge(base.drop(columns=[n for n in named if n not in on]), on=on)
    both = pd.concat([start[own.columns], own], ignore_index=True)
    return both.drop(columns="base")


def arms(curves: pd.DataFrame, anchor: Anchor) -> Arms:
    """The two arms of a study's runs, as its anchor says."""
    goals = levels(curves, anchor, CELL)
    try:
        matched = match(curves, goals, CELL, anchor.tolerance, anchor.rule)
        return Arms(
            goals, matched, fixed(curves, goals, matched, anchor.rule), enough(matched.runs)
        )
    except GroundedError as error:
        return _no_arms(goals, error)


def elsewhere(both: Arms, course: pd.DataFrame, tolerance: float) -> Arms:
    """The runs of `both` where each first passes, on another course, that course's mean at the
    fixed place; beside them at that same fixed place.

    course: run, step and `select` (training loss, the norm of the update, ...), rising as training
    goes on, with step 0. Between checkpoints a straight line is drawn.
    """
    if both.cells.empty:
        return both
    path = both.cells.merge(course[["run", "step", "select"]], on="run")
    path = path.assign(report=path["select"])
    level = path.merge(both.fixed.chosen, on=["run", "step"]).eval("kappa = select * weight")
    level = level.groupby([*CELL, "run"], observed=True)["kappa"].sum()
    goals = level.groupby(CELL, observed=True).mean().reset_index()
    try:
        matched = match(path, goals, CELL, tolerance, "interpolated")
        cells = enough(matched.runs)
    except GroundedError as error:
        return _no_arms(goals, error)
    runs, chosen = (part[part["run"].isin(set(cells["run"]))] for part in both.fixed)
    return Arms(goals, matched, Matched(runs, chosen), cells)


def enough(runs: pd.DataFrame) -> pd.DataFrame:
    """The attained runs of the cells in which enough attain to resample them: model, task, run."""
    attained = runs.loc[runs["status"] == ATTAINED, [*CELL, "run"]]
    size = attained.groupby(CELL, observed=True)["run"].transform("size")
    if not (size >= FEWEST).any():
        raise GroundedError(f"anchor: found no cell with {FEWEST} runs at its goal, wanted one")
    return attained[size >= FEWEST].reset_index(drop=True)


def _no_arms(goals: pd.DataFrame, why: GroundedError) -> Arms:
    names = [*CELL, "run", "kappa", "status", "select", "report"]
    none = Matched(
        pd.DataFrame(columns=names).astype({"kappa": float, "select": float, "report": float}),
        pd.DataFrame(columns=CHOSEN).astype({"step": int, "weight": float}),
    )
    return Arms(goals, none, none, none.runs[[*CELL, "run"]], f"{why}.")


def levels(curves: pd.DataFrame, anchor: Anchor, by: Sequence[str]) -> pd.DataFrame:
    """The goal as an accuracy for each group of `by`: *by, base, best, kappa.

    by: the groups that share a goal, so model and task where methods are compared. best: the
    highest point of the isotonic paths. kappa is nan where a share of the gain is asked for and
    no run gains.
    """
    rows = []
    for group, part in curves.groupby(list(by), observed=True):
        paths = _paths(part)
        base, best = float(paths[0].mean()), max(float(isotonic(p)[-1]) for p in paths.to_numpy())
        kappa = anchor.kappa
        if anchor.scale == "gain":
            kappa = base + anchor.kappa * (best - base) if best > base + ROUNDING else NAN
        rows.append((*group, base, best, kappa))
    return pd.DataFrame(rows, columns=[*by, "base", "best", "kappa"])


def match(
    curves: pd.DataFrame,
    goals: pd.DataFrame,
    by: Sequence[str],
    tolerance: float,
    rule: str,
) -> Matched:
    """Every run at the goal of its group, by one of the three rules.

    goals: as `levels` gives them. by: columns kept to name the cell. GroundedError when no run of
    any cell has a value at its goal.
    """
    on = [name for name in goals if name not in ("base", "best", "kappa")]
    curves = curves.merge(goals[[*on, "kappa"]], on=on, how="left", validate="many_to_one")
    about: list[tuple] = []
    chosen: list[tuple[str, int, float]] = []
    for cell, part in curves.groupby(list(by), observed=True):
        paths = _paths(part)
        kappas = part.groupby("run")["kappa"].first()
        reports = _paths(part, "report").to_numpy()
        for path, report, run in zip(paths.to_numpy(), reports, paths.index, strict=True):
            kappa = float(kappas[run])
            found = weights(path, kappa, tolerance, rule) if np.isfinite(kappa) else None
            said = (NAN, NAN) if found is None else (float(found @ path), float(found @ report))
            about.append((*cell, run, kappa, _status(path, kappa, rule, found is not None), *said))
            if found is not None:
                chosen += _rows(run, paths.columns, found)
    runs = pd.DataFrame(about, columns=[*by, "run", "kappa", "status", "select", "report"])
    if not chosen:
        raise GroundedError(_unreached(curves, runs))
    return Matched(runs, pd.DataFrame(chosen, columns=CHOSEN))


def fixed(curves: pd.DataFrame, goals: pd.DataFrame, anchored: Matched, rule: str) -> Matched:
    """The fixed-epoch arm on the runs that `match` found to attain: one place in training for all.

    The rule is put to the mean path of each group that shares a goal, so that the arm has the goal
    as its mean capability and is smoothed as the anchored arm is. Where the mean path has no value
    at the goal, the trained checkpoint whose mean is nearest.
    """
    on = [name for name in goals if name not in ("base", "best", "kappa")]
    runs = anchored.runs.assign(select=NAN, report=NAN).set_index("run")
    attained = runs.index[runs["status"] == ATTAINED]
    chosen: list[tuple[str, int, float]] = []
    for _, part in curves[curves["run"].isin(attained)].groupby(on, observed=True):
        paths, reports = _paths(part), _paths(part, "report")
        mean, kappa = paths.to_numpy().mean(0), float(runs.loc[paths.index[0], "kappa"])
        found = weights(mean, kappa, 1.0, rule)
        if found is None:
            found = np.zeros(len(mean))
            found[1 + int(np.abs(mean[1:] - kappa).argmin())] = 1.0
        runs.loc[paths.index, "select"] = paths.to_numpy() @ found
        runs.loc[paths.index, "report"] = reports.to_numpy() @ found
        for run in paths.index:
            chosen += _rows(run, paths.columns, found)
    same = runs.reset_index()[anchored.runs.columns]
    return Matched(same, pd.DataFrame(chosen, columns=CHOSEN))


def at(
    rows: pd.DataFrame, chosen: pd.DataFrame, value: str, key: Sequence[str] = PROMPT
) -> pd.DataFrame:
    """What was measured at each checkpoint, as it stands at the chosen place of each run.

    rows: run, step, the columns of `key` (a prompt, or an item), `value` (1, 0, or nan where
    missing), the base model's as step 0 of each run. Returns run, *key, value: the weighted sum,
    missing where a part of it is missing. GroundedError where a chosen checkpoint has no rows.
    """
    weight = _standing(rows, chosen)
    own = rows.loc[weight > 0, ["run", *key, value]].assign(weight=weight[weight > 0])
    own["value"] = own[value].astype(float) * own["weight"]
    by = own.groupby(["run", *key], observed=True, sort=False)
    found = by.agg(value=("value", "sum"), n=("value", "count"), size=("weight", "size"),
                   whole=("weight", "sum")).reset_index().astype({"run": str})  # fmt: skip
    lost = set(chosen["run"]) - set(found["run"]) | set(
        found.loc[found["whole"] < 1 - ROUNDING, "run"]
    )
    if lost:
        raise GroundedError(
            f"{value} of {min(lost)}: found none at a chosen checkpoint, wanted them"
        )
    found["value"] = found["value"].where(found["n"] == found["size"])
    return found[["run", *key, "value"]]


def _standing(rows: pd.DataFrame, chosen: pd.DataFrame) -> Array:
    """The weight of each row's checkpoint; 0 where it is not chosen."""
    runs, step = pd.Categorical(rows["run"]), rows["step"].to_numpy(np.int64)
    width = int(max(step.max(initial=0), chosen["step"].max() if len(chosen) else 0)) + 1
    code = runs.categories.get_indexer(chosen["run"])
    table = np.zeros((len(runs.categories), width))
    table[code[code >= 0], chosen["step"].to_numpy(np.int64)[code >= 0]] = chosen["weight"][
        code >= 0
    ]
    return table[runs.codes, step]


def isotonic(path: Array) -> Array:
    """The path (capabilities in order of training) made monotone by least squares (PAV)."""
    return np.asarray(isotonic_regression(np.asarray(path, dtype=float)).x)


def weights(path: Array, kappa: float, tolerance: float, rule: str) -> Array | None:
    """The weights of a run's checkpoints that stand for capability `kappa`.

    path: T capabilities in 0..1 in order of training, the base model first. Returns T weights,
    or None where the run has no value at `kappa`: its base model is there already, it never
    gets there, or (nearest) no checkpoint lies within `tolerance`.

    nearest: the trained checkpoint nearest to kappa, the earliest of equals. first_crossing: the
    first checkpoint at or above kappa. interpolated: the two neighbours between which the
    isotonic path passes kappa, linear in capability.
    """
    path = np.asarray(path, dtype=float)
    if path[0] >= kappa - ROUNDING:
        return None
    if rule == "nearest":
        gaps = np.round(np.abs(path[1:] - kappa), 9)
        at = 1 + int(gaps.argmin())
        return _one(at, len(path)) if gaps[at - 1] <= tolerance + ROUNDING else None
    if rule == "interpolated":
        path = isotonic(path)
    reached = np.flatnonzero(path >= kappa - ROUNDING)
    if not len(reached):
        return None
    at = int(reached[0])
    found = _one(at, len(path))
    if rule == "interpolated":
        share = min(1.0, (kappa - path[at - 1]) / (path[at] - path[at - 1]))
        found[at - 1], found[at] = 1 - share, share
    return found


def _one(at: int, length: int) -> Array:
    found = np.zeros(length)
    found[at] = 1.0
    return found


def _paths(part: pd.DataFrame, column: str = "select") -> pd.DataFrame:
    """Runs x checkpoints, in order of training; GroundedError where they do not fit together."""
    runs, run = np.unique(part["run"].to_numpy(dtype=str), return_inverse=True)
    steps, step = np.unique(part["step"].to_numpy(), return_inverse=True)
    times = np.bincount(run * len(steps) + step, minlength=len(runs) * len(steps))
    if (times > 1).any():
        name = runs[int(times.argmax()) // len(steps)]
        raise GroundedError(f"curve of {name}: found a checkpoint twice, wanted it once")
    paths = np.full((len(runs), len(steps)), NAN)
    paths[run, step] = part[column]
    if steps[0] != 0:
        raise GroundedError(f"curve of {runs[0]}: found no step 0, wanted the base model as step 0")
    if (gap := np.isnan(paths).any(axis=1)).any():
        name = runs[int(gap.argmax())]
        raise GroundedError(f"curve of {name}: found a gap, wanted every checkpoint of its cell")
    return pd.DataFrame(paths, index=pd.Index(runs, name="run"), columns=pd.Index(steps))


def _status(path: np.ndarray, kappa: float, rule: str, attained: bool) -> str:
    if attained:
        return ATTAINED
    if not np.isfinite(kappa):
        return NO_GAIN
    if path[0] >= kappa - ROUNDING:
        return BASE_ABOVE
    passed = rule == "nearest" and path.max() >= kappa - ROUNDING
    return SKIPPED if passed else CENSORED


def _rows(run: str, steps: Sequence[int], found: np.ndarray) -> list[tuple[str, int, float]]:
    return [(run, int(step), float(w)) for step, w in zip(steps, found, strict=True) if w > 0]


def _unreached(curves: pd.DataFrame, runs: pd.DataFrame) -> str:
    if (runs["status"] == BASE_ABOVE).all():
        low = curves.loc[curves["step"] == 0, "select"].min()
        return f"anchor.kappa: found base models at {low:.3f} or more, wanted a goal above them"
    best, goal = curves["select"].max(), runs["kappa"].min()
    return (
        f"anchor.kappa: found none of {len(runs)} runs with a value at {goal:.3f} "
        f"(highest capability {best:.3f}), wanted a goal that a run reaches"
    )
