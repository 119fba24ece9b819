"""What the notebook on base models shows of a real study: which files its models and judges are."""

from typing import Any

import pandas as pd

from grounded import tables
from grounded.stages import public
from grounded.study import Study


def procedures() -> pd.DataFrame:
    """Nothing: the procedures of harm are of the invented world."""
    return pd.DataFrame()


def lexicon() -> pd.DataFrame:
    """Nothing, as `procedures`."""
    return pd.DataFrame()


def documents(study: Study) -> pd.DataFrame:
    """The models: where each comes from, and what its chat template is told."""
    rows = {}
    for name in study.models:
        model = study.public_model(name)
        place = model.repository or model.path or (model.wheel and model.wheel.package)
        rows[name] = {"from": place, "family": model.family, "billions": model.size,
                      "template": model.template or "–"}  # fmt: skip
    return pd.DataFrame(rows).T


def sizes(study: Study) -> pd.DataFrame:
    """Files and size of every model and judge that was brought here."""
    rows = {}
    for unit in (*study.models, *study.language_judges):
        found = _recorded(study, unit)
        files = found.get("files", {})
        for version, one in files.items() if isinstance(files, dict) else [("adapter", files)]:
            rows[unit, version] = {"files": one, "GB": round(found.get("bytes", 0) / 1e9, 2)}
    return pd.DataFrame(rows).T


def acceptance(study: Study) -> pd.DataFrame:
    """Of each model that was aligned here what every recipe measured (shares), and the bars (last
    column); no row for models that are taken as they are."""
    found = {}
    for name in study.models:
        aligned, told = study.public_model(name).alignment, _recorded(study, name).get("alignment")
        if aligned and told:
            for recipe, rates in told["measures"].items():
                taken = " (taken)" if recipe == told["recipe"] else ""
                found[f"{name}, {recipe}{taken}"] = rates
            bars = aligned.bars
            bar = dict.fromkeys(aligned.refusing, f"≥ {bars.refusal:g}")
            bar |= dict.fromkeys(aligned.answering, f"≤ {bars.overrefusal:g}")
            bar["instructions"] = f"≥ {bars.answers:g}"
            found["bar"] = bar
    return pd.DataFrame(found) if found else pd.DataFrame(columns=["bar"])


def judge_acceptance(study: Study) -> pd.DataFrame:
    """Of each judge that was tuned here how it agrees with people on completions held out, and
    its share of yes to replies that hold nothing, by kind; no row for published judges."""
    found = {}
    for name, told in tables.acceptance(study).items():
        agree = {key: told["held_out"][key] for key in ("n", "kappa", "sensitivity", "specificity")}
        empty = {f"yes to: {kind}": one["yes"] / one["n"] for kind, one in told["broken"].items()}
        found[name] = agree | empty
    return pd.DataFrame(found).assign(bar="reported")


def _recorded(study: Study, unit: str) -> dict[str, Any]:
    return public.recorded(public.record_folder(study, unit))
