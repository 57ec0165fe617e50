"""The attributes that runs of GenAI operations record according to the conventions."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from otel_ml.attributes import KINDS, OPERATIONS
from otel_ml.genai.generative import CONTENT_VARIABLE, message_content_mode
from otel_ml.genai.messages import find_output
from tests.support.otel_ml.genai.responses import (
    ANTHROPIC_EVENTS,
    CHAT,
    CHAT_CHUNKS,
    EMBEDDINGS,
    RESPONSE,
    as_object,
)
from tests.support.otel_ml.recording import Recording, attributes, outputs

MESSAGES = [{"role": "user", "content": "Weather?"}]
SAID = [{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}]


def gen_ai(span: ReadableSpan) -> dict[str, Any]:
    """Return the standard attributes, with JSON content decoded."""
    return {
        key: json.loads(value) if isinstance(value, str) and value[:1] in {"[", "{"} else value
        for key, value in attributes(span).items()
        if key.startswith("gen_ai.")
    }


def test_chat(client: Client, recording: Recording) -> None:
    """A chat run records operation, provider, model, request, response, tokens and messages."""

    @client.trace(kind="chat", provider="openai", model="gpt-4o")
    def answer(
        messages: Any, system: str, temperature: float = 0.5, stop: str = "end", seed: int = 7
    ) -> Any:
        return as_object(CHAT)

    answer(MESSAGES, "Be kind")
    assert gen_ai(recording.run()) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ("end",),
        "gen_ai.request.seed": 7,
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 16,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "gen_ai.input.messages": SAID,
        "gen_ai.system_instructions": [{"type": "text", "content": "Be kind"}],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [
                    {"type": "text", "content": "hi"},
                    {
                        "type": "tool_call",
                        "id": "call_1",
                        "name": "weather",
                        "arguments": {"city": "Paris"},
                    },
                ],
                "finish_reason": "tool_calls",
            }
        ],
    }


def test_run_keeps_its_own_name(client: Client, recording: Recording) -> None:
    """The span is named by the convention, but the model keeps its own name."""

    @client.trace(kind="chat", model="gpt-4o", name="answer")
    def answer(question: str) -> str:
        return question

    answer("a")
    run = recording.run()
    assert (run.name, attributes(run)["otel_ml.model.name"], attributes(run)["otel_ml.kind"]) == (
        "chat gpt-4o",
        "answer",
        "model",
    )


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("execute_tool", ("execute_tool weather", {"gen_ai.tool.name": "weather"})),
        ("invoke_agent", ("invoke_agent weather", {"gen_ai.agent.name": "weather"})),
        ("invoke_workflow", ("invoke_workflow weather", {"gen_ai.workflow.name": "weather"})),
        ("retrieval", ("weather", {})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_actors(
    client: Client, recording: Recording, operation: str, expected: tuple[str, dict[str, str]]
) -> None:
    """Tools, agents and workflows record the function's name; other operations do not."""

    @client.trace(kind=operation, name="weather")
    def weather(city: str) -> int:
        return 7

    weather("Paris")
    run = recording.run()
    named = {key: item for key, item in gen_ai(run).items() if key.endswith(".name")}
    assert (run.name, named) == (
        expected[0],
        {"gen_ai.operation.name": operation, **expected[1]},
    )


def test_tool_tells_arguments(client: Client, recording: Recording) -> None:
    """A tool run records arguments and result in the attributes that viewers read."""

    @client.trace(kind="execute_tool", name="weather")
    def weather(city: str) -> dict[str, int]:
        return {"degrees": 7}

    weather("Paris")
    assert gen_ai(recording.run()) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.call.arguments": {"city": "Paris"},
        "gen_ai.tool.call.result": {"degrees": 7},
    }


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda ask: ask(model="gpt-4o"), "gpt-4o"),
        (lambda ask: ask(model_name="gpt-4o"), "gpt-4o"),
        (lambda ask: ask(request={"model": "gpt-4o"}), "gpt-4o"),
        (lambda ask: ask(), "gpt-4o-2024-08-06"),
    ],
    ids=["model", "model_name", "within request", "of the response"],
)
def test_model_of_a_call(
    client: Client, recording: Recording, call: Callable[[Any], Any], expected: str
) -> None:
    """A model that the decorator does not set is read from the call, or else the response."""

    @client.trace(kind="chat")
    def ask(**inputs: Any) -> Any:
        return CHAT

    call(ask)
    run = recording.run()
    assert (run.name, gen_ai(run)["gen_ai.request.model"]) == (f"chat {expected}", expected)


