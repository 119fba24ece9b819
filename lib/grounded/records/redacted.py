"""Tables without a word of text: what of a study of real models may leave the machine."""

import json
from pathlib import Path

import pyarrow as pa

from grounded import fingerprint
from grounded.records.files import rows_shas, sound, store, table_of
from grounded.records.schemas import SCHEMAS


def texts(table: str) -> list[str]:
    """The columns of a table that hold what a model wrote: its plain text columns.

    Names (of runs, benchmarks, judges) are categories, and an adapter's column is a hash already.
    """
    columns = SCHEMAS[table].columns
    return [n for n, c in columns.items() if c.type == pa.string() and n != "adapter"]


def redact(source: Path, target: Path, table: str) -> None:
    """Write a table with the sha256 of each text in its place; everything else is as it was.

    The same text has the same hash, so repetition can be seen and nothing read. The file says
    `redacted`, and still records the sha of the rows with their text: what was made from them is
    current as long as they are; as `redacted` it records the sha of what it holds. RecordsError
    for a file that is no table, or whose rows were changed.
    """
    about, arrow = sound(source, table), table_of(source)
    for name in [] if about.get("redacted") else texts(table):  # else they are hashes already
        said = arrow[name].to_pylist()
        hashed = [None if one is None else fingerprint.text(one) for one in said]
        place = arrow.column_names.index(name)
        arrow = arrow.set_column(place, arrow.schema.field(name), pa.array(hashed, pa.string()))
    shas = rows_shas(arrow, table)
    about["redacted"] = True
    about["runs"] = {run: one | {"redacted": shas[run]} for run, one in about["runs"].items()}
    arrow = arrow.replace_schema_metadata({"grounded": json.dumps(about, sort_keys=True)})
    store(arrow, target)
