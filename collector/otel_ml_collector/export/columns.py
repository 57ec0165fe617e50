"""The columns of an export: their names, their types, and which of them one asks for."""

from typing import Final

import pyarrow as pa

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.exported import PAYLOAD

_TEXT: Final = pa.string()
_INT: Final = pa.int64()
_FLOAT: Final = pa.float64()
# What a list shows of a run, in short; numbers of tokens stand under the names of the filters.
SHORT: Final[dict[str, pa.DataType]] = {
    "run_id": _TEXT,
    "trace_id": _TEXT,
    "parent_run_id": _TEXT,
    "trace_key": _TEXT,
    "project": _TEXT,
    "kind": _TEXT,
    "name": _TEXT,
    "span_kind": _TEXT,
    "model": _TEXT,
    "version": _INT,
    "digest": _TEXT,
    "start_time": pa.timestamp("ns", "UTC"),
    "start_ns": _INT,
    "latency_ms": _FLOAT,
    "outcome": _TEXT,
    "error_type": _TEXT,
    "error_message": _TEXT,
    "inputs_preview": _TEXT,
    "outputs_preview": _TEXT,
    "tags": pa.map_(_TEXT, _TEXT),
    "scores": pa.map_(_TEXT, _FLOAT),
    "passed": pa.map_(_TEXT, pa.bool_()),
    "failed_judges": pa.list_(_TEXT),
    "session": _TEXT,
    "user": _TEXT,
    "environment": _TEXT,
    "release": _TEXT,
    "provider": _TEXT,
    "provider_model": _TEXT,
    "input_tokens": _INT,
    "output_tokens": _INT,
    "cached_tokens": _INT,
    "reasoning_tokens": _INT,
    "cost": _FLOAT,
    "dialect": _TEXT,
}
# What was told of a run apart from its span, whole; looked up run by run where there is any.
TOLD: Final = ("evaluations", "metrics", "artifacts")
# The payload, as JSON text in Parquet and CSV, as it is in JSON lines.
WHOLE: Final = dict.fromkeys((*PAYLOAD, *TOLD), _TEXT)
TYPES: Final = SHORT | WHOLE
# What a record by trace key or tag, or a late tag, may say anew.
LATE: Final = ("trace_key", "tags", "scores", "passed", "failed_judges")


def choose_columns(text: str) -> list[str]:
    """Read which columns are asked for: names with commas, ``*`` for all, empty for `SHORT`.

    Raises:
        BadQuery: One of them is unknown, or named twice.
    """
    if not text.strip():
        return list(SHORT)
    if text.strip() == "*":
        return list(TYPES)
    names = [name.strip() for name in text.split(",")]
    for place, name in enumerate(names):
        if name not in TYPES:
            raise BadQuery(
                f"Unknown column {name[:80]!r}: expected * or some of {', '.join(TYPES)}",
                "columns",
            )
        if name in names[:place]:
            raise BadQuery(f"The column {name!r} is named twice", "columns")
    return names