def test_embeddings(client: Client, recording: Recording) -> None:
    """An embeddings run records model and tokens, but no messages."""

    @client.trace(kind="embeddings", provider="openai")
    def embed(input: list[str], model: str) -> Any:
        return EMBEDDINGS

    embed(["a"], "text-embedding-3-small")
    run = recording.run()
    assert (run.name, attributes(run)["otel_ml.kind"], gen_ai(run)) == (
        "embeddings text-embedding-3-small",
        "embedding",
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "text-embedding-3-small",
            "gen_ai.response.model": "text-embedding-3-small",
            "gen_ai.usage.input_tokens": 5,
        },
    )


def facts(span: ReadableSpan) -> dict[str, Any]:
    """Return the response attributes that are not content."""
    return {
        key: item
        for key, item in gen_ai(span).items()
        if key.startswith(("gen_ai.response.", "gen_ai.usage."))
        and key != "gen_ai.response.time_to_first_chunk"
    }


OF_CHAT = {
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ("tool_calls",),
    "gen_ai.usage.input_tokens": 20,
    "gen_ai.usage.output_tokens": 7,
    "gen_ai.usage.cache_read.input_tokens": 16,
    "gen_ai.usage.reasoning.output_tokens": 3,
}


def test_stream(client: Client, recording: Recording) -> None:
    """A streamed response records the same attributes as the response in one piece."""

    @client.trace(kind="chat")
    def answer(question: str) -> Iterator[Any]:
        yield from map(as_object, CHAT_CHUNKS)

    for _ in answer("a"):
        pass
    run = recording.run()
    assert (facts(run), gen_ai(run)["gen_ai.response.time_to_first_chunk"] > 0) == (OF_CHAT, True)


def test_async_stream(client: Client, recording: Recording) -> None:
    """An async stream records the attributes of its response."""

    @client.trace(kind="chat")
    async def answer(question: str) -> AsyncIterator[Any]:
        for event in ANTHROPIC_EVENTS:
            yield event

    async def read() -> None:
        async for _ in answer("a"):
            pass

    asyncio.run(read())
    assert facts(recording.run()) == {
        "gen_ai.response.model": "claude-sonnet-4-20250514",
        "gen_ai.response.id": "msg_01",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 160,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_write.input_tokens": 50,
    }


def test_stream_that_was_left(client: Client, recording: Recording) -> None:
    """A stream that is closed early records the text that it produced until then."""

    @client.trace(kind="chat")
    def answer(question: str) -> Iterator[Any]:
        yield from CHAT_CHUNKS

    stream = answer("a")
    for _ in range(3):
        next(stream)
    stream.close()  # type: ignore[attr-defined]  # an iterator by its annotation
    run = recording.run()
    assert gen_ai(run)["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}
    ]


def test_set_output(client: Client, recording: Recording) -> None:
    """A function that returns only text records the tokens by setting the response."""

    @client.trace(kind="chat")
    def answer(question: str) -> str:
        client.current_run().set_output(CHAT)
        return "hi"

    answer("a")
    run = recording.run()
    assert (facts(run), outputs(run)) == (OF_CHAT, CHAT)


