"""Calls whose run is not accessed while they run: attributes are computed when they are sent."""

import contextvars
import functools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_official
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from otel_ml import Client, current_run
from otel_ml.capture.values import encode, preview, preview_of
from otel_ml.export.encoder import encode_span
from otel_ml.runs import Run
from otel_ml.spans import RunSpan
from tests.support.otel_ml.recording import Recording, attributes, stable
from tests.support.otel_ml.strategies import any_values

LONG: Final = "lorem ipsum " * 200
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=400),
    lambda inner: (
        st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=8), inner, max_size=20)
    ),
    max_leaves=60,
)


@functools.cache
def echo() -> tuple[Recording, Callable[[object], object]]:
    recording = Recording(join=False)
    return recording, recording.client.trace(name="model")(lambda question: question)


def calls_of(recording: Recording) -> list[RunSpan]:
    return [span for span in recording.runs() if isinstance(span, RunSpan)]


@given(value=any_values)
def test_call_is_written_as_the_official_encoder_writes_it(value: object) -> None:
    """A call is encoded as the official encoder encodes its attributes."""
    recording, traced = echo()
    recording.exporter.clear()
    for _ in range(2):  # the version is known in the second call
        traced(value)
    for span in calls_of(recording):
        request = encode_official([span])
        [written] = request.resource_spans[0].scope_spans[0].spans
        assert Span.FromString(encode_span(span)) == written


def test_call_says_the_same_when_it_is_asked_for() -> None:
    """A call records the same whether or not its run was accessed during the call."""
    recording = Recording(join=False)

    @recording.client.trace
    def answer(question: str, asks: bool) -> dict[str, str]:
        if asks:
            current_run()
        return {"answer": question}

    for _ in range(2):
        answer(LONG, asks=True)
    answer(LONG, asks=False)
    _, asked, plain = map(stable, recording.runs())
    inputs = "otel_ml.inputs", "otel_ml.inputs.preview"
    assert list(asked) == list(plain)
    assert {k: v for k, v in asked.items() if k not in inputs} == {
        k: v for k, v in plain.items() if k not in inputs
    }
    assert json.loads(plain["otel_ml.inputs"]) == {"question": LONG, "asks": False}


def piece(chunk: Any, asks: bool) -> Iterator[Any]:
    """Give chunks like one, and look at the run in between if it is to."""
    yield chunk
    if asks:
        current_run()
    yield chunk


def say(texts: list[str]) -> Iterator[str]:
    """Give texts one by one."""
    yield from texts


@pytest.mark.parametrize("chunk", ["to", 7, {"part": [1]}, "lorem ipsum " * 200, ""])
def test_stream_is_described_as_if_it_were_asked_for(chunk: object) -> None:
    """A stream records the same whether or not its run was accessed during the stream."""
    recording = Recording(join=False)
    traced = recording.client.trace(piece)
    for asks in (True, True, False):
        assert list(traced(chunk, asks)) == [chunk, chunk]
    runs = recording.runs()
    _, asked, plain = map(stable, runs)
    of_chunks, inputs = (
        "otel_ml.stream.first_chunk_ms",
        ("otel_ml.inputs", "otel_ml.inputs.preview"),
    )
    assert all(isinstance(run, RunSpan) and run.number == 0 for run in runs[:2])
    assert isinstance(runs[2], RunSpan)
    assert runs[2].number > 0  # its attributes are computed when it is read
    assert plain["otel_ml.stream.chunks"] == 2
    for key in ("otel_ml.model.version", "otel_ml.model.output_schema"):
        assert attributes(runs[2]).get(key) == attributes(runs[1]).get(key)
    assert 0 <= attributes(runs[2])[of_chunks] <= attributes(runs[2])["otel_ml.latency_ms"]
    assert {key: item for key, item in asked.items() if key not in {*inputs, of_chunks}} == {
        key: item for key, item in plain.items() if key not in {*inputs, of_chunks}
    }


def test_secret_across_chunks_stays_where_the_version_is_known() -> None:
    """A secret split across two chunks is in neither output nor chunks, also in later streams."""
    recording = Recording(redact=lambda text: text.replace("4711", "[pin]"), join=False)
    traced = recording.client.trace(say)
    for _ in range(3):
        assert "".join(traced(["The pin is 47", "11."])) == "The pin is 4711."
    for run in map(attributes, recording.runs()):
        assert json.loads(run["otel_ml.outputs"]) == "The pin is [pin]."
        assert "otel_ml.outputs.chunks" not in run


