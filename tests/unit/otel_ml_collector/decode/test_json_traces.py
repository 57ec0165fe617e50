"""Tests of decoding traces in JSON: the same spans as from protobuf, and the quirks of JSON.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import json
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.decode.json import decode_json_traces
from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.errors import BadField, Rejected
from otel_ml_collector.span import Event, Link, Scope, Span
from tests.support.otel_ml_collector.json_wire import encode_json
from tests.support.otel_ml_collector.wire import encode
from tests.unit.otel_ml_collector.decode.test_traces import spans

SPAN = "resourceSpans[0].scopeSpans[0].spans[0]"
VALUE = f"{SPAN}.attributes[0].value"
UINT64 = "an integer from 0 to 18446744073709551615"
INT64 = "an integer from -9223372036854775808 to 9223372036854775807"


def decode_body(**fields: Any) -> Span:
    """Decode a span that has the given fields."""
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]})
    (span,) = decode_json_traces(body.encode())
    return span


def decode_value(value: Any) -> Any:
    """Decode one attribute value."""
    return decode_body(attributes=[{"key": "key", "value": value}]).attributes["key"]


def refusal(**fields: Any) -> str:
    """Decode a span that is rejected, and return the reason."""
    with pytest.raises(BadField) as caught:
        decode_body(**fields)
    assert str(caught.value) == f"{caught.value.field}: {caught.value.description}"
    return str(caught.value)


@given(st.lists(spans, max_size=4), st.randoms(use_true_random=False))
def test_same_as_protobuf(given_spans: list[Span], random: Random) -> None:
    """A request in JSON is decoded to the same spans, in the same order, as one in protobuf."""
    assert decode_json_traces(encode_json(given_spans, random)) == list(
        decode_traces(encode(given_spans))
    )


def test_whole_span() -> None:
    """Each field of a span, written as in the specification, is decoded."""
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "parentSpanId": "EEE19B7EC3C1B173",
        "traceState": "a=b",
        "flags": 257,
        "name": "I'm a server span",
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661000000000",
        "kind": 2,
        "status": {"code": 2, "message": "it broke"},
        "droppedAttributesCount": 0,
        "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}],
        "events": [
            {
                "name": "an event",
                "timeUnixNano": "1544712660500000000",
                "attributes": [{"key": "n", "value": {"intValue": "1"}}],
            }
        ],
        "links": [
            {
                "traceId": "00000000000000000000000000000001",
                "spanId": "0000000000000002",
                "attributes": [{"key": "n", "value": {"intValue": 2}}],
            }
        ],
    }
    body = {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]
                },
                "scopeSpans": [
                    {
                        "scope": {
                            "name": "my.library",
                            "version": "1.0.0",
                            "attributes": [{"key": "s", "value": {"boolValue": True}}],
                        },
                        "spans": [span],
                    }
                ],
            }
        ]
    }
    assert decode_json_traces(json.dumps(body).encode()) == [
        Span(
            trace_id=bytes.fromhex("5b8efff798038103d269b633813fc60c"),
            span_id=bytes.fromhex("eee19b7ec3c1b174"),
            parent_span_id=bytes.fromhex("eee19b7ec3c1b173"),
            name="I'm a server span",
            kind=2,
            start_ns=1544712660000000000,
            end_ns=1544712661000000000,
            status_code=2,
            status_message="it broke",
            attributes={"my.span.attr": "some value"},
            events=[Event("an event", 1544712660500000000, {"n": 1})],
            links=[Link(bytes(15) + b"\x01", bytes(7) + b"\x02", {"n": 2})],
            scope=Scope({"service.name": "my.service"}, "my.library", "1.0.0", {"s": True}),
            otlp={"trace_state": "a=b", "flags": 257},
        )
    ]


@pytest.mark.parametrize("written", ["5b8efff798038103", "5B8EFFF798038103", "5b8EfFf798038103"])
def test_hex_ids(written: str) -> None:
    """IDs are hex, in upper or lower case, even if the text is valid base64 too."""
    assert decode_body(spanId=written).span_id == b"\x5b\x8e\xff\xf7\x98\x03\x81\x03"


@pytest.mark.parametrize(
    "written", ["W47/95gDgQPSabYzgT/GDA==", "5b 8e", "5b8", "0x5b", 7, ["5b"], {}], ids=repr
)
def test_no_hex(written: Any) -> None:
    """An ID that is not hex is rejected, even if it is valid base64."""
    assert refusal(traceId=written).startswith(f"{SPAN}.traceId: expected an ID in hex, got a")


@pytest.mark.parametrize("number", [0, 1, 2**53 + 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("form", [str, int])
def test_times(number: int, form: type) -> None:
    """Times are strings or numbers, up to 64 bits."""
    assert decode_body(startTimeUnixNano=form(number)).start_ns == number


@pytest.mark.parametrize(
    ("written", "got"),
    [
        (-1, "a number"),
        ("-1", "a string"),
        (2**64, "a number"),
        (str(2**64), "a string"),
        (0.5, "a number"),
        ("0.5", "a string"),
        ("", "a string"),
        ("1_0", "a string"),
        (" 1", "a string"),
        ("\u0661", "a string"),
        ("9" * 5_000, "a string"),
        (True, "a boolean"),
        ([], "a list"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_no_time(written: Any, got: str) -> None:
    """A time that is not an unsigned 64-bit integer is rejected. The error names its place."""
    assert (
        refusal(startTimeUnixNano=written)
        == f"{SPAN}.startTimeUnixNano: expected {UINT64}, got {got}"
    )


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("form", [str, int])
def test_integers(number: int, form: type) -> None:
    """An integer value is a string or, as JavaScript sends it, a number."""
    found = decode_value({"intValue": form(number)})
    assert (found, type(found)) == (number, int)


def test_integer_as_double() -> None:
    """An integer value written as 3.0 or 3e2 is an integer."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a","value":'
    (span,) = decode_json_traces(body + b'{"intValue":3e2}}]}]}]}]}')
    assert repr(span.attributes["a"]) == "300"


