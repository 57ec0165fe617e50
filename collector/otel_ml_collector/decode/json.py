"""Decodes OTLP requests in JSON into spans and log records, like `protobuf` does for protobuf.

The JSON parser of the protobuf library does not fit OTLP: in OTLP, ids are hex and unknown fields
are ignored. A table describes each message: the JSON key of each field and the function that reads
its value. Missing values are read as None. If a reader raises, the readers around it add the path
to the error.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import math
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Final, TypeVar

from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber

from otel_ml_collector.decode.bounds import check_records
from otel_ml_collector.decode.protobuf import event_of
from otel_ml_collector.decode.utf8 import Replaced, is_utf8, repair_json
from otel_ml_collector.errors import BadField, Rejected
from otel_ml_collector.json_text import read_json_body
from otel_ml_collector.span import Event, Link, Log, Scope, Span, Value

JsonObject = dict[str, object]
Item = TypeVar("Item")
Reader = Callable[[object], Item]

# The nesting limit of protobuf's parser for lists.
_DEPTH: Final = 46
_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}")
_DOUBLE: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_NO_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# Where to send a request, by the key of its list.
_PATHS: Final = {
    "resourceSpans": "/v1/traces",
    "resourceLogs": "/v1/logs",
    "resourceMetrics": "/v1/metrics",
}
_URL_SAFE: Final = str.maketrans("-_", "+/")
_TYPES: Final = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def decode_json_traces(body: bytes, replaced: list[Replaced] | None = None) -> list[Span]:
    """Read the spans of an OTLP export request in JSON.

    Args:
        body: The request.
        replaced: A list that receives the fields whose text had invalid UTF-8.

    Raises:
        Rejected: The body is not an export request. If one field is wrong, the error is a
            `BadField`.
    """
    levels = ("resourceSpans", "scopeSpans", "spans")
    request = parse(body, "ExportTraceServiceRequest", replaced)
    return _read_records(request, levels, _read_span)


def decode_json_logs(body: bytes, replaced: list[Replaced] | None = None) -> list[Log]:
    """Read the log records of an OTLP export request in JSON.

    Args:
        body: The request.
        replaced: A list that receives the fields whose text had invalid UTF-8.

    Raises:
        Rejected: The body is not an export request. If one field is wrong, the error is a
            `BadField`.
    """
    levels = ("resourceLogs", "scopeLogs", "logRecords")
    request = parse(body, "ExportLogsServiceRequest", replaced)
    return _read_records(request, levels, _read_log)


def parse(body: bytes, message: str, replaced: list[Replaced] | None = None) -> JsonObject:
    """Parse a request body as a JSON object.

    Args:
        body: The request.
        message: Name of the expected message, for the error text.
        replaced: A list that receives the fields whose text had invalid UTF-8. If it is None, a
            body with invalid UTF-8 is rejected.

    Raises:
        Rejected: The body is not a JSON object.
    """
    try:
        json_object = _read_object(body, replaced)
    except ValueError as error:
        raise Rejected(f"The body is not JSON: {error}") from error
    if not isinstance(json_object, dict):
        raise Rejected(
            f"The body is not an OTLP {message}: expected an object, "
            f"got {_TYPES[type(json_object)]}"
        )
    return json_object


def _read_object(body: bytes, replaced: list[Replaced] | None) -> object:
    try:
        return read_json_body(body)
    except ValueError:
        if replaced is None or is_utf8(body):
            raise
        document, texts = repair_json(body)
        replaced += texts
        return document


def _read_records(
    request: JsonObject,
    levels: tuple[str, str, str],
    read: Callable[[JsonObject, Scope], Item],
) -> list[Item]:
    """Read the records of a request, each with its resource and scope.

    Args:
        request: The request.
        levels: JSON keys of the lists of resources, scopes and records.
        read: Reads one record; receives its JSON object and its scope.
    """
    resources, scopes, records = levels
    if resources not in request:
        _refuse_other_key(request, resources)
    _check_size(request, levels)

    def read_resource(value: object) -> list[Item]:
        parent = _object(value)
        resource = _at(parent, "resource", _RESOURCE) | _SCHEMA_OF_RESOURCE(parent)

        def read_scope(inner: object) -> list[Item]:
            holder = _object(inner)
            scope = Scope(**resource, **_at(holder, "scope", _SCOPE), **_SCHEMA(holder))
            return _at(holder, records, _list_of(lambda record: read(_object(record), scope)))

        return list(chain.from_iterable(_at(parent, scopes, _list_of(read_scope))))

    return list(chain.from_iterable(_at(request, resources, _list_of(read_resource))))


def _refuse_other_key(request: JsonObject, expected: str) -> None:
    """Refuse a request that would be acknowledged and not stored, because its key is ignored."""
    for key in request:
        first, _, second = key.partition("_")
        if f"{first}{second.title()}" == expected:
            raise Rejected(
                f"The body has {key} and no {expected}: OTLP in JSON has keys in lowerCamelCase"
            )
        if key in _PATHS:
            raise Rejected(f"The body has {key} and no {expected}: send it to {_PATHS[key]}")


def _check_size(request: JsonObject, levels: tuple[str, str, str]) -> None:
    """Refuse a request with too many records, resources or scopes. Ignores wrong types."""
    level: list[object] = [request]
    for key in levels:
        lists = [item.get(key) for item in level if isinstance(item, dict)]
        check_records(sum(len(items) for items in lists if isinstance(items, list)))
        level = [item for items in lists if isinstance(items, list) for item in items]


def _at(parent: JsonObject, key: str, read: Reader[Item]) -> Item:
    """Read a member of an object. If that raises, add the key to the path in the error."""
    try:
        return read(parent.get(key))
    except BadField as error:
        raise _inside(key, error) from None


def _inside(place: str, error: BadField) -> BadField:
    dot = "." if error.field and not error.field.startswith("[") else ""
    return BadField(f"{place}{dot}{error.field}", error.description)


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise _wrong("an object", value)
    return value


def _wrong(expected: str, value: object) -> BadField:
    """Return the error for a value of the wrong type. It does not contain the value itself."""
    return BadField("", f"expected {expected}, got {_TYPES[type(value)]}")


def _list_of(read: Reader[Item]) -> Reader[list[Item]]:
    """Return a function that reads a list, item by item with `read`. A missing list is empty."""

    def read_all(value: object) -> list[Item]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise _wrong("a list", value)
        items: list[Item] = []
        try:
            for item in value:
                items.append(read(item))  # noqa: PERF401 - the error tells how many were read
        except BadField as error:
            raise _inside(f"[{len(items)}]", error) from None
        return items

    return read_all


def _fields(**fields: tuple[str, Reader[Any]]) -> Reader[dict[str, Any]]:
    """Return a function that reads an object by a table of its fields.

    Args:
        fields: JSON key and reader of each field. All fields are missing if the object is missing.
    """
    table = [(name, key, read) for name, (key, read) in fields.items()]

    def read_fields(value: object) -> dict[str, Any]:
        members = {} if value is None else _object(value)
        fields: dict[str, Any] = {}
        key = ""
        try:
            for name, key, read in table:
                fields[name] = read(members.get(key))
        except BadField as error:
            raise _inside(key, error) from None
        return fields

    return read_fields


def _text(value: object, _depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise _wrong("a string", value)


def _whole(low: int, high: int) -> Callable[..., int]:
    """Return a function that reads an integer from a number or a text. It accepts 1.0, too."""

    def read(value: object, _depth: int = 0) -> int:
        number: int | None = None
        if isinstance(value, str):
            number = int(value) if _DECIMAL.fullmatch(value) else None
        elif isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, float) and value.is_integer():
            number = int(value)
        elif value is None:
            return 0
        if number is None or not low <= number <= high:
            raise _wrong(f"an integer from {low} to {high}", value)
        return number

    return read


_uint64: Final = _whole(0, 2**64 - 1)
_uint32: Final = _whole(0, 2**32 - 1)
_int64: Final = _whole(-(2**63), 2**63 - 1)
_int32: Final = _whole(-(2**31), 2**31 - 1)


def _enum(names: Mapping[str, int]) -> Reader[int]:
    """Return a function that reads an enum: a number, or a name, although OTLP forbids names."""

    def read(value: object) -> int:
        return names[value] if isinstance(value, str) and value in names else _int32(value)

    return read


def _id(value: object) -> bytes:
    """Read an ID in hex, upper or lower case, of any length."""
    if value is None:
        return b""
    if isinstance(value, str):
        try:
            read = bytes.fromhex(value)
        except ValueError:
            pass
        else:
            if 2 * len(read) == len(value):  # no spaces between the digits
                return read
        raise BadField("", "expected an ID in hex, got a string that is not hex")
    raise _wrong("an ID in hex", value)


def _attributes(value: object, depth: int = _DEPTH) -> dict[str, Value]:
    """Read attributes. If a key occurs twice, the last value is used."""
    if value is None:
        return {}
    if not isinstance(value, list):
        raise _wrong("a list", value)
    attributes: dict[str, Value] = {}
    place, key = 0, ""
    try:
        for place, item in enumerate(value):  # noqa: B007 - the error tells it
            key = ""
            if not isinstance(item, dict):
                raise _wrong("an object", item)
            key = "key"
            name = _text(item.get(key))
            key = "value"
            attributes[name] = _any_value(item.get(key), depth)
    except BadField as error:
        raise _inside(f"[{place}]", _inside(key, error) if key else error) from None
    return attributes


def _any_value(value: object, depth: int = _DEPTH) -> Value:
    """Read an AnyValue. If its object holds several kinds, the last one is used."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong("an object", value)
    result: Value = None
    for kind, content in value.items():
        read = _VALUES.get(kind)
        if read is not None and content is not None:
            try:
                result = read(content, depth)
            except BadField as error:
                raise _inside(kind, error) from None
    return result


