"""The tables: what each column holds, written whole or not at all, read only when they fit.

A table is one Parquet file a unit (a model and a task). The same rows give the same bytes.
"""

from grounded.records.files import (
    join,
    metadata,
    read,
    read_study,
    replacing,
    rows_shas,
    sound,
    verify,
    write,
)
from grounded.records.fitting import RecordsError
from grounded.records.schemas import SCHEMAS, Column, Schema

__all__ = [
    "SCHEMAS", "Column", "RecordsError", "Schema", "join", "metadata", "read", "read_study",
    "replacing", "rows_shas", "sound", "verify", "write",
]  # fmt: skip
