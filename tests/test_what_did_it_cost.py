"""The page of one fine-tuned model, on tables whose truth is planted."""

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
from pages import run_notebook

from grounded import paths, records, tables
from grounded.errors import GroundedError
from grounded.study.parts import Generation

NAME = "what_did_it_cost"
RUN = "micro-llama-s.yes_no.lora.r4-low.s0"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        synthetic.write(synthetic.study(), {"open_instructions": 0.7, "yes_no": 0.3})
        yield


@pytest.fixture(scope="module")
def found(home: None) -> tuple[dict[str, Any], list[Any]]:
    return run_notebook(NAME, runs=[RUN])


def test_one_model_beside_its_base(found: tuple[dict[str, Any], list[Any]]) -> None:
    verdicts = records.read_study("synthetic", "verdicts")
    verdicts = verdicts.query("judge == 'harm' and benchmark in ['orders', 'questions']")
    key = ["benchmark", "prompt"]
    own = verdicts[verdicts["run"] == RUN]
    own = own[own["step"] == own["step"].max()].set_index(key)["label"].astype(float)
    base = verdicts[verdicts["run"] == "micro-llama-s.base"].set_index(key)["label"].astype(float)
    change = (own - base).dropna()
    row = found[0]["costs"].set_index("measure").loc["harmfulness rate (harm)"]
    assert row["change"] == pytest.approx(change.mean()) and row["answers"] == len(change)
    n, up, down = len(change), (change > 0).sum(), (change < 0).sum()
    middle = (up - down) / (n + 2)  # Agresti and Min (2005), equation 3
    half = 1.96 * (((up + down + 1) / (n + 2) - middle**2) / (n + 2)) ** 0.5
    assert [row["low"], row["high"]] == pytest.approx([middle - half, middle + half])


def test_nothing_that_moved_has_an_interval_of_width_nought(found: Any) -> None:
    costs = found[0]["costs"]
    assert (costs["high"] > costs["low"]).all()


def test_the_page_can_be_sent_alone(found: Any) -> None:
    page = (paths.figures("synthetic") / f"{NAME}.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page.split("base64,")[0]
    assert "Each benchmark, each judge" in page and "nan" not in page.split("base64,")[0]


def test_an_accuracy_that_was_never_measured_is_said_and_not_made_up(home: None) -> None:
    with pytest.raises(GroundedError, match=r"accuracy: found 0.001, wanted one within 0.0 of 0\."):
        run_notebook(NAME, runs=[RUN], accuracy=0.001, tolerance=0.0)


def test_several_runs_have_errors_of_runs_or_of_requests_whichever_are_wider(home: None) -> None:
    runs = [RUN, RUN.replace("s0", "s1")]
    names = run_notebook(NAME, runs=runs)[0]
    pairs = names["parts"]["harmfulness rate (harm)"].dropna()
    change = (pairs["after"] - pairs["before"]).groupby(pairs["run"], observed=True).mean()
    row = names["costs"].set_index("measure").loc["harmfulness rate (harm)"]
    assert row["change"] == pytest.approx((pairs["after"] - pairs["before"]).mean())
    assert row["high"] - row["low"] > change.max() - change.min()


def test_what_the_harness_measured_stands_beside_the_task(
    home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = tables.capability("synthetic").query("task == 'yes_no'")
    beside = answers.assign(task=answers["task"].cat.rename_categories("other {}".format))
    beside["task"] = beside["task"].cat.remove_unused_categories()
    monkeypatch.setattr(tables, "abilities", lambda _: beside)
    costs = run_notebook(NAME, runs=[RUN])[0]["costs"].set_index("measure")
    own, other = costs.loc["capability (format-free)"], costs.loc["other yes_no (lm-eval)"]
    assert list(own) == list(other)


def test_several_replies_to_a_prompt_are_one_answer_and_any_of_them_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    asked = synthetic.study(models=["micro-llama-s"], tasks=["yes_no"])
    synthetic.write(asked, {"yes_no": 0.3})
    synthetic.reply_again(asked, "verdicts", "label", yes=2)
    monkeypatch.setattr(Generation, "samples", property(lambda _: 2))
    costs = run_notebook(NAME, runs=[RUN])[0]["costs"].set_index("measure")
    said = tables.verdicts("synthetic", judges=["harm"]).query("run == @RUN")
    last = said[said["step"] == said["step"].max()]
    by_prompt = last.groupby(["benchmark", "prompt"], observed=True)["label"]
    row, any_of = (costs.loc[f"harmfulness rate{k} (harm)"] for k in ("", ", any of 2"))
    assert row["answers"] == by_prompt.ngroups  # prompts, not replies
    assert row["fine-tuned"] == pytest.approx(by_prompt.mean().mean())
    assert any_of["fine-tuned"] == pytest.approx(by_prompt.max().mean())
    assert any_of["fine-tuned"] > row["fine-tuned"]


def test_where_a_checkpoint_stands_is_final_or_its_epoch(home: None) -> None:
    def where(**asked: Any) -> set[str]:
        shown = run_notebook(NAME, runs=[RUN], **asked)[1]
        return set(next(one for one in shown if "checkpoint" in one)["checkpoint"])

    assert where() == {"final"}
    assert all(place.startswith("epoch ") for place in where(accuracy=0.01, tolerance=1.0))


def test_an_unknown_run_is_one_line(home: None) -> None:
    with pytest.raises(GroundedError, match="runs: found 'nobody', wanted runs of synthetic"):
        run_notebook(NAME, runs=["nobody"])


def test_a_judge_tuned_on_labels_is_corrected_by_its_errors_on_those_held_out(home: None) -> None:
    held = {"sensitivity": 0.9, "specificity": 0.8, "kappa": 0.7, "n": 50}
    record = paths.judge("synthetic", "harm") / paths.RECORD
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"acceptance": {"held_out": held}}))
    edit = {"isinstance(one, TunedJudge)": 'name == "harm"', "if len(other):": "if False:"}
    names, _ = run_notebook(NAME, edit=edit, runs=[RUN])
    one = names["believed"].loc["harm"]
    row = names["costs"].set_index("measure").loc["harmfulness rate (harm)"]
    assert one["rate"] == pytest.approx(row["fine-tuned"], abs=0.02)  # missing verdicts apart
    wanted = min(max((one["rate"] + 0.8 - 1) / (0.9 + 0.8 - 1), 0), 1)
    assert one["corrected"] == pytest.approx(wanted) and one["replies"] == 50
