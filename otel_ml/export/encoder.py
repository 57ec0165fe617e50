"""Encodes spans as an OTLP export request without protobuf objects, which would be the main cost.

The bytes equal those of the official encoder, field by field. Where the official encoder fails,
this one continues. An integer above 64 bits becomes decimal text, a lone surrogate a question mark.
An attribute with a type that OTLP lacks, or nested more than 30 levels deep, is left out of its
span. An invalid span is left out of its request. All omissions are counted as errors.

The file is ordered from the inside out: values, attributes, spans, resource and scope, request.

Spec: https://opentelemetry.io/docs/specs/otlp/#binary-protobuf-encoding
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceState,
)

from otel_ml import attributes as names
from otel_ml.capture.values import preview_of
from otel_ml.errors import quiet, reraise_host_error
from otel_ml.spans import RunSpan
from otel_ml.wire import call_attributes, encode_payloads, has_payloads

# Protobuf's wire format: https://protobuf.dev/programming-guides/encoding/

SHORT_CHARS: Final = 64  # texts up to this length are cached in encoded form

K = TypeVar("K")
V = TypeVar("V")

_KEPT_BELOW: Final = 8_192
_MORE: Final = 0x80
_TWO_BYTES: Final = 0x4000
_UINT64: Final = 2**64 - 1


def write_varint(number: int) -> bytes:
    """Encode an integer as varint. Negative integers use 64-bit two's complement."""
    if 0 <= number < _TWO_BYTES:
        return bytes((number,)) if number < _MORE else bytes((number & 0x7F | _MORE, number >> 7))
    number &= _UINT64
    written = bytearray()
    while number >= _MORE:
        written.append(number & 0x7F | _MORE)
        number >>= 7
    written.append(number)
    return bytes(written)


def keep(kept: dict[K, V], key: K, value: V, most: int = 4_096) -> V:
    """Add a value to a cache and return it.

    If the cache has more than `most` values, empty it first.
    """
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
    return value


