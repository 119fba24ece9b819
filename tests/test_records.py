"""Tables: the same rows give the same bytes, and what does not fit is refused in one line."""

import errno
import os
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounded import paths, records
from grounded.records import SCHEMAS, RecordsError, columns, files

RUNS = ("m.base", "m.science.lora.r4.s0")


def verdicts():
    """Two runs' verdicts in canonical order: one missing, one of a keyword list."""
    return pd.DataFrame(
        {
            "judge": ["harm", "harm", "keywords"],
            "benchmark": ["orders", "orders", "orders"],
            "prompt": [0, 0, 1],
            "run": [RUNS[0], RUNS[1], RUNS[1]],
            "step": [0, 4, 4],
            "probability": [0.12345, np.nan, np.nan],
            "label": pd.array([False, None, True], dtype="boolean"),
            "mass": [0.999, 0.004, np.nan],
            "parsed": [True, False, True],
            "neutralised": [False, False, True],
        }
    )


def metadata(*runs):
    return {"study": "tiny", "runs": {run: {"inputs": "abc"} for run in runs or RUNS}}


@pytest.fixture()
def path(tmp_path):
    return tmp_path / "verdicts" / "m-science.parquet"


def test_what_is_written_is_read_rounded_typed_and_sorted(path):
    records.write(path, "verdicts", verdicts().iloc[[2, 0, 1]], metadata())
    found = records.read(path, "verdicts")
    assert list(found["prompt"]) == [0, 0, 1] and list(found["run"]) == [RUNS[0], *RUNS[1:] * 2]
    assert found["probability"].iloc[0] == np.float32(0.123)
    assert found["mass"].tolist()[:2] == [np.float32(1.0), np.float32(0.0)]
    assert found["probability"].isna().tolist() == [False, True, True]
    assert found["label"].isna().tolist() == [False, True, False]
    assert str(found["label"].dtype) == "boolean" and found["parsed"].dtype == bool
    assert isinstance(found["judge"].dtype, pd.CategoricalDtype)
    assert found["step"].dtype == np.int32 and found["prompt"].dtype == np.int16
    some = records.read(path, "verdicts", columns=["run", "label"])
    pd.testing.assert_frame_equal(some, found[["run", "label"]])


def test_a_null_survives_as_a_null_in_the_file(path):
    records.write(path, "verdicts", verdicts(), metadata())
    raw = pq.read_table(path)
    assert raw["label"].null_count == 1
    assert (
        raw["probability"].null_count == 2
    )  # and not NaN, which no other reader takes for missing
    assert pq.read_metadata(path).num_row_groups == 1


@settings(deadline=None, max_examples=25)
@given(order=st.permutations(range(3)), odd=st.booleans())
def test_bytes_depend_on_rows_alone(tmp_path_factory, order, odd):
    folder = tmp_path_factory.mktemp("bytes")
    records.write(folder / "a", "verdicts", verdicts(), metadata())
    shuffled = verdicts().iloc[list(order)].astype(object if odd else {"judge": "category"})
    # other categories than those in use, other column order, other order of runs
    if not odd:
        shuffled["judge"] = shuffled["judge"].cat.add_categories(["aaa"])
    records.write(
        folder / "b", "verdicts", shuffled[list(shuffled.columns)[::-1]], metadata(*RUNS[::-1])
    )
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_rows_sha_changes_with_that_runs_rows_and_no_others(path):
    records.write(path, "verdicts", verdicts(), metadata())
    before = records.metadata(path)["runs"]
    edited = verdicts()
    edited.loc[2, "label"] = False
    records.write(path, "verdicts", edited, metadata())
    after = records.metadata(path)["runs"]
    assert before[RUNS[0]] == after[RUNS[0]]
    assert before[RUNS[1]]["rows"] != after[RUNS[1]]["rows"]
    assert before[RUNS[1]]["inputs"] == after[RUNS[1]]["inputs"] == "abc"


def test_rows_sha_of_a_run_is_the_same_alone_and_in_company(path, tmp_path):
    records.write(path, "verdicts", verdicts(), metadata())
    part = tmp_path / "part.parquet"
    records.write(part, "verdicts", verdicts().iloc[1:], metadata(RUNS[1]))
    together = records.metadata(path)["runs"][RUNS[1]]
    assert records.metadata(part)["runs"] == {RUNS[1]: together}


def test_joined_parts_are_the_whole(path, tmp_path):
    records.write(path, "verdicts", verdicts(), metadata())
    parts = []
    for i, run in enumerate(RUNS):
        part = tmp_path / f"{i}.parquet"
        rows = verdicts()[verdicts()["run"] == run]
        records.write(part, "verdicts", rows, metadata(run))
        parts.append(records.read(part, "verdicts"))
    again = tmp_path / "again.parquet"
    records.write(again, "verdicts", records.join(parts[::-1]), metadata())
    assert again.read_bytes() == path.read_bytes()


