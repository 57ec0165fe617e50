"""One span as OTLP's Span message.

Spec: https://opentelemetry.io/docs/specs/otlp/#binary-protobuf-encoding
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    SpanKind,
    Status,
    StatusCode,
    TraceState,
)

from otel_ml.export.attribute_field import AttributeField
from otel_ml.export.wire_format import (
    MOST_KEPT,
    SHORT_CHARS,
    make_heads,
    wrap,
    write_count_field,
    write_text_field,
)

pack_times: Final = Struct("<BQBQ").pack
_pack_time: Final = Struct("<BQ").pack

# An enum of the SDK's is slow to hash: the kind and the status of most spans are told by identity.
_INTERNAL: Final = SpanKind.INTERNAL
INTERNAL_FIELD: Final = b"\x30\x01"
_KINDS: Final = {
    SpanKind.INTERNAL: INTERNAL_FIELD,
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
_UNSET: Final = StatusCode.UNSET
UNSET_FIELD: Final = b"\x7a\x00"

# 0x100 says that it is known whether the parent is remote, 0x200 that it is.
_LOCAL: Final = b"\x00\x01\x00\x00"
_REMOTE: Final = b"\x00\x03\x00\x00"
LOCAL_PARENT: Final = b"\x85\x01" + _LOCAL
REMOTE_PARENT: Final = b"\x85\x01" + _REMOTE

ATTRIBUTES_TAG: Final = b"\x4a"
_ATTRIBUTES: Final = AttributeField(ATTRIBUTES_TAG)
_EVENT_ATTRIBUTES: Final = AttributeField(b"\x1a")
_LINK_ATTRIBUTES: Final = AttributeField(b"\x22")
_EVENTS: Final = make_heads(b"\x5a")
_LINKS: Final = make_heads(b"\x6a")
_LOST: Final = (b"\x50", b"\x60", b"\x70")
_NONE_LOST: Final = (0, 0, 0)
_STATUSES: Final = make_heads(b"\x7a")

# Of these 4,096 are kept, then it begins again.
_names: Final[dict[str, bytes]] = {}


def encode_span(span: ReadableSpan) -> bytes:
    """Write one span as a Span message, without a tag and a length around it.

    Only public properties are read: spans of any make will do. An attribute that cannot be
    written is left out, a kind that is none of the standard's stays unspecified.

    Args:
        span: A span that has ended; one that has not is written without its end.

    Raises:
        Exception: The span is none: no context, ids that do not fit, a time that is no integer.
    """
    # One long function: on the way of every span a call of our own would be felt.
    context = span.context
    kind = span.kind
    name = span.name
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        context.span_id.to_bytes(8, "big"),
        _names.get(name) or encode_name(name),
        INTERNAL_FIELD if kind is _INTERNAL else _KINDS.get(kind, b""),
        pack_times(0x39, span.start_time or 0, 0x41, span.end_time or 0),
    ]
    parent = span.parent
    if parent:
        remote = REMOTE_PARENT if parent.is_remote else LOCAL_PARENT
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"), remote)
    else:
        parts.append(LOCAL_PARENT)
    state = context.trace_state
    if state is not DEFAULT_TRACE_STATE and state:
        parts.append(_write_state(state))
    _ATTRIBUTES.write(parts, span.attributes)
    status = span.status
    if status is not None:
        code = status.status_code
        message = status.description
        parts.append(UNSET_FIELD if code is _UNSET and not message else _write_status(status))
    events = span.events
    links = span.links
    if events or links:
        parts += _write_lists(events or (), links or ())
    lost = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    if lost != _NONE_LOST:
        parts += map(write_count_field, _LOST, lost)
    return b"".join(parts)


def _write_lists(events: Sequence[Event], links: Sequence[Link]) -> list[bytes]:
    parts: list[bytes] = []
    for event in events:
        parts += _write_event(event)
    for link in links:
        parts += _write_link(link)
    return parts


def encode_name(name: str) -> bytes:
    """Write the field of a name."""
    known = _names.get(name)
    if known is not None:
        return known
    field = write_text_field(b"\x2a", name)
    if type(name) is str and len(name) <= SHORT_CHARS:
        if len(_names) >= MOST_KEPT:
            _names.clear()
        _names[name] = field
    return field


def _write_state(state: TraceState) -> bytes:
    return write_text_field(b"\x1a", ",".join([f"{key}={text}" for key, text in state.items()]))


def _write_status(status: Status) -> bytes:
    message = write_text_field(b"\x12", status.description)
    code = write_count_field(b"\x18", status.status_code.value)
    return b"".join(wrap(_STATUSES, (message, code)))


def _write_event(event: Event) -> list[bytes]:
    parts = [_pack_time(0x09, event.timestamp or 0), write_text_field(b"\x12", event.name)]
    _EVENT_ATTRIBUTES.write(parts, event.attributes)
    parts.append(write_count_field(b"\x20", _dropped(event)))
    return wrap(_EVENTS, parts)


def _write_link(link: Link) -> list[bytes]:
    # The trace state of a link is not written: no official encoder in Python does.
    context = link.context
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        context.span_id.to_bytes(8, "big"),
        b"\x35",
        _REMOTE if context.is_remote else _LOCAL,
    ]
    _LINK_ATTRIBUTES.write(parts, link.attributes)
    parts.append(write_count_field(b"\x28", _dropped(link)))
    return wrap(_LINKS, parts)


def _dropped(item: Event | Link) -> int:
    """Count the attributes that the SDK's limits cost an event or a link."""
    count: int | None = getattr(item, "dropped_attributes", None)  # not in SDK 1.25
    if count is None:
        count = getattr(item.attributes, "dropped", 0)
    return count
