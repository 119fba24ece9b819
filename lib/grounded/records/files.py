"""Tables as files: written whole or not at all, read only when they fit."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from grounded import paths
from grounded.records.fitting import (
    RecordsError,
    check_keys,
    check_names,
    check_types,
    fit,
    to_pandas,
)
from grounded.records.schemas import SCHEMAS

if TYPE_CHECKING:  # pandas takes half a second to import; metadata alone is read without it
    import pandas as pd

    from grounded.study import Study


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well.

    Whatever stops the block leaves `path` as it was. RecordsError when the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RecordsError(
            f"{paths.shown(path)}: found no space left on the disk, wanted room to write; "
            "nothing was changed"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write(path: Path, table: str, frame: "pd.DataFrame", metadata: dict[str, Any]) -> None:
    """Write `frame` as a table, atomically, in canonical order.

    metadata: {"runs": {run: {"inputs": sha}}} and the facts of the stage; the sha of each run's
    rows is added here. Floats are rounded to the decimals that the schema keeps.
    RecordsError for a missing or unknown column, a wrong dtype, a null or a duplicate key.
    """
    path = paths.written(path)
    arrow = fit(frame, table, paths.shown(path))
    recorded = {run: {**about, "rows": ""} for run, about in metadata.get("runs", {}).items()}
    found = set(arrow["run"].unique().to_pylist())
    if recorded and found != set(recorded):
        odd = min(found ^ set(recorded))
        where = "rows without metadata" if odd in found else "metadata without rows"
        raise RecordsError(f"{paths.shown(path)}: run: found {odd!r} as {where}, wanted both")
    shas = rows_shas(arrow, table)
    for run, about in recorded.items():
        about["rows"] = shas[run]
    facts = {**metadata, "table": table, "runs": recorded}
    arrow = arrow.replace_schema_metadata({"grounded": json.dumps(facts, sort_keys=True)})
    store(arrow, path)


def store(arrow: pa.Table, path: Path) -> None:
    """Put a table in its place as Parquet, whole or not at all: the same rows, the same bytes."""
    with replacing(path) as temporary:
        pq.write_table(
            arrow, temporary, compression="zstd", compression_level=12,
            row_group_size=max(1, len(arrow)),
        )  # fmt: skip


def metadata(path: Path) -> dict[str, Any]:
    """What the file says of itself: table, study, runs with their inputs and rows, stage facts.

    RecordsError for a file that is missing or no table of this project.
    """
    file = paths.shown(path)
    with readable(path):
        found = pq.read_metadata(path).metadata or {}
    if b"grounded" not in found:
        raise RecordsError(f"{file}: found no 'grounded' metadata, wanted a table of this project")
    try:
        about = dict(json.loads(found[b"grounded"]))
        whole = all(isinstance(one["rows"], str) for one in about["runs"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise RecordsError(f"{file}: found broken 'grounded' metadata, wanted the runs with shas")
    return about


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What pyarrow raises of a file that is no whole Parquet, as one line."""
    file = paths.shown(path)
    try:
        yield
    except FileNotFoundError:
        raise RecordsError(f"{file}: found no such file, wanted a table") from None
    except (pa.ArrowException, OSError, ValueError, KeyError):
        raise RecordsError(f"{file}: found a truncated or damaged file, wanted Parquet") from None


