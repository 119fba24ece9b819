"""How a tuned judge agrees with people on completions held out, beside the field's judges.

From the verdicts that are kept beside its adapter: no model is needed, and no text.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from grounded import human_labels, paths
from grounded.statistics.agreement import CELLS, estimates, four
from grounded.study import Study, TunedJudge

HELD_OUT = "held_out.csv"  # beside the adapter
COLUMNS = ("row", "request", "truth", "probability", "label", "mass")


def verdicts(study: Study, name: str) -> pd.DataFrame:
    """A tuned judge's verdicts on the completions held out, one row each, as `COLUMNS`.

    row: its place in the frame of `human_labels`; request: the number of its prompt among these.
    """
    return pd.read_csv(paths.judge(study.name, name) / HELD_OUT)


def agreement(found: pd.DataFrame) -> dict[str, float]:
    """Accuracy, kappa and AC1 with people, n readable verdicts, the four counts and the missing.

    found: request, truth and label, blank where a verdict is missing. Intervals of 95% (`_low`,
    `_high`) resample whole requests.
    """
    says = found["label"].astype("boolean").astype("Float64").to_numpy(float, na_value=np.nan)
    cells = four(says, found["truth"].astype(float), list(found["request"]))
    counts = {cell: int(cells[cell].sum()) for cell in CELLS}
    n = sum(counts.values())
    told = {"n": n, "missing": len(found) - n, **counts,
            "accuracy": (counts["tp"] + counts["tn"]) / n if n else float("nan"),
            **estimates(cells)}  # fmt: skip
    return {key: round(value, 4) for key, value in told.items()}


def beside(study: Study, judges: Sequence[str]) -> pd.DataFrame:
    """One row a judge, best kappa first: tuned ones of a kind, and the field's on the same rows.

    Of HarmBench's completions those stored with them and both keyword lists; of XSTest's the
    lists. Columns as `agreement`. SourceError as `sources.fetch`.
    """
    first = study.judge(judges[0])
    assert isinstance(first, TunedJudge)
    labels = human_labels.harmbench() if first.kind == "harm" else human_labels.xstest()
    held = verdicts(study, judges[0])
    rows = {name: agreement(verdicts(study, name)) for name in judges}
    for name in human_labels.JUDGES:
        if name in labels:
            rows[name] = agreement(held.assign(label=labels[name].iloc[held["row"]].to_numpy()))
    return pd.DataFrame(rows).T.sort_values("kappa", ascending=False)
