"""From the capabilities along each run to the checkpoints that stand for the goal, in two arms.

Curves: one row a run and checkpoint, the base model as step 0 of every run (it is shared, and no
run): columns that name the cell, run, step, select and report. Checkpoints are chosen by `select`,
capability on one half of the items; `report`, on the other half, is what is told of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from grounded.anchors.estimators import ROUNDING, isotonic, weights
from grounded.errors import GroundedError
from grounded.statistics.intervals import Array
from grounded.study.anchoring import Anchor

NAN = float("nan")
CHOSEN = ["run", "step", "weight"]
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


def at(rows: pd.DataFrame, chosen: pd.DataFrame, value: str, key: str) -> pd.DataFrame:
    """What was measured at each checkpoint, as it stands at the chosen place of each run.

    rows: run, step, `key` (a prompt or an item), `value` (1, 0, or nan where missing), the base
    model's as step 0 of each run. Returns run, key, value: the weighted sum, missing where a part
    of it is missing; and least and most, what it is if the missing were 0 or 1.
    """
    weight = standing(rows, chosen)
    stands = np.flatnonzero(weight)
    weight = weight[stands]
    runs, names = pd.Categorical(rows["run"]), pd.Categorical(rows[key])
    size = len(names.categories)
    place = runs.codes[stands].astype(np.int64) * size + names.codes[stands]
    given = rows[value].to_numpy(dtype=float)[stands]
    lost = np.isnan(given)
    parts = {
        "weight": weight,
        "value": np.where(lost, 0, given) * weight,
        "most": np.where(lost, 1, given) * weight,
        "lost": lost.astype(float),
    }
    sums = {n: np.bincount(place, part, len(runs.categories) * size) for n, part in parts.items()}
    at_all = np.flatnonzero(sums["weight"] > 0)
    found = {name: total[at_all] for name, total in sums.items()}
    names_of = pd.Categorical.from_codes(at_all // size, runs.categories)
    if (short := found["weight"] < 1 - ROUNDING).any():
        run = names_of[int(np.flatnonzero(short)[0])]
        raise GroundedError(f"{value} of {run}: found none at a chosen checkpoint, wanted them")
    return pd.DataFrame(
        {
            "run": names_of,
            key: pd.Categorical.from_codes(at_all % size, names.categories),
            "value": np.where(found["lost"] == 0, found["value"], NAN),
            "least": found["value"],
            "most": found["most"],
        }
    )


def standing(rows: pd.DataFrame, chosen: pd.DataFrame) -> Array:
    """The weight of each row's checkpoint; 0 where it is not chosen.

    rows: run, step. chosen: run, step, and weight where it is not 1.
    """
    runs = pd.Categorical(rows["run"])
    codes = runs.categories.get_indexer(chosen["run"].astype(str))
    chosen = chosen[codes >= 0]
    steps, at = np.unique(chosen["step"].to_numpy(dtype=np.int64), return_inverse=True)
    table = np.zeros((len(runs.categories), len(steps) + 1))  # the last: of no chosen step
    table[codes[codes >= 0], at] = chosen["weight"] if "weight" in chosen else 1.0
    column = np.full(int(max(rows["step"].max(), *steps, 0)) + 1 if len(rows) else 1, len(steps))
    column[steps] = np.arange(len(steps))
    return table[runs.codes, column[rows["step"].to_numpy()]]


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