@pytest.mark.parametrize(
    ("written", "value"),
    [(0.5, 0.5), (3, 3.0), ("0.5", 0.5), ("1e3", 1000.0), ("-Infinity", -math.inf)],
)
def test_doubles(written: Any, value: float) -> None:
    """A double is a number, an integer or a string."""
    found = decode_value({"doubleValue": written})
    assert (found, type(found)) == (value, float)


def test_infinity() -> None:
    """The string "Infinity" is decoded as an infinite double."""
    assert decode_value({"doubleValue": "Infinity"}) == math.inf


def test_nan() -> None:
    """The string "NaN" is decoded as NaN."""
    assert math.isnan(decode_value({"doubleValue": "NaN"}))


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_bare_number(written: str) -> None:
    """NaN, infinite and too large doubles are read without quotes too, as Python writes them."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a","value":'
    (span,) = decode_json_traces(body + b'{"doubleValue":%b}}]}]}]}]}' % written.encode())
    assert repr(span.attributes["a"]) == repr(float(written))


@pytest.mark.parametrize("written", ["SPAN_KIND_CLIENT", 3, "3"])
def test_span_kind(written: Any) -> None:
    """A span kind is a number. Its name, which the specification forbids, is read too."""
    assert decode_body(kind=written).kind == 3


def test_span_kind_of_tomorrow() -> None:
    """An unknown span kind, for example of a later version of OTLP, is kept as its number."""
    assert decode_body(kind=99).kind == 99


def test_no_span_kind() -> None:
    """An unknown name of a span kind is rejected."""
    assert refusal(kind="SPAN_KIND_ODD").startswith(f"{SPAN}.kind: expected an integer")


@pytest.mark.parametrize("code", [2, "STATUS_CODE_ERROR"])
def test_status_code(code: Any) -> None:
    """A status code is a number. Its name, which the specification forbids, is read too."""
    assert decode_body(status={"code": code}).status_code == 2


@pytest.mark.parametrize("written", ["+/8=", "+/8", "-_8=", "-_8"])
def test_bytes(written: str) -> None:
    """Bytes are base64 of either alphabet, with or without padding."""
    assert decode_value({"bytesValue": written}) == b"\xfb\xff"


@pytest.mark.parametrize("value", [{}, None, {"stringValue": None}, {"strangeValue": 1}], ids=repr)
def test_empty_value(value: Any) -> None:
    """A value without a known type is None."""
    assert decode_value(value) is None


def test_missing_value() -> None:
    """An attribute without a value is None."""
    assert decode_body(attributes=[{"key": "key"}]).attributes == {"key": None}


def test_value_of_profiles() -> None:
    """A reference into the string table, which only profiles have, is decoded as None."""
    assert decode_value({"stringValueStrindex": 1}) is None


def test_nested_value() -> None:
    """Lists of mixed values and maps are decoded at any depth, including their empty values."""
    value = {
        "kvlistValue": {
            "values": [
                {
                    "key": "list",
                    "value": {
                        "arrayValue": {
                            "values": [
                                {"intValue": "1"},
                                {"stringValue": "two"},
                                {},
                                None,
                                {"arrayValue": {}},
                                {"kvlistValue": {"values": []}},
                                {"bytesValue": "AA=="},
                            ]
                        }
                    },
                },
                {"key": "null", "value": {}},
            ]
        }
    }
    assert decode_value(value) == {"list": [1, "two", None, None, [], {}, b"\x00"], "null": None}


def test_repeated_key() -> None:
    """If a key occurs twice, the last value is kept."""
    pairs = [{"key": "key", "value": {"intValue": number}} for number in (1, 2)]
    assert decode_body(attributes=pairs).attributes == {"key": 2}


def test_repeated_field() -> None:
    """If a field occurs twice, the last value is kept."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"one","name":"two"}]}]}]}'
    assert [span.name for span in decode_json_traces(body)] == ["two"]


