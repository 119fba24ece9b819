"""Committed studies of real models, shrunk to what stand-ins hold and a test has time for."""

import copy
from pathlib import Path
from typing import Any

import yaml

from grounded import paths
from standins.hub import WEB, Hub


def shrunk(hub: Hub, home: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Write data/<name>/study.yaml in a home: all of the study's parts, one run of each.

    One LoRA setting, one seed, one epoch, no goal, as many examples as the smallest stand-in has.
    changes: fields, or the names to keep of one, as a list. The addresses of prompt texts become
    the hub's.
    """
    file = paths.repository() / "data" / name / "study.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8")) | {"ours": {}}
    values["lora"] = dict(list(values["lora"].items())[:1])
    values |= {"seeds": [0], "measure_at": [1], "test_items": 2}
    values["training"] |= {"epochs": 1, "batch_size": 2, "device_batch_size": 1}
    values["generation"] |= {"max_new_tokens": 8, "batch_size": 8}
    values.pop("anchoring", None)  # one run of each has no spread
    for field, change in copy.deepcopy(changes).items():
        if isinstance(change, list) and isinstance(values[field], dict):
            change = {one: values[field][one] for one in change}
        values[field] = change
    for task in values["tasks"].values():
        task["examples"] = 3
    for benchmark in values["benchmarks"].values():
        benchmark.pop("prompts", None)
    for judge in values["judges"].values():
        if address := judge.get("template"):
            judge["template"] = address.replace("https://", f"{hub.endpoint}{WEB}")
    place = home / "data" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return values
