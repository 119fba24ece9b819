"""Columns of a table as numbers, for counting: tens of millions of rows in a few bytes each.

`records.read` gives every column as it is. Here pyarrow decodes only the columns asked for, text
stays a category and its code, and a count is one `bincount`. What is refused is the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from grounded import paths, records
from grounded.records.fitting import RecordsError, check_keys, check_types
from grounded.records.schemas import SCHEMAS

Codes = npt.NDArray[np.int64]
MISSING = -1  # a flag that is neither true (1) nor false (0)
LARGEST = 2**62  # of the numbers that name combinations
DENSE = 2**22  # so many combinations are counted in one array, more are sorted


def read(
    file: Path, table: str, columns: Sequence[str], only: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Some columns of a table, in canonical order: text as categories, flags as 1, 0, -1 (int8).

    only: for some categories the values whose rows are kept. RecordsError for a truncated file, a
    missing or unknown column, a wrong type, a duplicate key among the rows kept.
    """
    schema, shown, only = SCHEMAS[table], paths.shown(file), only or {}
    records.metadata(file)  # refuses what is not a table of ours
    whole = pq.ParquetFile(file)  # a third of the time of `read_table`, which reads in batches
    found = whole.schema_arrow
    check_types(found, table, shown)
    wanted = list(dict.fromkeys([*schema.key, *only, *columns]))
    stored = [name for name in wanted if name in found.names]
    try:
        arrow = whole.read(stored).unify_dictionaries()
    except (pa.ArrowInvalid, OSError):
        raise RecordsError(f"{shown}: found a truncated file, wanted Parquet") from None
    for name in wanted:
        if name not in stored:
            arrow = arrow.append_column(name, pa.nulls(len(arrow), schema.columns[name].type))
    arrow = arrow.select(wanted)
    if only:
        arrow = _kept(arrow, only)
    for at, name in enumerate(wanted):
        if pa.types.is_boolean(arrow.schema.field(name).type):
            flags = arrow[name].cast(pa.int8()).fill_null(MISSING)
            arrow = arrow.set_column(at, name, flags)
    frame: pd.DataFrame = arrow.to_pandas()
    key = number(frame, schema.key)
    if not (key[1:] > key[:-1]).all():  # in order they are unique, which is quick to see
        check_keys(frame, schema, shown)
    records.sound(file, table)
    return frame[list(columns)]


def _kept(arrow: pa.Table, only: Mapping[str, Sequence[str]]) -> pa.Table:
    """The rows whose categories are among the values."""
    kept = np.ones(len(arrow), dtype=bool)
    for name, values in only.items():
        column = arrow[name].combine_chunks()
        wanted = np.isin(column.dictionary.to_pylist(), list(values))
        if len(column) and not wanted.all():
            kept &= wanted[column.indices.to_numpy()]
    return arrow if kept.all() else arrow.filter(pa.array(kept))


def number(frame: pd.DataFrame, by: Sequence[str]) -> Codes:
    """A number for each combination of `by`: alike for rows that are alike, in their order."""
    return _number(frame, by)[0]


def _number(frame: pd.DataFrame, by: Sequence[str]) -> tuple[Codes, int]:
    found, size = np.zeros(len(frame), dtype=np.int64), 1
    for name in by:
        codes, levels = _codes(frame[name])
        if size > LARGEST // levels:
            known, found = np.unique(found, return_inverse=True)
            size = len(known)
        found *= levels
        found += codes
        size *= levels
    return found, size


def _codes(values: "pd.Series[object]") -> tuple[npt.NDArray[np.integer], int]:
    """A column's values numbered in their order, what is missing last; and how many there are."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, levels = values.cat.codes.to_numpy(), len(values.cat.categories)
    elif isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu" and len(values):
        least, most = int(values.min()), int(values.max())
        codes, levels = values.to_numpy(), most - least + 1
        return (codes - np.int64(least) if least else codes), levels
    else:
        codes, uniques = pd.factorize(values, sort=True)
        levels = len(uniques)
    if len(codes) and codes.min() < 0:
        codes = np.where(codes < 0, np.int64(levels), codes)
    return codes, levels + 1


def count(frame: pd.DataFrame, by: Sequence[str], **sums: npt.ArrayLike) -> pd.DataFrame:
    """The combinations of `by` that occur, in their order, each with its total of each of `sums`.

    sums: whole numbers or flags, one a row of the frame.
    """
    key, size = _number(frame, by)
    if size > DENSE:
        key = np.unique(key, return_inverse=True)[1]
        size = int(key.max()) + 1 if len(key) else 0
    first = np.full(size, -1)
    first[key[::-1]] = np.arange(len(key))[::-1]
    occurs = first >= 0
    found = frame[list(by)].iloc[first[occurs]].reset_index(drop=True)
    totals = {
        name: np.bincount(key, np.asarray(each, dtype=float), size)[occurs].astype(np.int64)
        for name, each in sums.items()
    }
    return found.assign(**totals)


def by(frame: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """The rows of each category that occurs; not copied where they stand together, as in a table.

    name: a column of categories.
    """
    codes = frame[name].cat.codes.to_numpy()
    if not (codes[1:] >= codes[:-1]).all():
        return {str(one): part for one, part in frame.groupby(name, observed=True)}
    categories = frame[name].cat.categories
    edges = np.searchsorted(codes, np.arange(len(categories) + 1))
    return {
        str(one): frame.iloc[first:last]
        for one, first, last in zip(categories, edges, edges[1:], strict=False)
        if last > first
    }


def find(rows: pd.DataFrame, among: pd.DataFrame, on: Sequence[str]) -> Codes:
    """For each of `rows` the place among the others of the one that is alike in `on`, or -1.

    Those others are each there once.
    """
    if alike(rows, among, on):
        return np.arange(len(rows))
    joined = records.join([among[list(on)], rows[list(on)]])
    key = number(joined, on)
    found: Codes = pd.Index(key[: len(among)]).get_indexer(key[len(among) :])
    return found


def alike(one: pd.DataFrame, two: pd.DataFrame, on: Sequence[str]) -> bool:
    """Whether two frames are the same in these columns, row by row; quick to see, so seen first."""
    return len(one) == len(two) and all(_same(one[name], two[name]) for name in on)


def _same(one: "pd.Series[object]", two: "pd.Series[object]") -> bool:
    categories = [isinstance(each.dtype, pd.CategoricalDtype) for each in (one, two)]
    if not any(categories):
        return bool((one.to_numpy() == two.to_numpy()).all())
    return (
        all(categories)
        and one.cat.categories.equals(two.cat.categories)
        and bool((one.cat.codes.to_numpy() == two.cat.codes.to_numpy()).all())
    )


def values(flags: "pd.Series[int]") -> npt.NDArray[np.float64]:
    """Flags as numbers: 1, 0, or nan where one is missing."""
    given = flags.to_numpy(dtype=float)
    return np.where(given == MISSING, np.nan, given)


def booleans(flags: "pd.Series[int]") -> "pd.Series[bool]":
    """Flags as true and false; of pandas' type "boolean" where one is missing."""
    lost = flags == MISSING
    return flags.astype("boolean").mask(lost) if lost.any() else flags == 1


def same(name: str, rows: pd.DataFrame) -> pd.Categorical:
    """One category for all rows."""
    return pd.Categorical.from_codes(np.zeros(len(rows), dtype=np.int8), [name])