class Kept(dict[int, bytes]):
    """Caches the bytes that `make` computes for a number.

    Only numbers below 8,192 are cached.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[int], bytes]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: int) -> bytes:
        written = self._make(number)
        if 0 <= number < _KEPT_BELOW:
            self[number] = written
        return written


def make_heads(tag: bytes) -> Kept:
    """Return a cache of the bytes that precede a protobuf field's content: tag and length.

    Its key is the length of the content.
    """
    return Kept(lambda length: tag + write_varint(length))


def write_text(text: str) -> bytes:
    """Encode text as UTF-8.

    Lone surrogates, which UTF-8 cannot represent, become question marks.
    """
    # not text.encode(), which a subclass may override
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-8", "replace")


def write_text_field(tag: bytes, text: str | None) -> bytes:
    """Encode a text field for protobuf. Empty text and None give no bytes, as protobuf requires."""
    if not text:
        return b""
    written = write_text(text)
    return tag + write_varint(len(written)) + written


def write_count_field(tag: bytes, count: int) -> bytes:
    """Encode a field with a non-negative number for protobuf. 0 gives no bytes."""
    return tag + write_varint(count) if count else b""


def wrap(heads: Kept, parts: Sequence[bytes]) -> list[bytes]:
    """Return the bytes of a protobuf field: its tag, the length of its content, then the content.

    Args:
        heads: A cache from `make_heads`: for each length of the content, the encoded tag and
            length.
        parts: The content, as a list of pieces.

    Returns:
        A list of pieces, to be joined later.
    """
    return [heads[sum(map(len, parts))], *parts]


# Values: https://opentelemetry.io/docs/specs/otel/common/#anyvalue Each value is encoded with its
# length in front, because pairs, arrays and maps need it.

# a map needs three nested messages per level, and readers reject more than 100 levels
_DEEPEST: Final = 30
_INT64_MAX: Final = 2**63 - 1

_EMPTY_BYTE: Final = b"\x00"
_FALSE: Final = b"\x02\x10\x00"
_TRUE: Final = b"\x02\x10\x01"
# concrete types first, because checking abstract classes is slow
_SEQUENCES: Final = (list, tuple, Sequence)
_MAPPINGS: Final = (dict, Mapping)

_LENGTHS: Final = make_heads(b"")
_ARRAYS: Final = make_heads(b"\x2a")
_MAPS: Final = make_heads(b"\x32")
_MAP_PAIRS: Final = make_heads(b"\x0a")


def _write_value(value: object, depth: int = 0) -> bytes:
    """Encode a value of any type that OTLP supports.

    Integers above 64 bits are encoded as decimal text. Lone surrogates in text become question
    marks.

    Args:
        value: A string, bool, number, bytes or None, or a sequence or mapping of these.
        depth: Number of enclosing sequences and mappings.

    Raises:
        TypeError: The value has another type.
        ValueError: The value is nested more than 30 levels deep, or contains itself.
    """
    if value is None:
        return _EMPTY_BYTE
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, str):
        return _write_string(value)
    if isinstance(value, int):
        return _write_int(value)
    if isinstance(value, float):
        return _write_double(value)
    return _write_composite(value, depth)


def _write_composite(value: object, depth: int) -> bytes:
    if isinstance(value, bytes):
        body = value
        head = b"\x3a" + write_varint(len(body))
    elif depth == _DEEPEST:
        raise ValueError(f"Invalid value: expected at most {_DEEPEST} nested levels")
    elif isinstance(value, _SEQUENCES):
        body = b"".join([b"\x0a" + _write_value(item, depth + 1) for item in value])
        head = _ARRAYS[len(body)]
    elif isinstance(value, _MAPPINGS):
        pairs: list[bytes] = []
        for key, item in value.items():
            before, written = _write_key(str(key)), _write_value(item, depth + 1)
            pairs += (_MAP_PAIRS[len(before) + len(written)], before, written)
        body = b"".join(pairs)
        head = _MAPS[len(body)]
    else:
        raise TypeError(f"Invalid type {type(value).__name__}: expected one that OTLP supports")
    return _LENGTHS[len(head) + len(body)] + head + body


# encodes a float, including infinities and NaN
_write_double: Final[Callable[[float], bytes]] = partial(Struct("<BBd").pack, 9, 0x21)


def _write_int(number: int) -> bytes:
    """Encode an integer; as decimal text if it does not fit into 64 bits."""
    if not -_INT64_MAX - 1 <= number <= _INT64_MAX:
        return _write_string(str(number))
    written = write_varint(number)
    return bytes((1 + len(written), 0x18)) + written


def _write_string_head(length: int) -> bytes:
    head = b"\x0a" + write_varint(length)
    return write_varint(len(head) + length) + head


# bytes in front of a text, by its length in UTF-8
_STRING_HEADS: Final = Kept(_write_string_head)


def _write_string(text: str) -> bytes:
    written = write_text(text)
    return _STRING_HEADS[len(written)] + written


def _write_key(key: str) -> bytes:
    """Encode the part of a pair in front of its value: the key and the value's tag.

    Raises:
        TypeError: The key is not a string.
    """
    written = write_text(key)
    return b"\x0a" + write_varint(len(written)) + written + b"\x12"


# Attributes, as fields of KeyValue.

_MOST_KEY_CHARS: Final = 256

_INTS: Final = Kept(_write_int)
_NO_TEXT: Final = object()


class _AttributeField:
    """Encodes attributes.

    Pairs of a key and a short text are cached, because most spans repeat them.

    It is thread-safe. At most 4,096 keys and 4,096 pairs are cached; then the cache is cleared.

    Args:
        tag: Tag of the field in its message.
    """

    __slots__ = ("_heads", "_keys", "_pairs")

    def __init__(self, tag: bytes) -> None:
        self._heads = make_heads(tag)
        # by key: the last short text, its encoded pair, and the bytes in front of any value of the
        # key
        self._keys: dict[str, tuple[object, bytes, bytes]] = {}
        # only text, because 1, 1.0 and True are the same dict key but different values
        self._pairs: dict[tuple[str, str], bytes] = {}

    def write(self, parts: list[bytes], attributes: Mapping[str, Any] | None) -> None:
        """Append the encoded attributes to `parts`, without those that cannot be encoded."""
        # The fastest case is first: the key's last text. Then come other short texts, then long
        # texts and numbers. New keys and failures are slowest.
        keys = self._keys
        heads = self._heads
        # copy first: reading the SDK's attributes takes one call per item, copying takes one in
        # total
        try:
            items = attributes.copy().items()  # type: ignore[union-attr]  # None has no copy()
        except AttributeError:
            items = () if attributes is None else attributes.items()
        for key, value in items:
            try:
                last, field, before = keys[key]
                if value is last:
                    parts.append(field)
                    continue
                kind = type(value)
                if kind is str:
                    if len(value) <= SHORT_CHARS:
                        parts.append(self._write_short(key, value, before))
                        continue
                    text = value.encode()
                    size = len(text)
                    head = _STRING_HEADS[size]
                    parts += (heads[len(before) + len(head) + size], before, head, text)
                    continue
                if kind is float:
                    written = _write_double(value)
                elif kind is int:
                    written = _INTS[value]
                else:
                    written = _write_value(value)
                parts += (heads[len(before) + len(written)], before, written)
            except BaseException as error:  # noqa: BLE001 - a new key, or a value of the user
                reraise_host_error(error)
                parts.append(self._write_slowly(key, value))

    def _write_short(self, key: str, text: str, before: bytes) -> bytes:
        pair = (key, text)
        field = self._pairs.get(pair)
        if field is None:
            field = keep(self._pairs, pair, self._write_field(before, _write_value(text)))
        self._keys[key] = (text, field, before)
        return field

    def _write_slowly(self, key: str, value: object) -> bytes:
        """Encode any attribute and cache its key. Returns an empty field if that fails."""
        field = b""
        with quiet("encode"):
            before = _write_key(key)
            field = self._write_field(before, _write_value(value))
        if field and type(key) is str and len(key) <= _MOST_KEY_CHARS:
            keep(self._keys, key, (_NO_TEXT, b"", before))
        return field

    def _write_field(self, before: bytes, value: bytes) -> bytes:
        return self._heads[len(before) + len(value)] + before + value


# One span.

_pack_times: Final = Struct("<BQBQ").pack
_pack_time: Final = Struct("<BQ").pack

_INTERNAL_FIELD: Final = b"\x30\x01"
_KIND_FIELDS: Final = {
    SpanKind.INTERNAL: _INTERNAL_FIELD,
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
# hashing an SDK enum is slow, so the status is compared by identity
_UNSET: Final = StatusCode.UNSET
_UNSET_FIELD: Final = b"\x7a\x00"

# flag 0x100: it is known whether the parent is remote; flag 0x200: it is remote
_LOCAL: Final = b"\x00\x01\x00\x00"
_REMOTE: Final = b"\x00\x03\x00\x00"
_LOCAL_PARENT: Final = b"\x85\x01" + _LOCAL
_REMOTE_PARENT: Final = b"\x85\x01" + _REMOTE

_ATTRIBUTES: Final = _AttributeField(b"\x4a")
_EVENT_ATTRIBUTES: Final = _AttributeField(b"\x1a")
_LINK_ATTRIBUTES: Final = _AttributeField(b"\x22")
_EVENTS: Final = make_heads(b"\x5a")
_LINKS: Final = make_heads(b"\x6a")
_LOST: Final = (b"\x50", b"\x60", b"\x70")
_NONE_LOST: Final = (0, 0, 0)
_STATUSES: Final = make_heads(b"\x7a")

_names: Final[dict[str, bytes]] = {}

# Encoded attributes that all runs of a version share, by id(). The object is kept so that its id()
# stays unique.
_MOST_CONSTANTS: Final = 1_024
_constants: Final[dict[int, tuple[Mapping[str, Any], bytes]]] = {}
# encoded links that all runs of an experiment share, by id()
_shared_links: Final[dict[int, tuple[tuple[Link, ...], bytes]]] = {}


# attributes of every call, see `otel_ml.wire.call_attributes`
_INPUTS: Final = _write_key(names.INPUTS)
_INPUTS_PREVIEW: Final = _write_key(names.INPUTS_PREVIEW)
_OUTPUTS: Final = _write_key(names.OUTPUTS)
_OUTPUTS_PREVIEW: Final = _write_key(names.OUTPUTS_PREVIEW)
_SEQ: Final = _write_key(names.SEQ)
_ATTRIBUTE_HEADS: Final = make_heads(b"\x4a")
_OK: Final = b"".join(wrap(_ATTRIBUTE_HEADS, (_write_key(names.OUTCOME), _write_value("ok"))))
_LATENCY_MS: Final = _write_key(names.LATENCY_MS)
_LATENCY_HEAD: Final = _ATTRIBUTE_HEADS[len(_LATENCY_MS + _write_double(0.0))] + _LATENCY_MS


def _write_call(parts: list[bytes], span: RunSpan, took_ns: int, previews: bool) -> None:
    """Append the attributes of a call in the fast path, see `RunSpan.describe`."""
    inputs, outputs = span.inputs or "", span.outputs or ""
    if type(inputs) is str and type(outputs) is str:
        number = _INTS[span.number]
        _write_payload(parts, inputs, _INPUTS, _INPUTS_PREVIEW if previews else None)
        parts += (_LATENCY_HEAD, _write_double(took_ns / 1e6), _OK)
        parts += (_ATTRIBUTE_HEADS[len(_SEQ) + len(number)], _SEQ, number)
        _write_payload(parts, outputs, _OUTPUTS, _OUTPUTS_PREVIEW if previews else None)
    else:
        facts = call_attributes({}, inputs, (took_ns, span.number, outputs), previews=previews)
        _ATTRIBUTES.write(parts, encode_payloads(facts, previews=previews))


def _write_payload(parts: list[bytes], text: str, key: bytes, preview_key: bytes | None) -> None:
    written = text.encode()
    head = _STRING_HEADS[len(written)]
    parts += (_ATTRIBUTE_HEADS[len(key) + len(head) + len(written)], key, head, written)
    if preview_key is not None and (short := preview_of(text)) is not None:
        _write_payload(parts, short, preview_key, None)


def encode_span(span: ReadableSpan, *, previews: bool = True) -> bytes:
    """Encode a span as an OTLP Span message.

    The result does not include the tag and length that precede the message inside a request.
    Attributes that cannot be encoded are left out. An unknown span kind is left out too. The span
    can come from any library.

    Args:
        span: A span. If it has not ended, it is encoded without end time.
        previews: Whether to add a short preview to each long input and output. It is ignored for
            spans of other libraries.

    Raises:
        Exception: The span is invalid: it has no context, its IDs are too long, or a time is not an
            integer.
    """
    # one long function, because an extra call per span takes measurable time
    name, parent = span.name, span.parent
    start_ns, end_ns = span.start_time or 0, span.end_time or 0
    run = span if type(span) is RunSpan else None
    ids: Any = span.context if run is None else run
    parts = [
        b"\x0a\x10",
        ids.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        ids.span_id.to_bytes(8, "big"),
        _names.get(name) or _encode_name(name),
        _INTERNAL_FIELD if run is not None else _KIND_FIELDS.get(span.kind, b""),
        _pack_times(0x39, start_ns, 0x41, end_ns),
        _encode_parent(parent) if parent else _LOCAL_PARENT,
    ]
    if run is not None and run.is_plain:
        known = _constants.get(id(run.constants))
        variables = run.variables
        if variables:
            if has_payloads(variables):
                variables = encode_payloads(variables, previews=previews)
            _ATTRIBUTES.write(parts, variables)
        if run.number:
            _write_call(parts, run, end_ns - start_ns, previews)
        parts += (known[1] if known else _encode_constants(run.constants), _UNSET_FIELD)
        if run.linked:
            links = _shared_links.get(id(run.linked))
            parts.append(links[1] if links else _encode_shared_links(run.linked))
        return b"".join(parts)
    state = ids.trace_state
    if state is not DEFAULT_TRACE_STATE and state:
        parts.append(_encode_state(state))
    _ATTRIBUTES.write(parts, span.attributes)
    status = span.status
    if status is not None:
        is_unset = status.status_code is _UNSET and not status.description
        parts.append(_UNSET_FIELD if is_unset else _encode_status(status))
    for event in span.events or ():
        parts += _encode_event(event)
    for link in span.links or ():
        parts += _encode_link(link)
    lost = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    if lost != _NONE_LOST:
        parts += map(write_count_field, _LOST, lost)
    return b"".join(parts)


def _encode_constants(constants: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    _ATTRIBUTES.write(parts, constants)
    return keep(_constants, id(constants), (constants, b"".join(parts)), _MOST_CONSTANTS)[1]


def _encode_shared_links(links: tuple[Link, ...]) -> bytes:
    written = b"".join([part for link in links for part in _encode_link(link)])
    return keep(_shared_links, id(links), (links, written), _MOST_CONSTANTS)[1]


def _encode_name(name: str) -> bytes:
    field = write_text_field(b"\x2a", name)
    if type(name) is str and len(name) <= SHORT_CHARS:
        keep(_names, name, field)
    return field


def _encode_parent(parent: SpanContext) -> bytes:
    remote = _REMOTE_PARENT if parent.is_remote else _LOCAL_PARENT
    return b"\x22\x08" + parent.span_id.to_bytes(8, "big") + remote


def _encode_state(state: TraceState) -> bytes:
    return write_text_field(b"\x1a", ",".join([f"{key}={text}" for key, text in state.items()]))


def _encode_status(status: Status) -> bytes:
    message = write_text_field(b"\x12", status.description)
    code = write_count_field(b"\x18", status.status_code.value)
    return b"".join(wrap(_STATUSES, (message, code)))


def _encode_event(event: Event) -> list[bytes]:
    parts = [_pack_time(0x09, event.timestamp or 0), write_text_field(b"\x12", event.name)]
    _EVENT_ATTRIBUTES.write(parts, event.attributes)
    parts.append(write_count_field(b"\x20", _dropped(event)))
    return wrap(_EVENTS, parts)


def _encode_link(link: Link) -> list[bytes]:
    # the trace state of a link is left out, as in the official Python encoder
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
    """Return how many attributes of an event or link exceeded the SDK's limits."""
    count: int | None = getattr(item, "dropped_attributes", None)  # not in SDK 1.25
    return getattr(item.attributes, "dropped", 0) if count is None else count


