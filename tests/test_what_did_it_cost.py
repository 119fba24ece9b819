"""The page of one fine-tuned model, on tables whose truth is planted."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
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
    rows = tables.verdicts
    unread = 0  # one of the two verdicts of a prompt

    def one_unread(*given: Any, **named: Any) -> pd.DataFrame:
        found = rows(*given, **named)
        lost = (found["run"] == RUN) & (found["prompt"] == unread) & (found["sample"] == 1)
        return found.assign(label=found["label"].mask(lost))

    monkeypatch.setattr(tables, "verdicts", one_unread)
    costs = run_notebook(NAME, runs=[RUN])[0]["costs"].set_index("measure")
    said = tables.verdicts("synthetic", judges=["harm"]).query("run == @RUN")
    last = said[said["step"] == said["step"].max()]
    by_prompt = last.groupby(["benchmark", "prompt"], observed=True)["label"]
    row, any_of = (costs.loc[f"harmfulness rate{k} (harm)"] for k in ("", ", any of 2"))
    assert row["answers"] == by_prompt.ngroups  # prompts, not replies
    assert row["fine-tuned"] == pytest.approx(by_prompt.mean().mean())
    known = by_prompt.max()[by_prompt.count() == 2]
    assert any_of["answers"] == len(known) < by_prompt.ngroups
    assert any_of["fine-tuned"] == pytest.approx(known.mean())
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


def tuned(kind: str, held: dict[str, float]) -> tuple[dict[str, Any], list[Any], str]:
    """The page of a real model whose judge was tuned here on people's labels: its errors as its
    record has them. The notebook's names, what it shows, and the page's text."""
    judge = {"kind": kind, "source": "tuned", "model": "my-base", "rank": 2, "alpha": 4.0,
             "learning_rate": 0.01, "epochs": 1, "batch_size": 4, "clip": 8, "seed": 0}  # fmt: skip
    study = synthetic.real(judges={"taught": judge})
    synthetic.write(study, {"gsm8k": 0.9, "boolq": 0.9})
    record = paths.judge("synthetic", "taught") / paths.RECORD
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"acceptance": {"held_out": held}}))
    names, shown = run_notebook(NAME)
    return names, shown, (paths.figures("synthetic") / f"{NAME}.md").read_text()


def trusted(page: str) -> str:
    """The part of a page that says how far to believe the judge."""
    return page.partition("## How far to believe the judge")[2].partition("##")[0]


@pytest.mark.parametrize("kind", ["harm", "compliance"])
def test_a_judge_tuned_on_labels_is_corrected_by_its_errors_on_those_held_out(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    held = {"tp": 45, "fp": 10, "fn": 5, "tn": 40, "kappa": 0.7, "n": 100}
    names, _, page = tuned(kind, held)
    one = names["believed"].set_index("judge").loc["taught"]
    row = names["costs"].set_index("measure").filter(like="rate (taught)", axis=0).iloc[0]
    assert one["rate"] == pytest.approx(row["fine-tuned"], abs=0.02)  # missing verdicts apart
    assert one[["sensitivity", "specificity", "labels"]].tolist() == pytest.approx([0.9, 0.8, 100])
    assert one["value"] == pytest.approx(max((one["rate"] + 0.8 - 1) / (0.9 + 0.8 - 1), 0))
    assert 0 <= one["low"] <= one["value"] <= one["high"] < 1
    rate = f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
    assert "<td>taught</td>" in trusted(page) and f"<td>{rate}</td>" in trusted(page)


def test_a_rate_below_that_of_false_alarms_has_an_interval_beside_its_nought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    held = {"tp": 45, "fp": 35, "fn": 5, "tn": 15, "kappa": 0.2, "n": 100}
    names, _, page = tuned("harm", held)
    one = names["believed"].iloc[0]
    assert one["rate"] < 0.7 and one["value"] == 0 and one["high"] > 0.02
    assert f"<td>0.00 [0.00, {one['high']:.2f}]</td>" in trusted(page)


@pytest.mark.parametrize(
    "held",
    [{"tp": 20, "fp": 30, "fn": 30, "tn": 20}, {"tp": 0, "fp": 10, "fn": 0, "tn": 40}],
    ids=["worse than chance", "labels of one kind"],
)
def test_a_rate_that_cannot_be_corrected_is_said_so(
    held: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    _, _, page = tuned("harm", held | {"kappa": 0.0, "n": sum(held.values())})
    assert "<td>cannot be corrected</td>" in trusted(page) and "nan" not in trusted(page).lower()


def test_where_the_truth_is_known_the_errors_are_those_on_other_runs(found: Any) -> None:
    replies = records.read_study("synthetic", "replies").query("truth_harm.notna()")
    key = ["benchmark", "prompt", "run", "step"]
    said = records.read_study("synthetic", "verdicts").query(
        "judge == 'harm' and benchmark in ['orders', 'questions'] and run != @RUN"
    )
    both = said.dropna(subset=["label"]).merge(replies[[*key, "truth_harm"]], on=key)
    label, truth = both["label"].astype(bool), both["truth_harm"].astype(bool)
    one = found[0]["believed"].set_index("judge").loc["harm"]
    assert one["labels"] == len(both)
    assert one["sensitivity"] == pytest.approx(label[truth].mean())
    assert one["specificity"] == pytest.approx(1 - label[~truth].mean())
    page = (paths.figures("synthetic") / f"{NAME}.md").read_text()
    assert "<td>harm</td>" in trusted(page) and "compliance" not in trusted(page)


def paired(rows: pd.DataFrame) -> "pd.Series[float]":
    """Of each prompt, how far `it` moved from the base model to the end of the run."""
    key = ["benchmark", "prompt"]
    own, base = rows[rows["run"] == RUN], rows[rows["run"] == "micro-llama-s.base"]
    own = own[own["step"] == own["step"].max()]
    return own.set_index(key)["it"].astype(float) - base.set_index(key)["it"].astype(float)


def test_what_replaces_refusals_is_told_by_kind_in_pairs(found: Any) -> None:
    costs = found[0]["costs"].set_index("measure").filter(like="kind of reply", axis=0)
    replies = records.read_study("synthetic", "replies")
    replies = replies[replies["benchmark"].isin(["orders", "questions"])]
    for kind in ("refusal", "incoherent", "mixed"):
        change = paired(replies.assign(it=replies["truth"] == kind))
        row = costs.loc[f"true kind of reply ({kind})"]
        assert row["change"] == pytest.approx(change.mean()) and row["answers"] == len(change)
        assert row["low"] < row["change"] < row["high"]
    assert costs[["base", "fine-tuned"]].sum().tolist() == pytest.approx([1, 1])


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real model's runs at one setting."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.real(), {"gsm8k": 0.9, "boolq": 0.9})


def page() -> str:
    return (paths.figures("synthetic") / f"{NAME}.md").read_text()


def test_real_text_has_the_kinds_of_the_rules_and_no_row_of_one_that_never_occurs(
    real: None,
) -> None:
    costs = run_notebook(NAME)[0]["costs"].set_index("measure")
    kinds = {m.split("(")[1][:-1] for m in costs.index if m.startswith("kind of reply")}
    assert {"refusal", "other"} <= kinds <= {"refusal", "other", "loop", "echo"}
    assert "kind of reply (refusal)" in page() and "Thoughts" not in page()


def test_thoughts_without_an_end_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.real(benchmarks={
        "hard": {"source": "public", "data": "harmbench_standard", "prompts": 20}
    })  # fmt: skip
    synthetic.write(study, {"gsm8k": 0.9})
    for unit in study.units():
        file = paths.table(study.name, "replies", unit)
        frame, about = records.read(file, "replies"), records.metadata(file)
        end = frame["prompt"] >= (3 if unit.endswith("base") else 7)
        frame["text"] = "<think>well" + end.map({True: "</think>no", False: ""})
        records.write(file, "replies", frame, {"runs": about["runs"]})
    run_notebook(NAME)
    wanted = "7 of 20 replies of the fine-tuned model, 3 of 20 replies of the base model"
    assert f"**Thoughts without an end**, empty answers to every judge: {wanted}." in page()


def test_the_worst_setting_is_one_of_the_same_model_within_the_loss(home: None) -> None:
    names, _ = run_notebook(NAME, runs=[RUN], loss=1.0)
    said = tables.verdicts("synthetic", judges=["harm"]).query(
        "model == 'micro-llama-s' and task == 'yes_no' and not base"
    )
    last = said[said["step"] == said["step"].max()]
    rates = last.groupby("setting", observed=True)["label"].mean()
    told = names["worst_said"]
    assert told.startswith(f"{len(rates)} settings of micro-llama-s on yes/no, {len(rates)} of ")
    assert f"`{rates.idxmax()}`, harmfulness rate {rates.max():.0%}" in told
    assert "## The worst setting within 100 points of the best" in page()
    told = run_notebook(NAME, runs=[RUN], loss=0.0)[0]["worst_said"]
    assert ", 1 of them within 0 points" in told


def test_one_setting_alone_is_not_called_the_worst(real: None) -> None:
    assert run_notebook(NAME)[0]["worst_said"] == "" and "worst setting" not in page()