def _bool(content: object, _depth: int) -> bool:
    if not isinstance(content, bool):
        raise _wrong("true or false", content)
    return content


def _double(content: object, _depth: int) -> float:
    if isinstance(content, float):
        return content
    if isinstance(content, int) and not isinstance(content, bool):
        return float(content)
    if isinstance(content, str):
        if content in _NO_NUMBERS:
            return _NO_NUMBERS[content]
        if _DOUBLE.fullmatch(content):
            return float(content)
    raise _wrong('a number, "NaN", "Infinity" or "-Infinity"', content)


def _bytes(content: object, _depth: int) -> bytes:
    if isinstance(content, str):
        digits = content.translate(_URL_SAFE).rstrip("=")
        try:
            return b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        except (NotBase64, ValueError):
            pass
    raise _wrong("base64", content)


def _array(content: object, depth: int) -> list[Value]:
    read = _list_of(lambda item: _any_value(item, depth - 1))
    return _at(_deeper(content, depth), "values", read)


def _kvlist(content: object, depth: int) -> dict[str, Value]:
    members = _deeper(content, depth)
    return _at(members, "values", lambda member: _attributes(member, depth - 1))


def _deeper(content: object, depth: int) -> JsonObject:
    if depth == 0:
        raise BadField("", f"expected at most {_DEPTH} levels of nesting")
    return _object(content)


