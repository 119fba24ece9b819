"""Tuning a judge on people's labels, whole, on a stand-in: what is left of it, and its record."""

import json
import shutil

import pandas as pd
import pytest
import test_tuned_judges as stand_in
import tiny_judges as tiny
import torch
import yaml
from safetensors.torch import load_file

from grounded import human_labels, loading, paths
from grounded.errors import GroundedError
from grounded.public import data
from grounded.public.tuned import agreement, broken, labelled, tuning
from grounded.public.tuned.judge import load as load_judge
from grounded.public.tuned.labelled import Labelled
from grounded.stages.base_models import base_models
from grounded.stages.plan import Plan
from grounded.stages.status import status
from grounded.study import TunedJudge, load

FIRST = stand_in.TUNED | {
    "epochs": 40, "batch_size": 8, "learning_rate": 0.02, "rank": 8, "alpha": 16.0
}  # fmt: skip
JUDGES = {"harm": FIRST, "more": FIRST | {"after": "harm", "taught": 0.25, "broken": 0.5}}
ASKED = ("green lamp", "paper walk")


def people():
    """Completions of which people call those harmful that begin with `copper`."""
    prompts = [f"{a} {b}" for a in tiny.WORDS for b in tiny.WORDS if a != b][:40] + list(ASKED)
    return [
        Labelled(prompt, f"{said} {prompt.split()[1]}", said == "copper", place)
        for place, (prompt, said) in enumerate(
            (prompt, said) for prompt in prompts for said in ("copper", "paper")
        )
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of one's own with two judges, tuned on a stand-in that knows their words."""
    place = tmp_path_factory.mktemp("home")
    folder = place / "data" / "my_data"
    shutil.copytree(stand_in.OWN.parent, folder)
    read = stand_in.words()
    loading.quiet()
    tiny.model("llama", read).save_pretrained(folder / "base")
    read.save_pretrained(folder / "base")
    rows = "".join(f"{prompt},a\n" for prompt in (*ASKED, "another one"))
    (folder / "prompts.csv").write_text(f"prompt,kind\n{rows}")
    change(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(place))
        patch.setattr(labelled, "load", lambda kind: people())
        for unit in ("my-base", "harm", "more"):
            assert str(base_models("my_data", unit)) == f"base_models {unit}: 1 computed, 0 kept"
    return place


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of that study and its judges."""
    shutil.copytree(made / "data", tmp_path / "data", copy_function=shutil.copy2)
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    monkeypatch.setattr(labelled, "load", lambda kind: people())
    return tmp_path


def change(folder, **judges):
    values = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    values["judges"] |= JUDGES | judges
    values["minimum_mass"] = 0.5  # so small a model never puts .9 on two words
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def test_a_judge_is_tuned_once_and_its_record_tells_what_it_learned(home):
    study = load("my_data")
    assert str(base_models(study, "harm")) == "base_models harm: 0 computed, 1 kept"
    folder = paths.judge("my_data", "harm")
    record = json.loads((folder / paths.RECORD).read_text())["acceptance"]
    assert record["recipe"]["seed"] == 0 and record["recipe"]["rank"] == 8
    assert record["taught"] == {"examples": 80, "yes": 40}
    assert set(record["labels"]) == {"harmbench_judge_val"}
    held = record["held_out"]
    assert (held["n"], held["missing"], held["accuracy"], held["kappa"]) == (4, 0, 1, 1)
    assert {kind: about["n"] for kind, about in record["broken"].items()} == dict.fromkeys(
        broken.KINDS, tuning.ALARMS
    )
    weights = load_file(folder / "adapter_model.safetensors")
    assert {one.dtype for one in weights.values()} == {torch.bfloat16}
    assert all(".layers.1." in name for name in weights)  # the upper one of two
    assert str(home) not in (folder / "adapter_config.json").read_text()
    kept = agreement.verdicts(study, "harm")
    assert tuple(kept) == agreement.COLUMNS
    assert list(kept["truth"]) == list(kept["label"]) == [True, False, True, False]
    assert not any(prompt in (folder / agreement.HELD_OUT).read_text() for prompt in ASKED)
    again = load_judge(study, "harm").judge([(one.prompt, one.reply) for one in people()[-4:]])
    assert [v.probability for v in again] == pytest.approx(list(kept["probability"]), abs=1e-4)


def test_the_second_version_goes_on_from_the_first_and_meets_broken_replies(home):
    folders = [paths.judge("my_data", name) for name in ("harm", "more")]
    record = json.loads((folders[1] / paths.RECORD).read_text())["acceptance"]
    assert record["taught"]["examples"] == 20 + 10  # a quarter of 80, and half as many broken ones
    assert record["recipe"]["after"] == "harm"
    weights = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    moved = [(weights[1][name] - one).float().norm() for name, one in weights[0].items()]
    sizes = [one.float().norm() for one in weights[0].values()]
    assert 0 < sum(moved) < sum(sizes)  # from where the first stands, not from nothing
    states = {one.unit: one.state for one in status("my_data") if one.stage == "base_models"}
    assert states == {"my-base": "current", "harm": "current", "more": "current"}
    change(paths.data("my_data"), harm=FIRST | {"seed": 1})
    states = {one.unit: one.state for one in status("my_data") if one.stage == "base_models"}
    assert states == {"my-base": "current", "harm": "stale", "more": "stale"}


def test_a_judge_meets_its_share_of_completions_and_of_broken_replies():
    some = people()
    one = parse_judge(taught=0.25, broken=0.5)
    met = tuning.mixed(some, one)
    kept, broke = met[: len(some) // 4], met[len(some) // 4 :]
    assert len(broke) == len(some) // 8 and not any(reply.yes for reply in broke)
    assert set(kept) < set(some)
    assert tuning.mixed(some, one) == met != tuning.mixed(some, parse_judge(0.25, 0.5, seed=4))
    assert tuning.mixed(some, parse_judge(1.0, 0.0)) == some


def parse_judge(taught, broken, seed=3):
    return TunedJudge.model_validate(FIRST | {"taught": taught, "broken": broken, "seed": seed})


def test_the_same_study_gives_the_same_adapter(home, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    tuning.train(load("my_data"), "harm", again)
    first = paths.judge("my_data", "harm")
    for name in ("adapter_model.safetensors", "adapter_config.json", agreement.HELD_OUT):
        assert (again / name).read_bytes() == (first / name).read_bytes()


def test_a_prompt_that_an_optional_benchmark_asks_may_not_teach(home):
    folder = paths.data("my_data")
    values = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    more = values["benchmarks"]["my_prompts"] | {"file": "more.csv", "optional": True}
    values["benchmarks"]["more"] = more | {"prompts": 1}
    (folder / "more.csv").write_text(f"prompt,kind\n{people()[0].prompt.upper()},a\n")
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    study = load("my_data")
    assert [one.text for one in data.prompts(study, "more")] == [people()[0].prompt.upper()]
    with pytest.raises(GroundedError, match="found 2 completions of prompts that the study asks"):
        tuning.completions(study, study.judge("harm"))  # type: ignore[arg-type]


def test_the_inputs_of_verdicts_hang_on_how_a_judge_reads(home):
    study = load("my_data")
    first = Plan(study).tuned_judge("harm")
    change(paths.data("my_data"), harm=FIRST | {"clip": 9}, more=JUDGES["more"] | {"clip": 9})
    assert Plan(load("my_data")).tuned_judge("harm") != first


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([True, False, True, False], {"n": 4, "missing": 0, "accuracy": 1.0, "kappa": 1.0}),
        ([True, True, True, False], {"n": 4, "accuracy": 0.75, "kappa": 0.5, "fp": 1}),
        ([True, None, True, False], {"n": 3, "missing": 1, "accuracy": 1.0}),
    ],
)
def test_agreement_counts_what_is_readable(labels, wanted):
    truth = [True, False, True, False]
    frame = pd.DataFrame({"request": [0, 0, 1, 1], "truth": truth, "label": labels})
    found = agreement.agreement(frame)
    assert {key: found[key] for key in wanted} == wanted


def test_the_field_s_judges_stand_beside_on_the_same_completions(home, monkeypatch):
    rows = agreement.verdicts(load("my_data"), "harm")["row"]
    known = pd.DataFrame({"cls": [False] * 84, "advbench": [False] * 84})
    known.loc[rows[:1], "cls"] = True  # harmful, and held out
    known.loc[:9, "advbench"] = True  # none of them held out
    monkeypatch.setattr(human_labels, "harmbench", lambda: known)
    found = agreement.beside(load("my_data"), ["harm", "more"])
    assert set(found.index) == {"harm", "more", "cls", "advbench"}
    assert found.loc["cls", ["n", "tp", "fn", "accuracy"]].tolist() == [4, 1, 1, 0.75]
    assert found.loc["advbench", ["n", "tp", "fn", "accuracy"]].tolist() == [4, 0, 2, 0.5]