# Resource, scope and request.

_RESOURCE_ATTRIBUTES: Final = _AttributeField(b"\x0a")
_SCOPE_ATTRIBUTES: Final = _AttributeField(b"\x1a")

_RESOURCE_SPANS: Final = make_heads(b"\x0a")
_RESOURCE: Final = make_heads(b"\x0a")
_SCOPE_SPANS: Final = make_heads(b"\x12")
_SCOPE: Final = make_heads(b"\x0a")
_SPAN: Final = make_heads(b"\x12")
_SCHEMA_URL: Final = b"\x1a"

_MOST_ENVELOPES: Final = 256

# Python lets a busy thread run for 5 ms before it switches, and traced calls would wait that long.
# So the thread that encodes sleeps for _YIELD_S after _BUSY_S of work. It does not sleep for plain
# values: they take so little time that sleeping would only fill up the queue. With less than a full
# batch there is time to sleep longer. In a service with 8 threads whose calls take Python's lock 16
# times, that lowers the p99 from 1.5 to 1.2 times that without tracing.
_BUSY_S: Final = 0.0005
_YIELD_S: Final = 0.00005
_FULL: Final = 2_048
_BUSY_WITHOUT_HASTE_S: Final = 0.0001
_YIELD_WITHOUT_HASTE_S: Final = 0.0003

