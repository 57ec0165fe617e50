"""Traced sync and async generators: they behave as without tracing and leave a run."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from otel_ml.functions import Capture
from tests.support.examples import examples
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    events,
    inputs,
    outputs,
    parent_id,
    span_id,
    stable,
)
from tests.support.waiting import run_other_tasks
from tests.unit.otel_ml.programs import (
    ASYNC_GENERATORS,
    GENERATORS,
    Step,
    closing,
    closing_async,
    failing,
    failing_at_close,
    failing_at_close_async,
    play,
    play_async,
    reluctant,
    steps,
)

TRACED = Recording()
thorough = settings(max_examples=examples(500))

on_each_generator = pytest.mark.parametrize(
    "function", GENERATORS, ids=lambda function: function.__name__
)


def count(stop: int) -> Iterator[int]:
    yield from range(stop)


async def count_later(stop: int) -> AsyncIterator[int]:
    for number in range(stop):
        await run_other_tasks()
        yield number


@given(program=steps, function=st.sampled_from(GENERATORS))
@example(program=[("next", None), ("throw", "exit")], function=closing)
@example(program=[("next", None), ("close", None)], function=closing)
@thorough
def test_generator_answers_as_without_us(
    program: list[Step], function: Callable[[], Generator[Any, Any, Any]]
) -> None:
    """A traced generator answers any sequence of next, send, throw and close like the original."""
    assert play(TRACED.client.trace(function)(), program) == play(function(), program)


@given(program=steps, function=st.sampled_from(ASYNC_GENERATORS))
@example(program=[("next", None), ("throw", "exit")], function=closing_async)
@thorough
def test_async_generator_answers_as_without_us(
    program: list[Step], function: Callable[[], AsyncGenerator[Any, Any]]
) -> None:
    """A traced async generator answers any asend, athrow and aclose like the original."""

    async def answers() -> tuple[object, object]:
        ours = await play_async(TRACED.client.trace(function)(), program)
        return ours, await play_async(function(), program)

    ours, own = asyncio.run(answers())
    assert ours == own


def test_stream_leaves_one_run(recording: Recording) -> None:
    """A stream read to its end leaves one run whose output is its chunks."""
    assert list(recording.client.trace(count)(3)) == [0, 1, 2]
    span = recording.run()
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "count",
        "otel_ml.inputs": '{"stop":3}',
        "otel_ml.outputs": "[0,1,2]",
        "otel_ml.stream.chunks": 3,
        "otel_ml.outcome": "ok",
    }
    first_ms = attributes(span)["otel_ml.stream.first_chunk_ms"]
    assert 0 <= first_ms <= attributes(span)["otel_ml.latency_ms"]


def test_async_stream_leaves_one_run(recording: Recording) -> None:
    """An async stream read to its end leaves one run whose output is its chunks."""

    async def read() -> list[int]:
        return [number async for number in recording.client.trace(count_later)(3)]

    assert asyncio.run(read()) == [0, 1, 2]
    assert stable(recording.run()) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "count_later",
        "otel_ml.inputs": '{"stop":3}',
        "otel_ml.outputs": "[0,1,2]",
        "otel_ml.stream.chunks": 3,
        "otel_ml.outcome": "ok",
    }


def test_stream_without_chunks_has_no_first_chunk(recording: Recording) -> None:
    """A stream without chunks has a chunk count of 0 and no time to first chunk."""
    assert list(recording.client.trace(count)(0)) == []
    span = recording.run()
    assert stable(span)["otel_ml.stream.chunks"] == 0
    assert outputs(span) == []
    assert "otel_ml.stream.first_chunk_ms" not in attributes(span)


def test_stream_left_early_is_abandoned(recording: Recording) -> None:
    """A stream closed by its reader leaves an abandoned run with the chunks so far, no error."""
    stream = recording.client.trace(count)(3)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    span = recording.run()
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "count",
        "otel_ml.inputs": '{"stop":3}',
        "otel_ml.outputs": "[0]",
        "otel_ml.stream.chunks": 1,
        "otel_ml.outcome": "abandoned",
    }
    assert (span.status.status_code, events(span)) == (trace.StatusCode.UNSET, [])


def test_forgotten_stream_is_abandoned(recording: Recording) -> None:
    """A stream that its reader drops leaves an abandoned run."""
    next(recording.client.trace(count)(3))
    gc.collect()
    assert stable(recording.run())["otel_ml.outcome"] == "abandoned"


def test_async_stream_left_early_is_abandoned(recording: Recording) -> None:
    """An async stream that its reader closes leaves an abandoned run with the chunks so far."""

    async def read() -> None:
        stream = recording.client.trace(count_later)(3)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator

    asyncio.run(read())
    span = recording.run()
    assert stable(span)["otel_ml.outcome"] == "abandoned"
    assert outputs(span) == [0]


def test_stream_that_raises_is_failed(recording: Recording) -> None:
    """A stream that raises leaves a failed run with the chunks so far."""
    with pytest.raises(ValueError, match=r"^inside$"):
        list(recording.client.trace(failing)())
    span = recording.run()
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "failing",
        "otel_ml.inputs": "{}",
        "otel_ml.outputs": "[1]",
        "otel_ml.stream.chunks": 1,
        "otel_ml.outcome": "error",
        "error.type": "ValueError",
    }
    assert span.status.status_code is trace.StatusCode.ERROR


def test_stream_that_fails_at_its_close_is_recorded(recording: Recording) -> None:
    """A stream whose cleanup raises on close leaves a failed run."""
    stream = recording.client.trace(failing_at_close)()
    next(stream)
    with pytest.raises(KeyError):
        stream.close()
    span = recording.run()
    assert (stable(span)["otel_ml.outcome"], stable(span)["error.type"]) == ("error", "KeyError")


def test_async_stream_that_fails_at_its_close_is_recorded(recording: Recording) -> None:
    """An async stream whose cleanup raises on close leaves a failed run."""

    async def read() -> None:
        stream = recording.client.trace(failing_at_close_async)()
        await anext(stream)
        await stream.aclose()

    with pytest.raises(KeyError):
        asyncio.run(read())
    assert stable(recording.run())["error.type"] == "KeyError"


def test_stream_that_refuses_its_close_is_recorded(recording: Recording) -> None:
    """A stream that ignores its close raises as without tracing and leaves one run."""
    stream = recording.client.trace(reluctant)()
    next(stream)
    with pytest.raises(RuntimeError, match=r"^generator ignored GeneratorExit$"):
        stream.close()
    del stream
    gc.collect()
    assert len(recording.runs()) == 1


def test_cancelled_stream_is_recorded(recording: Recording) -> None:
    """A stream cancelled while it waits for a chunk leaves a cancelled run."""
    entered = asyncio.Event()

    @recording.client.trace
    async def model() -> AsyncIterator[int]:
        yield 1
        entered.set()
        await asyncio.Event().wait()

    async def read() -> list[int]:
        return [number async for number in model()]

    async def main() -> None:
        task = asyncio.ensure_future(read())
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    span = recording.run()
    assert (stable(span)["otel_ml.outcome"], outputs(span)) == ("cancelled", [1])


def test_reader_s_own_calls_are_no_children(recording: Recording) -> None:
    """Calls of the reader between two chunks are not children of the stream's run."""
    reads = recording.client.trace(name="reads")(lambda number: number)
    for number in recording.client.trace(count)(2):
        reads(number)
    found = {(span.name, parent_id(span)) for span in recording.runs()}
    assert found == {("reads", None), ("count", None)}


