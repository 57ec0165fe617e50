"""Records of runs that were recorded elsewhere: with times and ids of their own.

Ids are derived from what is imported, so that what is sent again is stored once.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from otel_ml import attributes as names
from otel_ml.client import Client
from otel_ml.export.delivery import Delivery, join
from otel_ml.recorder import Recorder
from otel_ml.spans import RunSpan, run_id_of
from otel_ml.wire import Attributes, Event, weigh

# What is on its way at once: a joined provider's queue holds 2,048.
_AT_ONCE: Final = 256
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_NUMBER_BYTES: Final = 3
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of an import; true when all of it is stored.

    Attributes:
        source_id: What was imported, as the other system names it.
        run_id: Our run, as the API names it.
        records: How many records were sent.
        delivery: What became of them. After one that is not true the same import, called again,
            completes what is there.
    """

    source_id: str
    run_id: str
    records: int
    delivery: Delivery

    def __bool__(self) -> bool:
        return bool(self.delivery)


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of a run or of a record about one."""

    trace_id: int
    span_id: int

    @property
    def context(self) -> SpanContext:
        """The ids as OpenTelemetry has them."""
        return SpanContext(self.trace_id, self.span_id, False, _SAMPLED)

    @property
    def run_id(self) -> str:
        """The ids of a run as the API has them."""
        return run_id_of(self.context)


@dataclass(frozen=True, slots=True)
class Record:
    """One span to send.

    Attributes:
        identity: Its ids.
        parent_id: The span above it in its trace; None for a root.
        link: What it points to without being below it.
        failed: Whether its status is an error.
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
    """Derive the id of a trace."""
    return _digest(parts, _TRACE_BYTES)


def span_id_of(*parts: str) -> int:
    """Derive the id of a span."""
    return _digest(parts, _SPAN_BYTES)


def numbered_span_id(number: int, *parts: str) -> int:
    """Derive the id of a record of a series: a later one of the same parts is greater."""
    return _digest(parts, _SPAN_BYTES - _NUMBER_BYTES) << 8 * _NUMBER_BYTES | number


def _digest(parts: Iterable[str], size: int) -> int:
    text = "\0".join(parts).encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(text).digest()[:size], "big") or 1  # 0 is no id


def send(client: Client, records: Iterable[Record], timeout_s: float) -> tuple[int, Delivery]:
    """Send records, a bounded number of them at once; stops at what is not delivered.

    Args:
        client: Where they go.
        records: In the order in which they are stored; what shows the whole comes last.
        timeout_s: For the delivery of one part.

    Returns:
        How many were sent, and what became of them.

    Raises:
        ValueError: The client's spans are made by a provider that gives them ids of its own.
    """
    recorder = client._recorder.in_force
    if not recorder.enabled:
        return 0, Delivery(reason="nothing is recorded: OTEL_SDK_DISABLED")
    # No process and no number: what is sent again shall be the same, and fills no gap.
    ours = {names.PROJECT: recorder.project}
    sent, total = 0, Delivery()
    recorder.flush(timeout_s)  # what was told before is not ours to tell
    for part in _parts(records):
        for record in part:
            _put(recorder, record, ours)
        sent += len(part)
        total = join(total, recorder.flush(timeout_s))
        if not total:
            break
    return sent, total


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while part := list(islice(rest, _AT_ONCE)):
        yield part


def _put(recorder: Recorder, record: Record, ours: Attributes) -> None:
    start = recorder.start or recorder.open()
    context, identity = Context(), record.identity
    if record.parent_id is not None:
        above = Identity(identity.trace_id, record.parent_id)
        context = trace.set_span_in_context(NonRecordingSpan(above.context), context)
    span: Any = start(record.name, context, record.start_ns, ours, True)
    span.trace_id, span.span_id = _checked(span, identity)
    for name, told, at_ns in record.events:
        span.add_event(name, told, timestamp=at_ns)
    if record.link is not None:
        span.add_link(record.link.context)
    if record.failed:
        span.set_status(StatusCode.ERROR)
    span.weight += weigh(record.attributes, record.events)
    span.write(record.attributes, ours)
    span.end(record.end_ns)


def _checked(span: trace.Span, identity: Identity) -> tuple[int, int]:
    """Return the ids for a span that takes them: one of ours that nobody has looked at yet."""
    if type(span) is not RunSpan or span._made_context is not None:
        raise ValueError(
            f"Invalid client: expected Client(join=False), spans of {type(span).__name__} under "
            "a provider of the service's cannot be given ids"
        )
    return identity.trace_id, identity.span_id
