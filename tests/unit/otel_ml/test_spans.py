"""The span of a run, compared with the OpenTelemetry SDK's span after the same operations."""

import contextlib
import decimal
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

from otel_ml import Client
from otel_ml.deferred_attributes import DeferredAttributes
from otel_ml.errors import trouble
from otel_ml.spans import RunSpan
from tests.support.examples import examples
from tests.support.otel_ml.providers import (
    FixedIds,
    Provider,
    WrappingProvider,
    open_provider,
    start_under,
)

Operation = tuple[str, dict[str, Any]]

END_NS = 2_000_000_000


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Disable warnings: most operations here would log one, thousands of times."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class NamelessError(Exception):
    __module__ = None  # type: ignore[assignment]  # seen in generated classes


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an error that has been raised, with its traceback."""
    with contextlib.suppress(BaseException):
        raise error from cause
    return error


texts = st.text(max_size=12)
# Few keys, so that some are set twice: one is a key of a run, and the SDK refuses the empty one.
keys = st.sampled_from(["a", "b", "c", "d", "otel_ml.outcome", ""]) | texts
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=5)
    | st.sampled_from([decimal.Decimal("1.5"), {1}, object()]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=5,
)
attributes = st.dictionaries(keys, values, max_size=5)
times = st.integers(min_value=0, max_value=2**62)
contexts = st.builds(
    SpanContext,
    trace_id=st.sampled_from([0, 1, 2**128 - 1]),
    span_id=st.sampled_from([0, 1]),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    trace_state=st.none() | st.just(TraceState([("vendor", "x")])),
)
errors = st.sampled_from(
    [
        ValueError("never raised"),
        raised(ValueError("wrong")),
        raised(KeyError("a"), raised(OSError("cause"))),
        raised(KeyboardInterrupt()),
        NamelessError(),
    ]
)
codes = st.sampled_from(StatusCode)


def _operation(name: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


additions: st.SearchStrategy[Operation] = st.one_of(
    _operation("set_attribute", key=keys, value=values),
    _operation("set_attributes", attributes=attributes),
    _operation("add_event", name=texts, attributes=st.none() | attributes, timestamp=times),
    _operation("add_link", context=contexts, attributes=st.none() | attributes),
    _operation("set_status", status=codes, description=st.none() | texts),
    _operation(
        "set_status",
        status=st.builds(Status, codes, st.none() | texts),
        description=st.none() | texts,
    ),
    _operation("update_name", name=texts),
    _operation(
        "record_exception",
        exception=errors,
        attributes=st.none() | attributes,
        timestamp=times,
        escaped=st.booleans(),
    ),
)
programs = st.lists(additions | _operation("end", end_time=times), max_size=12)
_limit = st.none() | st.just(SpanLimits.UNSET) | st.integers(0, 4)
limits = st.builds(
    SpanLimits,
    max_attributes=_limit,
    max_events=_limit,
    max_links=_limit,
    max_span_attributes=_limit,
    max_event_attributes=_limit,
    max_link_attributes=_limit,
    max_attribute_length=_limit,
    max_span_attribute_length=_limit,
)


def open_pair(limits: SpanLimits) -> tuple[RunSpan, trace.Span]:
    """Return a span of otel-ml without attributes and one of the SDK, with equal ids and tracer.

    Returns:
        The otel-ml span and the SDK's span.
    """
    provider, _ = open_provider(span_limits=limits, id_generator=FixedIds())
    ours = start_under(provider)("run", Context(), 1, {}, False)
    assert isinstance(ours, RunSpan)
    scope = ours.instrumentation_scope
    tracer = provider.get_tracer(scope.name, scope.version, attributes=scope.attributes)
    return ours, tracer.start_span("run", context=Context(), start_time=1)


def open_many(count: int, **options: Any) -> list[RunSpan]:
    """Return several otel-ml spans of one tracer."""
    start = start_under(open_provider(**options)[0])
    spans = [start("run", Context(), 1, {}, False) for _ in range(count)]
    return [span for span in spans if isinstance(span, RunSpan)]


def play(span: trace.Span, program: list[Operation]) -> None:
    for name, arguments in program:
        getattr(span, name)(**arguments)


def said(span: Any) -> dict[str, Any]:
    """Return all data of a span, as text where values may not equal themselves."""
    return {
        "name": span.name,
        "context": span.get_span_context(),
        "same": span.context == span.get_span_context(),
        "parent": span.parent,
        "kind": span.kind,
        "times": (span.start_time, span.end_time),
        "status": (span.status.status_code, span.status.description),
        "attributes": repr(dict(span.attributes)),
        "events": [
            (event.name, event.timestamp, repr(dict(event.attributes)), event.dropped_attributes)
            for event in span.events
        ],
        "links": [
            (link.context, repr(dict(link.attributes)), link.dropped_attributes)
            for link in span.links
        ],
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": span.resource,
        "scope": span.instrumentation_scope,
    }


@given(program=programs, limits=limits)
@settings(max_examples=examples(150))
def test_span_holds_what_the_sdk_s_holds(program: list[Operation], limits: SpanLimits) -> None:
    """After each operation of any program, a run's span has the same data as the SDK's span."""
    ours, theirs = open_pair(limits)
    for operation in program:
        play(ours, [operation])
        play(theirs, [operation])
        assert said(ours) == said(theirs)
        assert ours.is_recording() == theirs.is_recording()


def as_json(span: Any) -> str:
    try:
        return str(span.to_json())
    except TypeError as error:  # bytes cannot be written as JSON
        return str(error)


@given(program=programs)
def test_span_is_the_sdk_s_json(program: list[Operation]) -> None:
    """A span's JSON equals that of the SDK's span."""
    ours, theirs = open_pair(SpanLimits())
    play(ours, program)
    play(theirs, program)
    assert as_json(ours) == as_json(theirs)
    assert as_json(ours.copy()) == as_json(theirs)


shared = st.lists(contexts.filter(lambda context: context.is_valid), max_size=3)


@given(shared=shared, program=programs, limits=limits)
def test_shared_links_are_links(
    shared: list[SpanContext], program: list[Operation], limits: SpanLimits
) -> None:
    """A span with shared links has the same data as a span to which each link was added."""
    ours, theirs = open_pair(limits)
    ours.link(tuple(Link(context, {}) for context in shared))
    for context in shared:
        theirs.add_link(context)
    play(ours, program)
    play(theirs, program)
    assert said(ours) == said(theirs)


@given(program=programs, limits=limits)
def test_independent_copy_holds_the_same(program: list[Operation], limits: SpanLimits) -> None:
    """A copy of a span keeps the span's data, whatever happens to the span later."""
    ours, theirs = open_pair(limits)
    play(ours, program)
    play(theirs, program)
    copied = ours.copy()
    play(ours, [("set_attribute", {"key": "later", "value": 1}), ("end", {"end_time": END_NS})])
    expected = said(theirs)
    assert {**said(copied), "dropped": ()} == {**expected, "dropped": ()}


