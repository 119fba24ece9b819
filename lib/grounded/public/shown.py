"""What the notebook on base models shows of a real study: which files its models and judges are."""

import pandas as pd

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
    rows = {
        name: {"from": model.repository or model.path, "family": model.family,
               "billions": model.size, "template": model.template or "–"}
        for name, model in ((name, study.public_model(name)) for name in study.models)
    }  # fmt: skip
    return pd.DataFrame(rows).T


def sizes(study: Study) -> pd.DataFrame:
    """Files and size of every model and judge that was brought here."""
    rows = {}
    for unit in (*study.models, *study.language_judges):
        found = public.recorded(public.record_folder(study, unit))
        for version, files in found.get("files", {}).items():
            rows[unit, version] = {"files": files, "GB": round(found["bytes"] / 1e9, 2)}
    return pd.DataFrame(rows).T


def acceptance(study: Study) -> pd.DataFrame:
    """Nothing: real models are taken as they are."""
    return pd.DataFrame(columns=["bar"])


def judge_acceptance(study: Study) -> pd.DataFrame:
    """Nothing, as `acceptance`."""
    return pd.DataFrame(columns=["bar"])
