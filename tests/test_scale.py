"""Columns are those of whole rows, and the generated tables are tables of the project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench import generated
from bench import scale as bench_scale
from bench.generated import Size
from bench.scale import Cost, Point

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.records import columns
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
    flags = found["label"].astype(float).replace(columns.MISSING, np.nan)
    np.testing.assert_array_equal(flags, label)
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
        "the_claims", "what_did_it_cost", "what_is_incoherence", "what_undoes_refusals",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_tiny_bench_draws_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(paths.repository().glob("data/*"))
    point = bench_scale.measure(TINY, bench_scale.reading(), tmp_path)
    assert len(point.costs) == 12 and point.cpu > 5 and point.peak > 2**28
    assert set(paths.repository().glob("data/*")) == before
    with pytest.raises(GroundedError, match="nothing: found .*wanted a figure"):
        bench_scale.measure(TINY, ["nothing"], tmp_path)
    assert json.dumps(vars(point.size))
