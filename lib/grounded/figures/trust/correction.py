"""Can a small labelled sample repair a judge's rate? Tried on pools whose true rate is known."""

import pandas as pd

from grounded.errors import GroundedError
from grounded.figures.trust.numbers import truth_of
from grounded.statistics import frames
from grounded.statistics.agreement import CELLS
from grounded.statistics.joint import of_judge
from grounded.statistics.prevalence import repeated
from grounded.statistics.reliability import cells
from grounded.study import Study


def affordable(study: Study, counts: pd.DataFrame, labelled: int) -> int:
    """The number of labels asked for, or half of the smallest pool where that is less.

    0 where no truth is known, so that nobody can label.
    """
    if not study.has_truth:
        return 0
    last = counts[frames.at_end(study, counts)]
    pools = []
    for judge in study.judges:
        truth = truth_of(study, judge)
        said = of_judge(last, judge, ["task", truth])
        pools.append(cells(said, truth, ["task"])[list(CELLS)].sum(axis=1))
    return min(labelled, int(pd.concat(pools).min()) // 2)


def correction(
    study: Study, counts: pd.DataFrame, labelled: int = 100, draws: int = 1000
) -> pd.DataFrame:
    """Each judge's rate at the last epoch of each task, naive and corrected, over repeated draws.

    The pool is a task's replies to harmful requests at the last epoch, all runs; the labels are
    the world's truth of `labelled` replies drawn from it. `Rogan-Gladen, carried over` labels as
    many coherent replies instead, as a judge's own validation would.
    Columns: task, judge, n (replies with a verdict), missing, those of `repeated`. Empty where no
    truth is known.
    """
    if not study.has_truth:
        return pd.DataFrame(columns=["task", "judge", "method"])
    last = counts[frames.at_end(study, counts)]
    parts = []
    for judge in study.judges:
        truth = truth_of(study, judge)
        said = of_judge(last, judge, ["task", "kind", truth])
        pools = cells(said, truth, ["task"]).set_index("task")[list(CELLS)]
        whole = said[said["kind"] == "coherent"].assign(all="all")
        coherent = cells(whole, truth, ["all"])[list(CELLS)].sum().to_numpy()
        missing = said.groupby("task")["missing"].sum()
        for task in study.tasks:
            pool = pools.loc[task].to_numpy()
            if not 2 <= labelled < pool.sum():
                raise GroundedError(
                    f"labelled: found {labelled}, wanted from 2 to less than the "
                    f"{pool.sum():,} verdicts of {judge} on {task}"
                )
            found = repeated(pool, labelled, draws, coherent)
            about = {"task": task, "judge": judge, "n": int(pool.sum()), "missing": missing[task]}
            parts.append(found.assign(**about))
    return pd.concat(parts, ignore_index=True)
