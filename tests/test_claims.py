"""the_claims on tables whose truth is planted: effects by task, words, and what cannot be said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts
from scipy.stats import ttest_1samp

from grounded import paths, records, tables
from grounded.study import Study
from grounded.study.parts import Generation

Patch = pytest.MonkeyPatch
HARMFUL = ["orders", "questions"]  # of the small study; its borderline and twins are left out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        synthetic.write(synthetic.study(test_items=80), {"open_instructions": 0.7})
        yield


@pytest.fixture(scope="module")
def notebook(home: None) -> tuple[dict[str, Any], list[Any]]:
    return run_notebook("the_claims")


@pytest.fixture(scope="module")
def effects(notebook: tuple[dict[str, Any], list[Any]]) -> pd.DataFrame:
    effects: pd.DataFrame = notebook[0]["effects"].set_index(["claim", "source", "task"])
    return effects


def test_the_change_of_harm_is_a_mean_over_runs(effects: pd.DataFrame) -> None:
    replies = records.read_study("synthetic", "replies")
    own = replies[replies["benchmark"].isin(HARMFUL)]
    last = own[(own["step"] == own["step"].max()) & own["run"].str.contains("yes_no")]
    base = own[own["step"] == 0].assign(model=lambda d: d["run"].str.removesuffix(".base"))
    start = base.groupby("model", observed=True)["truth_harm"].mean()
    ends = last.groupby("run", observed=True)["truth_harm"].mean()
    moved = [rate - start[str(run).split(".")[0]] for run, rate in ends.items()]
    found = effects.loc[("0", "truth", "yes_no")]
    assert found["estimate"] == pytest.approx(100 * np.mean(moved), abs=1e-4)
    assert found["low"] < found["estimate"] < found["high"] and found["runs"] == len(moved)


def test_what_was_planted_gets_its_word(effects: pd.DataFrame) -> None:
    words = effects["word"]
    assert words[("0", "truth", "open_instructions")] == "supported"
    assert words[("0", "truth", "yes_no")] in ("nothing that matters", "undecided")  # planted: 0
    assert words[("1", "truth", "yes_no")] == "supported"  # planted: .6 of the replies
    assert words[("2", "harm judge", "yes_no")] == "supported"  # planted: .35 against .02
    assert set(words) <= {"supported", "nothing that matters", "against", "undecided"}


def test_tasks_that_differ_in_sign_get_no_pooled_word(
    notebook: tuple[dict[str, Any], list[Any]],
) -> None:
    over_tasks, claims = notebook[0]["over_tasks"], notebook[0]["claims"]
    one = {
        "claim": "3a",
        "source": "truth",
        "runs": 9,
        "word": "",
        **claims.loc["3a"],
    }
    rows = [one | {"task": "a", "estimate": 9, "low": 6, "high": 12},
            one | {"task": "b", "estimate": -8, "low": -12, "high": -4}]  # fmt: skip
    together = {("3a", "truth"): {"low": 0, "high": 1}}
    assert over_tasks(pd.DataFrame(rows), together)["word"].tolist() == ["tasks differ in sign"]
    rows[1] |= {"estimate": 1, "low": -3, "high": 5}
    assert over_tasks(pd.DataFrame(rows), together)["word"].tolist() == ["undecided"]


def test_over_tasks_is_no_surer_than_for_other_seeds_and_prompts(
    notebook: tuple[dict[str, Any], list[Any]],
) -> None:
    over_tasks, claims = notebook[0]["over_tasks"], notebook[0]["claims"]
    one = {"claim": "3a", "source": "truth", "runs": 9, "word": "", **claims.loc["3a"]}
    rows = [one | {"task": task, "estimate": estimate, "low": -3, "high": 5}
            for task, estimate in (("a", 1.0), ("b", 1.1), ("c", 0.9))]  # fmt: skip
    narrow, wide = ({("3a", "truth"): {"low": low, "high": 2.0}} for low in (0.5, -9.0))
    assert over_tasks(pd.DataFrame(rows), narrow)["word"].tolist() == ["nothing that matters"]
    (row,) = over_tasks(pd.DataFrame(rows), wide).to_dict("records")
    assert (row["low"], row["high"], row["word"]) == (-9.0, 2.0, "undecided")


def test_where_no_side_is_claimed_each_model_has_its_own_effect(
    notebook: tuple[dict[str, Any], list[Any]],
) -> None:
    by_model, own = notebook[0]["by_model"], dict((r[:2], r[2]) for r in notebook[0]["rows"])
    assert set(by_model["claim"]) == {"3a", "3b"}
    for row in by_model.query("claim == '3b'").to_dict("records"):
        d = own["3b", row["source"]].query("model == @row['model']").dropna(subset=["y"])
        means = d.groupby(["run", "x"], observed=True)["y"].mean().unstack()
        assert row["estimate"] == pytest.approx((means[1] - means[0]).mean(), abs=1e-6)
        assert row["low"] <= row["estimate"] <= row["high"]


def test_errors_are_of_replies_that_hold_or_do_not_hold_what_is_judged(
    effects: pd.DataFrame,
) -> None:
    found = effects.loc[("2", "harm judge", "yes_no"), "estimate"]
    assert found == pytest.approx(100 * (0.35 * 0.95 + 0.65 * 0.05 - 0.02), abs=5)


def test_over_tasks_the_tasks_are_the_unit(
    notebook: tuple[dict[str, Any], list[Any]], effects: pd.DataFrame
) -> None:
    values = effects.sort_index().loc[("0", "truth"), "estimate"].to_numpy()
    row = notebook[0]["overall"].set_index(["claim", "source"]).loc[("0", "truth")]
    half = 12.706 * np.std(values, ddof=1) / np.sqrt(2)  # Student's t, one degree of freedom
    assert len(values) == row["tasks"] == 2
    assert (row["low"], row["high"]) == pytest.approx(
        (values.mean() - half, values.mean() + half), rel=1e-3
    )
    assert row["word"] == "undecided"  # two tasks say nothing of a third


def test_what_is_kept_says_the_same(effects: pd.DataFrame) -> None:
    folder = paths.figures("synthetic")
    kept = json.loads((folder / "the_claims.json").read_text())["statistics"]["by task"]
    assert {row["claim"] for row in kept} == {"0", "1", "2", "3a", "3b"}
    drawn = pd.read_csv(folder / "the_claims.csv", dtype={"claim": str})
    for values in (drawn["estimate"], [row["estimate"] for row in kept]):
        assert list(values) == pytest.approx(list(effects["estimate"]), rel=1e-4, abs=1e-4)


def test_a_readers_change_of_the_smallest_effect_changes_the_words(home: None) -> None:
    edit = {'"harm rises", 5': '"harm rises", 95'}
    names, _ = run_notebook("the_claims", edit=edit)
    words = names["effects"].set_index(["claim", "source", "task"])["word"]
    assert words[("0", "truth", "open_instructions")] == "nothing that matters"


def moved(seed: int, runs: int = 12, prompts: int = 60) -> pd.DataFrame:
    """Changes in which runs and prompts have a say of their own; in truth there is none."""
    draw = np.random.default_rng(seed)
    run, prompt = draw.normal(0, 15, runs), draw.normal(0, 25, prompts)
    y = run[:, None] + prompt[None, :] + draw.normal(0, 30, (runs, prompts))
    at = {"run": np.repeat(range(runs), prompts), "prompt": np.tile(range(prompts), runs)}
    return pd.DataFrame({**at, "y": y.ravel(), "model": "m", "benchmark": "b"}).assign(
        seed=lambda d: d["run"]
    )


def test_an_effect_s_interval_covers_the_truth_for_other_runs_and_prompts(
    notebook: tuple[dict[str, Any], list[Any]],
) -> None:
    effect, hits, narrow = notebook[0]["effect"], 0, 0
    for seed in range(100):
        d = moved(seed)
        found = effect(d, 0.95)
        hits += found["low"] <= 0 <= found["high"]
        narrow += ttest_1samp(d.groupby("run")["y"].mean(), 0).pvalue > 0.05  # by runs alone
    assert hits >= 88 and narrow < hits


def test_what_every_run_loses_on_five_prompts_is_no_certain_fall(
    notebook: tuple[dict[str, Any], list[Any]],
) -> None:
    """A base model with 5 harmful replies of 300, all gone in all of six runs."""
    d = moved(0, runs=6, prompts=300).assign(y=lambda d: -100.0 * (d["prompt"] < 5))
    found = notebook[0]["effect"](d, 0.95)
    assert found["estimate"] == pytest.approx(-500 / 300) and found["low"] < 0 < found["high"]


@pytest.mark.parametrize("changes", [
    {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"], "seeds": [0]},
    {"judges": ["keywords_micro"]},
    {"models": ["micro-llama-s"], "seeds": [0]},
], ids=["one run", "no judge but a keyword list", "one seed"])  # fmt: skip
def test_what_cannot_be_measured_is_told(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(**changes))
    names, shown = run_notebook("the_claims")
    said = texts(shown)
    assert "nan" not in said and (paths.figures("synthetic") / "the_claims.svg").exists()
    if len(names["effects"]) == 0 or "judges" in changes:
        assert "not measured" in said
    if "judges" in changes:
        assert set(names["effects"]["source"]) == {"truth", "detector"}


def test_without_a_truth_judges_are_held_to_each_other(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study())
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    names, shown = run_notebook("the_claims")
    assert "judges disagree more on incoherent replies" in texts(shown)
    assert "truth" not in set(names["effects"]["source"])
    found = names["effects"].set_index(["claim", "task"]).loc[("2", "yes_no")]
    assert found["word"] == "supported" and found["source"] == "both judges"


def last_of(rows: pd.DataFrame) -> pd.DataFrame:
    own = rows[~rows["base"]]
    return own[own["step"] == own.groupby("run", observed=True)["step"].transform("max")]


def test_the_worst_setting_is_of_those_that_cost_little_capability(
    notebook: tuple[dict[str, Any], list[Any]],
) -> None:
    names = notebook[0]
    worst = names["worst"].set_index("task")
    assert list(worst.columns) == ["settings", "within", "worst", "harm", "capability",
                                   "mean harm", "mean capability"]  # fmt: skip
    able = last_of(tables.capability("synthetic"))
    true = last_of(tables.replies("synthetic"))
    for task, row in worst.iterrows():
        own, said = able[able["task"] == task], true[true["task"] == task]
        reached = own.groupby("setting", observed=True)["correct_format_free"].mean()
        harm = said[said["truth_harm"] >= 0].groupby("setting", observed=True)["truth_harm"].mean()
        within = reached[reached >= reached.max() - 0.05].index
        assert (row["settings"], row["within"]) == (len(reached), len(within))
        assert row["harm"] == pytest.approx(harm[within].max())
        assert row["mean harm"] == pytest.approx(harm[within].mean())
        assert row["worst"] in within and row["capability"] == pytest.approx(reached[row["worst"]])
    kept = json.loads((paths.figures("synthetic") / "the_claims.json").read_text())
    assert len(kept["statistics"]["worst setting"]) == len(worst) == 2


def test_any_capability_lost_admits_every_setting(home: None) -> None:
    names, _ = run_notebook("the_claims", loss=1.0)
    assert (names["worst"]["within"] == names["worst"]["settings"]).all()


def test_of_several_replies_to_a_prompt_harm_is_a_mean_and_any_of_k(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    asked = synthetic.study(models=["micro-llama-s"])
    synthetic.write(asked)
    once, _ = run_notebook("the_claims")
    synthetic.reply_again(asked, "replies", "truth_harm", yes=3)
    monkeypatch.setattr(Generation, "samples", property(lambda _: 2))
    names, _ = run_notebook("the_claims")
    worst = names["worst"].set_index("task")
    true = last_of(tables.replies("synthetic"))
    assert set(true["sample"]) == {0, 1}
    for task, row in worst.iterrows():
        own = true[(true["task"] == task) & (true["setting"] == row["worst"])]
        each = own.groupby(["run", "benchmark", "prompt"], observed=True)["truth_harm"]
        assert row["harm"] == pytest.approx(own["truth_harm"].mean())
        assert (
            row["harm, any of 2"] == pytest.approx(each.max().mean())
            and row["harm, any of 2"] > row["harm"]
        )
    # each reply has the base model's of its own sample beside it: no pair is counted twice
    key = ["claim", "source", "task"]
    errors = [one["effects"].set_index(key).loc[("3b", "both judges")] for one in (once, names)]
    assert list(errors[0]["estimate"]) == pytest.approx(list(errors[1]["estimate"]), abs=1e-4)
    first = names["rows"][0][2]
    assert not first.duplicated(["run", "benchmark", "prompt", "sample"]).any()
