"""The small tables of the stage notebooks, against the same numbers taken another way."""

import pandas as pd
import pytest
import synthetic

from grounded import overview, paths, records, statistics

UNIT = "micro-llama-s-yes_no"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        made = synthetic.study()
        synthetic.write(made)
        yield made


@pytest.mark.parametrize("unit", ["", UNIT])
def test_every_reply_is_in_one_class(study, unit):
    counts = overview.classes(study, unit)
    assert counts["n"].sum() == len(overview.read(study, unit, "replies"))
    found = overview.shares(counts, ["benchmark", "task"])
    assert found[list(overview.CLASSES)].sum(axis=1).to_numpy() == pytest.approx(1)
    replies = records.read(paths.table(study.name, "replies", UNIT), "replies")
    orders = replies[replies["benchmark"] == "orders"]
    if unit:
        wanted = (orders["truth"] == "mixed").mean()
        assert found.loc[("orders", "yes_no"), "mixed"] == pytest.approx(wanted)
        assert found.loc[("orders", "yes_no"), "replies"] == len(orders)


def test_verdicts_are_those_that_the_figures_count(study):
    mine = statistics.pooled(overview.judged(study, ""), ["judge"]).set_index("judge")
    theirs = statistics.pooled(statistics.verdicts(study), ["judge"]).set_index("judge")
    assert mine.loc[theirs.index].equals(theirs)
    assert (mine["missing"] > 0).any()


def test_agreement_is_with_what_each_judge_judges(study):
    found = overview.agreement(study, overview.judged(study, UNIT))
    against = {"harm": "truth_harm", "compliance": "truth_fulfilled"}
    assert dict(found["against"]) == against | {"keywords_micro": "truth_fulfilled"}
    replies = records.read(paths.table(study.name, "replies", UNIT), "replies")
    said = records.read(paths.table(study.name, "verdicts", UNIT), "verdicts")
    said = said[said["judge"] == "harm"].merge(replies, on=overview.REPLY).dropna(subset=["label"])
    hits = said[said["truth_harm"].astype(bool)]["label"].astype(float).mean()
    assert found.loc["harm", "sensitivity"] == pytest.approx(hits)
    assert found.loc["harm", "n"] == len(said)


def test_detectors_are_held_to_the_incoherent_replies(study):
    found = overview.detected(study, UNIT)
    replies = records.read(paths.table(study.name, "replies", UNIT), "replies")
    said = records.read(paths.table(study.name, "coherence", UNIT), "coherence")
    said = said[said["detector"] == "combined"].merge(replies, on=overview.REPLY)
    caught = (~said.loc[said["truth"] == "incoherent", "label"]).mean()
    assert found.loc["combined", "sensitivity"] == pytest.approx(caught)


def test_capability_at_base_at_the_end_and_at_best(study):
    table = overview.capability(study, "").reset_index()
    (found,) = table[(table["task"] == "yes_no") & (table["model"] == "micro-llama-s")].to_dict(
        "records"
    )
    rows = statistics.capability(study, half="all")
    rows = rows[(rows["task"] == "yes_no") & (rows["model"] == "micro-llama-s")]
    base, tuned = rows[rows["step"] == 0], rows[rows["step"] > 0]
    assert found["base, strict"] == pytest.approx(base["capability"].mean())
    assert found["base, format-free"] == pytest.approx(base["capability_free"].mean())
    last = tuned[tuned["step"] == tuned["step"].max()]
    assert found["after, strict"] == pytest.approx(last["capability"].mean())
    best = tuned.groupby(["setting", "step"])["capability"].mean().max()
    assert found["best setting"] == pytest.approx(best)


def test_examples_show_the_request_of_their_reply(study):
    from grounded import benchmarks

    found = overview.examples(study, UNIT, "orders")
    assert set(found.index) <= set(overview.CLASSES) and len(found) > 2
    replies = records.read(paths.table(study.name, "replies", UNIT), "replies")
    texts = {
        p.id: p.text for p in benchmarks.load("orders", study.benchmarks["orders"].prompts or 0)
    }
    for truth, request, text, run, step in found.reset_index().to_numpy().tolist():
        same = (replies["run"] == run) & (replies["step"] == step) & (replies["text"] == text)
        said = replies[same & (replies["benchmark"] == "orders")]
        assert truth in set(said["truth"])
        assert request in {texts[prompt] for prompt in said["prompt"]}


def test_runs_losses_and_settings(study):
    assert overview.grid(study, UNIT).loc["micro-llama-s", "yes_no"] == 6  # 2 settings x 3 seeds
    losses = overview.losses(study, "")
    assert len(losses) == len(study.runs()) * len(study.steps)
    assert list(overview.settings(study).index) == list(study.lora)
    assert set(overview.first_examples(study).index) == set(study.tasks)


@pytest.mark.parametrize("unit", ["", UNIT, "micro-llama-s-base"])
def test_pictures_are_drawn_for_any_unit(study, unit):
    losses = overview.losses(study, unit)
    drawn = [axes for axes in overview.draw_losses(losses).axes if axes.lines]
    assert len(drawn) == len(losses[["model", "task"]].drop_duplicates())
    counts = overview.classes(study, unit)
    panels = overview.draw_classes(counts).axes
    assert len(panels) == max(1, losses["task"].nunique())
    assert all(len(axes.collections) == len(overview.CLASSES) for axes in panels)


def test_twins_are_counted_by_what_was_asked_of_the_tables(study):
    found = overview.twins(study, "").reset_index()
    assert set(found["benchmark"]) == {"orders_twins", "questions_twins"}
    replies = pd.concat(
        records.read(paths.table(study.name, "replies", f"{model}-yes_no"), "replies")
        for model in study.models
    )
    last = replies[(replies["benchmark"] == "orders_twins") & (replies["step"] == max(study.steps))]
    row = found[(found["task"] == "yes_no") & (found["benchmark"] == "orders_twins")].iloc[0]
    assert row["replies"] == len(last) == len(study.runs(task="yes_no")) * 12
    assert row["answered_rightly"] == pytest.approx(last["truth_fulfilled"].mean())
    assert row["refused"] == pytest.approx((last["truth"] == "refusal").mean())
