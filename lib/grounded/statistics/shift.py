"""Where the change of a rate comes from: other replies, or other verdicts on the same kind.

P(yes) = sum over kinds s of w_s f_s, with w_s = P(kind s) and f_s = P(yes | kind s). Between two
models both may change. The midpoint split of Kitagawa (1955) and Oaxaca (1973), which is the
Shapley value of the two factors, adds up exactly and depends on no order:
change = sum (w1 - w0)(f0 + f1)/2  [composition]  +  sum (f1 - f0)(w0 + w1)/2  [verdicts].
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from grounded.statistics.agreement import estimates
from grounded.statistics.intervals import Array


def split(n0: Array, k0: Array, n1: Array, k1: Array) -> tuple[Array, Array]:
    """The two parts of the change of k/n, for each kind (last axis): composition and verdicts.

    n0, n1: replies of each kind before and after; k0, k1: those called yes. A kind that one side
    lacks has no rate there; its rate on the other side is taken for both, so that what it brings
    is composition, as it is. Their sum over both parts and all kinds is the change.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        w0, w1 = (n / n.sum(-1, keepdims=True) for n in (n0, n1))
        f0, f1 = np.where(n0 > 0, k0 / n0, np.nan), np.where(n1 > 0, k1 / n1, np.nan)
    f0, f1 = np.where(n0 > 0, f0, f1), np.where(n1 > 0, f1, f0)
    f0, f1 = (np.nan_to_num(f) for f in (f0, f1))  # a kind that both lack has no weight
    return (w1 - w0) * (f0 + f1) / 2, (f1 - f0) * (w0 + w1) / 2


def changes(ends: pd.DataFrame, judge: str, kinds: Sequence[str]) -> pd.DataFrame:
    """`changes_by_kind` of a judge, over all tasks (`all`) and for each: a row a task.

    ends: a row a reply of base models (base) and of runs at their last checkpoint: base, model,
    task, run, kind, and the judge's verdict (1, 0, nan where there is none) under its name.
    """
    given = ends.rename(columns={judge: "says"}).dropna(subset="says")
    base, last = given[given["base"]], given[~given["base"]]
    before = base.groupby(["model", "kind"], observed=True)["says"].agg(n0="size", k0="sum")
    by = ["model", "task", "run", "kind"]
    after = last.groupby(by, observed=True, sort=False)["says"].agg(n1="size", k1="sum")
    every = after.unstack("kind").reindex(columns=kinds, level="kind").fillna(0)  # kinds unseen: 0
    pairs = every.stack("kind", future_stack=True).reset_index().astype({"run": str})
    pairs = pairs.join(before, on=["model", "kind"]).fillna({"n0": 0, "k0": 0})
    parts = {"all": pairs} | {str(t): d for t, d in pairs.groupby("task", observed=True)}
    rows = [{"judge": judge, "task": t, **changes_by_kind(d, kinds)} for t, d in parts.items()]
    return pd.DataFrame(rows)


def changes_by_kind(pairs: pd.DataFrame, kinds: Sequence[str]) -> dict[str, float]:
    """The split of one cell, with intervals from resampling its runs.

    pairs: a row a run and kind with n0, k0 (of the run's base model), n1, k1 (of the run). The
    base model's counts go with each of its runs, so that a draw has the base models of its runs.
    Values: base, last, change, composition, verdicts, and `verdicts_KIND` for each kind, each
    with `_low` and `_high`; shares, changes in 0..1.
    """
    columns = ["n0", "k0", "n1", "k1"]
    wide = pairs.pivot(index="run", columns="kind", values=columns).fillna(0)
    order = pd.MultiIndex.from_product([columns, kinds])
    runs = wide.reindex(columns=order, fill_value=0).to_numpy(dtype=float)
    size = len(kinds)

    def parts(sums: Array) -> tuple[Array, Array]:
        return split(*(sums[:, i * size : (i + 1) * size] for i in range(4)))

    def rate(sums: Array, at: int) -> Array:
        n, k = (sums[:, i * size : (i + 1) * size].sum(1) for i in (2 * at, 2 * at + 1))
        return k / n

    return {
        "runs": len(runs),
        **estimates(
            runs,
            {
                "base": lambda s: rate(s, 0),
                "last": lambda s: rate(s, 1),
                "change": lambda s: rate(s, 1) - rate(s, 0),
                "composition": lambda s: parts(s)[0].sum(1).round(12),
                "verdicts": lambda s: parts(s)[1].sum(1).round(12),
                **{
                    f"verdicts_{kind}": lambda s, i=i: parts(s)[1][:, i]  # type: ignore[misc]
                    for i, kind in enumerate(kinds)
                },
            },
        ),
    }