def test_judges_see_the_output(client: Client, recording: Recording) -> None:
    """Judges of a generative call score its return value."""

    def length(outputs: str) -> int:
        return len(outputs)

    judge = Judge("length", "of the text", length)

    @client.assess(judge, kind="chat", provider="openai", model="gpt-4o")
    def answer(question: str) -> str:
        return "hello"

    answer("a")
    assert attributes(recording.run())["otel_ml.score.length"] == 5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_other_kinds(client: Client, recording: Recording, kind: str) -> None:
    """A run of any other kind records no GenAI attributes, whatever it returns."""

    @client.trace(kind=kind)
    def answer(messages: Any) -> Any:
        return CHAT

    answer(MESSAGES)
    run = recording.run()
    assert (gen_ai(run), attributes(run)["otel_ml.kind"]) == ({}, kind)


def test_kinds_of_operations() -> None:
    """Each operation maps to a known kind."""
    assert set(OPERATIONS.values()) <= KINDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "chta"}, "Invalid kind 'chta'"),
        ({"kind": "model", "provider": "openai"}, "Invalid kind 'model' with a provider or model"),
        ({"model": "gpt-4o"}, "Invalid kind 'model' with a provider or model"),
    ],
    ids=str,
)
def test_wrong_kind(client: Client, arguments: dict[str, str], message: str) -> None:
    """An unknown kind, or a kind that has no provider or model, is refused by the decorator."""
    with pytest.raises(ValueError, match=message):
        client.trace(**arguments)  # type: ignore[call-overload]  # wrong on purpose


def test_hostile_values(client: Client, recording: Recording) -> None:
    """Values that answer every attribute access add no GenAI attributes."""

    @client.trace(kind="chat")
    def answer(messages: Any, temperature: Any, model: Any) -> Any:
        return MagicMock()

    answer(MagicMock(), MagicMock(), MagicMock())
    assert gen_ai(recording.run()) == {"gen_ai.operation.name": "chat"}


@pytest.mark.parametrize("value", [True, "0.5", float("nan"), float("inf"), 2**63, None], ids=str)
def test_request_parameters_are_numbers(
    client: Client, recording: Recording, value: object
) -> None:
    """A request parameter that is not a number of its type is left out."""

    @client.trace(kind="chat")
    def answer(question: str, temperature: Any, seed: Any) -> str:
        return "hi"

    answer("a", value, value)
    found = gen_ai(recording.run())
    assert {key for key in found if key.startswith("gen_ai.request.")} == set()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, True),
        ("", True),
        ("true", True),
        ("SPAN_ONLY", True),
        ("event_only", True),
        ("Span_And_Event", True),
        ("false", False),
        (" FALSE ", False),
        ("NO_CONTENT", False),
        ("no_content", False),
    ],
    ids=str,
)
def test_content_variable(monkeypatch: pytest.MonkeyPatch, text: str | None, wanted: bool) -> None:
    """Content is recorded unless the variable of the convention turns it off."""
    monkeypatch.delenv(CONTENT_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(CONTENT_VARIABLE, text)
    assert message_content_mode() is wanted


CONTENT = {
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.request.stop_sequences",
    "otel_ml.inputs",
    "otel_ml.outputs",
}


def ask(client: Client, **settings: Any) -> None:
    @client.trace(kind="chat", **settings)
    def answer(messages: Any, system: str, stop: str, temperature: float) -> Any:
        return RESPONSE

    answer(MESSAGES, "Be kind", "end", 0.5)


def test_no_content(client: Client, recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without content, the model, the parameters and the tokens are still recorded."""
    monkeypatch.setenv(CONTENT_VARIABLE, "false")
    ask(client, capture="all")
    found = attributes(recording.run())
    assert (
        CONTENT & found.keys(),
        json.loads(found["otel_ml.capture"]),
        gen_ai(recording.run()),
    ) == (
        set(),
        {"inputs": ["off"], "outputs": ["off"]},
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.model": "gpt-4o-2024-08-06",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.id": "resp_1",
            "gen_ai.response.finish_reasons": ("completed",),
            "gen_ai.usage.input_tokens": 30,
            "gen_ai.usage.output_tokens": 9,
            "gen_ai.usage.cache_read.input_tokens": 5,
            "gen_ai.usage.cache_write.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 4,
        },
    )


def test_set_output_without_content(
    client: Client, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without content, a response that is set records its tokens but no text."""
    monkeypatch.setenv(CONTENT_VARIABLE, "NO_CONTENT")

    @client.trace(kind="chat")
    def answer(question: str) -> str:
        client.current_run().set_output(CHAT)
        return "hi"

    answer("a")
    run = recording.run()
    assert (facts(run), CONTENT & attributes(run).keys()) == (OF_CHAT, set())


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        ("all", CONTENT),
        ("inputs", CONTENT - {"otel_ml.outputs", "gen_ai.output.messages"}),
        ("outputs", {"otel_ml.outputs", "gen_ai.output.messages"}),
        ("off", set()),
    ],
)
def test_capture(client: Client, recording: Recording, capture: str, expected: set[str]) -> None:
    """Messages are recorded if inputs or outputs are captured."""
    ask(client, capture=capture)
    assert CONTENT & attributes(recording.run()).keys() == expected


