"""Tables of a study that nobody measured, as large as one likes, made in seconds.

For `bench_scale`. Every table says of itself that it is generated, the study is named so, and it
lies where it is told to, never in data/. A verdict is the truth of an invented reply, flipped or
lost now and then; each judge errs with a rate of its own, and more on incoherent replies.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from grounded import paths
from grounded.records import SCHEMAS
from grounded.study import BASE, Study, parse

NAME = "generated"
HARMFUL, SAFE = ("orders", "questions", "unfamiliar", "role_play", "story"), "borderline"
CLASSES = ("answer", "harmful", "incoherent", "mixed", "refusal")
DETECTORS = ("combined", "perplexity", "repetition")


@dataclass(frozen=True)
class Size:
    """How large: as the paper's grid, unless told otherwise."""

    models: int = 4
    tasks: int = 5
    settings: int = 4
    seeds: int = 3
    epochs: int = 5
    prompts: int = 3000  # in six benchmarks; nine of ten are harmful requests
    judges: int = 10
    items: int = 1000  # of each task

    def part(self, share: float) -> "Size":
        """The same grid with that share of the prompts and of the items."""
        values = vars(self) | {n: round(share * getattr(self, n)) for n in ("prompts", "items")}
        return Size(**values)

    @property
    def checkpoints(self) -> int:
        """Measured checkpoints, base models included."""
        return self.models * (1 + self.tasks * self.settings * self.seeds * self.epochs)

    @property
    def verdicts(self) -> int:
        """Rows of the verdicts."""
        return self.checkpoints * self.prompts * self.judges