_VALUES: Final[Mapping[str, Callable[[object, int], Value]]] = {
    "stringValue": _text,
    "boolValue": _bool,
    "intValue": _int64,
    "doubleValue": _double,
    "bytesValue": _bytes,
    "arrayValue": _array,
    "kvlistValue": _kvlist,
}
_SPAN_KINDS: Final = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_ATTRIBUTES: Final = ("attributes", _attributes)
_LOST: Final = ("droppedAttributesCount", _uint32)
_SCHEMA: Final = _fields(schema_url=("schemaUrl", _text))
_SCHEMA_OF_RESOURCE: Final = _fields(resource_schema_url=("schemaUrl", _text))
_RESOURCE: Final = _fields(resource=("attributes", _attributes), resource_dropped_attributes=_LOST)
_SCOPE: Final = _fields(
    name=("name", _text),
    version=("version", _text),
    attributes=_ATTRIBUTES,
    dropped_attributes=_LOST,
)
_STATUS: Final = _fields(status_code=("code", _enum(_CODES)), status_message=("message", _text))
_EVENT: Final = _fields(
    name=("name", _text),
    time_ns=("timeUnixNano", _uint64),
    attributes=_ATTRIBUTES,
    dropped_attributes=_LOST,
)
_LINK: Final = _fields(
    trace_id=("traceId", _id),
    span_id=("spanId", _id),
    attributes=_ATTRIBUTES,
    trace_state=("traceState", _text),
    flags=("flags", _uint32),
    dropped_attributes=_LOST,
)
_OTLP: Final = _fields(
    trace_state=("traceState", _text),
    flags=("flags", _uint32),
    dropped_attributes_count=_LOST,
    dropped_events_count=("droppedEventsCount", _uint32),
    dropped_links_count=("droppedLinksCount", _uint32),
)
_SPAN: Final = _fields(
    status=("status", _STATUS),
    trace_id=("traceId", _id),
    span_id=("spanId", _id),
    parent_span_id=("parentSpanId", _id),
    name=("name", _text),
    kind=("kind", _enum(_SPAN_KINDS)),
    start_ns=("startTimeUnixNano", _uint64),
    end_ns=("endTimeUnixNano", _uint64),
    attributes=_ATTRIBUTES,
    events=("events", _list_of(lambda entry: Event(**_EVENT(_object(entry))))),
    links=("links", _list_of(lambda entry: Link(**_LINK(_object(entry))))),
)
_LOG: Final = _fields(
    attributes=_ATTRIBUTES,
    trace_id=("traceId", _id),
    span_id=("spanId", _id),
    time_ns=("timeUnixNano", _uint64),
    observed_ns=("observedTimeUnixNano", _uint64),
    severity_number=("severityNumber", _enum(dict(SeverityNumber.items()))),
    severity_text=("severityText", _text),
    event=("eventName", _text),
    body=("body", _any_value),
)