def test_stream_s_own_calls_are_children(recording: Recording) -> None:
    """Calls in the stream's body are children of its run, before and after each chunk."""
    step = recording.client.trace(name="step")(lambda number: number)

    @recording.client.trace
    def model() -> Iterator[int]:
        step(1)
        yield 1
        step(2)

    list(model())
    first, second, stream = recording.runs()
    assert [parent_id(first), parent_id(second)] == [span_id(stream)] * 2


def test_async_stream_s_own_calls_are_children(recording: Recording) -> None:
    """Calls in an async stream's body are children of its run; calls of its reader are not."""
    step = recording.client.trace(name="step")(lambda number: number)

    @recording.client.trace
    async def model() -> AsyncIterator[int]:
        step(1)
        yield 1
        step(2)

    async def read() -> None:
        async for number in model():
            step(number + 10)

    asyncio.run(read())
    spans = recording.runs()
    stream = spans[-1]
    assert {inputs(span)["number"]: parent_id(span) for span in spans[:-1]} == {
        1: span_id(stream),
        11: None,
        2: span_id(stream),
    }


def test_streams_may_interleave(recording: Recording) -> None:
    """Two streams that are read alternately leave separate runs."""
    traced = recording.client.trace(count)
    assert list(zip(traced(2), traced(2), strict=True)) == [(0, 0), (1, 1)]
    assert [outputs(span) for span in recording.runs()] == [[0, 1], [0, 1]]


