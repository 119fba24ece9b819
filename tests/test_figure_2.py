"""Figure 2 on tables whose truth is planted: shares, judges beside the truth, a reader's edit."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts

from grounded import paths, records
from grounded.errors import GroundedError

Patch = pytest.MonkeyPatch
HARMFUL = ("orders", "questions")  # neither borderline nor twins
KEY = ["benchmark", "prompt", "run", "step"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        synthetic.write(synthetic.study(), {"open_instructions": 0.7, "yes_no": 0.3})
        yield


@pytest.fixture(scope="module")
def names(home: None) -> dict[str, Any]:
    return run_notebook("figure_2_judgments")[0]


@pytest.fixture(scope="module")
def raw(home: None) -> pd.DataFrame:
    """Verdicts of the judge `harm` that were given, beside detector and truth."""
    said, language, replies = (
        records.read_study("synthetic", t) for t in ("verdicts", "coherence", "replies")
    )
    said = said[(said["judge"] == "harm") & said["benchmark"].isin(HARMFUL)]
    language = language[language["detector"] == "combined"].rename(columns={"label": "coherent"})
    joined = said.merge(language[[*KEY, "coherent"]], on=KEY)
    joined = joined.merge(replies[[*KEY, "truth", "truth_harm"]], on=KEY)
    return joined.dropna(subset=["label"]).astype({"label": bool, "run": str})


def test_the_four_shares_are_those_of_the_tables(names: dict[str, Any], raw: pd.DataFrame) -> None:
    shares = names["shares"]
    sums = shares.groupby(["by", "task", "model", "epoch"], observed=True)["share"].sum()
    assert sums.to_numpy() == pytest.approx(1) and len(sums) == 2 * 2 * 2 * 5
    own = raw[raw["run"].str.startswith("micro-llama-s.yes_no.") & (raw["step"] == 80)]
    garbled = {"truth": own["truth"] == "incoherent", "detector": ~own["coherent"].astype(bool)}
    where = "model == 'micro-llama-s' and task == 'yes_no' and epoch == 5"
    found = shares.query(where).set_index(["by", "part"])["share"]
    for eye, broken in garbled.items():
        assert found[eye, "harmful, incoherent"] == pytest.approx((own["label"] & broken).mean())
        assert found[eye, "harmless, coherent"] == pytest.approx((~own["label"] & ~broken).mean())


def test_judges_are_held_against_the_truth(names: dict[str, Any], raw: pd.DataFrame) -> None:
    own = raw[raw["step"] > 0]
    rates = names["rates"].query("judge == 'harm'").set_index(["replies", "kind"])
    for kind in ("mixed", "incoherent"):
        safe = own[(own["truth"] == kind) & ~own["truth_harm"].astype(bool)]
        found = rates.loc[("replies that are not", kind)]
        assert (found["n"], found["yes"]) == (len(safe), safe["label"].sum())
        assert found["rate"] == pytest.approx(safe["label"].mean())
        assert found["low"] < found["rate"] < found["high"]


def test_the_planted_confusion_is_found(names: dict[str, Any], raw: pd.DataFrame) -> None:
    # the planted judge says yes to 35% of incoherent replies, of which 5% hold harm
    errors = names["errors"].query("judge == 'harm'").set_index("task")
    assert errors.loc["yes_no", "low"] > 25 and errors.loc["yes_no", "high"] < 45
    own = raw[(raw["step"] > 0) & (raw["truth"] == "incoherent")]
    assert names["kept"]["detector"]["sensitivity"] == pytest.approx(
        1 - own["coherent"].mean(), abs=0.01  # of all replies; here of those with a verdict
    )  # fmt: skip


def test_a_readers_change_of_one_line_changes_the_figure(names: dict[str, Any]) -> None:
    file = paths.figures("synthetic") / "figure_2_judgments.csv"
    before = pd.read_csv(file)
    edit = {"replies.dropna(subset=[judge])": "replies.fillna({judge: 0})"}
    run_notebook("figure_2_judgments", edit=edit)
    key = ["by", "task", "model", "epoch", "part"]
    both = before.merge(pd.read_csv(file), on=key, suffixes=("", "_edited"))
    harmful = both[both["part"] == "harmful, coherent"]
    assert (harmful["share_edited"] <= harmful["share"]).all()
    assert (harmful["share_edited"] < harmful["share"]).any()


def test_where_no_truth_is_known_the_detector_speaks_alone(
    home: None, monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(), {"open_instructions": 0.7})
    edit = {"known = bool(asked.has_truth and truth)": "known = False"}
    names, shown = run_notebook("figure_2_judgments", edit=edit)
    assert set(names["shares"]["by"]) == {"detector"} == set(names["incoherence"]["by"])
    assert "truth" not in texts(shown).replace("against the truth", "").replace("the truth.", "")


def test_a_judge_that_calls_nothing_harmful_is_read_as_such(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study()
    synthetic.write(study, {}, start=0)
    for unit in study.units():
        file = paths.table(study.name, "verdicts", unit)
        frame, about = records.read(file, "verdicts"), records.metadata(file)
        records.write(file, "verdicts", frame.assign(label=False), {"runs": about["runs"]})
    _, shown = run_notebook("figure_2_judgments")
    assert "`harm` calls no reply harmful" in texts(shown) and "nan" not in texts(shown)


def test_a_single_run_is_drawn_and_said_to_be_too_little(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: Any = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"], "seeds": [0]}
    synthetic.write(synthetic.study(**one))
    names, shown = run_notebook("figure_2_judgments")
    assert len(names["shares"]) and not len(names["rates"]) and not len(names["errors"])
    assert "Too few runs" in texts(shown) and "nan" not in texts(shown)


def test_an_unknown_judge_is_refused_in_one_line(home: None) -> None:
    with pytest.raises(GroundedError, match="found 'nobody'") as error:
        run_notebook("figure_2_judgments", judge="nobody")
    assert "\n" not in str(error.value)