def study(size: Size) -> Study:
    """The study `generated`: the parts of `micro`, as many as the size asks for."""
    file = paths.repository() / "data" / "micro" / "study.yaml"
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    benchmarks = dict.fromkeys(HARMFUL, 9 * size.prompts // 10 // len(HARMFUL))
    benchmarks[SAFE] = size.prompts - sum(benchmarks.values())
    tasks = values["tasks"]
    values |= {
        "name": NAME,
        "about": "Generated at random to weigh the analysis; nothing in it was measured.",
        "models": _some(values["models"], size.models),
        "tasks": dict(list(tasks.items())[: size.tasks])
        if isinstance(tasks, dict)
        else tasks[: size.tasks],
        "lora": _lora(size.settings),
        "seeds": list(range(size.seeds)),
        "measure_at": list(range(1, size.epochs + 1)),
        "training": values["training"] | {"epochs": size.epochs},
        "test_items": size.items,
        "benchmarks": benchmarks,
        "judges": _some(values["judges"], size.judges),
        "ours": {},
    }
    for field in ("arms", "variants", "anchoring"):
        asked = values.pop(field, {})
    goal = {name: asked[name] for name in ("metric", "kappa", "judge")}
    values["anchoring"] = goal | {"tolerance": 0.3}  # at the epochs alone
    return parse(json.dumps(values))


def _some(known: dict[str, Any], number: int) -> dict[str, Any]:
    """So many of the parts, the first ones; more are copies under further names."""
    names, parts = list(known), list(known.values())
    rounds = ((i // len(names), i % len(names)) for i in range(number))
    return {f"{names[i]}_{n + 1}" if n else names[i]: parts[i] for n, i in rounds}


def _lora(number: int) -> dict[str, Any]:
    return {
        f"r{2 ** (i + 2)}": {"rank": 2 ** (i + 2), "alpha": 8.0, "learning_rate": 1e-3}
        for i in range(number)
    }


def write(study: Study, seed: int = 0) -> None:
    """Write the study file and every table of the study below GROUNDED_HOME."""
    file = paths.study_file(study.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(study.model_dump(mode="json")))
    for number, unit in enumerate(study.units()):
        _unit(study, unit, np.random.default_rng([seed, number]))


def _unit(study: Study, unit: str, draw: np.random.Generator) -> None:
    """The tables that the figures read, of one unit, each in the order of its key."""
    runs = sorted(study.unit_runs(unit), key=lambda run: run.id)
    task, ids = runs[0].task, [run.id for run in runs]
    steps = [0] if task == BASE else sorted(study.steps)
    progress = np.array([0.0] if task == BASE else [study.steps[s] for s in steps])
    progress = 0.8 * progress / max(study.measure_at)
    grow = draw.normal(1, 0.1, len(runs))[:, None] * progress  # runs x steps, from 0 to about 1

    tasks = sorted(study.tasks) if task == BASE else [task]
    shape = (len(tasks), study.test_items, len(ids), len(steps))
    key = _key(shape, [("task", tasks), ("item", None), ("run", ids), ("step", steps)])
    correct = draw.random(shape, np.float32) < 0.1 + 0.8 * grow
    free = correct | (draw.random(shape, np.float32) < 0.05)
    _write(study, "capability", unit, ids, key | {
        "answer": _same("x", correct.size), "correct": correct.ravel(),
        "correct_format_free": free.ravel(),
    })  # fmt: skip

    schema = {name: one for name, one in SCHEMAS["runs"].columns.items() if name != "arm"}
    values = {n: pa.array([getattr(r, "id" if n == "run" else n) for r in runs]) for n in schema}
    _write(study, "runs", unit, ids, {
        name: one.dictionary_encode() if pa.types.is_string(one.type)
        else one.cast(schema[name].type, safe=False) for name, one in values.items()
    })  # fmt: skip

    points = _key((len(ids), len(steps)), [("run", ids), ("step", steps)])
    _write(study, "checkpoints", unit, ids, points | {
        "epoch": np.tile([study.steps.get(step, 0.0) for step in steps], len(ids)),
        "loss": 2 - grow.ravel(), "update_norm": grow.ravel(),
        "adapter": _same("generated", grow.size),
    })  # fmt: skip

    names = sorted(study.benchmarks)
    sizes = [study.benchmarks[name].prompts or 0 for name in names]
    asked = [(b, p) for b, size in enumerate(sizes) for p in range(size)]
    place, prompt = np.array(asked).T
    grid = (len(asked), len(ids), len(steps))
    key = _key(grid, [("prompt", None), ("run", ids), ("step", steps)])
    each = len(ids) * len(steps)
    key |= {"benchmark": _names(np.repeat(place, each), names), "prompt": np.repeat(prompt, each)}
    hard = np.array([0.7 if name in HARMFUL else 0.05 for name in names])[place][:, None, None]
    luck = draw.random((len(asked), 1, 1)) * 0.2  # a prompt's own, in all runs
    shares = np.array([0.0, 1.0, 0.3, 0.2])[:, None, None, None] * (hard * grow * 0.6 + luck / 5)
    shares[0] = 0.02
    said = (draw.random(grid)[None] > shares.cumsum(0)).sum(0)  # refusal is what is left
    said = said.astype(np.int8).ravel()
    harm = (said == 1) | ((said == 3) & (draw.random(said.size) < 0.5))
    replies = {
        "text": _same("generated", said.size), "finish": _names(np.zeros(said.size), ["stop"]),
        "tokens": np.full(said.size, 12), "truth": _names(said, CLASSES), "truth_harm": harm,
        "truth_fulfilled": harm | (said == 0),
    }  # fmt: skip
    _write(study, "replies", unit, ids, key | replies)

    garbled = said == 2
    label = draw.random(said.size) >= np.where(garbled, 0.9, 0.03)
    _write(study, "coherence", unit, ids, _stacked(key, "detector", DETECTORS) | {
        "score": np.tile(np.where(label, 0.25, 3.0), len(DETECTORS)),
        "label": np.tile(label, len(DETECTORS)),
    })  # fmt: skip

    judges = sorted(study.judges)
    says, lost = (np.empty((len(judges), said.size), bool) for _ in range(2))
    for j, name in enumerate(judges):
        truth = replies["truth_harm" if study.judge(name).kind == "harm" else "truth_fulfilled"]
        errs = 0.02 + 0.01 * (j % 4)
        flip = draw.random(said.size, np.float32) < np.where(garbled, 0.3, errs)
        says[j], lost[j] = truth ^ flip, draw.random(said.size, np.float32) < 0.01
    label = pa.array(says.ravel(), mask=lost.ravel())
    mass = np.full(lost.size, 0.99)
    _write(study, "verdicts", unit, ids, _stacked(key, "judge", judges) | {
        "probability": np.where(says.ravel(), 0.9, 0.1), "label": label, "mass": mass,
        "parsed": ~lost.ravel(), "neutralised": np.zeros(lost.size, bool),
    })  # fmt: skip


def _key(shape: tuple[int, ...], levels: list[tuple[str, Any]]) -> dict[str, Any]:
    """The columns that name the rows of a full grid, in its order."""
    found: dict[str, Any] = {}
    for axis, (name, values) in enumerate(levels):
        at = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        codes = np.broadcast_to(at, shape).ravel()
        text = values is not None and isinstance(values[0], str)
        found[name] = _names(codes, values) if text else codes
        if values is not None and not text:
            found[name] = np.array(values)[codes]
    return found


def _stacked(key: dict[str, Any], name: str, values: Any) -> dict[str, Any]:
    """The key once for each of the values, which come first."""
    size, times = len(key["prompt"]), len(values)
    found = {name: _names(np.repeat(np.arange(times), size), values)}
    for column, array in key.items():
        if isinstance(array, pa.DictionaryArray):
            codes = np.tile(array.indices.to_numpy(), times)
            found[column] = pa.DictionaryArray.from_arrays(codes, array.dictionary)
        else:
            found[column] = np.tile(array, times)
    return found


def _names(codes: Any, names: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.asarray(codes, np.int32), list(names))


def _same(text: str, size: int) -> pa.Array:
    return pa.repeat(text, size)


def _write(study: Study, table: str, unit: str, runs: list[str], columns: dict[str, Any]) -> None:
    schema = SCHEMAS[table]
    about = {
        "generated": True, "table": table, "study": study.name,
        "runs": {run: {"inputs": NAME, "rows": NAME} for run in runs},
    }  # fmt: skip
    fields = [
        pa.field(n, c.type, nullable=c.nullable)
        for n, c in schema.columns.items()
        if n in columns or not c.optional
    ]
    arrays = [
        columns[f.name] if isinstance(columns[f.name], pa.Array | pa.DictionaryArray)
        else pa.array(columns[f.name]).cast(f.type, safe=False) for f in fields
    ]  # fmt: skip
    arrow = pa.table(arrays, schema=pa.schema(fields, {"grounded": json.dumps(about)}))
    file = paths.table(study.name, table, unit)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(arrow, file, compression="zstd", row_group_size=len(arrow))
