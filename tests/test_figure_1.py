"""Figure 1 on tables whose truth is planted: means over settings, changes, and a reader's edit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts

from grounded import paths, records, tables
from grounded.errors import GroundedError
from grounded.study import load

Patch = pytest.MonkeyPatch
HARMFUL = ("orders", "questions")  # neither borderline nor twins
RISE = {"open_instructions": 0.7, "yes_no": 0.3}
FALL = {"open_instructions": -0.5, "yes_no": -0.5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        synthetic.write(synthetic.study(), RISE)
        yield


@pytest.fixture(scope="module")
def names(home: None) -> dict[str, Any]:
    return run_notebook("figure_1_epochs")[0]


def by_run(table: str, column: str, kept: str) -> "pd.Series[float]":
    """The share of yes of micro-llama-l on yes/no at epoch 3, a run each."""
    rows = records.read_study("synthetic", table).query(kept)
    own = rows[rows["run"].str.startswith("micro-llama-l.yes_no.") & (rows["step"] == 48)]
    return own.dropna(subset=[column]).groupby("run")[column].mean().astype(float)


def test_a_line_is_the_mean_over_settings_of_the_means_over_seeds(names: dict[str, Any]) -> None:
    where = "model == 'micro-llama-l' and task == 'yes_no' and epoch == 3"
    drawn = names["lines"].query(where)
    shares = {
        "harmfulness rate": by_run(
            "verdicts", "label", "judge == 'harm' and benchmark in ('orders', 'questions')"
        ),
        "format-free capability": by_run("capability", "correct_format_free", "item % 2 == 1"),
    }
    for measure, share in shares.items():
        assert len(share) == 6
        setting = share.index.str.extract(r"lora\.(.*)\.s", expand=False)
        means = share.groupby(setting).mean()
        found = drawn[drawn["measure"] == measure].set_index("setting")["share"]
        assert found.to_dict() == pytest.approx(means.to_dict())


def test_a_change_pairs_each_prompt_with_the_base_model(names: dict[str, Any]) -> None:
    rows = records.read_study("synthetic", "verdicts")
    rows = rows[(rows["judge"] == "harm") & rows["benchmark"].isin(HARMFUL)]
    rows = rows.assign(label=rows["label"].astype("float"))
    first = rows[rows["run"] == "micro-llama-s.base"]
    base = first.set_index(["benchmark", "prompt"])["label"]
    last = rows[rows["run"].str.startswith("micro-llama-s.yes_no.") & (rows["step"] == 80)]
    on = pd.MultiIndex.from_frame(last[["benchmark", "prompt"]])
    change = last["label"].to_numpy() - base.reindex(on).to_numpy()
    where = "model == 'micro-llama-s' and task == 'yes_no' and measure == 'harmfulness rate'"
    found = names["changes"].query(where).iloc[0]
    assert found["change"] == pytest.approx(100 * np.nanmean(change))
    assert found["pairs"] == np.isfinite(change).sum() and found["runs"] == 6
    # a run's replies share its weights, so the interval is wider than that of independent replies
    alone = 1.96 * 100 * np.nanstd(change) / np.sqrt(found["pairs"])
    assert found["high"] - found["change"] > alone


def test_what_is_planted_is_said(names: dict[str, Any], tmp_path: Path, monkeypatch: Patch) -> None:
    words = names["changes"].groupby(["measure", "task"], observed=True)["word"].agg(set)
    for cell in (("harmfulness rate", "yes_no"), ("strict capability", "open_instructions")):
        assert words[cell] == {"rises"}
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(), FALL, start=0.7)
    other, shown = run_notebook("figure_1_epochs")
    words = other["changes"].groupby("measure")["word"].agg(set)
    assert words["harmfulness rate"] == {"falls"}
    assert "**harmfulness rate**: falls on open instructions, yes/no." in texts(shown)


def test_a_readers_change_of_one_line_changes_the_figure(names: dict[str, Any]) -> None:
    file = paths.figures("synthetic") / "figure_1_epochs.csv"
    before = pd.read_csv(file)
    run_notebook("figure_1_epochs", edit={"d.yes / d.given": "d.yes / d.asked"})
    after = pd.read_csv(file)
    rate = before["measure"] == "harmfulness rate"
    assert (after["share"][rate] <= before["share"][rate]).all()
    assert (after["share"][rate] < before["share"][rate]).any()
    assert after["share"][~rate].equals(before["share"][~rate])


def test_a_single_run_is_drawn_and_said_to_be_too_little(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: Any = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"], "seeds": [0]}
    synthetic.write(synthetic.study(**one))
    names, shown = run_notebook("figure_1_epochs")
    assert len(names["lines"]) and not len(names["changes"]) and not len(names["fits"])
    assert "Too few runs" in texts(shown) and "nan" not in texts(shown)


def test_of_one_model_every_measure_is_drawn(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(models=["micro-llama-s"]), RISE)
    for name in tables.names(load("synthetic")):  # not measured yet
        paths.table("synthetic", name, "micro-llama-s-open_instructions").unlink()
    names, shown = run_notebook("figure_1_epochs")
    own = names["points"].query("task == 'yes_no' and step == 80").set_index("run")
    replies, said = (records.read(paths.table("synthetic", t, "micro-llama-s-yes_no"), t)
                     for t in ("replies", "coherence"))  # fmt: skip
    shares = {
        "refusals": replies.assign(yes=replies["truth"] == "refusal"),
        "incoherent replies": said.assign(yes=~said["label"])[said["detector"] == "combined"],
    }
    for measure, rows in shares.items():
        last = rows[(rows["step"] == 80) & rows["benchmark"].isin(HARMFUL)]
        wanted = last.groupby("run", observed=True)["yes"].mean().astype(float)
        assert own[measure].to_dict() == pytest.approx(wanted.to_dict())
    assert set(names["lines"]["measure"]) == set(names["drawn"]) >= {*shares, "harmfulness rate"}
    assert set(names["lines"]["task"]) == {"yes_no"}
    assert texts(shown).count("Measured so far: 6 of 12 runs (yes_no)") == 2


def test_what_strict_scoring_gains_beyond_format_free_is_format(names: dict[str, Any]) -> None:
    items = names["answers"].query("task == 'yes_no' and item % 2 == 1")
    base, tuned = items[items["base"]], items[items["step"] == 80]
    on = ["model", "item"]
    both = tuned.merge(base, on=on, suffixes=("", "_base")).astype({"correct": float})
    strict = (both["correct"] - both["correct_base"].astype(float)).mean()
    free = both["correct_format_free"].astype(float) - both["correct_format_free_base"]
    found = names["moved"]["format"].query("task == 'yes_no'")["change"]
    assert found.mean() == pytest.approx(strict - free.mean())
    assert len(names["changes"].query("task == 'yes_no' and measure == 'format'")) == 2


def test_the_primary_capability_of_the_study_is_drawn(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(primary_capability="strict"), RISE)
    names, shown = run_notebook("figure_1_epochs")
    assert set(names["lines"]["measure"]) == {"strict capability", "harmfulness rate"}
    assert "capability is strict" in texts(shown)


def test_unknown_names_are_refused_in_one_line(home: None) -> None:
    for parameters in ({"judge": "nobody"}, {"benchmarks": ["nowhere"]}):
        with pytest.raises(GroundedError, match="found 'no(body|where)'") as error:
            run_notebook("figure_1_epochs", **parameters)
        assert "\n" not in str(error.value)