def test_stream_in_a_stream_is_a_child(recording: Recording) -> None:
    """A traced generator is the parent of a traced generator that it delegates to."""
    inner = recording.client.trace(count)

    @recording.client.trace
    def outer() -> Iterator[int]:
        yield from inner(2)

    assert list(outer()) == [0, 1]
    child, parent = recording.runs()
    assert parent_id(child) == span_id(parent)


def test_stream_that_nobody_reads_leaves_no_run(recording: Recording) -> None:
    """A generator that is never read leaves no run."""
    recording.client.trace(count)(3)
    gc.collect()
    assert recording.runs() == []


def test_wrong_call_of_a_stream_is_its_own_error(client: Client) -> None:
    """A generator called with wrong arguments raises its own error when it is read."""
    with pytest.raises(TypeError) as own:
        count(1, 2)  # type: ignore[call-arg]  # that is the point
    stream = client.trace(count)(1, 2)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError) as ours:
        next(stream)
    assert ours.value.args == own.value.args


def test_stream_s_inputs_are_those_of_its_first_step(recording: Recording) -> None:
    """A stream's inputs are recorded when it is first read, because its body runs then."""

    @recording.client.trace
    def model(items: list[int]) -> Iterator[int]:
        yield len(items)
        items.append(3)

    items = [1]
    stream = model(items)
    items.append(2)
    assert list(stream) == [2]
    assert inputs(recording.run()) == {"items": [1, 2]}


def test_chunks_beyond_the_bound_are_said(recording: Recording) -> None:
    """Only the first 10,000 chunks of a stream are kept, and the run notes the cut."""
    for _ in recording.client.trace(count)(10_001):
        pass
    span = recording.run()
    assert attributes(span)["otel_ml.stream.chunks"] == 10_001
    assert outputs(span) == list(range(10_000))
    assert attributes(span)["otel_ml.capture"] == '{"outputs":["truncated"]}'


@on_each_generator
def test_generator_keeps_its_type(
    client: Client, function: Callable[[], Generator[Any, Any, Any]]
) -> None:
    """A traced generator function returns a generator."""
    assert type(client.trace(function)()) is type(function())


def test_texts_are_one_text(recording: Recording) -> None:
    """The output of a stream of texts is the joined text, and the chunks are recorded too."""

    @recording.client.trace
    def say() -> Iterator[str]:
        yield from ("Sunny", " in", " Ghent")

    assert list(say()) == ["Sunny", " in", " Ghent"]
    span = recording.run()
    assert (outputs(span), json.loads(attributes(span)["otel_ml.outputs.chunks"])) == (
        "Sunny in Ghent",
        ["Sunny", " in", " Ghent"],
    )


def test_secret_across_chunks_stays(recording: Recording) -> None:
    """A secret split across two chunks is in neither the output nor the chunks."""
    exporter = InMemorySpanExporter()
    client = Client(
        "shop", exporter=exporter, redact=lambda text: text.replace("4711", "[pin]"), join=False
    )

    @client.trace
    def say() -> Iterator[str]:
        yield from ("The pin is 47", "11.")

    assert "".join(say()) == "The pin is 4711."
    assert client.flush()
    client.close()
    [span] = exporter.get_finished_spans()
    told = attributes(span)
    assert (
        outputs(span),
        "otel_ml.outputs.chunks" in told,
        json.loads(told["otel_ml.capture"]),
    ) == (
        "The pin is [pin].",
        False,
        {"outputs": ["redacted"], "chunks": ["redacted"]},
    )


@pytest.mark.parametrize("capture", ["all", "inputs"])
def test_returned_stream_is_said(recording: Recording, capture: Capture) -> None:
    """A returned iterator is untouched, noted as not followed, and of the same version."""

    @recording.client.trace(kind="chat", capture=capture)
    def ask(model: str, stream: bool, temperature: float) -> Iterator[str] | str:
        return iter(["a", "b"]) if stream else "ab"

    assert (ask("gpt-4o", False, 0.5), "".join(ask("gpt-4o", True, 0.5))) == ("ab", "ab")
    first, second = map(attributes, recording.runs())
    assert "not_followed" in json.loads(second["otel_ml.capture"])["outputs"]
    named = ("otel_ml.model.version", "gen_ai.request.model", "gen_ai.request.temperature")
    assert [second[name] for name in named] == [first[name] for name in named]
    assert not any("otel_ml.model.output_schema" in one for one in (first, second))


def test_returned_file_is_no_stream(recording: Recording, tmp_path: Path) -> None:
    """A returned file is not treated as a stream."""
    path = tmp_path / "answers"
    path.touch()
    with recording.client.trace(open)(path):
        assert "otel_ml.capture" not in attributes(recording.run())