def _read_span(json_object: JsonObject, scope: Scope) -> Span:
    span = _SPAN(json_object)
    otlp = {name: value for name, value in _OTLP(json_object).items() if value}
    return Span(scope=scope, **span.pop("status"), **span, otlp=otlp)


def _read_log(json_object: JsonObject, scope: Scope) -> Log:
    log = _LOG(json_object)
    log["event"] = event_of(log["event"], log["attributes"])
    return Log(scope=scope, **log)


def _sum_of(key: str, count: Reader[int]) -> Reader[int]:
    """Return a function that adds up `count` over the list at `key`; 0 without an object."""
    read = _list_of(lambda item: count(_object(item)))
    return lambda entry: 0 if entry is None else sum(_at(_object(entry), key, read))


_DATA: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_count_points: Final = _sum_of("dataPoints", lambda _point: 1)
_METRIC: Final = _fields(**{kind: (kind, _count_points) for kind in _DATA})
_count_metrics: Final = _sum_of("metrics", lambda entry: sum(_METRIC(entry).values()))
_count_scopes: Final = _sum_of("scopeMetrics", _count_metrics)
count_json_points: Final = _sum_of("resourceMetrics", _count_scopes)
"""Counts the data points of a metrics request. Raises `BadField` if its structure is wrong."""
