"""Tests of the dialect of the GenAI conventions."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.records import Metric, Run
from otel_ml_collector.span import Event, Scope, Value
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    make_call,
    make_span,
    map_all,
    map_one,
    span_id,
    trace_id,
)

# An answer to two messages, as a current OpenTelemetry instrumentation writes it.
CHAT: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-08-01",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.stop_sequences": ["END"],
    "gen_ai.conversation.id": "c-1",
    "gen_ai.system_instructions": '[{"type": "text", "content": "Be short."}]',
    "gen_ai.input.messages": (
        '[{"role": "user", "parts": [{"type": "text", "content": "Where is it?"}]}]'
    ),
    "gen_ai.output.messages": (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "In Kyoto."}],'
        ' "finish_reason": "stop"}]'
    ),
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.usage.cache_read.input_tokens": 8,
    "gen_ai.usage.reasoning.output_tokens": 2,
    "server.port": 443,
}


CALL: Final[dict[str, Value]] = {"gen_ai.operation.name": "chat"}


def map_call(attributes: dict[str, Value]) -> Run:
    return map_one(make_span("chat gpt-5", attributes))


RECORDS: Final = '[{"id": "m-1", "content": "Likes temples.", "score": 0.9}]'


@pytest.mark.parametrize(
    ("operation", "kind", "lines"),
    [
        ("search_memory", "retriever", ("What does she like?", "Likes temples.")),
        ("upsert_memory", "tool", ("Likes temples.", "")),
    ],
)
def test_memory(operation: str, kind: str, lines: tuple[str, str]) -> None:
    """A memory search has its query and the records found. A memory update has records as input."""
    told: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "mem0",
        "gen_ai.memory.records": RECORDS,
    }
    if kind == "retriever":
        told["gen_ai.memory.query.text"] = "What does she like?"
    run = map_one(make_span(operation, told))
    assert (run.kind, run.model, run.outcome) == (kind, operation, "ok")
    assert (run.inputs_preview, run.outputs_preview) == lines
    assert RECORDS.replace(": ", ":").replace(", ", ",") in {run.inputs, run.outputs}


def test_pieces_of_a_stream() -> None:
    """The chunks of a streamed answer are joined into one message, in preview and payload."""
    pieces = [
        {"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": reason}
        for text, reason in (("In ", ""), ("Kyoto.", ""), ("", "stop"))
    ]
    run = map_call({**CHAT, "gen_ai.output.messages": json.dumps(pieces)})
    assert run.outputs_preview == "In Kyoto."
    assert json.loads(run.outputs) == [
        {**pieces[-1], "parts": [{"type": "text", "content": "In Kyoto."}]}
    ]


@pytest.mark.parametrize(("name", "number"), [("google_genai", 1), ("another", 2)])
def test_pieces_of_a_stream_that_was_broken_off(name: str, number: int) -> None:
    """The chunks of Google's stream are joined even if none has a finish reason."""
    pieces = [
        {"role": "model", "parts": [{"type": "text", "content": text}], "finish_reason": ""}
        for text in ("In ", "Kyo")
    ]
    scope = Scope({}, f"opentelemetry.instrumentation.{name}", "1", {})
    run = map_one(
        make_span("chat", {**CHAT, "gen_ai.output.messages": json.dumps(pieces)}, scope=scope)
    )
    assert len(json.loads(run.outputs)) == number
    assert (run.outputs_preview == "In Kyo") is (number == 1)


@pytest.mark.parametrize(
    "name",
    ["cache_write.input_tokens", "cache_creation.input_tokens", "cache_creation_input_tokens"],
)
def test_written_to_a_cache(name: str) -> None:
    """Tokens written to a cache have their own field, which is read from each of its names."""
    assert map_call({**CHAT, f"gen_ai.usage.{name}": 3}).cache_creation_tokens == 3


def test_cache_of_a_google_agent() -> None:
    """Cached tokens are read from the whole response that Google's agents record."""
    answer = {"usage_metadata": {"prompt_token_count": 12, "cached_content_token_count": 8}}
    told: dict[str, Value] = {**CHAT, "gcp.vertex.agent.llm_response": json.dumps(answer)}
    del told["gen_ai.usage.cache_read.input_tokens"]
    assert map_call(told).cached_tokens == 8


