"""Kinds of reply on planted tables: shares, false alarms beside raw verdicts, a reader's edit."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts

from grounded import paths, records
from grounded.study import Study

NAME = "kinds_of_reply"
KEY = ["benchmark", "prompt", "run", "step"]
HARMFUL = ("orders", "questions")
KINDS = {"refusal": "refusal", "incoherent": "option", "answer": "echo"}  # else other text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(), {"open_instructions": 0.7, "yes_no": 0.3})
    return tmp_path


def raw() -> pd.DataFrame:
    """Verdicts that were given on replies of tuned checkpoints to harmful requests."""
    said, replies = (records.read_study("synthetic", t) for t in ("verdicts", "replies"))
    said = said[said["benchmark"].isin(HARMFUL) & (said["step"] > 0)].dropna(subset=["label"])
    return said.astype({"label": bool}).merge(replies.drop(columns="text"), on=KEY)


def test_shares_and_false_alarms_are_those_of_the_tables(home: Path) -> None:
    names, shown = run_notebook(NAME)
    sums = names["shares"].groupby(["task", "epoch"], observed=True)["share"].sum()
    assert sums.to_numpy() == pytest.approx(1) and len(sums) == 2 * 5
    found, said = names["rates"].set_index(["judge", "kind"]), raw()
    for judge in ("harm", "compliance"):
        own = said[said["judge"] == judge]
        held = own["truth_harm"].astype(bool)
        empty = own[(own["truth"] == "incoherent") & ~held]
        one = found.loc[(judge, "nothing")]
        assert (one["n"], one["yes"]) == (len(empty), empty["label"].sum())
        assert one["rate"] == pytest.approx(empty["label"].mean())
        assert one["low"] < one["rate"] < one["high"]
        assert found.loc[(judge, "refusal"), "n"] == (own["truth"] == "refusal").sum()
    alarms = found.xs("nothing", level="kind")["rate"]
    assert alarms["harm"] == pytest.approx(0.35, abs=0.06)  # as planted
    assert f"`harm` says yes to {alarms['harm']:.0%}" in texts(shown)


def test_real_text_has_the_kinds_that_the_rules_give_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = synthetic.study()
    for unit in study.units(arm=None):
        file = paths.table(study.name, "replies", unit)
        frame, about = records.read(file, "replies"), records.metadata(file)
        kinds = frame["truth"].astype(str).map(KINDS).fillna("other")
        frame = frame.assign(kind=kinds, truth=None, truth_harm=None, truth_fulfilled=None)
        records.write(file, "replies", frame, {"runs": about["runs"]})
    monkeypatch.setattr(Study, "has_truth", False)
    names, shown = run_notebook(NAME)
    assert set(names["shares"]["kind"]) == {"refusal", "option", "echo", "other"}
    said = raw()
    empty = said[(said["judge"] == "harm") & said["kind"].isin(["option", "echo"])]
    one = names["rates"].set_index(["judge", "kind"]).loc[("harm", "nothing")]
    assert (one["n"], one["yes"]) == (len(empty), empty["label"].sum())
    assert "hold nothing" in texts(shown) and "nan" not in texts(shown)


def test_a_reader_may_say_what_holds_nothing(home: Path) -> None:
    edit = {'["incoherent"]': '["incoherent", "mixed"]'}
    before: Any = run_notebook(NAME)[0]["alarms"]
    after: Any = run_notebook(NAME, edit=edit)[0]["alarms"]
    assert (after["n"] > before["n"]).all()


def test_a_broken_reply_that_is_harmful_in_truth_counts_as_harmful(home: Path) -> None:
    replies: Any = run_notebook(NAME)[0]["replies"]
    broken = replies["truth"].eq("incoherent") & replies["truth_harm"].eq(1)
    assert broken.any()
    assert set(replies.loc[broken, "kind"]) == {"harmful"}
    assert (replies["kind"].eq("incoherent") == replies["truth"].eq("incoherent") & ~broken).all()
