"""Where the traces of one request are: each key and trace once, over all that is told of it."""

from typing import Final

from otel_ml_collector.records import TraceKey

# Stands for a key of which something is told, whatever traces have it.
NO_TRACE_ID: Final = bytes(16)
# By key, project and trace id.
TraceKeys = dict[tuple[str, str, bytes], TraceKey]


def widen(keys: TraceKeys, key: TraceKey) -> None:
    """Add a key, or widen the times of the one that is there."""
    place = (key.key, key.project, key.trace_id)
    known = keys.get(place)
    keys[place] = key if known is None else known.join(key)