def test_chunks_that_are_too_long_beside_a_whole_output_are_cut() -> None:
    """If the chunks' JSON exceeds the limit, the first chunks are kept, and the run notes it."""
    recording = Recording(join=False)
    traced = recording.client.trace(say)
    for _ in range(2):
        assert len("".join(traced(["0123456789"] * 5_200))) == 52_000
    for run in map(attributes, recording.runs()):
        assert len(json.loads(run["otel_ml.outputs"])) == 52_000
        assert len(json.loads(run["otel_ml.outputs.chunks"])) > 4_000
        assert json.loads(run["otel_ml.capture"])["chunks"] == ["truncated"]


def test_processors_of_others_read_all_of_a_call_at_its_end() -> None:
    """Under a joined provider, span processors see all attributes when a call ends."""
    ended: list[dict[str, Any]] = []

    class Reader(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(stable(span))

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Reader())
    client = Client("shop", tracer_provider=provider)
    asking = client.trace(name="model")(lambda question: current_run() and {"answer": question})
    plain = client.trace(name="model")(lambda question: {"answer": question})
    for traced in (asking, plain):
        traced(LONG)
        traced(LONG)
    assert ended[1] == ended[3]
    assert ended[3]["otel_ml.inputs"] == json.dumps({"question": LONG}, separators=(",", ":"))
    assert "otel_ml.outputs.preview" in ended[3]


def test_threads_that_ask_at_once_add_to_one_run() -> None:
    """Tags that several threads add to a call at the same time are all on its run."""
    recording = Recording(join=False)
    together = threading.Barrier(4)

    def add(name: str) -> None:
        together.wait(10)
        current_run().tag(**{name: "yes"})

    @recording.client.trace
    def answer() -> str:
        contexts = [contextvars.copy_context() for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: contexts[i].run(add, f"tag_{i}"), range(4)))
        return "done"

    for _ in range(50):
        answer()
    for run in map(attributes, recording.runs()):
        assert [run.get(f"otel_ml.tag.tag_{i}") for i in range(4)] == ["yes"] * 4


def test_call_keeps_its_values_as_they_were() -> None:
    """Changes that a program makes after a call has returned are not in the run."""
    recording = Recording(join=False)
    traced = recording.client.trace(name="model")(lambda items: {"items": items})
    items: list[Any] = [1]
    traced(items)
    traced(items)
    items.append(LONG)
    said = [attributes(span) for span in recording.runs()]
    assert {span["otel_ml.inputs"] for span in said} == {'{"items":[1]}'}
    assert {span["otel_ml.outputs"] for span in said} == {'{"items":[1]}'}


def test_attribute_of_the_host_stands_beside() -> None:
    """An attribute that the host sets on the current span is kept with the run's attributes."""
    recording = Recording(join=False)

    @recording.client.trace
    def answer(question: str) -> str:
        trace.get_current_span().set_attribute("of.host", question)
        return question

    for _ in range(2):
        answer("why?")
    for run in map(attributes, recording.runs()):
        assert run["of.host"] == "why?"
        assert (run["otel_ml.inputs"], run["otel_ml.outputs"]) == ('{"question":"why?"}', '"why?"')


def test_run_that_is_asked_for_late_takes_more() -> None:
    """A run that another context finds after its end accepts a tag, sent as an update record."""
    recording = Recording(join=False)
    contexts: list[contextvars.Context] = []

    @recording.client.trace
    def answer(question: str) -> str:
        contexts.append(contextvars.copy_context())
        return question

    for _ in range(2):
        answer("why?")

    def find() -> Run:
        run = current_run()
        run.tag(late="yes")
        return run

    run = contexts[1].run(find)
    [update] = recording.records("update")
    assert attributes(update)["otel_ml.tag.late"] == "yes"
    assert run.id == f"{update.context.trace_id:032x}-{update.parent.span_id:016x}"  # type: ignore[union-attr]  # it has one
    assert "ok" in repr(run)


def test_numbers_follow_each_other() -> None:
    """Calls described late and calls described at once share one number sequence."""
    recording = Recording(join=False)
    plain = recording.client.trace(name="plain")(lambda: 1)
    asking = recording.client.trace(name="asking")(lambda: current_run().id)
    for _ in range(3):
        plain()
        asking()
    numbers = [attributes(span)["otel_ml.seq"] for span in recording.runs()]
    assert numbers == [*range(numbers[0], numbers[0] + 6)]
    assert recording.client.stats().sequence == numbers[-1]


@given(value=JSON)
def test_preview_of_a_text_is_that_of_its_value(value: object) -> None:
    """A preview made from a payload's whole text equals the preview of the payload."""
    text, notes = encode(value)
    if not notes:
        assert preview_of(text) == preview(value, text)


def test_disabled_client_describes_nothing() -> None:
    """A call inside a `disabled` block leaves no run."""
    recording = Recording(join=False)
    client: Client = recording.client
    traced = client.trace(name="model")(lambda: 1)
    traced()
    with client.disabled():
        traced()
    assert len(recording.runs()) == 1