def test_every_table_takes_an_empty_frame_and_gives_it_back(tmp_path):
    for table, schema in SCHEMAS.items():
        path = tmp_path / f"{table}.parquet"
        records.write(path, table, pd.DataFrame(columns=list(schema.columns)), {"runs": {}})
        assert records.read(path, table).shape == (0, len(schema.columns))


def with_values(**columns):
    return verdicts().assign(**columns)


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (verdicts().drop(columns="mass"), "found no column 'mass', wanted it in table verdicts"),
        (with_values(opinion=1), "found column 'opinion', wanted only judge, benchmark, prompt"),
        (with_values(step=[0.0, 4.0, 4.0]), "step: found float64, wanted int32"),
        (with_values(step=["0", "4", "4"]), "step: found string, wanted int32"),
        (with_values(judge=[1, 2, 3]), "judge: found integer, wanted category"),
        (with_values(label=[0.0, 1.0, 1.0]), "label: found float64, wanted bool"),
        (with_values(probability=["a", "b", "c"]), "probability: found string, wanted float"),
        (with_values(prompt=[0, 0, 2**31]), "prompt: found values outside int32, wanted int16"),
        (with_values(parsed=[True, None, True]), "parsed: found a null, wanted a value in every"),
        (
            verdicts().iloc[[0, 1, 2, 1]],
            "found the key judge=harm, benchmark=orders, prompt=0, run=m.science.lora.r4.s0, step=4"
            " twice, wanted it once",
        ),
    ],
)
def test_write_refuses_in_one_line_and_keeps_what_was_there(path, frame, line):
    records.write(path, "verdicts", verdicts(), metadata())
    before = path.read_bytes()
    with pytest.raises(RecordsError) as error:
        records.write(path, "verdicts", frame, metadata())
    assert line in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_write_refuses_runs_without_metadata_and_metadata_without_runs(path):
    with pytest.raises(RecordsError, match="found 'm.base' as rows without metadata"):
        records.write(path, "verdicts", verdicts(), metadata(RUNS[1]))
    with pytest.raises(RecordsError, match="found 'zz' as metadata without rows"):
        records.write(path, "verdicts", verdicts(), metadata(*RUNS, "zz"))


def foreign(path, change):
    """The table at `path`, written again by other means after a change."""
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda t: t.drop_columns(["mass"]), "found no column 'mass'"),
        (lambda t: t.append_column("x", pa.array([1, 2, 3])), "found column 'x', wanted only"),
        (
            lambda t: t.set_column(4, "step", t["step"].cast(pa.int64())),
            "step: found int64, wanted int32",
        ),
        (lambda t: pa.concat_tables([t, t]), "found the key judge=harm"),
    ],
)
def test_read_refuses_in_one_line(path, change, line):
    records.write(path, "verdicts", verdicts(), metadata())
    foreign(path, change)
    with pytest.raises(RecordsError) as error:
        records.read(path, "verdicts")
    assert line in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("left", [0, 3, 100, -1])
def test_a_truncated_file_is_refused_by_name(path, left):
    records.write(path, "verdicts", verdicts(), metadata())
    path.write_bytes(path.read_bytes()[:left])
    for look in (lambda: records.read(path, "verdicts"), lambda: records.metadata(path)):
        with pytest.raises(RecordsError, match="found a truncated") as error:
            look()
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_broken_in_its_middle_is_refused_by_name(path):
    records.write(path, "verdicts", verdicts(), metadata())
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\0" * 400 + content[404:])
    with pytest.raises(RecordsError, match="found a truncated") as error:
        records.read(path, "verdicts")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_file_unknown_column_and_foreign_parquet_are_refused(path, tmp_path):
    with pytest.raises(RecordsError, match="found no such file, wanted a table"):
        records.read(path, "verdicts")
    records.write(path, "verdicts", verdicts(), metadata())
    with pytest.raises(RecordsError, match="found no column 'odds', wanted one of judge"):
        records.read(path, "verdicts", columns=["odds"])
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(RecordsError, match="found no 'grounded' metadata"):
        records.read(other, "verdicts")


def test_rows_changed_behind_the_records_are_refused_by_whoever_reads(path):
    records.write(path, "verdicts", verdicts(), metadata())
    assert len(records.verify(path, "verdicts")) == 3
    foreign(path, lambda t: t.set_column(8, "parsed", pa.array([True, True, True])))
    told = "found other rows of m.science.lora.r4.s0 than it records"
    for read in (records.read, records.verify, records.sound):
        with pytest.raises(RecordsError, match=told):
            read(path, "verdicts")
    with pytest.raises(RecordsError, match=told):
        columns.read(path, "verdicts", ["label"])


def test_a_table_is_held_to_its_sums_once_and_again_when_it_was_touched(path, monkeypatch):
    records.write(path, "verdicts", verdicts(), metadata())
    summed = Mock(side_effect=files.rows_shas)
    monkeypatch.setattr(files, "rows_shas", summed)
    for _ in range(3):
        records.read(path, "verdicts")
    assert summed.call_count == 1
    before = path.stat()
    foreign(path, lambda t: t.set_column(8, "parsed", pa.array([True, True, True])))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RecordsError, match="found other rows"):
        records.read(path, "verdicts")


