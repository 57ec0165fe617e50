"""Where the traces of one request are: each key and trace once, over all that is told of it."""

from otel_ml_collector.records import TraceKey

# By key, project and trace id.
TraceKeys = dict[tuple[str, str, bytes], TraceKey]


def widen(keys: TraceKeys, key: TraceKey) -> None:
    """Add a key, or widen the times of the one that is there."""
    place = (key.key, key.project, key.trace_id)
    known = keys.get(place)
    keys[place] = key if known is None else known.join(key)
