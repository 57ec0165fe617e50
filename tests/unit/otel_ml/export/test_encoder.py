"""The encoder compared with the official one, and its results where that one fails."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from otel_ml.errors import trouble
from otel_ml.export.encoder import (
    EncodedRequest,
    Envelope,
    encode_envelope,
    encode_request,
    encode_span,
    encode_spans,
)
from tests.unit.otel_ml.export.foreign import Foreign
from tests.unit.otel_ml.export.official import (
    CONTEXT,
    RESOURCE,
    assert_official,
    decode,
    decode_only_span,
    make_span,
)
from tests.unit.otel_ml.export.span_strategies import built_spans, recorded_spans


@given(st.lists(built_spans, max_size=4))
def test_built_spans_as_official(spans: list[ReadableSpan]) -> None:
    """Spans that are built directly are encoded like the official encoder does."""
    assert_official(spans)


@given(recorded_spans())
def test_recorded_spans_as_official(spans: list[ReadableSpan]) -> None:
    """Spans of the SDK and their dropped counts are encoded like the official encoder does."""
    assert_official(spans)


def test_known_bytes() -> None:
    """A span is encoded to the bytes that the protobuf definition specifies."""
    span = make_span(attributes={"k": "v"}, start_time=1, end_time=2, kind=SpanKind.CLIENT)
    trace_id, span_id = CONTEXT.trace_id.to_bytes(16, "big"), CONTEXT.span_id.to_bytes(8, "big")
    assert encode_span(span) == b"".join([
        b"\x0a\x10" + trace_id + b"\x12\x08" + span_id,
        b"\x2a\x03run" + b"\x30\x03",  # name, kind
        b"\x39\x01\0\0\0\0\0\0\0" + b"\x41\x02\0\0\0\0\0\0\0",  # start and end
        b"\x85\x01\x00\x01\x00\x00",  # flags: not remote
        b"\x4a\x08" + b"\x0a\x01k" + b"\x12\x03" + b"\x0a\x01v",
        b"\x7a\x00",  # status
    ])  # fmt: skip


@pytest.mark.parametrize(("is_remote", "flags"), [(True, 0x300), (False, 0x100)])
def test_remote_parents_and_links(is_remote: bool, flags: int) -> None:
    """The flags state whether a parent and a link are remote."""
    context = SpanContext(5, 6, is_remote=is_remote)
    span = make_span(parent=context, links=[Link(context, BoundedAttributes())])
    assert_official([span])
    found = decode_only_span(encode_spans([span]).body)
    assert (found.flags, found.links[0].flags) == (flags, flags)


class Bare(Mapping[str, Any]):
    """A mapping that has only the required methods."""

    def __getitem__(self, key: str) -> Any:
        return {"a": 1, "b": "x"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    "span",
    [
        Foreign(dropped_attributes=1, dropped_events=128, dropped_links=2**32 - 1),
        Foreign(attributes=None, status=None, events=None, links=None),
        Foreign(name=None, start_time=None, end_time=None),
        Foreign(status=SimpleNamespace(status_code=StatusCode.UNSET, description="why")),
        Foreign(attributes=Bare()),
        Foreign(attributes=MappingProxyType(Bare())),
        make_span(attributes=Bare()),
    ],
)
def test_foreign_spans_as_official(span: ReadableSpan) -> None:
    """A span is read only through its public properties."""
    assert_official([span])


@pytest.mark.parametrize("kind", [None, 7, "client"])
def test_unknown_kind_is_unspecified(kind: object) -> None:
    """A span with an unknown kind is encoded with the kind unspecified."""
    assert decode_only_span(encode_spans([Foreign(kind=kind)]).body).kind == 0


def test_items_without_counts() -> None:
    """Events and links of SDK 1.25, which has no dropped counts, report dropped attributes."""

    class Old:
        name = "old"
        timestamp = 3
        context = CONTEXT
        attributes = BoundedAttributes(1, {"a": 1, "b": 2, "c": 3})

    found = decode_only_span(encode_spans([Foreign(events=[Old()], links=[Old()])]).body)
    assert found.events[0].dropped_attributes_count == 2
    assert found.links[0].dropped_attributes_count == 2


def test_lone_surrogates_around_attributes() -> None:
    """A lone surrogate in a name or a description becomes a question mark."""
    status = Status(StatusCode.ERROR, "bad \ud800")
    span = make_span(
        name="run \ud800",
        status=status,
        events=[Event("event \ud800", BoundedAttributes())],
        instrumentation_scope=InstrumentationScope("scope \ud800"),
    )
    request = decode(encode_spans([span]).body)
    assert request.resource_spans[0].scope_spans[0].scope.name == "scope ?"
    found = request.resource_spans[0].scope_spans[0].spans[0]
    assert (found.name, found.status.message, found.events[0].name) == ("run ?", "bad ?", "event ?")


BAD_SPANS = {
    "no context": make_span(context=None),
    "ids too large": make_span(context=SpanContext(2**128, 2**64, is_remote=False)),
    "negative time": make_span(start_time=-1),
    "time too large": make_span(end_time=2**64),
    "time in seconds": make_span(end_time=1.5),
    "name is no text": make_span(name=5),
    "no status code": Foreign(status=object()),
    "no resource": Foreign(resource=object()),
    "no scope": Foreign(scope=object()),
    "no attributes": Foreign(attributes=5),
    "no span": object(),
}


@pytest.mark.parametrize("bad", BAD_SPANS.values(), ids=BAD_SPANS)
def test_bad_span_costs_itself_alone(bad: Any) -> None:
    """A span that cannot be encoded is left out and counted; the others are delivered."""
    before = trouble().get("encode", 0)
    good = [make_span(name="one"), make_span(name="two")]
    assert encode_spans([good[0], bad, good[1]]) == EncodedRequest(encode_spans(good).body, 2, 1)
    assert trouble()["encode"] == before + 1


@pytest.mark.parametrize("spans", [[], [make_span(context=None)] * 3])
def test_request_without_spans(spans: list[ReadableSpan]) -> None:
    """A request without spans is empty."""
    assert encode_spans(spans) == EncodedRequest(b"", 0, len(spans))


def test_equal_resources_and_scopes_share_a_group() -> None:
    """Spans with equal resources and scopes share a group, like in the official encoder."""
    pairs = [("service.name", "x"), ("other", "y")]
    spans = [
        make_span(
            name=str(number),
            resource=Resource({"number": number % 2, **dict(pairs[:: (-1) ** (number // 3)])}),
            instrumentation_scope=[InstrumentationScope(name) for name in "ab"][number % 3]
            if number % 3 < 2
            else None,
        )
        for number in range(12)
    ]
    assert_official(spans)
    assert len(decode(encode_spans(spans).body).resource_spans) == 2


def test_request_of_envelopes() -> None:
    """Batches with equal envelopes are joined, and batches without spans are left out."""
    scope = InstrumentationScope("scope", "1", "https://example.org/1")
    resource = Resource({"a": 1}, "https://example.org/2")
    spans = [make_span(name=name, resource=resource, instrumentation_scope=scope) for name in "abc"]
    one, two, three = map(encode_span, spans)
    envelope = encode_envelope(resource, scope)
    other = encode_envelope(RESOURCE, None)
    body = encode_request(iter([(envelope, [one, two]), (other, []), (envelope, (three,))]))
    assert body == encode_spans(spans).body
    assert encode_request([]) == b""


def test_envelope() -> None:
    """An envelope contains the messages of resource and scope without tag and length."""
    scope = InstrumentationScope("s", None, "https://example.org/1")
    assert encode_envelope(Resource({"k": "v"}, "https://example.org/2"), scope) == Envelope(
        resource=b"\x0a\x08\x0a\x01k\x12\x03\x0a\x01v",
        resource_schema_url="https://example.org/2",
        scope=b"\x0a\x01s",
        scope_schema_url="https://example.org/1",
    )
    assert encode_envelope(Resource({}), None) == Envelope(b"", "", b"", "")
