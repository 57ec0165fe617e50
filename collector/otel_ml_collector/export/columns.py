"""The columns of an export: their names, their types, and which of them one asks for."""

from typing import Final

import pyarrow as pa

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.tables import PAYLOAD, RUNS

_TEXT: Final = pa.string()
_INT: Final = pa.int64()
_FLOAT: Final = pa.float64()
# Behind which column of a run stands what is made of others, or was said of it.
_BEHIND: Final[dict[str, dict[str, pa.DataType]]] = {
    "model": {"version": _INT},
    "digest": {"start_time": pa.timestamp("ns", "UTC"), "start_ns": _INT, "latency_ms": _FLOAT},
    "tags": {
        "scores": pa.map_(_TEXT, _FLOAT),
        "passed": pa.map_(_TEXT, pa.bool_()),
        "failed_judges": pa.list_(_TEXT),
    },
}
_NOT_GIVEN: Final = frozenset(
    {"trace_id", "span_id", "parent_span_id", "start_ns", "latency_ns", "structure", "tag_kv"}
    | {"process", "seq", "arrived_ns", "collector", "rank"}
)


def _short() -> dict[str, pa.DataType]:
    found = dict.fromkeys(("run_id", "trace_id", "parent_run_id", "trace_key"), _TEXT)
    for column in RUNS.columns:
        if column.name not in _NOT_GIVEN:
            found |= {column.name: column.arrow, **_BEHIND.get(column.name, {})}
    return found


# What a list shows of a run, in short; numbers of tokens stand under the names of the filters.
SHORT: Final = _short()
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
