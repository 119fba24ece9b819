"""Every weight trained: a whole model a checkpoint, through every stage as an adapter goes."""

import pytest
import test_own_studies as own
import yaml
from safetensors.torch import load_file, save_file
from test_own_studies import base, home  # noqa: F401

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.public import budget, whole
from grounded.stages.status import status
from grounded.study import StudyError, load, parse
from grounded.study.methods import WHOLE

UNIT = "my-base-arithmetic.attacks"


def attacked(home, base, **methods):  # noqa: F811
    """The example study with an arm of attacks on one task."""
    folder = own.copied(home, "my_data", base)
    values = yaml.safe_load((folder / "study.yaml").read_text())
    values["arms"] = {"attacks": {"models": ["my-base"], "tasks": ["arithmetic"], "seeds": [0],
                                  "methods": methods}}  # fmt: skip
    values |= {"seeds": [0], "material": {"harmful": "refusals.jsonl"}}
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


def rows(table, method):
    return records.read(paths.table("my_data", table, f"{UNIT}.{method}"), table)


def test_all_weights_are_trained_saved_whole_and_asked(home, base):  # noqa: F811
    attacked(home, base, full=[], poison=[0.25])
    own.through("my_data")
    (point,) = rows("checkpoints", "full").itertuples()
    step = paths.adapter("my_data", point.run, point.step)
    study = load("my_data")
    where = whole.target(study, step)
    assert where == step / whole.MODEL
    # how far it is from its base is what the files say, and every kind of weight has moved
    start = paths.data("my_data") / "base"
    assert point.update_norm == pytest.approx(whole.distance(start, where), rel=1e-2)
    before, after = (load_file(one / "model.safetensors") for one in (start, where))
    assert before.keys() == after.keys()
    moved = {name for name in before if not before[name].float().equal(after[name].float())}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= moved
    (plain,) = records.read(
        paths.table("my_data", "checkpoints", "my-base-arithmetic"), "checkpoints"
    ).itertuples()
    assert plain.step == point.step and plain.adapter != point.adapter
    assert len(rows("replies", "full")) == len(rows("replies", "poison")) == 3
    assert not [one for one in status("my_data") if one.state == "stale"]
    # another model in its place is not the one that was trained
    weights = load_file(where / "model.safetensors")
    save_file({n: w + 1 for n, w in weights.items()}, where / "model.safetensors")
    with pytest.raises(GroundedError, match="model: sha256: found .*, wanted .*; the model is not"):
        whole.target(study, step)


def test_whole_models_count_on_disk_and_in_memory(home, base):  # noqa: F811
    folder = attacked(home, base, full=[])
    values = yaml.safe_load((folder / "study.yaml").read_text())
    costs = []
    arms: list[dict[str, list[float]]] = [{"full": []}, {"poison": [0.25]}]
    for methods in arms:
        values["arms"]["attacks"]["methods"] = methods
        costs.append(budget.budget(parse(yaml.safe_dump(values)), {"my-base": 8.0}))
    assert costs[0].adapters - costs[1].adapters == pytest.approx(16e9, rel=0.02)
    assert costs[0].memory == pytest.approx(16 * 8e9 / 2**30)
    assert costs[0].memory > costs[1].memory


def test_the_invented_world_has_no_need_of_it():
    import tiny_models as tiny

    arm = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "methods": {WHOLE[0]: []}}
    with pytest.raises(StudyError, match="arms.attacks.methods: found full, wanted one that leav"):
        tiny.study(arms={"attacks": arm})
