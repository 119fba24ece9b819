"""Two folders of one study: what was made again, is it the same, or how far off?

A table made on another machine or with other versions may differ in its last decimals; what a
reader must know is how many rows do, and how far that moves the rate of a run.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from grounded import records
from grounded.errors import GroundedError

COUNTED_BY = ("judge", "detector")  # a rate is of one run and step, and of one of these


@dataclass
class Report:
    """What a comparison found. `same` counts files equal byte for byte."""

    same: int = 0
    missing: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report, a line each."""
        total = self.same + len(self.missing) + len(self.different)
        return [
            f"{self.same} of {total} files are the same, byte for byte",
            *(f"  {line}" for line in self.different),
            *(f"  {name}: not made again" for name in self.missing),
            *(f"  {name}: made, and not committed" for name in self.new),
        ]


def folders(committed: Path, again: Path) -> Report:
    """Compare the models, judges and tables of a study with those made again.

    Of a table that lies there without its texts, too, that form alone is compared.
    """
    report = Report()
    ours, theirs = _files(committed), _files(again)
    for files in (ours, theirs):
        for name in [n for n in files if f"redacted/{n}" in files]:
            del files[name]
    report.missing = sorted(ours.keys() - theirs.keys())
    report.new = sorted(theirs.keys() - ours.keys())
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name].read_bytes() == theirs[name].read_bytes():
            report.same += 1
        else:
            report.different.append(f"{name}: {_difference(ours[name], theirs[name])}")
    return report


def tables(table: str, one: pd.DataFrame, other: pd.DataFrame) -> str:
    """How two tables of one schema differ: in rows, in rates and in numbers."""
    schema = records.SCHEMAS[table]
    key = list(schema.key)
    values = [column for column in schema.columns if column not in key]
    for frame in (one, other):
        for column in key:  # categories of different files do not compare
            if isinstance(frame[column].dtype, pd.CategoricalDtype):
                frame[column] = frame[column].astype(str)
    both = one.merge(other, on=key, how="outer", suffixes=("", " again"), indicator=True)
    shared = both["_merge"] == "both"
    unlike = ~shared
    found = []
    for column in values:
        first, second = both[column].astype(object), both[f"{column} again"].astype(object)
        differs = shared & ~((first == second) | (first.isna() & second.isna()))
        unlike |= differs
        if differs.any() and pd.api.types.is_float_dtype(one[column]):
            gap = np.nanmax(np.abs((first - second)[differs].astype(float)))
            found.append(f"{column} by at most {gap:.3g}")
    by = [column for column in (*COUNTED_BY, "run", "step") if column in key]
    for column in values:
        if pa.types.is_boolean(schema.columns[column].type):
            rates = [
                f.groupby(by)[column].apply(lambda s: s.astype(float).mean()) for f in (one, other)
            ]
            gap = (rates[0] - rates[1]).abs().max()
            if gap > 0:
                found.append(f"the rate of {column} by at most {gap:.3g} in a {' and '.join(by)}")
    rows = f"{int(unlike.sum()):,} of {len(both):,} rows differ"
    return "; ".join([rows, *found]) if unlike.any() else "the same rows, from other inputs"


def _files(folder: Path) -> dict[str, Path]:
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): p for p in found}


def _difference(one: Path, other: Path) -> str:
    try:
        if one.suffix == ".parquet":
            table = one.parent.name
            return tables(table, records.read(one, table), records.read(other, table))
        if one.suffix == ".safetensors":
            return _weights(one, other)
    except GroundedError as error:
        return str(error)
    return "other content"


def _weights(one: Path, other: Path) -> str:
    from safetensors.numpy import load_file

    first, second = load_file(one), load_file(other)
    shapes = [{name: array.shape for name, array in w.items()} for w in (first, second)]
    if shapes[0] != shapes[1]:
        return "other tensors"
    gap = max(float(np.abs(first[n].astype(float) - second[n].astype(float)).max()) for n in first)
    return f"weights differ by at most {gap:.3g}"
