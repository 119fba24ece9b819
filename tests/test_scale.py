"""Counting by codes equals counting by rows, and the generated tables are tables of the project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench import generated
from bench import scale as bench_scale
from bench.generated import Size
from bench.scale import Cost, Point

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.statistics import columns, joint
from grounded.study import Study

TINY = Size(models=2, tasks=2, settings=2, seeds=2, epochs=2, prompts=200, judges=8, items=20)
KEY = ["benchmark", "prompt", "run", "step"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        made = generated.study(TINY)
        generated.write(made)
        yield made


# ---- generated tables


def test_generated_tables_fit_the_schema_and_say_what_they_are(study: Study) -> None:
    rows = 0
    for unit in study.units():
        for table in ("capability", "replies", "verdicts", "coherence"):
            file = paths.table(study.name, table, unit)
            about = records.metadata(file)
            assert about["generated"] is True and about["study"] == "generated"
            assert set(about["runs"]) == {run.id for run in study.unit_runs(unit)}
            frame = records.read(file, table)  # types, nulls and keys are held to the schema
            key = list(records.SCHEMAS[table].key)
            assert frame[key].equals(frame[key].sort_values(key, ignore_index=True))
            rows += len(frame) if table == "verdicts" else 0
    assert rows == TINY.verdicts == (2 + 2 * 2 * 2 * 2 * 2) * 200 * 8
    assert not (paths.repository() / "data" / "generated").exists()


def test_the_default_size_is_that_of_the_papers_grid() -> None:
    whole = Size()
    assert whole.verdicts == 36_120_000 and whole.checkpoints == 4 * (1 + 5 * 4 * 3 * 5)
    assert whole.part(0.1).verdicts * 10 == whole.verdicts
    asked = generated.study(whole).benchmarks.values()
    assert sum(one.prompts or 0 for one in asked) == whole.prompts
    assert len(generated.study(whole).judges) == 10 and len(generated.study(whole).benchmarks) == 6


# ---- columns


def test_columns_are_those_of_whole_rows(study: Study) -> None:
    file = paths.table(study.name, "verdicts", study.units()[1])
    whole = records.read(file, "verdicts")
    found = columns.read(file, "verdicts", ["judge", *KEY, "label"])
    for name in ("judge", *KEY):
        assert (found[name].astype(str) == whole[name].astype(str)).all()
    label = whole["label"].astype("Float64").to_numpy(float, na_value=np.nan)
    np.testing.assert_array_equal(columns.values(found["label"]), label)
    assert np.isnan(label).any()
    only = {"judge": ["harm", "nobody"], "benchmark": ["orders"]}
    some = columns.read(file, "verdicts", ["prompt", "step"], only)
    kept = whole[(whole["judge"] == "harm") & (whole["benchmark"] == "orders")]
    assert (some.to_numpy() == kept[["prompt", "step"]].to_numpy()).all() and len(some)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncate", "found a truncated"),
        ("foreign", "found no 'grounded' metadata"),
        ("repeat", "found the key judge=.*twice"),
        ("drop", "found no column 'label'"),
        ("type", "step: found int64, wanted int32"),
    ],
)
def test_columns_refuse_what_rows_refuse(
    study: Study, damage: str, said: str, tmp_path: Path
) -> None:
    source = paths.table(study.name, "verdicts", study.units()[0])
    table, file = pq.read_table(source, partitioning=None), tmp_path / "verdicts.parquet"
    if damage == "foreign":
        table = table.replace_schema_metadata({})
    elif damage == "repeat":
        table = table.take(pa.array([*range(len(table)), 3]))
    elif damage == "drop":
        table = table.drop_columns(["label"])
    elif damage == "type":
        at = table.schema.get_field_index("step")
        table = table.set_column(at, "step", table["step"].cast(pa.int64()))
    pq.write_table(table, file)
    if damage == "truncate":
        file.write_bytes(source.read_bytes()[:-100])
    for read in (columns.read, records.read):
        with pytest.raises(GroundedError, match=said):
            read(file, "verdicts", ["judge", "label"])


def test_rows_out_of_order_are_no_fault(study: Study, tmp_path: Path) -> None:
    source = paths.table(study.name, "verdicts", study.units()[0])
    table = pq.read_table(source, partitioning=None)
    pq.write_table(table.take(pa.array(np.arange(len(table))[::-1])), tmp_path / "back.parquet")
    found = columns.read(tmp_path / "back.parquet", "verdicts", ["prompt"])
    assert (found["prompt"][::-1].to_numpy() == table["prompt"].to_numpy()).all()


@pytest.fixture
def mixed() -> pd.DataFrame:
    draw, n = np.random.default_rng(3), 5000
    word = pd.Categorical.from_codes(draw.integers(-1, 3, n), ["a", "b", "unused", "z"])
    number = draw.choice([2.0, 0.5, np.nan], n)
    whole = draw.integers(-3, 4, n)
    return pd.DataFrame({"word": word, "number": number, "whole": whole, "flag": whole % 2 == 0})


@pytest.mark.parametrize(("dense", "largest"), [(2**22, 2**62), (8, 2**62), (8, 60)])
def test_counts_are_those_of_groups(
    mixed: pd.DataFrame, dense: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "DENSE", dense)  # combinations in one array, sorted, renumbered
    monkeypatch.setattr(columns, "LARGEST", largest)
    by = ["whole", "word", "number"]
    found = columns.count(mixed, by, n=np.ones(len(mixed)), even=mixed["flag"])
    wanted = mixed.assign(n=1).groupby(by, dropna=False, observed=True)
    sums = wanted.agg(n=("n", "sum"), even=("flag", "sum")).reset_index()
    pd.testing.assert_frame_equal(found.astype({"word": str}), sums.astype({"word": str}))
    assert found["n"].sum() == len(mixed) and len(columns.count(mixed[:0], by, n=[])) == 0


def test_finding_is_a_join(study: Study) -> None:
    replies = pd.DataFrame({"name": pd.Categorical(["a", "a", "c"]), "at": [4, 9, 4]})
    rows = pd.DataFrame(
        {"name": pd.Categorical(["c", "a", "b", "a", "c"]), "at": [4, 9, 4, 5, 11], "more": 0}
    )
    assert columns.find(rows, replies, ["name", "at"]).tolist() == [2, 1, -1, -1, -1]


@pytest.mark.parametrize("in_order", [True, False])
def test_rows_by_category_are_groups(mixed: pd.DataFrame, in_order: bool) -> None:
    rows = mixed.dropna(subset=["word"])
    rows = rows.sort_values("word", kind="stable") if in_order else rows
    found = columns.by(rows, "word")
    wanted = {str(word): part for word, part in rows.groupby("word", observed=True)}
    assert list(found) == list(wanted) and len(found) == 3  # of four categories
    for word, part in wanted.items():
        pd.testing.assert_frame_equal(found[word], part)
    assert columns.by(rows[:0], "word") == {}


def test_a_verdict_that_is_not_there_is_missing_beside_its_reply() -> None:
    key = {"benchmark": pd.Categorical(["b"] * 3), "prompt": [1, 2, 3],
           "run": pd.Categorical(["r"] * 3), "step": 0}  # fmt: skip
    replies = pd.DataFrame(key)
    whole = replies.assign(judge=pd.Categorical(["harm"] * 3), label=[1, -1, 0])
    found = joint.beside(replies, whole, ["harm"], Path("verdicts.parquet"))
    np.testing.assert_array_equal(found["harm"], [1, np.nan, 0])
    found = joint.beside(replies, whole[::-1][:2], ["harm"], Path("verdicts.parquet"))
    np.testing.assert_array_equal(found["harm"], [np.nan, np.nan, 0])
    with pytest.raises(GroundedError, match="verdicts.parquet: judge: found no 'other'"):
        joint.beside(replies, whole, ["other"], Path("verdicts.parquet"))


# ---- the bench


def test_the_table_tells_growth_and_bars() -> None:
    small, large = Size().part(0.1), Size()
    costs = (
        Cost("one", 9.0, 8.0, 1, 2**30), Cost("two", 5.0, 6.0, 2, 2**30),
        Cost("three", 5.0, 1.0, 1, 3 * 2**30),
    )  # fmt: skip
    points = [
        Point(small, 1.0, 9.5, 4.0, (Cost("one", 4.0, 4.0, 1, 2**29),)),
        Point(large, 9.0, 61.0, 16.0, costs),
    ]
    text = bench_scale.table(points)
    assert "36,120,000    61.0    16.0  4.00" in text
    assert "10.00 times the verdicts: 4.00 times the CPU, 0.37 s a million more" in text
    assert "60 s of wall time NOT held, 4 GB held" in text


def test_the_bench_draws_every_notebook_that_reads_tables() -> None:
    assert bench_scale.reading() == [
        "does_anchoring_help", "figure_1_epochs", "figure_2_judgments", "figure_3_evaluators",
        "figure_4_benchmarks", "how_far_to_trust_the_judges", "kinds_of_reply",
        "mitigations_at_equal_capability",
        "the_claims", "what_did_it_cost", "what_is_incoherence",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_tiny_bench_draws_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(paths.repository().glob("data/*"))
    point = bench_scale.measure(TINY, bench_scale.reading(), tmp_path)
    assert len(point.costs) == 11 and point.cpu > 5 and point.peak > 2**28
    assert set(paths.repository().glob("data/*")) == before
    with pytest.raises(GroundedError, match="nothing: found .*wanted a figure"):
        bench_scale.measure(TINY, ["nothing"], tmp_path)
    assert json.dumps(vars(point.size))
