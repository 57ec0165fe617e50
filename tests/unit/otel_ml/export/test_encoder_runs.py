"""The encoded spans of runs, compared with other spans and with the official encoder."""

import contextlib
import gc
import logging
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_official
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

from otel_ml import Client, Judge, current_run
from otel_ml.export.encoder import encode_span
from otel_ml.spans import RunSpan
from tests.support.otel_ml.providers import open_provider, start_under, within
from tests.support.otel_ml.strategies import any_values
from tests.unit.otel_ml.export.span_strategies import attributes as host_attributes
from tests.unit.otel_ml.export.span_strategies import contexts, text

NAMES: Final = (
    "model",
    "a model with a name of more than sixty-four characters, which is kept not",
    "é",
)
LIMITS: Final = (
    SpanLimits(),
    SpanLimits(max_span_attributes=12),
    SpanLimits(max_span_attribute_length=60),
    SpanLimits(max_span_attributes=18, max_events=1, max_span_attribute_length=200),
)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Disable warnings, because the SDK logs one for each attribute that the limits drop."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Model:
    """Traced functions with one set of limits, and the spans of their runs."""

    def __init__(self, limits: SpanLimits) -> None:
        provider, self._exporter = open_provider(span_limits=limits, sampler=ALWAYS_ON)
        self.client = Client("shop", tracer_provider=provider)
        self._calls = [
            self.client.trace(name=name, params={"k": 2})(self._answer) for name in NAMES
        ]
        judge = Judge("short", "The question is short", lambda inputs: len(inputs) < 3)
        self._calls.append(self.client.assess(judge, name="judged")(self._answer))
        self._said: Mapping[str, Any] = {}

    def _answer(self, question: object) -> object:
        current_run().tag(self._said["tags"])
        for line in self._said["lines"]:
            current_run().info(line)
        if self._said["host"]:
            trace.get_current_span().set_attributes(self._said["host"])
        if self._said["error"] is not None:
            raise ValueError(self._said["error"])
        return self._said["answer"]

    def record(self, said: Mapping[str, Any]) -> list[RunSpan]:
        """Record one traced call and one run that is opened by hand, and return their spans."""
        self._exporter.clear()
        self._said = said
        above = NonRecordingSpan(said["above"]) if said["above"] else trace.INVALID_SPAN
        with within(above), contextlib.suppress(ValueError):
            self._calls[said["call"]](said["question"])
        with within(above), self.client.run("training", params=said["tags"]) as run:
            run.tag(said["tags"])
            run.log_metrics({"loss": said["loss"]})
        assert self.client.flush()
        spans = self._exporter.get_finished_spans()
        assert {type(span) for span in spans} == {RunSpan}
        return [span for span in spans if isinstance(span, RunSpan)]


MODELS: Final = tuple(map(Model, LIMITS))

said = st.fixed_dictionaries(
    {
        "question": any_values,
        "answer": any_values,
        "tags": st.dictionaries(text, any_values, max_size=4),
        "lines": st.lists(text, max_size=2),
        "host": st.just({}) | host_attributes,
        "error": st.none() | text,
        "above": st.none() | contexts,
        "call": st.integers(0, len(NAMES)),
        "loss": st.floats(allow_nan=False),
    }
)


class Seen:
    """A run's span as a class that the encoder does not know, with public properties only."""

    def __init__(self, span: RunSpan) -> None:
        self._span = span

    def __getattr__(self, name: str) -> object:
        return getattr(self._span, name)


def official(span: RunSpan) -> bytes:
    [resource_spans] = encode_official([span]).resource_spans
    [scope_spans] = resource_spans.scope_spans
    [message] = scope_spans.spans
    return bytes(message.SerializeToString(deterministic=True))


@given(said=said, model=st.sampled_from(MODELS))
def test_run_is_written_as_any_span(said: Mapping[str, Any], model: Model) -> None:
    """A run, or a record about one, is encoded to the same bytes as a span of another class."""
    for span in model.record(said):
        assert encode_span(span) == encode_span(cast("ReadableSpan", Seen(span)))


@given(said=said, model=st.sampled_from(MODELS))
def test_run_is_written_as_official(said: Mapping[str, Any], model: Model) -> None:
    """A run, or a record about one, decodes to the same span as with the official encoder."""
    for span in model.record(said):
        message = Span.FromString(encode_span(span))
        assert message.SerializeToString(deterministic=True) == official(span)


@given(shared=st.lists(contexts, max_size=3))
def test_shared_links_are_written_as_any(shared: list[SpanContext]) -> None:
    """Links that several spans share are encoded on each like the official encoder does."""
    links = tuple(Link(context, {}) for context in shared)
    for _ in range(2):
        span = open_span()
        span.link(links)
        span.end()
        assert encode_span(span) == encode_span(cast("ReadableSpan", Seen(span)))
        message = Span.FromString(encode_span(span))
        assert message.SerializeToString(deterministic=True) == official(span)


# The encoder's cache of versions.


def open_span() -> RunSpan:
    provider, _ = open_provider()
    span = start_under(provider)("run", Context(), 1, {}, False)
    assert isinstance(span, RunSpan)
    return span


def constants_of(span: RunSpan) -> dict[str, str]:
    """Return the decoded attributes of a span that are the same in each run."""
    message = Span.FromString(encode_span(span))
    return {pair.key: pair.value.string_value for pair in message.attributes}


def test_versions_are_not_confused() -> None:
    """Each run has its own version, even after thousands of short-lived versions."""
    span = open_span()
    identities = set()
    for number in range(5_000):
        constants = {"otel_ml.model.version": f"{number:016x}"}
        identities.add(id(constants))
        span.write({}, constants)
        del constants
        for _ in range(2):  # the first pass encodes the version, the second finds it in the cache
            assert constants_of(span) == {"otel_ml.model.version": f"{number:016x}"}
    assert len(identities) < 5_000  # otherwise this proves nothing


def test_living_versions_are_not_confused() -> None:
    """Each run has its own version, even if more versions are in use than are cached."""
    span = open_span()
    versions = [{"otel_ml.model.version": f"{number:016x}"} for number in range(1_500)]
    order = random.Random(1)  # noqa: S311 - an order, no secret
    for version in order.choices(versions, k=6_000):
        span.write({}, version)
        assert constants_of(span) == version


def test_versions_are_not_kept_for_ever() -> None:
    """Of thousands of versions, only some stay in memory."""

    class Version(dict[str, str]):
        """A class whose instances can be counted with the garbage collector."""

    span = open_span()
    for number in range(5_000):
        span.write({}, Version({"otel_ml.model.version": f"{number:016x}"}))
        encode_span(span)
    assert sum(type(item) is Version for item in gc.get_objects()) <= 1_024 + 1


def test_threads_do_not_confuse_versions() -> None:
    """Threads that encode runs of many versions at the same time do not mix them up."""

    def write(thread: int) -> bool:
        span = open_span()
        for number in range(1_500):
            version = {"otel_ml.model.version": f"{thread}:{number}"}
            span.write({}, version)
            if constants_of(span) != version:
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(write, range(4)))


def test_open_run_is_written_without_an_end() -> None:
    """A span that has not ended is encoded with an end of 0."""
    span = open_span()
    message = Span.FromString(encode_span(span))
    assert (message.start_time_unix_nano, message.end_time_unix_nano) == (1, 0)
