"""Spans with IDs and times of the past. The same record gives the same span in every import."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

from otel_ml import attributes as names
from otel_ml.limits import read_limits
from otel_ml.spans import HistoryOrigin, Home, RunSpan, resource_of, run_id_of
from otel_ml.wire import Attributes, Event, weigh

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_NUMBER_BYTES: Final = 3
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Identity:
    """Trace id and span id of an imported run, or of a span that belongs to it."""

    trace_id: int
    span_id: int

    @property
    def context(self) -> SpanContext:
        """The ids as an OpenTelemetry span context."""
        return SpanContext(self.trace_id, self.span_id, False, _SAMPLED)

    @property
    def run_id(self) -> str:
        """The ids as a run id: ``<trace id>-<span id>`` in hex."""
        return run_id_of(self.context)


@dataclass(frozen=True, slots=True)
class Record:
    """One span that an import sends: a run, or data that belong to a run, such as a score.

    Attributes:
        identity: Trace ID and span ID.
        attributes: Attributes of this span only.
        parent_id: Span ID of the parent in the same trace. None if the span has no parent.
        link: IDs of a related span in another trace. None if there is none.
        failed: Whether the span's status is an error.
    """

    name: str
    identity: Identity
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[Event, ...] = ()
    parent_id: int | None = None
    link: Identity | None = None
    failed: bool = False


def trace_id_of(*parts: str) -> int:
    """Return a trace id computed from texts. The same texts give the same id in every import."""
    return _digest(parts, _TRACE_BYTES)


def span_id_of(*parts: str) -> int:
    """Return a span id computed from texts. The same texts give the same id in every import."""
    return _digest(parts, _SPAN_BYTES)


def numbered_span_id(number: int, *parts: str) -> int:
    """Return a span id computed from texts and a number.

    For the same texts, a larger number gives a larger id.
    """
    return _digest(parts, _SPAN_BYTES - _NUMBER_BYTES) << 8 * _NUMBER_BYTES | number


def _digest(parts: Iterable[str], size: int) -> int:
    text = "\0".join(parts).encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(text).digest()[:size], "big") or 1  # 0 is not a valid id


def complete_span(span: RunSpan, record: Record, constants: Mapping[str, Any]) -> None:
    """Write an imported record into an open span, and end the span.

    Args:
        span: The open span.
        record: The data of the span.
        constants: Attributes that many spans share.
    """
    for name, value, at_ns in record.events:
        span.add_event(name, value, timestamp=at_ns)
    if record.link is not None:
        span.add_link(record.link.context)
    if record.failed:
        span.set_status(StatusCode.ERROR)
    span.weight += weigh(record.attributes, record.events)
    span.write(record.attributes, constants)
    span.end(record.end_ns)


class HistorySpans:
    """Creates the spans of an import.

    They have the resource attribute ``otel_ml.import``. With it, the collector accepts spans that
    are older than 400 days.

    Args:
        project: Project of the spans.
        source: Value of the attribute: what is imported, such as ``table``.
    """

    def __init__(self, project: str, source: str) -> None:
        provider = TracerProvider(resource=resource_of(project), shutdown_on_exit=False)
        scope = InstrumentationScope(names.SCOPE_NAME)
        origin = HistoryOrigin(provider, source)
        self._home = Home(origin, lambda: scope, read_limits())

    def make(self, record: Record, constants: Mapping[str, Any]) -> RunSpan:
        """Return an ended span for an imported record.

        Args:
            record: The data of the span.
            constants: Attributes that many spans share. Pass the same object each time, so that it
                is encoded only once.
        """
        ids = record.identity
        parent = None
        if record.parent_id is not None:
            parent = Identity(ids.trace_id, record.parent_id).context
        span = RunSpan(
            self._home,
            record.name,
            ids.trace_id,
            ids.span_id,
            _SAMPLED,
            parent,
            None,
            record.start_ns,
            constants,
        )
        complete_span(span, record, constants)
        return span
