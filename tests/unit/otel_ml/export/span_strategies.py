"""Hypothesis strategies for spans that the official encoder can write."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from tests.unit.otel_ml.export.official import WRITES_BYTES, WRITES_NONE

text = st.text(max_size=200)
# Few keys and short texts, so that examples hit cache entries of earlier examples.
keys = st.sampled_from(["a", "otel_ml.kind", "é"]) | st.text(min_size=1, max_size=20)
int64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
primitives = st.booleans() | int64 | st.floats() | st.sampled_from(["x", "model", "1"]) | text
# Before 1.45, the SDK decodes bytes as text; in a list, undecodable bytes become None.
_bytes = st.binary(max_size=100) if WRITES_NONE else text.map(str.encode)
_leaves = (
    primitives
    | st.sampled_from([0, 1, 0.0, 1.0, True, False, -0.0, 127, 128, -1])
    | (st.none() if WRITES_NONE else st.nothing())
    | (_bytes if WRITES_BYTES else st.nothing())
)
values: st.SearchStrategy[Any] = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(text | st.integers(), inner, max_size=5)
    ),
    max_leaves=10,
)
attributes = st.dictionaries(keys, values, max_size=8)
times = st.integers(min_value=0, max_value=2**64 - 1)
_states = st.lists(
    st.tuples(st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True), st.sampled_from("xyz")),
    max_size=3,
    unique_by=lambda entry: entry[0],
).map(TraceState)
contexts = st.builds(
    SpanContext,
    trace_id=st.integers(min_value=1, max_value=2**128 - 1),
    span_id=st.integers(min_value=1, max_value=2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    trace_state=st.none() | _states,
)
statuses = st.builds(Status, st.just(StatusCode.ERROR), st.none() | text) | st.sampled_from(
    [Status(StatusCode.UNSET), Status(StatusCode.OK)]
)
resources = st.builds(
    Resource,
    st.dictionaries(keys, st.integers(0, 3) | text, max_size=3),
    st.none() | st.just("https://opentelemetry.io/schemas/1.30.0"),
)
# On the wire, a scope with an empty name equals no scope; the official encoder differs.
scopes = st.builds(
    InstrumentationScope, keys, st.none() | keys, st.none() | st.just("https://example.org/1")
)


def _bounded(given: dict[str, Any], limit: int | None) -> BoundedAttributes:
    return BoundedAttributes(limit, given)


_item_attributes = st.builds(_bounded, attributes, st.none() | st.integers(0, 3))
events = st.builds(Event, text, _item_attributes, times)
links = st.builds(Link, contexts, _item_attributes)

built_spans = st.builds(
    ReadableSpan,
    name=text | st.sampled_from(["run", "model"]),
    context=contexts,
    parent=st.none() | contexts,
    resource=resources,
    attributes=st.none() | attributes,
    events=st.lists(events, max_size=3),
    links=st.lists(links, max_size=3),
    kind=st.sampled_from(SpanKind),
    status=statuses,
    start_time=st.none() | times,
    end_time=st.none() | times,
    instrumentation_scope=st.none() | scopes,
)

_limit = st.none() | st.integers(0, 3)
_limits = st.builds(
    SpanLimits,
    max_span_attributes=_limit,
    max_events=_limit,
    max_links=_limit,
    max_event_attributes=_limit,
    max_link_attributes=_limit,
    max_span_attribute_length=st.none() | st.integers(0, 20),
)


class _Ids(IdGenerator):
    """Constant ids, because Hypothesis requires deterministic examples."""

    def generate_span_id(self) -> int:
        return 2**63 + 5

    def generate_trace_id(self) -> int:
        return 2**127 + 7


@st.composite
def recorded_spans(draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[ReadableSpan]:
    """Record spans with the SDK's provider and drawn limits."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(
        resource=draw(resources),
        span_limits=draw(_limits),
        id_generator=_Ids(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(memory))
    for _ in range(draw(st.integers(1, 3))):
        above = draw(st.none() | contexts)
        span = provider.get_tracer(draw(keys), "1", schema_url=draw(text)).start_span(
            draw(text),
            context=None if above is None else set_span_in_context(NonRecordingSpan(above)),
            kind=draw(st.sampled_from(SpanKind)),
            attributes=draw(attributes),
            links=draw(st.lists(links, max_size=4)),
            start_time=draw(st.none() | times),
        )
        span.set_attributes(draw(attributes))
        for event in draw(st.lists(events, max_size=4)):
            span.add_event(event.name, dict(event.attributes or {}), event.timestamp)
        span.set_status(draw(statuses))
        span.end(draw(st.none() | times))
    return list(memory.get_finished_spans())