def test_chat() -> None:
    """A chat span is mapped field by field."""
    span = make_span("chat gpt-5", CHAT, trace_id=trace_id(1), span_id=span_id(2), kind=3)
    kept = (
        '{"gen_ai.conversation.id":"c-1","gen_ai.operation.name":"chat",'
        '"gen_ai.provider.name":"openai","gen_ai.request.model":"gpt-5",'
        '"gen_ai.request.stop_sequences":["END"],"gen_ai.request.temperature":0.5,'
        '"gen_ai.response.model":"gpt-5-2026-08-01",'
        '"gen_ai.usage.cache_read.input_tokens":8,"gen_ai.usage.input_tokens":12,'
        '"gen_ai.usage.output_tokens":4,"gen_ai.usage.reasoning.output_tokens":2,'
        '"server.port":443}'
    )
    assert replace(map_one(span), rank=0) == Run(
        project="default",
        trace_id=trace_id(1),
        span_id=span_id(2),
        parent_span_id=b"",
        kind="model",
        name="chat gpt-5",
        span_kind="client",
        model="gpt-5",
        digest="",
        structure="",
        start_ns=NOW_NS,
        end_ns=NOW_NS + MS_NS,
        outcome="ok",
        error_type="",
        error_message="",
        inputs=(
            '[{"role":"system","parts":[{"type":"text","content":"Be short."}]},'
            '{"role":"user","parts":[{"type":"text","content":"Where is it?"}]}]'
        ),
        outputs=(
            '[{"role":"assistant","parts":[{"type":"text","content":"In Kyoto."}],'
            '"finish_reason":"stop"}]'
        ),
        inputs_preview="Where is it?",
        outputs_preview="In Kyoto.",
        tags=[],
        session="c-1",
        user="",
        environment="",
        release="",
        provider="openai",
        provider_model="gpt-5-2026-08-01",
        input_tokens=12,
        output_tokens=4,
        cached_tokens=8,
        reasoning_tokens=2,
        cost=None,
        params='{"stop_sequences":["END"],"temperature":0.5}',
        logs=[],
        events="",
        links="",
        attributes=kept,
        resource="{}",
        scope='{"name":"tests","version":"1"}',
        dialect="gen_ai",
        process="",
        seq=0,
        rank=0,
    )


@pytest.mark.parametrize("cost", [float("inf"), float("nan"), "-inf"])
def test_no_cost(cost: Value) -> None:
    """A cost that is not a finite number is ignored, and stays among the attributes."""
    run = map_call({"gen_ai.operation.name": "chat", "gen_ai.usage.cost": cost})
    assert (run.cost, "gen_ai.usage.cost" in run.attributes) == (None, True)


@pytest.mark.parametrize(
    ("provider", "sent", "model"),
    [
        ("openai", "openai/gpt-5", "gpt-5"),
        ("azure", "azure/ours", "ours"),
        ("openrouter", "openai/gpt-5", "openai/gpt-5"),
        ("openai", "openai/", "openai/"),
        ("", "openai/gpt-5", "openai/gpt-5"),
    ],
)
def test_model_with_its_provider(provider: str, sent: str, model: str) -> None:
    """A provider prefix is removed from the model name if it is the span's own provider."""
    run = map_call({**CALL, "gen_ai.request.model": sent, "gen_ai.provider.name": provider})
    assert (run.model, run.provider_model) == (model, model)


def test_empty_model() -> None:
    """An empty model name is skipped, and the next attribute is used."""
    run = map_call({**CALL, "gen_ai.request.model": "", "gen_ai.response.model": "gpt-5-mini"})
    assert (run.model, run.provider_model) == ("gpt-5-mini", "gpt-5-mini")


