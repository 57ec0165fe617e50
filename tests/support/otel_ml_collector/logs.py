"""Small builders of log records, independent of the wire format."""

from collections.abc import Mapping
from typing import Any

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.records import Records
from otel_ml_collector.span import Log, Span, Value
from tests.support.otel_ml_collector.spans import NOW_NS, SCOPE
from tests.support.otel_ml_collector.stores import Store


def make_log(
    body: Value = None,
    attributes: Mapping[str, Value] | None = None,
    *,
    of: Span | None = None,
    **fields: Any,
) -> Log:
    """Make a log record at `NOW_NS`, written while a span was current."""
    log: dict[str, Any] = {
        "trace_id": of.trace_id if of else b"",
        "span_id": of.span_id if of else b"",
        "time_ns": NOW_NS,
        "observed_ns": NOW_NS,
        "severity_number": 9,
        "severity_text": "INFO",
        "event": "",
        "body": body,
        "attributes": attributes or {},
        "scope": SCOPE,
        **fields,
    }
    return Log(**log)


def map_all(*logs: Log, project: str | None = None) -> Records:
    """Map log records at the time of the tests' clock."""
    return map_logs(logs, Filing(project, NOW_NS))


def take(store: Store, project: str, *logs: Log) -> None:
    """Store log records as one group and resolve them."""
    records = map_all(*logs, project=project)
    store.writer.write(records)
    store.watch.note(records, store.writer.stamped_ns or 0)
    store.watch.run_pass()