_Origin: TypeAlias = tuple[Resource, InstrumentationScope | None]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The encoded OpenTelemetry resource and scope of spans.

    They identify the service and the project. Many requests have the same ones, so they are encoded
    once and then reused.
    """

    resource: bytes
    resource_schema_url: str
    scope: bytes
    scope_schema_url: str


_Group: TypeAlias = tuple[Envelope, list[bytes]]

# by id() of both; the objects are kept so that their id() stays unique
_envelopes: Final[dict[tuple[int, int], tuple[_Origin, Envelope]]] = {}


class EncodedRequest(NamedTuple):
    """An OTLP export request as bytes, ready to send.

    Attributes:
        body: An ExportTraceServiceRequest message. Empty if there are no spans.
        spans: Number of spans in it.
        failed: Number of spans that were left out because they could not be encoded.
        is_too_large: True if the spans are too large for one request, and must be split. It is
            never True for a single span.
    """

    body: bytes
    spans: int
    failed: int
    is_too_large: bool = False


TOO_LARGE: Final = EncodedRequest(b"", 0, 0, is_too_large=True)


def encode_spans(
    spans: Sequence[ReadableSpan], *, previews: bool = True, most_bytes: float = math.inf
) -> EncodedRequest:
    """Encode spans of any library as one OTLP export request. Never raises.

    Spans are grouped by resource and scope, in their original order.

    Args:
        spans: The spans to encode. One that cannot be encoded is left out and counted.
        previews: Whether to add a short preview to each long input and output.
        most_bytes: Maximum size of the request, if it has several spans.

    Returns:
        The request. `TOO_LARGE` if it would exceed `most_bytes`. Then split the spans and try
        again.
    """
    groups = _Groups()
    group: list[bytes] = []
    origin: _Origin | None = None
    count = size = 0
    busy_s, yield_s = _BUSY_S, _YIELD_S
    if len(spans) < _FULL:
        busy_s, yield_s = _BUSY_WITHOUT_HASTE_S, _YIELD_WITHOUT_HASTE_S
    began_s = time.perf_counter()
    for span in spans:
        if size > most_bytes:
            return TOO_LARGE
        if type(span) is RunSpan and span.is_described:
            now_s = time.perf_counter()
            if now_s - began_s > busy_s:
                time.sleep(yield_s)
                began_s = time.perf_counter()
        with quiet("encode"):  # spans of other libraries may be invalid
            written = encode_span(span, previews=previews)
            resource = span.resource
            scope = span.instrumentation_scope
            if origin is None or resource is not origin[0] or scope is not origin[1]:
                group = groups.find(resource, scope)
                origin = (resource, scope)
            group.append(written)
            count += 1
            size += len(written)
    if size > most_bytes and len(spans) > 1:
        return TOO_LARGE
    return EncodedRequest(encode_request(groups.all.values()), count, len(spans) - count)


class _Groups:
    """The spans of a request, grouped by resource and scope.

    Hashing a resource converts it to JSON, so each one is looked up by id() first.
    """

    def __init__(self) -> None:
        self.all: dict[tuple[int, InstrumentationScope | None], _Group] = {}
        self._known: dict[tuple[int, int], tuple[_Origin, _Group]] = {}
        self._first: Resource | None = None
        self._resources: dict[Resource, Resource] = {}

    def find(self, resource: Resource, scope: InstrumentationScope | None) -> list[bytes]:
        """Return the list of spans for a resource and scope, to append to."""
        key = (id(resource), id(scope))
        known = self._known.get(key)
        if known is None:
            first = self._find_equal(resource)
            named = (id(first), scope or None)
            if named not in self.all:
                self.all[named] = (_envelope_of(first, named[1]), [])
            known = self._known[key] = ((resource, scope), self.all[named])
        return known[1][1]

    def _find_equal(self, resource: Resource) -> Resource:
        """Return the first resource that is equal. A single resource is not hashed."""
        if self._first is None:
            self._first = resource
        if resource is self._first:
            return resource
        self._resources.setdefault(self._first, self._first)
        return self._resources.setdefault(resource, resource)


def _envelope_of(resource: Resource, scope: InstrumentationScope | None) -> Envelope:
    """Encode an envelope, once per pair of resource and scope, because these never change."""
    key = (id(resource), id(scope))
    known = _envelopes.get(key)
    if known is None:
        written = encode_envelope(resource, scope)
        known = keep(_envelopes, key, ((resource, scope), written), _MOST_ENVELOPES)
    return known[1]


def encode_envelope(resource: Resource, scope: InstrumentationScope | None) -> Envelope:
    """Encode a resource and a scope, for `encode_request`.

    If there is no scope, the encoded scope is empty.
    """
    of_resource: list[bytes] = []
    _RESOURCE_ATTRIBUTES.write(of_resource, resource.attributes)
    of_scope: list[bytes] = []
    if scope:
        of_scope += (
            write_text_field(b"\x0a", scope.name),
            write_text_field(b"\x12", scope.version),
        )
        _SCOPE_ATTRIBUTES.write(of_scope, getattr(scope, "attributes", None))  # not in SDK 1.25
    return Envelope(
        resource=b"".join(of_resource),
        resource_schema_url=resource.schema_url or "",
        scope=b"".join(of_scope),
        scope_schema_url=scope.schema_url or "" if scope else "",
    )


def encode_request(batches: Iterable[tuple[Envelope, Sequence[bytes]]]) -> bytes:
    """Combine encoded spans into one OTLP export request.

    Args:
        batches: Pairs of an `Envelope` (resource and scope) and a list of spans from `encode_span`.
            Several pairs may have the same resource and scope.

    Returns:
        An encoded ExportTraceServiceRequest message. Empty if there are no spans.
    """
    resources: dict[tuple[bytes, str], dict[tuple[bytes, str], list[bytes]]] = {}
    for envelope, spans in batches:
        if spans:
            scopes = resources.setdefault((envelope.resource, envelope.resource_schema_url), {})
            parts = scopes.setdefault((envelope.scope, envelope.scope_schema_url), [])
            for span in spans:
                parts += (_SPAN[len(span)], span)
    request: list[bytes] = []
    for (resource, url), scopes in resources.items():
        fields = [_RESOURCE[len(resource)], resource]
        for (scope, scope_url), parts in scopes.items():
            last = write_text_field(_SCHEMA_URL, scope_url)
            fields += wrap(_SCOPE_SPANS, [_SCOPE[len(scope)], scope, *parts, last])
        fields.append(write_text_field(_SCHEMA_URL, url))
        request += wrap(_RESOURCE_SPANS, fields)
    return b"".join(request)