@pytest.mark.parametrize(
    ("attributes", "fields"),
    [
        (
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "get_weather",
                "gen_ai.tool.call.arguments": '{"city": "Kyoto"}',
                "gen_ai.tool.call.result": {"degrees": 21},
            },
            {
                "kind": "tool",
                "model": "get_weather",
                "inputs": '{"city":"Kyoto"}',
                "outputs": '{"degrees":21}',
                "inputs_preview": "Kyoto",
            },
        ),
        (
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "travel",
                "gen_ai.request.model": "gpt-5",
            },
            {"kind": "agent", "model": "travel", "provider_model": "gpt-5", "inputs": ""},
        ),
        (
            {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.request.model": "embed-3",
                "gen_ai.usage.input_tokens": 5,
            },
            {"kind": "embedding", "model": "embed-3", "input_tokens": 5, "output_tokens": None},
        ),
        (
            {
                "gen_ai.operation.name": "retrieval",
                "gen_ai.retrieval.query.text": "temples",
                "gen_ai.retrieval.documents": '[{"id": "1"}]',
            },
            {"kind": "retriever", "model": "chat gpt-5", "inputs": '"temples"'},
        ),
        (
            {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "plan trip"},
            {"kind": "chain", "model": "plan trip"},
        ),
        (
            {"gen_ai.operation.name": "aembedding", "gen_ai.request.model": "embed-3"},
            {"kind": "embedding", "model": "embed-3"},
        ),
        ({**CALL, "gen_ai.response.model": "gpt-5-dated"}, {"model": "gpt-5-dated"}),
    ],
    ids=["tool", "agent", "embeddings", "retrieval", "workflow", "gateway", "answer alone"],
)
def test_operation(attributes: dict[str, Value], fields: dict[str, Any]) -> None:
    """Each operation of the conventions has its kind, model and content."""
    run = map_call(attributes)
    assert {name: getattr(run, name) for name in fields} == fields


MODEL: Final[dict[str, Value]] = {"gen_ai.request.model": "gpt-5"}
STEP: Final[dict[str, Value]] = {"gen_ai.operation.name": "cycle"}
ANSWER: Final = Event("gen_ai.choice", NOW_NS, {"content": "In Kyoto."})


@pytest.mark.parametrize(
    ("attributes", "events", "kind", "model"),
    [
        (MODEL, [], "span", ""),
        (MODEL | STEP, [], "chain", "chat gpt-5"),
        (MODEL | STEP | {"gen_ai.usage.input_tokens": 0}, [], "model", "gpt-5"),
        (MODEL | STEP | {"gen_ai.usage.input_tokens": None}, [], "chain", "chat gpt-5"),
        (MODEL | {"gen_ai.output.messages": "[]"}, [], "span", ""),
        (MODEL | {"gen_ai.output.messages": '[{"role":"assistant"}]'}, [], "model", "gpt-5"),
        (MODEL | {"gen_ai.response.id": "r-1"}, [], "model", "gpt-5"),
        (MODEL | {"gen_ai.response.finish_reasons": ["stop"]}, [], "model", "gpt-5"),
        (MODEL, [ANSWER], "model", "gpt-5"),
        ({"gen_ai.usage.input_tokens": 12}, [], "span", ""),
        ({"gen_ai.usage.input_tokens": 12, "gen_ai.request.model": ""}, [], "span", ""),
        (STEP | {"gen_ai.tool.name": "fare", "gen_ai.agent.name": "trip"}, [], "tool", "fare"),
        (STEP | {"gen_ai.agent.name": "trip"}, [], "agent", "trip"),
        ({"gen_ai.agent.name": "", "gen_ai.tool.name": ""}, [], "span", ""),
        ({"gen_ai.prompt.name": "brief"} | MODEL, [], "span", ""),
        ({"llm.request.type": "cycle", **MODEL}, [], "chain", "chat gpt-5"),
        ({"llm.request.type": "cycle", **MODEL, "gen_ai.usage.cost": 1}, [], "model", "gpt-5"),
        ({"llm.request.type": "cycle", **CALL}, [], "model", "chat gpt-5"),
        ({"ai.operationId": "ai.new", **MODEL, "gen_ai.usage.cost": 1}, [], "chain", "ai.new"),
    ],
)
def test_evidence(attributes: dict[str, Value], events: list[Event], kind: str, model: str) -> None:
    """The kind is read from a known operation, else from attributes and events of an answer."""
    run = map_one(make_span("chat gpt-5", attributes, events=events))
    assert (run.kind, run.model) == (kind, model)


