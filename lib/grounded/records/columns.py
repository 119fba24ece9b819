"""Some columns of a table, for counting: tens of millions of rows in a few bytes each.

`records.read` gives every column as it is. Here pyarrow decodes only the columns asked for, text
stays a category, and a flag is one byte. What is refused is the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from grounded import paths
from grounded.records.files import metadata, readable, sound
from grounded.records.fitting import check_keys, check_types, completed
from grounded.records.schemas import SCHEMAS

MISSING = -1  # a flag that is neither true (1) nor false (0)


def read(
    file: Path, table: str, columns: Sequence[str], only: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Some columns of a table, in canonical order: text as categories, flags as 1, 0, -1 (int8).

    only: for some categories the values whose rows are kept. RecordsError for a truncated file, a
    missing or unknown column, a wrong type, a duplicate key among the rows kept.
    """
    schema, shown, only = SCHEMAS[table], paths.shown(file), only or {}
    metadata(file)  # refuses what is not a table of ours
    whole = pq.ParquetFile(file)  # a third of the time of `read_table`, which reads in batches
    check_types(whole.schema_arrow, table, shown)
    wanted = list(dict.fromkeys([*schema.key, *only, *columns]))
    with readable(file):
        arrow = whole.read([name for name in wanted if name in whole.schema_arrow.names])
    arrow = completed(arrow.unify_dictionaries(), table, wanted)
    if only:
        arrow = _kept(arrow, only)
    for at, name in enumerate(wanted):
        if pa.types.is_boolean(arrow.schema.field(name).type):
            flags = arrow[name].cast(pa.int8()).fill_null(MISSING)
            arrow = arrow.set_column(at, name, flags)
    frame: pd.DataFrame = arrow.to_pandas()
    check_keys(frame, schema, shown)
    sound(file, table)
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