def sound(path: Path, table: str) -> dict[str, Any]:
    """The metadata of a table whose rows are those that it records, by their sha256.

    What was found sound is remembered in .cache, by the file's size, times and inode, so that a
    file is read for it once. A table without its texts is held to the sha that it got without
    them; one that was generated has none. RecordsError for a file that is no table, or whose rows
    were changed since it was written.
    """
    about, stat = metadata(path), path.stat()
    known = [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    mark = (
        paths.home() / ".cache" / "sound" / hashlib.sha256(json.dumps(known).encode()).hexdigest()
    )
    if about.get("generated") or mark.exists():
        return about
    file, kind = paths.shown(path), "redacted" if about.get("redacted") else "rows"
    arrow = table_of(path)
    check_names(arrow.column_names, table, file)
    shas = rows_shas(arrow, table)
    for run in sorted(about["runs"].keys() | shas.keys()):
        if shas.get(run) != about["runs"].get(run, {}).get(kind, ""):
            raise RecordsError(
                f"{file}: run: found other rows of {run} than it records, wanted the same "
                "(`make figures` makes the table again)"
            )
    with suppress(OSError):  # a clone that nobody may write to is read all the same
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return about


def table_of(path: Path) -> pa.Table:
    """All that the file holds, as it holds it; RecordsError for one that cannot be read."""
    with readable(path):
        arrow = pq.read_table(path, partitioning=None)
        arrow.validate(full=True)
        return arrow


def read(path: Path, table: str, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Read a table, or some of its columns, in canonical order.

    Categories come as pandas categories, columns of true/false/missing as pandas "boolean".
    RecordsError for a truncated file, a missing or unknown column, a wrong type, a duplicate key,
    rows that were changed since they were written.
    """
    schema, file = SCHEMAS[table], paths.shown(path)
    metadata(path)  # refuses what is not a table of ours
    arrow = table_of(path)
    check_types(arrow.schema, table, file)
    for name in columns or ():
        if name not in schema.columns:
            raise RecordsError(
                f"{file}: found no column {name!r}, wanted one of {', '.join(schema.columns)}"
            )
    frame = to_pandas(arrow, table)
    check_keys(frame, schema, file)
    sound(path, table)
    return frame[list(columns)] if columns else frame


def read_study(
    study: "Study | str", table: str, columns: Sequence[str] | None = None
) -> "pd.DataFrame":
    """One table over all units of a study: the base models', then task by task."""
    from grounded.study import BASE, load

    study = load(study) if isinstance(study, str) else study
    names = dict.fromkeys(
        run.unit
        for task in (BASE, *study.tasks)
        for m in study.models
        for run in study.runs(m, task)
    )
    return join([read(paths.table(study.name, table, u), table, columns) for u in names])


def join(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Frames of one table, one after the other, with their categories joined and sorted.

    Where a frame lacks a column that another has, an optional one, it has nulls.
    """
    import pandas as pd
    from pandas.api.types import union_categoricals

    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    joined = {}
    for name in names:
        columns = [
            frame[name] if name in frame else pd.Series([None] * len(frame), dtype=object)
            for frame in frames
        ]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            joined[name] = pd.Series(union_categoricals(columns, sort_categories=True))
        else:
            joined[name] = pd.concat(columns, ignore_index=True)
    return pd.DataFrame(joined)


def rows_shas(arrow: pa.Table, table: str) -> dict[str, str]:
    """The sha256 of each run's rows: of values, not of their encoding in a file.

    `arrow` has its rows in canonical order, as `fit` makes it. An optional column in which the run
    has nothing does not count, whatever other runs have in it.
    """
    import numpy as np

    runs = arrow["run"].combine_chunks()
    codes = runs.indices.to_numpy(zero_copy_only=False)
    sorted_rows = arrow.take(pa.array(np.argsort(codes, kind="stable"))).combine_chunks()
    numbers, counts = np.unique(codes, return_counts=True)
    ends = counts.cumsum()
    return {
        runs.dictionary[int(number)].as_py(): _sha(sorted_rows.slice(end - count, count), table)
        for number, count, end in zip(numbers, counts, ends, strict=True)
    }


def _sha(rows: pa.Table, table: str) -> str:
    digest = hashlib.sha256()
    for name in rows.column_names:
        column, values = SCHEMAS[table].columns[name], rows[name].combine_chunks()
        if column.optional and values.null_count == len(values):
            continue
        if values.type != column.type:  # how wide other runs made the column does not count
            with suppress(pa.ArrowInvalid):
                values = values.cast(column.type)
        nulls = values.is_null().to_numpy(zero_copy_only=False)
        content: list[str] = []
        if pa.types.is_dictionary(values.type):
            content, numbers = _numbered(
                values.dictionary.to_pylist(), values.indices.fill_null(-1)
            )
        elif pa.types.is_string(values.type):
            content, numbers = values.to_pylist(), nulls
        else:
            nothing = pa.scalar(0).cast(values.type)
            numbers = values.fill_null(nothing).to_numpy(zero_copy_only=False)
        numbers = numbers.astype(numbers.dtype.newbyteorder("<"))
        digest.update(json.dumps([name, str(values.type), len(values), content]).encode())
        digest.update(nulls.tobytes() + numbers.tobytes())
    return digest.hexdigest()


def _numbered(names: list[str], indices: pa.Array) -> tuple[list[str], Any]:
    """The categories that are used, sorted, and each row's number among them (null is -1)."""
    import numpy as np

    codes = indices.to_numpy(zero_copy_only=False)
    used = sorted((names[i], i) for i in np.flatnonzero(np.bincount(codes[codes >= 0])))
    place = np.full(len(names) + 1, -1, np.int32)  # the last one is null's, which is -1
    place[[i for _, i in used]] = np.arange(len(used))
    return [name for name, _ in used], place[codes]


def verify(path: Path, table: str) -> "pd.DataFrame":
    """Read a table that work goes on from: as `read`, and not one without its texts."""
    if metadata(path).get("redacted"):
        raise RecordsError(
            f"{paths.shown(path)}: found rows without their texts (redacted), wanted whole rows"
        )
    return read(path, table)