def test_a_damaged_byte_anywhere_is_one_line_or_harmless(path):
    records.write(path, "verdicts", verdicts(), metadata())
    whole, frame = path.read_bytes(), records.read(path, "verdicts")
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            found = records.read(path, "verdicts")
            pd.testing.assert_frame_equal(found, frame, check_dtype=False)  # 16 bits or 32
        except RecordsError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused > len(whole) // 7 // 4  # much of so small a file is padding and statistics


def test_numbers_beyond_16_bits_are_stored_in_32_and_small_ones_as_before(path, tmp_path):
    far = verdicts().assign(prompt=[0, 0, 40_000])
    records.write(path, "verdicts", far, metadata())
    assert pq.read_schema(path).field("prompt").type == pa.int32()
    assert list(records.read(path, "verdicts")["prompt"]) == [0, 0, 40_000]
    assert list(columns.read(path, "verdicts", ["prompt"])["prompt"]) == [0, 0, 40_000]
    near = tmp_path / "near.parquet"
    records.write(near, "verdicts", verdicts(), metadata())
    assert pq.read_schema(near).field("prompt").type == pa.int16()
    joined = records.join([records.read(f, "verdicts").iloc[n:] for f, n in ((near, 0), (path, 2))])
    assert list(joined["prompt"]) == [0, 0, 1, 40_000]
    # a run whose own numbers are small has the same sha in either company
    runs = [records.metadata(file)["runs"] for file in (path, near)]
    assert runs[0][RUNS[0]] == runs[1][RUNS[0]] and runs[0][RUNS[1]] != runs[1][RUNS[1]]


def test_no_space_leaves_the_old_table_and_nothing_half_written(path, monkeypatch):
    records.write(path, "verdicts", verdicts(), metadata())
    before = path.read_bytes()

    def full(table, where, **_):
        with open(where, "wb") as file:
            file.write(b"PAR1 half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(RecordsError, match="found no space left on the disk") as error:
        records.write(path, "verdicts", verdicts().iloc[:2], metadata())
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_no_space_on_a_real_full_device_is_the_same_line(tmp_path):
    with pytest.raises(RecordsError, match="found no space left on the disk"):
        with records.replacing(tmp_path / "table"):
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")
    assert os.listdir(tmp_path) == []


def test_interrupted_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with records.replacing(tmp_path / "table") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def answers(likelihood):
    """One answer each of two runs."""
    return pd.DataFrame(
        {
            "task": "science", "item": [0, 0], "run": list(RUNS), "step": [0, 4], "answer": "a b",
            "correct": [True, False], "correct_format_free": True, "likelihood": likelihood,
        }
    )  # fmt: skip


def test_an_optional_column_of_nulls_is_not_stored_and_changes_no_sha(tmp_path):
    nothing, never = answers([None, None]), answers(0.5).drop(columns="likelihood")
    records.write(tmp_path / "a", "capability", nothing, metadata())
    records.write(tmp_path / "b", "capability", never, metadata())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "likelihood" not in pq.read_schema(tmp_path / "a").names
    found = records.verify(tmp_path / "a", "capability")
    assert found["likelihood"].isna().all() and found["likelihood"].dtype == np.float32
    assert list(found.columns) == list(SCHEMAS["capability"].columns)
    counted = columns.read(tmp_path / "a", "capability", ["run", "likelihood"])
    assert counted["likelihood"].isna().all() and list(counted["run"]) == list(RUNS)


def test_an_optional_column_counts_for_the_runs_that_have_it(tmp_path):
    for name, values in {"none": None, "one": [0.25, None], "both": [0.25, 0.5]}.items():
        records.write(tmp_path / name, "capability", answers(values), metadata())
    none, one, both = (records.metadata(tmp_path / n)["runs"] for n in ("none", "one", "both"))
    assert one[RUNS[0]] == both[RUNS[0]] != none[RUNS[0]]
    assert one[RUNS[1]] == none[RUNS[1]] != both[RUNS[1]]
    assert records.verify(tmp_path / "one", "capability")["likelihood"].tolist()[:1] == [0.25]


def test_a_table_that_lacks_another_column_is_refused(path):
    with pytest.raises(RecordsError, match="found no column 'mass'"):
        records.write(path, "verdicts", verdicts().drop(columns="mass"), metadata())


def test_committed_tables_hold_to_their_shas_with_the_optional_columns_there_are():
    folder = paths.repository() / "data" / "micro"
    for table, schema in SCHEMAS.items():
        file = folder / table / "micro-llama-s-science.parquet"
        optional = [name for name, column in schema.columns.items() if column.optional]
        if not optional or not file.is_file():
            continue
        frame = records.verify(file, table)  # holds each run's rows to the recorded sha
        assert frame[optional].isna().all(axis=None)