def test_status_that_is_none_is_ignored() -> None:
    """A value that is neither a status nor a code does not change the status, as in the SDK."""
    ours, theirs = open_pair(SpanLimits())
    for span in (ours, theirs):
        span.set_status("wrong")  # type: ignore[arg-type]  # a slip of the host's
    assert said(ours) == said(theirs)


def test_block_of_the_host_s_ends_the_span() -> None:
    """A span used as a context manager ends with its block, even if the block raises."""
    ours, _ = open_pair(SpanLimits())
    with pytest.raises(KeyError), ours:
        raise KeyError("a")
    assert not ours.is_recording()


@pytest.fixture
def _often_switched() -> Iterator[None]:
    """Let threads switch as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_often_switched")
def test_threads_lose_nothing() -> None:
    """Attributes and events that several threads add at the same time are all kept."""
    threads = 4
    spans = open_many(10_000)
    begin = threading.Barrier(threads)

    def add(number: int) -> None:
        begin.wait()
        for span in spans:
            span.set_attribute(f"key {number}", number)
            span.add_event(f"event {number}")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, range(threads)))
    found = {(len(span.attributes or {}), len(span.events)) for span in spans}
    assert found == {(threads, threads)}


def test_deferred_attributes_are_computed_once() -> None:
    """A logged value's attributes are computed once, at encoding or when the queue is full.

    The span's limits apply to them.
    """
    computed: list[str] = []

    def compute() -> dict[str, str]:
        computed.append("once")
        return {"text": "x" * 10}

    [span] = open_many(1, span_limits=SpanLimits(max_attribute_length=4))
    span.add_event("value", DeferredAttributes(compute, 1))
    assert computed == []
    span.encode_early()
    assert computed == ["once"]
    [event] = span.events
    assert dict(event.attributes or {}) == {"text": "xxxx"}
    assert computed == ["once"]


# Attributes and events that the host adds while its function is traced.

VOLATILE = {"otel_ml.seq", "otel_ml.latency_ms"}


def written(span: ReadableSpan) -> dict[str, Any]:
    """Return the data of a run's span without ids, times and latency."""
    found = said(span)
    del found["context"], found["times"], found["resource"], found["scope"]
    kept = {key: item for key, item in (span.attributes or {}).items() if key not in VOLATILE}
    events = [(event.name, repr(dict(event.attributes or {}))) for event in span.events]
    return {**found, "attributes": repr(sorted(kept.items())), "events": events}


