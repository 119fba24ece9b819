"""A frame made to fit its schema, or refused in one line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from grounded.errors import GroundedError
from grounded.records.schemas import SCHEMAS, Column, Schema

if TYPE_CHECKING:
    import pandas as pd


class RecordsError(GroundedError):
    """A table, or a frame on its way into one, that does not fit its schema."""


def fit(frame: "pd.DataFrame", table: str, file: str) -> pa.Table:
    """The frame as the schema wants it: types checked, values rounded, rows sorted."""
    schema = SCHEMAS[table]
    check_names(list(frame.columns), table, file)
    kept = {
        name: column
        for name, column in schema.columns.items()
        if not column.optional or (name in frame and frame[name].notna().any())
    }
    arrays = [_array(frame[name], name, column, file) for name, column in kept.items()]
    fields = [
        pa.field(name, array.type, nullable=column.nullable)
        for (name, column), array in zip(kept.items(), arrays, strict=True)
    ]
    plain = pa.table(arrays, schema=pa.schema(fields))
    keys = to_pandas(plain, table)[list(schema.key)]
    check_keys(keys, schema, file)
    order = keys.sort_values(list(schema.key), kind="stable").index.to_numpy()
    return plain.take(pa.array(order)).combine_chunks()


def _array(series: "pd.Series[Any]", name: str, column: Column, file: str) -> pa.Array:
    import numpy as np
    import pandas as pd

    kinds = pd.api.types
    found = kinds.infer_dtype(series, skipna=True)
    if isinstance(series.dtype, pd.CategoricalDtype):
        found = kinds.infer_dtype(series.cat.categories)
    text = pa.types.is_dictionary(column.type) or pa.types.is_string(column.type)
    if text:
        fits = found in ("string", "empty")
    elif pa.types.is_boolean(column.type):
        fits = found in ("boolean", "empty")
    elif pa.types.is_integer(column.type):
        fits = found == "integer"
    else:
        fits = found in ("floating", "integer", "mixed-integer-float", "empty")
    if len(series) and not fits:
        raise misfit(file, name, found if found != "floating" else str(series.dtype), column)
    if not column.nullable and series.isna().any():
        raise RecordsError(f"{file}: {name}: found a null, wanted a value in every row")
    if text:
        if pa.types.is_string(column.type):
            return pa.array(series.astype(object), type=pa.string(), from_pandas=True)
        values = pd.Categorical(series.astype(object).where(series.notna(), None))
        codes = pa.array(values.codes, type=pa.int32(), mask=values.codes == -1)
        names = pa.array(list(values.categories), type=pa.string())
        return pa.DictionaryArray.from_arrays(codes, names)
    if column.decimals is not None:
        rounded = np.round(series.astype("float64").to_numpy(), column.decimals) + 0.0  # no -0.0
        series = pd.Series(rounded)
    for kind in column.types:
        try:
            return pa.array(series, type=kind, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    raise misfit(file, name, f"values outside {column.types[-1]}", column)


def to_pandas(arrow: pa.Table, table: str) -> "pd.DataFrame":
    """The table as a frame, an optional column that it lacks as nulls.

    Columns of true, false and missing become pandas "boolean".
    """
    columns = SCHEMAS[table].columns
    frame: pd.DataFrame = completed(arrow, table, list(columns)).to_pandas()
    for name, column in columns.items():
        if column.nullable and pa.types.is_boolean(column.type):
            frame[name] = frame[name].astype("boolean")
    return frame


def completed(arrow: pa.Table, table: str, names: Sequence[str]) -> pa.Table:
    """These columns of a table, an optional one that it lacks as nulls."""
    for name in names:
        if name not in arrow.column_names:
            nulls = pa.nulls(len(arrow), SCHEMAS[table].columns[name].type)
            arrow = arrow.append_column(name, nulls)
    return arrow.select(names)


def check_names(found: Sequence[str], table: str, file: str) -> None:
    """RecordsError unless the columns are those of the table, each once; optional ones may lack."""
    wanted = SCHEMAS[table].columns
    for name, column in wanted.items():
        if name not in found and not column.optional:
            raise RecordsError(f"{file}: found no column {name!r}, wanted it in table {table}")
    for name in found:
        if name not in wanted or list(found).count(name) > 1:
            raise RecordsError(f"{file}: found column {name!r}, wanted only {', '.join(wanted)}")


def check_types(found: pa.Schema, table: str, file: str) -> None:
    """RecordsError unless the columns are those of the table, each of a type that it may have."""
    check_names(found.names, table, file)
    for name in found.names:
        if found.field(name).type not in SCHEMAS[table].columns[name].types:
            raise misfit(file, name, found.field(name).type, SCHEMAS[table].columns[name])


def check_keys(frame: "pd.DataFrame", schema: Schema, file: str) -> None:
    """RecordsError where two rows have the same key."""
    repeated = frame.duplicated(list(schema.key))
    if repeated.any():
        row = frame.loc[repeated, list(schema.key)].iloc[0]
        key = ", ".join(f"{name}={value}" for name, value in row.items())
        raise RecordsError(f"{file}: found the key {key} twice, wanted it once")


def misfit(file: str, name: str, found: object, column: Column) -> RecordsError:
    """The error for a column of the wrong type."""
    wanted = "category" if pa.types.is_dictionary(column.type) else str(column.type)
    return RecordsError(f"{file}: {name}: found {found}, wanted {wanted}")