def test_content_of_other_kinds(
    client: Client, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable of the convention does not affect runs that are not generative."""
    monkeypatch.setenv(CONTENT_VARIABLE, "false")

    @client.trace
    def add(a: int) -> int:
        return a + 1

    add(1)
    assert outputs(recording.run()) == 2


def test_redaction() -> None:
    """The client's redaction applies to messages, tool calls and stop sequences."""
    exporter = InMemorySpanExporter()
    client = Client(
        "shop", exporter=exporter, redact=lambda text: text.replace("Paris", "[city]"), join=False
    )

    @client.trace(kind="chat")
    def answer(messages: Any, stop: str) -> Any:
        return CHAT

    answer([{"role": "user", "content": "Paris?"}], "Paris")
    assert client.flush()
    client.close()
    [run] = exporter.get_finished_spans()
    texts = [value for value in attributes(run).values() if isinstance(value, str)]
    assert (
        [text for text in texts if "Paris" in text and "def answer" not in text],
        gen_ai(run)["gen_ai.request.stop_sequences"],
    ) == ([], ("[city]",))


def test_secret_argument(client: Client, recording: Recording) -> None:
    """A secret in the arguments of a tool call is redacted, even if they are JSON text."""
    function = {"name": "login", "arguments": '{"password":"open"}'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": function}],
    }

    @client.trace(kind="chat")
    def answer(question: str) -> Any:
        return message

    answer("a")
    [said] = gen_ai(recording.run())["gen_ai.output.messages"]
    assert said["parts"][0]["arguments"] == {"password": "[redacted]"}


def test_long_messages(client: Client, recording: Recording) -> None:
    """Messages above the payload limit are truncated and stay valid JSON."""

    @client.trace(kind="chat")
    def answer(messages: Any) -> str:
        return "hi"

    answer([{"role": "user", "content": "a" * 1_000}] * 100)
    text = attributes(recording.run())["gen_ai.input.messages"]
    assert (len(text) <= 64 * 1024, json.loads(text)[0]["role"]) == (True, "user")


def test_foreign_provider() -> None:
    """Spans of another tracer provider have the same attributes and name."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = Client("shop", tracer_provider=provider)

    @client.trace(kind="chat")
    def answer(model: str) -> Any:
        return CHAT

    answer("gpt-4o")
    client.close()
    [run] = exporter.get_finished_spans()
    assert (run.name, facts(run)) == ("chat gpt-4o", OF_CHAT)


LANGCHAIN_CHUNKS = [
    {"type": "AIMessageChunk", "content": "", "id": "run-1", "tool_call_chunks": []},
    {"type": "AIMessageChunk", "content": "h", "id": "run-1", "response_metadata": {}},
    {"type": "AIMessageChunk", "content": [{"type": "thinking", "thinking": "hm", "index": 0}]},
    {"type": "AIMessageChunk", "content": "i", "id": "run-1"},
    {
        "type": "AIMessageChunk",
        "content": "",
        "tool_call_chunks": [{"name": "weather", "args": '{"city":', "id": "c1", "index": 0}],
    },
    {
        "type": "AIMessageChunk",
        "content": "",
        "tool_call_chunks": [{"name": None, "args": '"Paris"}', "id": None, "index": 0}],
        "response_metadata": {"finish_reason": "tool_calls", "model_name": "gpt-4o-2024-08-06"},
    },
]


class Chunk:
    """A chunk from a client library whose classes are pydantic models."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told

    def __getattr__(self, name: str) -> Any:
        try:
            return self.told[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def model_dump(self) -> dict[str, Any]:
        return self.told


@pytest.mark.parametrize("kind", ["model", "chat"])
@pytest.mark.parametrize("make", [dict, Chunk], ids=["dicts", "models"])
@pytest.mark.parametrize(
    "chunks", [CHAT_CHUNKS, ANTHROPIC_EVENTS, LANGCHAIN_CHUNKS], ids=["openai", "anthropic", "lc"]
)
def test_chunks_are_one_message(
    client: Client, recording: Recording, kind: str, make: Any, chunks: list[Any]
) -> None:
    """The output of a model's stream is one message, with any provider, chunk type or kind."""

    @client.trace(kind=kind)
    def answer(question: str) -> Iterator[Any]:
        yield from map(make, chunks)

    assert len(list(answer("a"))) == len(chunks)
    run = recording.run()
    [message] = find_output(outputs(run))
    texts = [part["content"] for part in message["parts"] if part["type"] == "text"]
    calls = [part["arguments"] for part in message["parts"] if part["type"] == "tool_call"]
    assert (texts, calls) == (["hi"], [{"city": "Paris"}])
    assert json.loads(attributes(run)["otel_ml.outputs.chunks"]) == chunks


def test_messages_are_one_version(client: Client, recording: Recording) -> None:
    """Streams of one function have one version, whether they return text or call a tool."""

    @client.trace
    def answer(last: int) -> Iterator[Any]:
        yield from CHAT_CHUNKS[:last]

    for last in (3, 6):
        assert len(list(answer(last))) == last
    assert not any("otel_ml.model.output_schema" in attributes(run) for run in recording.runs())


@pytest.mark.parametrize("kind", ["chat", "generate_content", "text_completion", "invoke_agent"])
def test_what_a_model_says_has_no_structure(
    client: Client, recording: Recording, kind: str
) -> None:
    """A generative run has no output structure, so all answers belong to one version."""
    answers = iter(["a", {"text": "a"}, ["a"], {"choices": [], "usage": {"total": 1}}])

    @client.trace(kind=kind)
    def answer() -> Any:
        return next(answers)

    for _ in range(4):
        answer()
    assert not any("otel_ml.model.output_schema" in attributes(run) for run in recording.runs())


def test_tool_has_a_structure(client: Client, recording: Recording) -> None:
    """The return value of a tool has an output structure, like that of any function."""
    client.trace(kind="execute_tool", name="tool")(lambda: {"a": 1})()
    assert "otel_ml.model.output_schema" in attributes(recording.run())


@pytest.mark.parametrize(
    "chunks",
    [
        [{"choices": ["a", "b"]}, {"choices": ["c"]}],
        [{"type": "row"}],
        [1, {"choices": []}],
    ],
    ids=repr,
)
def test_other_chunks_stay(client: Client, recording: Recording, chunks: list[Any]) -> None:
    """The output of a stream that is not a model's is the list of its chunks."""

    @client.trace
    def rows() -> Iterator[Any]:
        yield from chunks

    assert list(rows()) == chunks
    told = attributes(recording.run())
    assert (json.loads(told["otel_ml.outputs"]), "otel_ml.outputs.chunks" in told) == (
        chunks,
        False,
    )
