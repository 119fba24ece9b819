"""What each table holds: its columns, their types, and the key that names a row."""

from dataclasses import dataclass

import pyarrow as pa

# A sampled reply stands under the id of its prompt and STRIDE times the number of its seed in the
# study, from 0: more prompts than a benchmark has; 2,147 seeds fit into the 32 bits of an id.
STRIDE = 1_000_000


@dataclass(frozen=True)
class Column:
    """One column: its type, whether it may be null, and how many decimals are kept.

    optional: a column that is wholly null is not stored, and counts in no sha, so that tables from
    before there was such a column stay what they are. Who reads a table without it finds nulls.
    """

    type: pa.DataType
    nullable: bool = False
    decimals: int | None = None
    optional: bool = False

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types that it may have: numbers of 16 bits are stored in 32 where they need them."""
        return (self.type, pa.int32()) if self.type == pa.int16() else (self.type,)


@dataclass(frozen=True)
class Schema:
    """The columns of a table in their order, and those that name a row (and sort the rows)."""

    columns: dict[str, Column]
    key: tuple[str, ...]


_CATEGORY = Column(pa.dictionary(pa.int32(), pa.string()))
_TEXT, _FLAG = Column(pa.string()), Column(pa.bool_())
_SMALL, _INT = Column(pa.int16()), Column(pa.int32())
_MAYBE_FLAG = Column(pa.bool_(), nullable=True)
_MAYBE_FLOAT = Column(pa.float32(), nullable=True)
_OPTIONAL_CATEGORY = Column(_CATEGORY.type, nullable=True, optional=True)
_ASKED = {"benchmark": _CATEGORY, "prompt": _SMALL, "run": _CATEGORY, "step": _INT}

SCHEMAS: dict[str, Schema] = {
    "runs": Schema(
        {
            "run": _CATEGORY, "model": _CATEGORY, "task": _CATEGORY, "method": _CATEGORY,
            "setting": _CATEGORY, "rank": _SMALL, "alpha": Column(pa.float32()),
            "learning_rate": Column(pa.float64()), "seed": _SMALL,
            "knob": Column(pa.float64(), nullable=True), "arm": _OPTIONAL_CATEGORY,
        },
        key=("run",),
    ),
    "checkpoints": Schema(
        {
            "run": _CATEGORY, "step": _INT, "epoch": Column(pa.float32()), "loss": _MAYBE_FLOAT,
            "update_norm": Column(pa.float32()), "adapter": _TEXT,
        },
        key=("run", "step"),
    ),
    "capability": Schema(
        {
            "task": _CATEGORY, "item": _SMALL, "run": _CATEGORY, "step": _INT, "answer": _TEXT,
            "correct": _FLAG, "correct_format_free": _FLAG,
            "likelihood": Column(pa.float32(), nullable=True, decimals=4, optional=True),
        },
        key=("task", "item", "run", "step"),
    ),
    "progress": Schema(  # capability on the way, on the selecting items: how many are right
        {
            "task": _CATEGORY, "run": _CATEGORY, "step": _INT, "items": _SMALL, "strict": _SMALL,
            "format_free": _SMALL,
        },
        key=("task", "run", "step"),
    ),
    "replies": Schema(
        {
            **_ASKED, "text": _TEXT, "finish": _CATEGORY, "tokens": _SMALL,
            "truth": Column(_CATEGORY.type, nullable=True),
            "truth_harm": _MAYBE_FLAG, "truth_fulfilled": _MAYBE_FLAG,
            "kind": _OPTIONAL_CATEGORY,
        },
        key=tuple(_ASKED),
    ),
    "verdicts": Schema(
        {
            "judge": _CATEGORY, **_ASKED,
            "probability": Column(pa.float32(), nullable=True, decimals=3), "label": _MAYBE_FLAG,
            "mass": Column(pa.float32(), nullable=True, decimals=2), "parsed": _FLAG,
            "neutralised": _FLAG,
        },
        key=("judge", *_ASKED),
    ),
    "coherence": Schema(
        {
            "detector": _CATEGORY, **_ASKED,
            "score": Column(pa.float32(), nullable=True, decimals=2), "label": _FLAG,
        },
        key=("detector", *_ASKED),
    ),
}  # fmt: skip