class Playing:
    """A traced function that plays a program on the current span, under one provider."""

    def __init__(self, kind: type[Provider]) -> None:
        provider, self.exporter = open_provider(kind)
        self.program: list[Operation] = []

        def model(message: str | None) -> str:
            play(trace.get_current_span(), self.program)
            if message is not None:
                raise ValueError(message)
            return "answer"

        client = Client("shop", tracer_provider=provider)
        self.call = client.trace(name="model", tags={"team": "a"})(model)
        self.call(None)  # the first run of a version has more attributes

    def run(self, program: list[Operation], message: str | None = None) -> ReadableSpan:
        self.exporter.clear()
        self.program = program
        with contextlib.suppress(ValueError):
            self.call(message)
        [span] = self.exporter.get_finished_spans()
        return span


@pytest.fixture(scope="module")
def playing() -> Playing:
    return Playing(TracerProvider)


@pytest.fixture(scope="module")
def playing_stock() -> Playing:
    return Playing(WrappingProvider)


@given(program=st.lists(additions, max_size=8), message=st.none() | texts)
def test_host_adds_to_a_run(
    playing: Playing, playing_stock: Playing, program: list[Operation], message: str | None
) -> None:
    """Additions of a traced function to the current span are kept as on the SDK's span."""
    ours = playing.run(program, message)
    assert type(ours) is RunSpan
    assert written(ours) == written(playing_stock.run(program, message))


def test_host_s_attributes_stand_beside_ours(playing: Playing) -> None:
    """A run has the host's attributes too, but under the same key the run's own value is kept."""
    given: dict[str, Any] = {"answer.size": 3, "otel_ml.outcome": "great"}
    span = playing.run([("set_attributes", {"attributes": given})])
    found = span.attributes or {}
    assert found["answer.size"] == 3
    assert found["otel_ml.outcome"] == "ok"
    assert found["otel_ml.tag.team"] == "a"


class Ended(SpanProcessor):
    """A processor that keeps the attributes of the last span at its end."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def on_end(self, span: ReadableSpan) -> None:
        self.attributes = dict(span.attributes or {})


@pytest.mark.parametrize("kind", [TracerProvider, WrappingProvider])
def test_span_that_the_host_ended_stays_as_it_was(kind: type[TracerProvider]) -> None:
    """A run's span that the host ends early keeps its data, and nothing is added later."""
    provider, exporter = open_provider(kind)
    ended = Ended()
    provider.add_span_processor(ended)  # type: ignore[arg-type]  # any processor will do

    def model() -> None:
        span = trace.get_current_span()
        span.set_attribute("answer.size", 3)
        span.end(END_NS)

    Client("shop", tracer_provider=provider).trace(name="model")(model)()
    [span] = exporter.get_finished_spans()
    assert span.end_time == END_NS
    assert ended.attributes == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "model",
        "answer.size": 3,
    }
    assert dict(span.attributes or {}) == ended.attributes


def test_end_of_the_host_s_is_no_trouble() -> None:
    """A call whose span the host ended returns, and no trouble is counted."""
    before = trouble()
    client = Client("shop", tracer_provider=open_provider()[0])

    def model() -> int:
        trace.get_current_span().end()
        return 1

    assert client.trace(model)() == 1
    assert trouble() == before