@pytest.mark.parametrize(
    ("attributes", "fields"),
    [
        ({"gen_ai.system": "openai"}, {"provider": "openai"}),
        ({"gen_ai.system": "old", "gen_ai.provider.name": "new"}, {"provider": "new"}),
        (
            {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3},
            {"input_tokens": 7, "output_tokens": 3},
        ),
        (
            {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.input_tokens": 0},
            {"input_tokens": 0},
        ),
        (
            {"gen_ai.prompt": '["Where?"]', "gen_ai.completion": "Here."},
            {"inputs": '["Where?"]', "outputs": '"Here."', "outputs_preview": "Here."},
        ),
        ({"gen_ai.usage.cost": "0.25"}, {"cost": 0.25}),
    ],
    ids=["provider", "both", "tokens", "both tokens", "content", "cost"],
)
def test_former_names(attributes: dict[str, Value], fields: dict[str, Any]) -> None:
    """Attribute names of former conventions are read if the current ones are absent."""
    run = map_call(CALL | attributes)
    assert {name: getattr(run, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (0, 0),
        (12, 12),
        (12.0, 12),
        ("12", 12),
        ("0", 0),
        (10**12, 10**12),
        (2**62 + 1, None),
        (None, None),
        ("many", None),
        (-12, None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e30, None),
        ([12], None),
    ],
    ids=repr,
)
def test_tokens(sent: Value, count: int | None) -> None:
    """A token count may be zero, and is read from text and floats too."""
    run = map_call({**CALL, "gen_ai.usage.input_tokens": sent, "gen_ai.system": "x"})
    assert run.input_tokens == count


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("<class 'openai.RateLimitError'>", "RateLimitError"),
        ("<class 'KeyError'>", "KeyError"),
        ("openai.RateLimitError", "openai.RateLimitError"),
        ("429", "429"),
    ],
)
def test_error_type(sent: str, name: str) -> None:
    """A Python class written as text becomes the name of its type."""
    assert map_call({**CALL, "error.type": sent}).error_type == name


@pytest.mark.parametrize("broken", ["[{", "Where is it?", "{'role': 'user'}"])
def test_broken_json(broken: str) -> None:
    """Content that is not JSON is kept as text."""
    run = map_call({"gen_ai.input.messages": broken})
    assert (run.inputs_preview, run.attributes) == (broken, "")


@pytest.mark.parametrize(
    "name",
    ["gen_ai.input.messages", "gen_ai.prompt", "gen_ai.output.messages", "gen_ai.completion"],
)
def test_json_encoded_twice(name: str) -> None:
    """Messages that are JSON-encoded twice are decoded."""
    run = map_call({name: json.dumps(json.dumps([{"role": "user", "content": "hi"}]))})
    assert f"{run.inputs}{run.outputs}" == '[{"role":"user","content":"hi"}]'


def test_instructions_encoded_twice() -> None:
    """System instructions that are JSON-encoded twice are decoded and put before the messages."""
    twice = json.dumps(json.dumps([{"type": "text", "content": "Be short."}]))
    attributes: dict[str, Value] = {"gen_ai.system_instructions": twice}
    run = map_call({**attributes, "gen_ai.input.messages": '[{"role":"user","parts":[]}]'})
    assert run.inputs == (
        '[{"role":"system","parts":[{"type":"text","content":"Be short."}]},'
        '{"role":"user","parts":[]}]'
    )


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        (
            "gen_ai.output.messages",
            '[{"role": "assistant", "content": "yes", "logprobs": [-Infinity, NaN]}]',
            '[{"role":"assistant","content":"yes","logprobs":["-Infinity",null]}]',
        ),
        (
            "gen_ai.tool.call.arguments",
            '{"features": {"age": NaN}}',
            '{"features":{"age":null}}',
        ),
        ("input.value", '{"text": "cut\\ud83d"}', '{"text":"cut\ufffd"}'),
        ("mlflow.spanInputs", '{"x": Infinity}', '{"x":"Infinity"}'),
        ("traceloop.entity.output", '{"x": 1e999}', '{"x":"Infinity"}'),
        ("langfuse.observation.input", '{"x": NaN}', '{"x":null}'),
    ],
)
def test_odd_json(name: str, text: str, read: str) -> None:
    """JSON with NaN, infinite numbers or half a surrogate pair is read, in every dialect."""
    kind: dict[str, Value] = {
        "openinference.span.kind": "CHAIN",
        "langfuse.observation.type": "span",
        "mlflow.spanType": '"CHAIN"',
        "traceloop.span.kind": "workflow",
    }
    keys = [key for key in kind if key.partition(".")[0] in {name.partition(".")[0]}]
    if name == "input.value":
        keys = ["openinference.span.kind"]
    run = map_call({**{key: kind[key] for key in keys}, name: text})
    assert f"{run.inputs}{run.outputs}" == read


