"""Tests of decoding traces from OTLP protobuf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.errors import Rejected
from otel_ml_collector.span import Event, Link, Scope, Span, Value
from tests.support.otel_ml_collector.spans import make_span, span_id, trace_id
from tests.support.otel_ml_collector.wire import encode

NOT_OTLP = "The body is not an OTLP ExportTraceServiceRequest in protobuf"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times = st.integers(0, 2**64 - 1)
values: st.SearchStrategy[Value] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        texts,
        st.binary(max_size=12),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
attributes = st.dictionaries(texts, values, max_size=4)
counts = st.integers(0, 2**32 - 1)
more = st.integers(1, 2**32 - 1)
spans = st.builds(
    Span,
    trace_id=st.binary(max_size=17),
    span_id=st.binary(max_size=9),
    parent_span_id=st.binary(max_size=9),
    name=texts,
    kind=st.integers(0, 5),
    start_ns=times,
    end_ns=times,
    status_code=st.integers(0, 2),
    status_message=texts,
    attributes=attributes,
    events=st.lists(st.builds(Event, texts, times, attributes, counts), max_size=2),
    links=st.lists(
        st.builds(
            Link, st.binary(max_size=16), st.binary(max_size=8), attributes, texts, counts, counts
        ),
        max_size=2,
    ),
    scope=st.builds(Scope, attributes, texts, texts, attributes, texts, counts, texts, counts),
    otlp=st.fixed_dictionaries(
        {},
        optional={
            "trace_state": texts.filter(bool),
            "flags": more,
            "dropped_attributes_count": more,
            "dropped_events_count": more,
            "dropped_links_count": more,
        },
    ),
)


def field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited protobuf field."""
    size = bytearray()
    left = len(content)
    while left > 127:
        size.append(left & 127 | 128)
        left >>= 7
    return bytes([number << 3 | 2, *size, left]) + content


def decode_attributes(*pairs: KeyValue) -> object:
    """Decode a span that has the given attributes, and return them."""
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    scope_spans.spans.add(attributes=pairs)
    (span,) = decode_traces(request.SerializeToString())
    return span.attributes


@given(st.lists(spans, max_size=4))
def test_round_trip(given_spans: list[Span]) -> None:
    """Requests encoded with the official messages are decoded to the same spans, in order."""
    assert list(decode_traces(encode(given_spans))) == given_spans


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -(2**63),
        2**63 - 1,
        0.5,
        "",
        "text",
        b"",
        b"\x00\xff",
        [],
        [1, "two", None, [3.0]],
        {},
        {"a": {"b": [True, {"c": b"\x01"}]}},
    ],
    ids=repr,
)
def test_value(value: Value) -> None:
    """Every kind of attribute value is decoded to the same Python value and type."""
    (span,) = decode_traces(encode([make_span(attributes={"key": value})]))
    assert span.attributes == {"key": value}
    assert type(span.attributes["key"]) is type(value)


def test_value_of_profiles() -> None:
    """A reference into the string table, which only profiles have, is decoded as None."""
    assert decode_attributes(KeyValue(key="key", value=AnyValue(string_value_strindex=1))) == {
        "key": None
    }


def test_key_of_profiles() -> None:
    """A key that refers to the string table, which only profiles have, is empty."""
    pair = KeyValue(key_strindex=1, value=AnyValue(string_value="text"))
    assert decode_attributes(pair) == {"": "text"}


def test_repeated_key() -> None:
    """If a key occurs twice, the last value is kept."""
    pairs = [KeyValue(key="key", value=AnyValue(int_value=number)) for number in (1, 2)]
    assert decode_attributes(*pairs) == {"key": 2}


def test_shared_scope() -> None:
    """Spans of the same resource and scope share one `Scope` object."""
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    scope_spans.scope.name = "library"
    scope_spans.spans.add(name="one")
    scope_spans.spans.add(name="two")
    one, two = decode_traces(request.SerializeToString())
    assert one.scope is two.scope
    assert one.scope == Scope({}, "library", "", {})


def test_unknown_fields() -> None:
    """Unknown fields, for example of a later version of OTLP, are ignored at any depth."""
    newer = b"\xfa\x07\x03new"  # field 127, 3 bytes
    span = make_span("one", trace_id=trace_id(1), span_id=span_id(1))
    message = ExportTraceServiceRequest.FromString(encode([span]))
    sent = message.resource_spans[0].scope_spans[0].spans[0]
    sent.MergeFromString(newer)
    assert list(decode_traces(message.SerializeToString() + newer)) == [span]


def test_unknown_span_kind() -> None:
    """An unknown span kind, for example of a later version of OTLP, is kept as its number."""
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    scope_spans.spans.append(trace_pb2.Span.FromString(b"\x30\x63"))  # kind 99
    (span,) = decode_traces(request.SerializeToString())
    assert span.kind == 99


@pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"], ids=repr)
def test_empty_request(body: bytes) -> None:
    """A request without spans, even with empty envelopes, is decoded to no spans."""
    assert list(decode_traces(body)) == []


@pytest.mark.parametrize(
    "body",
    [b"\x0a\x7f\x01", b"{}", b"\xff" * 40, encode([make_span()])[:-1]],
    ids=["ends early", "json", "noise", "cut"],
)
def test_undecodable(body: bytes) -> None:
    """A body that is not an export request is rejected permanently."""
    with pytest.raises(Rejected, match=f"^{NOT_OTLP}$"):
        decode_traces(body)


def test_deep_value() -> None:
    """A value that is nested too deeply for protobuf is rejected permanently."""
    value = b""
    for _ in range(5_000):
        value = field(5, field(1, value))  # a list with one value
    attribute = field(9, field(1, b"key") + field(2, value))
    with pytest.raises(Rejected, match=f"^{NOT_OTLP}$"):
        decode_traces(field(1, field(2, field(2, attribute))))


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are either decoded or rejected."""
    try:
        assert all(isinstance(span, Span) for span in decode_traces(body))
    except Rejected as error:
        assert str(error) == NOT_OTLP  # noqa: PT017 - both outcomes are correct


def test_count() -> None:
    """The spans of a request are counted without being decoded."""
    request = ExportTraceServiceRequest()
    for number in (2, 0, 3):
        scopes = request.resource_spans.add().scope_spans
        for _ in range(2):
            scopes.add().spans.extend([trace_pb2.Span()] * number)
    spans = decode_traces(request.SerializeToString())
    assert len(spans) == len(list(spans)) == 10
