"""Sends the spans of an application to a RecordService, converted as the collector does it.

Needs only the extra ``records``; loads neither the store nor the web server.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.forward.record_client import Messages, RecordClient, put_until, requests_of
from otel_ml_collector.log import OnceAMinute
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.settings.targets import RecordTarget, read_record_target
from otel_ml_collector.span import Event, Link, Scope, Span, Value

__all__ = ["RecordExporter"]

_NO_FIELDS: Final[Mapping[str, Value]] = {}
# Bits of OTLP's flags: whether it is known that a context is remote, and whether it is.
_KNOWN_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200

_logger = logging.getLogger(__name__)


class RecordExporter(SpanExporter):
    """A span exporter that converts spans to records and sends them to a RecordService.

    Use it with a `BatchSpanProcessor`; it accepts spans of any instrumentation. `export` returns
    when the service has acknowledged the records or the time is over. It never raises into your
    application.

    Args:
        target: Address of the service: ``grpc://host:port``, or ``grpcs://host:port`` for TLS.
        api_key: Key to send as a bearer token.
        project: Project for spans that name none.
        timeout_s: Seconds that an export may take, including retries.
        ca: PEM file with certificates to trust instead of the system's.
        prices: Prices of model calls. None: only costs that spans state are recorded.

    Raises:
        ValueError: The address is invalid, or the certificates cannot be read.
    """

    def __init__(
        self,
        target: str,
        *,
        api_key: str = "",
        project: str | None = None,
        timeout_s: float = 10.0,
        ca: Path | None = None,
        prices: Prices | None = None,
    ) -> None:
        read = read_record_target(target)
        chosen = RecordTarget(read.address, read.is_secure, api_key or read.key, ca or read.ca)
        self._client = RecordClient(chosen)
        self._project = project
        self._prices = prices
        self._timeout_s = timeout_s
        self._stopped = threading.Event()
        self._once = OnceAMinute()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the records of some spans.

        Returns:
            SUCCESS if the service has acknowledged all records. FAILURE otherwise, also if some can
            never be sent.
        """
        if self._stopped.is_set():
            return SpanExportResult.FAILURE
        deadline = time.monotonic() + self._timeout_s
        try:
            lost = self._send(spans, deadline)
        except Unavailable as error:
            self._warn(f"{len(spans)} spans were not sent: {error}")
            return SpanExportResult.FAILURE
        except Exception as error:  # noqa: BLE001 - never disturb the host program
            self._warn(f"{len(spans)} spans were not sent: {type(error).__name__}: {error}")
            return SpanExportResult.FAILURE
        if lost:
            self._warn(f"{lost} spans or records of them can never be sent")
        return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return immediately, because nothing is buffered here."""
        return not self._stopped.is_set()

    def shutdown(self) -> None:
        """Stop retries and close the connection. A second call is harmless."""
        self._stopped.set()
        self._client.close()

    def _send(self, spans: Sequence[ReadableSpan], deadline: float) -> int:
        """Send the records of spans. Return how many spans or records can never be sent."""
        records = self._map(spans)
        messages = Messages()
        lost = records.rejected.total()
        for request in requests_of(messages.of(records)):
            lost += put_until(self._client, request, deadline=deadline, stopped=self._stopped)
        return lost + messages.unfit

    def _map(self, spans: Sequence[ReadableSpan]) -> Records:
        """Convert spans to records. A span that cannot be converted does not affect the others."""
        filing = Filing(self._project, time.time_ns(), prices=self._prices)
        scopes = _Scopes()
        try:
            return map_spans([_span(span, scopes) for span in spans], filing)
        except Exception:  # noqa: BLE001 - spans can contain any value
            if len(spans) == 1:
                return _reject()
        records = Records()
        for span in spans:
            records.extend(self._map([span]))
        return records

    def _warn(self, message: str) -> None:
        if self._once.is_due("export"):
            _logger.warning("%s", message)


class _Scopes:
    """Creates one scope per library, so that its text is only written once."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], Scope] = {}

    def of(self, span: ReadableSpan) -> Scope:
        key = id(span.resource), id(span.instrumentation_scope)
        if key not in self._found:
            scope = span.instrumentation_scope
            self._found[key] = Scope(
                _attributes(span.resource.attributes),
                scope.name if scope else "",
                (scope.version or "") if scope else "",
                _attributes(getattr(scope, "attributes", None)),
                (scope.schema_url or "") if scope else "",
                resource_schema_url=span.resource.schema_url or "",
            )
        return self._found[key]


def _reject() -> Records:
    records = Records()
    records.rejected["not_mapped"] += 1
    return records


def _span(span: ReadableSpan, scopes: _Scopes) -> Span:
    """Convert a span of the SDK to the form in which the collector decodes spans."""
    context = span.get_span_context()
    trace_id, span_id = _ids(context) if context else (b"", b"")
    return Span(
        trace_id,
        span_id,
        span.parent.span_id.to_bytes(8, "big") if span.parent else b"",
        span.name,
        span.kind.value + 1,
        span.start_time or 0,
        span.end_time or 0,
        span.status.status_code.value,
        span.status.description or "",
        _attributes(span.attributes),
        [
            Event(event.name, event.timestamp, _attributes(event.attributes), _dropped(event))
            for event in span.events
        ],
        [
            Link(
                *_ids(link.context),
                _attributes(link.attributes),
                flags=_flags(link.context),
                dropped_attributes=_dropped(link),
            )
            for link in span.links
        ],
        scopes.of(span),
        _otlp(span, context),
    )


def _otlp(span: ReadableSpan, context: SpanContext | None) -> dict[str, Value]:
    facts: dict[str, Value] = {
        "trace_state": context.trace_state.to_header() if context else "",
        "flags": _flags(span.parent),
        "dropped_attributes_count": span.dropped_attributes,
        "dropped_events_count": span.dropped_events,
        "dropped_links_count": span.dropped_links,
    }
    return {name: value for name, value in facts.items() if value}


def _flags(context: SpanContext | None) -> int:
    """Return OTLP's flags of a context: whether it is remote."""
    return _KNOWN_REMOTE | (_IS_REMOTE if context is not None and context.is_remote else 0)


def _dropped(value: object) -> int:
    count: int | None = getattr(value, "dropped_attributes", None)  # not in SDK 1.25
    return count or 0


def _ids(context: SpanContext) -> tuple[bytes, bytes]:
    return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


def _attributes(attributes: Mapping[str, Any] | None) -> Mapping[str, Value]:
    if not attributes:
        return _NO_FIELDS
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Any) -> Value:
    """Convert a value as if it had been sent: texts to valid Unicode, sequences to lists."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _value(item) for name, item in value.items()}
    content: Value = value
    return content
