"""Tables as files: written whole or not at all, read only when they fit."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from grounded import paths
from grounded.records.fitting import RecordsError, check_keys, check_names, fit, misfit, to_pandas
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
    arrow = fit(frame, table, paths.shown(path))
    recorded = {run: {**about, "rows": ""} for run, about in metadata.get("runs", {}).items()}
    found = set(arrow["run"].unique().to_pylist())
    if recorded and found != set(recorded):
        odd = min(found ^ set(recorded))
        where = "rows without metadata" if odd in found else "metadata without rows"
        raise RecordsError(f"{paths.shown(path)}: run: found {odd!r} as {where}, wanted both")
    for run, about in recorded.items():
        about["rows"] = rows_sha(arrow, table, run)
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
    """What the file says of itself: table, study, runs with their inputs and rows, stage facts."""
    file = paths.shown(path)
    try:
        found = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise RecordsError(f"{file}: found no such file, wanted a table") from None
    except (pa.ArrowInvalid, OSError):
        raise RecordsError(f"{file}: found a truncated or foreign file, wanted Parquet") from None
    if b"grounded" not in found:
        raise RecordsError(f"{file}: found no 'grounded' metadata, wanted a table of this project")
    return dict(json.loads(found[b"grounded"]))


def read(path: Path, table: str, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Read a table, or some of its columns, in canonical order.

    Categories come as pandas categories, columns of true/false/missing as pandas "boolean".
    RecordsError for a truncated file, a missing or unknown column, a wrong type, a duplicate key.
    """
    schema, file = SCHEMAS[table], paths.shown(path)
    metadata(path)  # refuses what is not a table of ours
    try:
        arrow = pq.read_table(path, partitioning=None)
    except (pa.ArrowInvalid, OSError):
        raise RecordsError(f"{file}: found a truncated file, wanted Parquet") from None
    check_names(arrow.column_names, table, file)
    for name in arrow.column_names:
        column = schema.columns[name]
        if arrow.schema.field(name).type != column.type:
            raise misfit(file, name, arrow.schema.field(name).type, column)
    for name in columns or ():
        if name not in schema.columns:
            raise RecordsError(
                f"{file}: found no column {name!r}, wanted one of {', '.join(schema.columns)}"
            )
    frame = to_pandas(arrow, table)
    check_keys(frame, schema, file)
    return frame[list(columns)] if columns else frame


def read_study(
    study: "Study | str",
    table: str,
    columns: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """One table over all units of a study, or of some models and tasks.

    The base model's unit always comes with its model: `tasks=[]` gives the base models alone.
    """
    from grounded.study import BASE, load

    study = load(study) if isinstance(study, str) else study
    names = [run.unit for m in models or study.models for run in study.runs(m, BASE)]
    for model in models or study.models:
        for task in study.tasks if tasks is None else tasks:
            names.append(study.runs(model, task)[0].unit)
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
            frame.get(name, pd.Series([None] * len(frame), dtype=object)) for frame in frames
        ]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            joined[name] = pd.Series(union_categoricals(columns, sort_categories=True))
        else:
            joined[name] = pd.concat(columns, ignore_index=True)
    return pd.DataFrame(joined)


def rows_sha(arrow: pa.Table, table: str, run: str) -> str:
    """The sha256 of one run's rows: of values, not of their encoding in a file.

    `arrow` is as `fit` makes it: sorted rows, sorted categories. An optional column in which the
    run has nothing does not count, whatever other runs have in it.
    """
    import pyarrow.compute as pc

    rows = arrow.filter(pc.equal(arrow["run"].cast(pa.string()), run))
    optional = SCHEMAS[table].optional
    digest = hashlib.sha256()
    for name in rows.column_names:
        values = rows[name].combine_chunks()
        if name in optional and values.null_count == len(values):
            continue
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
    """The categories that are used, and each row's number among them (from 0; null is -1)."""
    import numpy as np

    found, codes = np.unique(indices.to_numpy(zero_copy_only=False), return_inverse=True)
    missing = int(len(found) > 0 and found[0] == -1)
    return [names[i] for i in found[missing:]], (codes - missing).astype(np.int32)


def verify(path: Path, table: str) -> "pd.DataFrame":
    """Read a table and hold each run's rows to the sha that the file records of them.

    RecordsError for whatever `read` refuses, and for rows that were changed since.
    """
    frame, recorded = read(path, table), metadata(path)["runs"]
    arrow = fit(frame, table, paths.shown(path))
    for run, about in recorded.items():
        if rows_sha(arrow, table, run) != about["rows"]:
            raise RecordsError(
                f"{paths.shown(path)}: run: found other rows of {run} than it records, "
                "wanted the same (remove the file to have it made again)"
            )
    return frame