@pytest.mark.parametrize("key", ["trace_id", "start_time_unix_nano", "fieldOfTomorrow"])
def test_unknown_field(key: str) -> None:
    """An unknown field is ignored, whatever its value. So are snake_case names."""
    assert decode_body(**{key: {"any": ["thing"]}}) == decode_body()


def test_absent_fields() -> None:
    """A span without fields is equal to an empty message."""
    assert decode_body() == Span(
        b"", b"", b"", "", 0, 0, 0, 0, "", {}, [], [], Scope({}, "", "", {})
    )


def test_null_fields() -> None:
    """A field that is null is treated as absent."""
    names = "traceId spanId parentSpanId name kind startTimeUnixNano endTimeUnixNano status"
    names += " attributes events links"
    assert decode_body(**dict.fromkeys(names.split())) == decode_body()


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"resourceSpans":[]}',
        '{"resourceSpans":null}',
        '{"resourceSpans":[{}]}',
        '{"resourceSpans":[{"resource":null,"scopeSpans":[{"scope":null,"spans":[]}]}]}',
    ],
)
def test_empty_request(body: str) -> None:
    """A request without spans, even with empty envelopes, is decoded to no spans."""
    assert decode_json_traces(body.encode()) == []


def test_shared_scope() -> None:
    """Spans of the same resource and scope share one `Scope` object."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"s"},"spans":[{},{}]}]}]}'
    one, two = decode_json_traces(body)
    assert one.scope is two.scope


def test_half_surrogate() -> None:
    """Half a surrogate pair, left when JavaScript cuts a text, becomes U+FFFD.

    Whole pairs and escaped backslashes before `u` are unchanged.
    """
    name = rb'"a\ud83d b\ud83d\udce6 \\ud83d"'
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":%s}]}]}]}' % name
    assert [span.name for span in decode_json_traces(body)] == ["a\ufffd b📦 \\ud83d"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": 7}, f"{SPAN}.name: expected a string, got a number"),
        ({"name": ["x"]}, f"{SPAN}.name: expected a string, got a list"),
        ({"status": []}, f"{SPAN}.status: expected an object, got a list"),
        ({"status": {"message": {}}}, f"{SPAN}.status.message: expected a string, got an object"),
        ({"attributes": {}}, f"{SPAN}.attributes: expected a list, got an object"),
        ({"attributes": [None]}, f"{SPAN}.attributes[0]: expected an object, got null"),
        (
            {"attributes": [{"key": 1}]},
            f"{SPAN}.attributes[0].key: expected a string, got a number",
        ),
        ({"events": [{}, 1]}, f"{SPAN}.events[1]: expected an object, got a number"),
        (
            {"events": [{"timeUnixNano": []}]},
            f"{SPAN}.events[0].timeUnixNano: expected {UINT64}, got a list",
        ),
        (
            {"links": [{"spanId": "x"}]},
            f"{SPAN}.links[0].spanId: expected an ID in hex, got a string that is not hex",
        ),
    ],
)
def test_wrong_field(fields: dict[str, Any], said: str) -> None:
    """A field of the wrong type is rejected. The error names its place and the expected type."""
    assert refusal(**fields) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("text", ": expected an object, got a string"),
        ({"stringValue": 1}, ".stringValue: expected a string, got a number"),
        ({"boolValue": "true"}, ".boolValue: expected true or false, got a string"),
        ({"boolValue": 1}, ".boolValue: expected true or false, got a number"),
        ({"intValue": str(2**63)}, f".intValue: expected {INT64}, got a string"),
        ({"intValue": True}, f".intValue: expected {INT64}, got a boolean"),
        (
            {"doubleValue": "nan"},
            '.doubleValue: expected a number, "NaN", "Infinity" or "-Infinity", got a string',
        ),
        ({"bytesValue": "a"}, ".bytesValue: expected base64, got a string"),
        ({"bytesValue": "é"}, ".bytesValue: expected base64, got a string"),
        ({"arrayValue": []}, ".arrayValue: expected an object, got a list"),
        ({"arrayValue": {"values": 1}}, ".arrayValue.values: expected a list, got a number"),
        (
            {"arrayValue": {"values": [{}, {"intValue": "x"}]}},
            f".arrayValue.values[1].intValue: expected {INT64}, got a string",
        ),
        (
            {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": []}}]}},
            ".kvlistValue.values[0].value.stringValue: expected a string, got a list",
        ),
    ],
)
def test_wrong_value(value: Any, said: str) -> None:
    """A value that does not match its declared type is rejected. The error names its place."""
    assert refusal(attributes=[{"key": "key", "value": value}]) == VALUE + said


def test_place_among_many() -> None:
    """The error about an invalid span includes its index."""
    spans = [{"name": "one"}, {"name": "two"}, {"startTimeUnixNano": {}}]
    body = {"resourceSpans": [{}, {"scopeSpans": [{"spans": spans}]}]}
    with pytest.raises(BadField) as caught:
        decode_json_traces(json.dumps(body).encode())
    assert caught.value.field == "resourceSpans[1].scopeSpans[0].spans[2].startTimeUnixNano"


@pytest.mark.parametrize("kind", ["arrayValue", "kvlistValue"])
def test_deep_value(kind: str) -> None:
    """A value that is nested too deeply is rejected permanently."""
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {kind: {"values": [value if kind == "arrayValue" else {"value": value}]}}
    said = refusal(attributes=[{"key": "key", "value": value}])
    assert said.endswith(f"{kind}: expected at most 46 levels of nesting")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is not JSON: "),
        (b"{", "The body is not JSON: "),
        (b"\xff", "The body is not JSON: "),
        (b'{"a":"\\u12"}', "The body is not JSON: "),
        (b"[" * 100_000, "The body is not JSON: "),
        (b"\x0a\x00", "The body is not JSON: "),
        (
            b"[]",
            "The body is not an OTLP ExportTraceServiceRequest: expected an object, got a list",
        ),
        (
            b"null",
            "The body is not an OTLP ExportTraceServiceRequest: expected an object, got null",
        ),
        (
            b'{"resource_spans":[]}',
            "The body has resource_spans and no resourceSpans: OTLP in JSON has keys in "
            "lowerCamelCase",
        ),
        (
            b'{"resourceLogs":[]}',
            "The body has resourceLogs and no resourceSpans: send it to /v1/logs",
        ),
    ],
    ids=["empty", "cut", "bytes", "escape", "deep", "protobuf", "list", "null", "snake", "logs"],
)
def test_no_request(body: bytes, said: str) -> None:
    """A body that is not a JSON object, or lacks the key of its list, is rejected permanently."""
    with pytest.raises(Rejected) as caught:
        decode_json_traces(body)
    assert str(caught.value).startswith(said)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("01"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(found: Any) -> list[tuple[Any, Any]]:
    """List each place in a document as its container and the key or index."""
    held = found.items() if isinstance(found, dict) else enumerate(found)
    here = [(found, key) for key, _ in held] if isinstance(found, dict | list) else []
    inner = [value for holder, key in here if isinstance(value := holder[key], dict | list)]
    return here + [place for value in inner for place in places(value)]


@given(st.lists(spans, min_size=1, max_size=2), st.randoms(use_true_random=False), any_json)
def test_any_json(given_spans: list[Span], random: Random, other: Any) -> None:
    """A request with an arbitrary value at any place is either decoded or rejected."""
    body = json.loads(encode_json(given_spans, random))
    holder, key = random.choice(places(body))
    holder[key] = other
    try:
        found = decode_json_traces(json.dumps(body).encode())
    except Rejected as error:
        assert str(error)  # noqa: PT017 - both outcomes are correct
    else:
        assert all(isinstance(span, Span) for span in found)


@pytest.mark.parametrize("name", ["name", "na\ufffdme"])
def test_byte_order_mark_is_ignored(name: str) -> None:
    """A request may start with a byte order mark, which .NET and PowerShell write."""
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": name}]}]}]})
    [span] = decode_json_traces(body.encode("utf-8-sig").replace(b"\xef\xbf\xbd", b"\xff"), [])
    assert span.name == name
