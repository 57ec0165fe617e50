"""Returned model streams are recorded as one answer and reach their reader unchanged."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import tee
from typing import Any

import pytest

from otel_ml import Client
from tests.support.otel_ml.genai.responses import ANTHROPIC_EVENTS, CHAT_CHUNKS, as_object
from tests.support.otel_ml.recording import Recording, attributes, outputs

CHUNKS = [as_object(chunk) for chunk in CHAT_CHUNKS]


class Stream:
    """A stream that yields its chunks like the classes of OpenAI and Anthropic."""

    def __init__(self, chunks: list[Any] = CHUNKS, error: Exception | None = None) -> None:
        self._iterator = self._read(chunks, error)
        self.is_closed = False

    def _read(self, chunks: list[Any], error: Exception | None) -> Iterator[Any]:
        yield from chunks
        if error is not None:
            raise error

    def __next__(self) -> Any:
        return self._iterator.__next__()

    def __iter__(self) -> Iterator[Any]:
        yield from self._iterator

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True


class AsyncStream:
    def __init__(self) -> None:
        self._left = list(CHUNKS)

    async def __anext__(self) -> Any:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while self._left:
            yield await self.__anext__()

    async def close(self) -> str:
        return "closed"


def generator() -> Iterator[Any]:
    yield from CHUNKS


def asking(client: Client, make: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    """Return a traced function that returns the result of `make`."""

    @client.trace(**options or {"kind": "chat"})
    def ask() -> Any:
        return make()

    return ask


def said(recording: Recording) -> tuple[Any, ...]:
    """Return the outcome, the number of chunks and the output tokens of the only run."""
    found = attributes(recording.run())
    return (
        found["otel_ml.outcome"],
        found["otel_ml.stream.chunks"],
        found.get("gen_ai.usage.output_tokens"),
    )


WHOLE = ("ok", len(CHUNKS), 7)


@pytest.mark.parametrize("make", [Stream, generator])
@pytest.mark.parametrize(
    "read", [list, lambda stream: [*iter(lambda: next(stream, None), None)]], ids=["for", "next"]
)
def test_returned_stream_is_one_answer(
    client: Client, recording: Recording, make: Callable[[], Any], read: Callable[[Any], list[Any]]
) -> None:
    """A returned stream yields the same chunks to its reader and records their whole answer."""
    ask = asking(client, make)
    assert read(ask()) == CHUNKS
    assert said(recording) == WHOLE
    [choice] = outputs(recording.run())["choices"]
    assert choice["message"]["role"] == "assistant"
    assert "otel_ml.outputs.chunks" in attributes(recording.run())


def test_same_object(client: Client, recording: Recording) -> None:
    """The reader receives the object that the function returned, with its own methods."""
    made = Stream()
    given = asking(client, lambda: made)()
    assert given is made
    assert isinstance(given, Stream)
    assert (type(given).__name__, type(given).__module__) == ("Stream", __name__)
    first, second = tee(given)
    assert (list(first), list(second)) == (CHUNKS, CHUNKS)
    assert said(recording) == WHOLE


def test_async(client: Client, recording: Recording) -> None:
    """An async stream of a coroutine, whose methods call each other, is recorded as one answer."""

    @client.trace(kind="chat")
    async def ask() -> AsyncStream:
        return AsyncStream()

    async def read() -> list[Any]:
        stream = await ask()
        return [chunk async for chunk in stream]

    assert asyncio.run(read()) == CHUNKS
    assert said(recording) == WHOLE


def test_closed(client: Client, recording: Recording) -> None:
    """A stream that is closed early is recorded as abandoned, with its chunks until then."""
    with asking(client, Stream)() as stream:
        assert next(stream) is CHUNKS[0]
    assert stream.is_closed
    assert said(recording) == ("abandoned", 1, None)


def test_async_closed(client: Client, recording: Recording) -> None:
    """Closing an async stream returns the result of its own close method."""

    async def read() -> Any:
        stream = asking(client, AsyncStream)()
        await stream.__anext__()
        return await stream.close()

    assert asyncio.run(read()) == "closed"
    assert said(recording) == ("abandoned", 1, None)


@pytest.mark.parametrize("make", [Stream, generator])
def test_dropped(client: Client, recording: Recording, make: Callable[[], Any]) -> None:
    """A stream that is no longer referenced ends its run, even if it was not read."""
    asking(client, make)()
    gc.collect()
    assert said(recording) == ("abandoned", 0, None)


def test_error(client: Client, recording: Recording) -> None:
    """An error in a stream reaches the reader unchanged and fails the run."""
    error = ConnectionError("cut")
    stream = asking(client, lambda: Stream(CHUNKS[:2], error))()
    with pytest.raises(ConnectionError) as raised:
        list(stream)
    assert raised.value is error
    assert said(recording) == ("error", 2, None)


def test_manager(client: Client, recording: Recording) -> None:
    """A stream that a context manager creates on entry is recorded."""

    class MessageStreamManager:
        __module__ = "anthropic.lib"

        def __enter__(self) -> Stream:
            return Stream([as_object(event) for event in ANTHROPIC_EVENTS])

        def __exit__(self, *_: object) -> None:
            pass

    with asking(client, MessageStreamManager)() as stream:
        assert len(list(stream)) == len(ANTHROPIC_EVENTS)
    assert said(recording)[:2] == ("ok", len(ANTHROPIC_EVENTS))
    assert outputs(recording.run())["role"] == "assistant"


def test_others_are_left_alone(client: Client, recording: Recording) -> None:
    """A stream of a function that calls no model keeps its class.

    The run ends with the call.
    """
    stream = asking(client, Stream, kind="model")()
    assert type(stream) is Stream
    assert attributes(recording.run())["otel_ml.outcome"] == "ok"


def test_strange_chunks(client: Client, recording: Recording) -> None:
    """Chunks that are not a model's are recorded unchanged."""
    assert list(asking(client, lambda: Stream([1, None, "a"]))()) == [1, None, "a"]
    assert outputs(recording.run()) == [1, None, "a"]


