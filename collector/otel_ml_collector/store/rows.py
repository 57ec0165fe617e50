"""Rows of the store: what they say of themselves, and which of several deliveries wins."""

from collections.abc import Iterable
from typing import Any

import orjson

from otel_ml_collector.store.reader import Row

JsonValue = Any  # a payload: whatever the traced code was given or gave


def run_id_of(row: Row) -> str:
    """Return the run id of a light row."""
    return f"{row['trace_id']}-{row['span_id']}"


def is_open(row: Row) -> bool:
    """Tell the light row of a run without an end."""
    return row["latency_ns"] is None


def told_ns(row: Row) -> int:
    """Return when a run's own span said its tags: at its end, or its start while it is open."""
    return int(row["start_ns"] + (row["latency_ns"] or 0))


def winners(rows: Iterable[Row]) -> list[Row]:
    """Keep of each run the delivery with the highest rank, in the order of the rows."""
    best: dict[str, Row] = {}
    for row in rows:
        run_id = run_id_of(row)
        known = best.get(run_id)
        if known is None or row["rank"] > known["rank"]:
            best[run_id] = row
    return list(best.values())


def load_json(text: str, default: object = None) -> Any:
    """Read a column that holds JSON text; empty means that there is none."""
    return orjson.loads(text) if text else default
