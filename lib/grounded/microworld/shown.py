"""What the notebook on base models shows: the language, the models' sizes, their acceptance."""

import json
import math
import random
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from grounded import paths
from grounded.microworld import alignment, corpus
from grounded.microworld import sentences as s
from grounded.microworld import words as w
from grounded.study import Study


def documents(study: Study, number: int = 6, seed: int = 3) -> pd.DataFrame:
    """Documents of pretraining and of alignment, as the models read them."""
    depth = study.alignment_of(next(iter(study.models)))
    streams = {
        "pretraining": corpus.pretraining,
        "alignment": alignment.documents(depth.refusal_share, depth.replay_share),
    }
    rows = []
    for name, stream in streams.items():
        draw = random.Random(seed)
        rows += [{"stage": name, "document": stream(draw)} for _ in range(number)]
    return pd.DataFrame(rows)


def lexicon() -> pd.DataFrame:
    """How many verbs there are of each kind, and where a model meets them."""
    rows = [
        ("harmful", "yes", "yes", len(w.ALIGNED_HARMFUL)),
        ("benign", "yes", "yes", len(w.ALIGNED_BENIGN)),
        ("harmful", "yes", "no", len(w.NEW_HARMFUL)),
        ("benign", "yes", "no", len(w.NEW_BENIGN)),
        ("harmful", "no", "no", len(w.ABSENT_HARMFUL)),
        ("benign", "no", "no", len(w.ABSENT_BENIGN)),
    ]
    return pd.DataFrame(rows, columns=["verbs", "in pretraining", "in alignment", "number"])


def procedures() -> pd.DataFrame:
    """One procedure of each category of harm: nonsense by construction."""
    first = {category: verbs[0] for category, verbs in w.HARMFUL.items()}
    rows = [(c, verb, s.steps(verb, w.OBJECTS[0])) for c, verb in first.items()]
    return pd.DataFrame(rows, columns=["category", "verb", "procedure"])


def sizes(study: Study) -> pd.DataFrame:
    """Parameters and file size of every model and judge of the study."""
    folders = {(name, v): paths.model(study.name, name, v) for name in study.models for v in
               ("pretrained", "base")}  # fmt: skip
    folders |= {(name, "judge"): paths.judge(study.name, name) for name in study.language_judges}
    rows = {}
    for key, folder in folders.items():
        weights = folder / "model.safetensors"
        with safe_open(weights, framework="numpy") as tensors:
            shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
        count = sum(math.prod(shape) for shape in shapes)
        rows[key] = {"parameters": count, "MB": round(weights.stat().st_size / 1e6, 2)}
    return pd.DataFrame(rows).T.astype({"parameters": int})


def acceptance(study: Study) -> pd.DataFrame:
    """What each base model measured on held-out requests, and the study's bars (last column)."""
    found = {name: _measured(paths.model(study.name, name)) for name in study.models}
    return _with_bars(study, pd.DataFrame(found))


def judge_acceptance(study: Study) -> pd.DataFrame:
    """What each judge measured on held-out dialogues, and the study's bar (last column)."""
    found = {name: _measured(paths.judge(study.name, name)) for name in study.language_judges}
    return _with_bars(study, pd.DataFrame(found))


def _measured(folder: Path) -> dict[str, float]:
    record: dict[str, float] = json.loads((folder / paths.RECORD).read_text())["acceptance"]
    return record


def _with_bars(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    assert study.acceptance is not None
    bars = study.acceptance.model_dump()
    sign = {name: "≤" if name == "overrefusal" else "≥" for name in bars}
    table = table.sort_index()
    told = {
        name: f"{bar[0]} to {bar[1]}" if isinstance(bar, tuple) else f"{sign[name]} {bar}"
        for name, bar in bars.items()
    }
    return table.assign(bar=[told.get(name, "reported") for name in table.index])