def test_bounded(client: Client, recording: Recording) -> None:
    """The first 10,000 chunks of a stream are kept, and all are counted."""
    list(asking(client, lambda: Stream(["a"] * 10_001))())
    assert attributes(recording.run())["otel_ml.stream.chunks"] == 10_001
    assert outputs(recording.run()) == "a" * 10_000


class Message:
    """A LangChain message, whose class has no such fields before an instance is created."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def test_langchain(client: Client, recording: Recording) -> None:
    """A LangChain message records model, finish reason, tokens and cached tokens."""

    @client.trace(kind="chat")
    def ask(question: str) -> Message:
        return Message(
            type="ai",
            content="Rain.",
            id="run--1",
            response_metadata={"model_name": "gpt-4o", "finish_reason": "stop", "id": "chat-1"},
            usage_metadata={
                "input_tokens": 12,
                "output_tokens": 5,
                "input_token_details": {"cache_read": 4},
                "output_token_details": {"reasoning": 2},
            },
        )

    ask("Weather?")
    found = attributes(recording.run())
    assert {key.removeprefix("gen_ai."): found[key] for key in found if "gen_ai." in key} == {
        "operation.name": "chat",
        "request.model": "gpt-4o",
        "response.model": "gpt-4o",
        "response.id": "chat-1",
        "response.finish_reasons": ("stop",),
        "usage.input_tokens": 12,
        "usage.output_tokens": 5,
        "usage.cache_read.input_tokens": 4,
        "usage.reasoning.output_tokens": 2,
        "input.messages": '[{"role":"user","parts":[{"type":"text","content":"Weather?"}]}]',
        "output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"Rain."}]}]',
    }


def test_cut_responses(client: Client, recording: Recording) -> None:
    """An incomplete stream of OpenAI's Responses API keeps text, reasoning and calls apart."""
    item = {"type": "function_call", "call_id": "call_1", "name": "weather"}
    events = [
        {"type": "response.created", "response": {"id": "resp_1", "output": []}},
        {"type": "response.reasoning_summary_text.delta", "delta": "Hm"},
        {"type": "response.output_text.delta", "delta": "Su"},
        {"type": "response.output_text.delta", "delta": "nny"},
        {"type": "response.output_item.added", "output_index": 2, "item": item},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":1}'},
    ]
    list(asking(client, lambda: Stream(events))())
    assert outputs(recording.run()) == {
        "output": [
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "text": "Hm"},
                    {"type": "output_text", "text": "Sunny"},
                ],
            },
            {**item, "arguments": '{"a":1}'},
        ]
    }