@pytest.mark.parametrize(
    ("instructions", "messages", "inputs"),
    [
        (
            [{"type": "text", "content": "Be short."}],
            [{"role": "user", "parts": []}],
            '[{"role":"system","parts":[{"type":"text","content":"Be short."}]},'
            '{"role":"user","parts":[]}]',
        ),
        (
            "Be short.",
            [{"role": "user", "parts": []}],
            '[{"role":"system","parts":"Be short."},{"role":"user","parts":[]}]',
        ),
        (None, [{"role": "user", "parts": []}], '[{"role":"user","parts":[]}]'),
        ("Be short.", [{"role": "system", "parts": []}], '[{"role":"system","parts":[]}]'),
        ("Be short.", "Where?", '"Where?"'),
    ],
)
def test_instructions(instructions: Value, messages: Value, inputs: str) -> None:
    """System instructions are put before the messages if those are a list."""
    attributes = {"gen_ai.system_instructions": instructions, "gen_ai.input.messages": messages}
    assert map_call(attributes).inputs == inputs


def test_unused_instructions() -> None:
    """System instructions without messages stay among the attributes."""
    run = map_call({"gen_ai.system_instructions": "Be short."})
    assert run.attributes == '{"gen_ai.system_instructions":"Be short."}'


def test_both_dialects() -> None:
    """`otel_ml` attributes take precedence, and GenAI attributes fill the remaining fields."""
    run = map_one(
        make_call(
            "answer",
            {
                **CHAT,
                "otel_ml.inputs": '{"question": "Where?"}',
                "otel_ml.kind": "agent",
                "session.id": "s-1",
            },
        )
    )
    assert (run.dialect, run.kind, run.model, run.inputs, run.session, run.input_tokens) == (
        "otel_ml",
        "agent",
        "answer",
        '{"question":"Where?"}',
        "s-1",
        12,
    )


def make_evaluation(attributes: Mapping[str, Value]) -> Event:
    prefixed = {f"gen_ai.evaluation.{name}": value for name, value in attributes.items()}
    return Event("gen_ai.evaluation.result", NOW_NS + 9, prefixed)


def test_evaluation() -> None:
    """An evaluation recorded as an event of the span is a judge's score."""
    event = make_evaluation(
        {"name": "relevance", "score.value": 0.5, "score.label": "ok", "explanation": "So so"}
    )
    span = make_span("chat", CHAT, events=[event], trace_id=trace_id(1), span_id=span_id(2))
    assert map_all(span, project="p").metrics == [
        Metric(
            project="p",
            owner=f"{'0' * 31}1-{'0' * 15}2",
            owner_start_ns=NOW_NS,
            name="relevance",
            value=0.5,
            step=-1,
            time_ns=NOW_NS + 9,
            mode="single",
            source="judge",
            label="ok",
            explanation="So so",
        )
    ]


def test_evaluation_without_name() -> None:
    """An evaluation without a name, which is required, is not a score."""
    span = make_span("chat", CHAT, events=[make_evaluation({"score.value": 0.5})])
    assert map_all(span).metrics == []


def test_evaluation_that_is_no_number() -> None:
    """A score of NaN is an error of its judge, as in the `otel_ml` dialect."""
    event = make_evaluation({"name": "relevance", "score.value": float("nan")})
    (metric,) = map_all(make_span("chat", CHAT, events=[event])).metrics
    assert (metric.value, metric.error) == (None, "the score is not a number")
