"""Tests of libraries and programs that use their own attribute names."""

import json
from typing import Any, Final

import pytest

from otel_ml_collector.records import Run
from otel_ml_collector.span import Event, Scope, Value
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_span, map_one

QUESTION: Final = "Which tram goes to the fish market?"
ANSWER: Final = "Line 13, from platform B."
FARE: Final = '{"line": "M7", "zones": 3}'
_ERROR: Final = 2


def read(attributes: dict[str, Value], *events: Event, scope: str = "x", **fields: Any) -> Run:
    """Map a span of a scope to its run."""
    named = Scope({}, scope, "", {})
    return map_one(make_span("call", attributes, scope=named, events=list(events), **fields))


def event(name: str, attributes: dict[str, Value]) -> Event:
    """Make a span event."""
    return Event(name, NOW_NS + MS_NS // 2, attributes)


def lines(run: Run) -> tuple[str, str, str, str]:
    """Return the kind, the model and both previews of a run."""
    return run.kind, run.model, run.inputs_preview, run.outputs_preview


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("agent_run", "agent"),
        ("model_step", "chain"),
        ("model_generation", "chain"),
        ("tool_call", "tool"),
        ("workflow_step", "chain"),
    ],
)
def test_mastra(kind: str, ours: str) -> None:
    """Mastra: texts are under the span type's name, session and user under the metadata."""
    run = read(
        {
            "gen_ai.operation.name": kind,
            "mastra.span.type": kind,
            f"mastra.{kind}.input": QUESTION,
            f"mastra.{kind}.output": json.dumps({"text": ANSWER, "files": []}),
            "mastra.metadata.sessionId": "s-17",
            "mastra.metadata.userId": "liv",
        }
    )
    assert lines(run) == (ours, "call", QUESTION, ANSWER)
    assert (run.session, run.user) == ("s-17", "liv")


def test_tanstack() -> None:
    """TanStack AI: the span around the calls of a chat is an agent, although it names the model."""
    named: dict[str, Value] = {
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 479,
    }
    around = read({**named, "tanstack.ai.iterations": 2})
    call = read({**named, "gen_ai.operation.name": "chat", "tanstack.ai.iteration": 0})
    assert (around.kind, call.kind) == ("agent", "model")


@pytest.mark.parametrize("name", ["tools/call search", "MCP send tools/call search"])
def test_tool_without_a_name(name: str) -> None:
    """MCP: a tool run without `gen_ai.tool.name` has the name of the tool in its span's name."""
    run = map_one(make_span(name, {"mcp.method.name": "tools/call"}))
    assert (run.kind, run.model, run.name) == ("tool", "search", name)


LOGFIRE_AGENTS: Final = "logfire.openai_agents"
TALK: Final = [
    {"event.name": "gen_ai.system.message", "content": "Be brief.", "role": "system"},
    {"event.name": "gen_ai.user.message", "content": QUESTION, "role": "user"},
    {"event.name": "gen_ai.assistant.message", "content": ANSWER, "role": "assistant"},
]


def test_logfire_openai_agents() -> None:
    """Logfire's OpenAI Agents: the messages of a call are split into question and answer."""
    run = read(
        {
            "logfire.msg_template": "Responses API with {gen_ai.request.model!r}",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "events": json.dumps(TALK),
        },
        scope=LOGFIRE_AGENTS,
    )
    assert lines(run) == ("model", "gpt-4o-mini", QUESTION, ANSWER)
    assert [message["role"] for message in json.loads(run.inputs)] == ["system", "user"]


def test_events_with_a_choice() -> None:
    """The answer in Logfire's events may be a choice that contains the message."""
    choice = {"event.name": "gen_ai.choice", "index": 0, "message": {"content": ANSWER}}
    run = read(
        {
            "logfire.msg": "chat",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "events": json.dumps([*TALK, {"role": "user", "content": "And now?"}, choice]),
        }
    )
    assert lines(run) == ("model", "m", "And now?", ANSWER)


def test_logfire_function() -> None:
    """An agent's function is recognized as a tool by its message template."""
    run = read(
        {
            "logfire.msg_template": "Function: {name}",
            "name": "fare",
            "input": FARE,
            "output": "42.50 kr",
            "gen_ai.system": "openai",
        },
        scope=LOGFIRE_AGENTS,
    )
    assert (run.kind, run.model, run.outputs_preview) == ("tool", "fare", "42.50 kr")
    assert json.loads(run.inputs) == {"line": "M7", "zones": 3}


@pytest.mark.parametrize(
    ("attributes", "fields"),
    [
        # the message template identifies a call
        (
            {
                "logfire.msg_template": "Responses API with {gen_ai.request.model!r}",
                "gen_ai.request.model": "m",
            },
            {},
        ),
        ({"gen_ai.request.model": "m"}, {}),
        ({"gen_ai.request.model": "m", "error.type": "timeout"}, {"status_code": 0}),
        ({"gen_ai.response.model": "m", "gen_ai.operation.name": "general"}, {"kind": 3}),
        ({"llm.model_name": "m", "openinference.span.kind": "LLM"}, {}),
        (
            {
                "langfuse.observation.model.name": "m",
                "langfuse.observation.level": "ERROR",
                "langfuse.observation.status_message": "too many tokens",
            },
            {"status_code": 0},
        ),
        ({"logfire.level_num": 17, "gen_ai.request.model": "m"}, {"status_code": 0}),
    ],
)
def test_failed_call(attributes: dict[str, Value], fields: dict[str, Any]) -> None:
    """A failed span that names a model is a call, although it has no answer."""
    told = {"status_code": _ERROR, "status_message": "too many tokens", **fields}
    run = read(attributes, **told)
    assert (run.kind, run.outcome) == ("model", "error")


@pytest.mark.parametrize(
    ("attributes", "fields"),
    [
        ({"gen_ai.request.model": "m"}, {"status_code": 0}),
        ({"gen_ai.request.model": "m", "gen_ai.operation.name": "step"}, {"status_code": _ERROR}),
        ({"http.route": "/"}, {"status_code": _ERROR}),
        ({"http.route": "/", "gen_ai.request.model": "m"}, {"status_code": _ERROR, "kind": 2}),
    ],
)
def test_no_failed_call(attributes: dict[str, Value], fields: dict[str, Any]) -> None:
    """A step around a failed call, or a span that did not fail, is not a call."""
    assert read(attributes, **fields).kind != "model"


CLAUDE_CODE: Final = "com.anthropic.claude_code.tracing"


def test_claude_code_request() -> None:
    """The input tokens of a Claude Code request include tokens read from or written to a cache."""
    run = read(
        {
            "span.type": "llm_request",
            "model": "claude-sonnet-4-5",
            "session.id": "s-17",
            "input_tokens": 2,
            "output_tokens": 1_200,
            "success": True,
            "cache_read_tokens": 84_562,
            "cache_creation_tokens": 7_096,
        },
        scope=CLAUDE_CODE,
    )
    assert (run.kind, run.model, run.session) == ("model", "claude-sonnet-4-5", "s-17")
    assert (run.input_tokens, run.output_tokens, run.cached_tokens) == (91_660, 1_200, 84_562)


def test_claude_code_interaction() -> None:
    """A Claude Code interaction shows the question, and a tool inside it counts once."""
    asked = read({"span.type": "interaction", "user_prompt": QUESTION}, scope=CLAUDE_CODE)
    tool = read({"span.type": "tool", "tool_name": "Bash"}, scope=CLAUDE_CODE)
    inner = read({"span.type": "tool.execution", "success": False}, scope=CLAUDE_CODE)
    assert (asked.kind, asked.inputs_preview) == ("agent", QUESTION)
    assert (tool.kind, tool.model) == ("tool", "Bash")
    assert (inner.kind, inner.outcome) == ("chain", "error")


def test_mirascope() -> None:
    """Mirascope: a traced function is a chain with its arguments and result."""
    run = read(
        {
            "mirascope.type": "trace",
            "mirascope.fn.qualname": "answer.call",
            "mirascope.trace.arg_values": json.dumps({"q": QUESTION}),
            "mirascope.trace.output": ANSWER,
            "mirascope.ops.session.id": "sess-1",
        }
    )
    assert lines(run) == ("chain", "answer.call", QUESTION, ANSWER)
    assert run.session == "sess-1"


def test_mirascope_call() -> None:
    """Mirascope: cached tokens are read from the usage, and the model name loses its prefix."""
    run = read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "openai/gpt-4o-mini:completions",
            "gen_ai.usage.input_tokens": 83,
            "mirascope.response.usage": '{"input_tokens": 83, "cache_read_tokens": 24}',
        }
    )
    assert (run.kind, run.model, run.input_tokens) == ("model", "gpt-4o-mini", 83)
    assert (run.provider_model, run.cached_tokens) == ("gpt-4o-mini", 24)


NEMO: Final = "nemo_guardrails"


def test_nemo_guardrails() -> None:
    """NeMo Guardrails: the texts of a guarded request are read from the events of its span."""
    run = read(
        {"gen_ai.operation.name": "guardrails"},
        event("guardrails.user_message", {"content": QUESTION, "type": "UserMessage"}),
        event("guardrails.utterance.bot.started", {"content": ANSWER}),
        scope=NEMO,
    )
    assert lines(run) == ("chain", "call", QUESTION, ANSWER)


def test_content_of_events() -> None:
    """Prompt and completion are also read from the attribute `content` of their events."""
    run = read(
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"},
        event("gen_ai.content.prompt", {"content": QUESTION}),
        event("gen_ai.content.completion", {"content": ANSWER}),
    )
    assert lines(run) == ("model", "m", QUESTION, ANSWER)


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("session", "chain"),
        ("tool", "tool"),
        ("AgentOpsSpanKindValues.TOOL", "tool"),
        ("AgentOpsSpanKindValues.AGENT", "agent"),
    ],
)
def test_agentops(kind: str, ours: str) -> None:
    """AgentOps: span kinds may be written as names of the Python enumeration."""
    run = read(
        {
            "agentops.span.kind": kind,
            "operation.name": "fare",
            "agentops.entity.input": json.dumps({"args": [QUESTION], "kwargs": {}}),
            "agentops.entity.output": ANSWER,
        }
    )
    assert lines(run) == (ours, "fare", QUESTION, ANSWER)


def test_agentops_tool() -> None:
    """AgentOps: a tool has its own attributes for input and output."""
    told: dict[str, Value] = {"agentops.span.kind": "tool", "operation.name": "fare"}
    run = read({**told, "agentops.tool.input": FARE, "agentops.tool.output": "42.50 kr"})
    assert lines(run)[:2] == ("tool", "fare")
    assert (run.inputs, run.outputs_preview) == ('{"line":"M7","zones":3}', "42.50 kr")


def test_strands_tool() -> None:
    """Strands: a tool's input is read from its message event, its output from its choice event."""
    run = read(
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fare"},
        event("gen_ai.tool.message", {"role": "tool", "content": FARE, "id": "call_1"}),
        event("gen_ai.choice", {"message": '[{"text": "42.50 kr"}]', "id": "call_1"}),
    )
    assert (run.kind, run.model, run.outputs_preview) == ("tool", "fare", "42.50 kr")
    assert json.loads(run.inputs) == {"line": "M7", "zones": 3}


def test_langsmith() -> None:
    """LangSmith: a tool call in the generations is the answer, and the usage is in the metadata."""
    call = {"name": "fare", "args": {"line": "M7"}, "id": "call_1", "type": "tool_call"}
    message = {"lc": 1, "type": "constructor", "kwargs": {"content": "", "type": "ai"}}
    message["kwargs"] = {"content": "", "type": "ai", "tool_calls": [call]}
    usage = {"input_tokens": 97, "input_token_details": {"cache_read": 64}, "output_tokens": 22}
    run = read(
        {
            "langsmith.span.kind": "llm",
            "gen_ai.request.model": "m",
            "langsmith.metadata.thread_id": "s-17",
            "langsmith.metadata.usage_metadata": json.dumps(usage),
            "gen_ai.completion": json.dumps({"generations": [[{"text": "", "message": message}]]}),
        }
    )
    assert (run.kind, run.outputs_preview) == ("model", 'fare(line="M7")')
    assert (run.input_tokens, run.cached_tokens, run.session) == (97, 64, "s-17")


@pytest.mark.parametrize("is_flat", [False, True])
def test_braintrust(*, is_flat: bool) -> None:
    """Braintrust: attributes are JSON objects, or one attribute per member."""
    told: dict[str, dict[str, Any]] = {
        "span_attributes": {"type": "llm", "name": "Chat Completion"},
        "metadata": {"model": "gpt-4o-mini", "provider": "openai"},
        "metrics": {"prompt_tokens": 61, "completion_tokens": 18, "prompt_cached_tokens": 24},
    }
    attributes: dict[str, Value] = {
        "braintrust.input_json": json.dumps([{"role": "user", "content": QUESTION}]),
        "braintrust.output_json": json.dumps(
            [{"message": {"role": "assistant", "content": ANSWER}}]
        ),
    }
    for name, members in told.items():
        if is_flat:
            attributes |= {f"braintrust.{name}.{key}": item for key, item in members.items()}
        else:
            attributes[f"braintrust.{name}"] = json.dumps(members)
    run = read(attributes)
    assert lines(run) == ("model", "gpt-4o-mini", QUESTION, ANSWER)
    assert (run.provider, run.provider_model) == ("openai", "gpt-4o-mini")
    assert (run.input_tokens, run.output_tokens, run.cached_tokens) == (61, 18, 24)


def test_braintrust_texts() -> None:
    """Braintrust: texts are JSON-encoded too."""
    told: dict[str, Value] = {"braintrust.span_attributes": '{"type": "tool", "name": "fare"}'}
    run = read({**told, "braintrust.input_json": FARE, "braintrust.output_json": '"42.50 kr"'})
    assert (run.kind, run.model, run.outputs_preview) == ("tool", "fare", "42.50 kr")


def test_logfire_trace() -> None:
    """A Logfire trace's group is its session. Logfire writes a missing group as "null"."""
    told: dict[str, Value] = {"logfire.msg_template": "OpenAI Agents trace: {name}", "name": "Desk"}
    assert read({**told, "group_id": "s-17"}, scope=LOGFIRE_AGENTS).session == "s-17"
    assert read({**told, "group_id": "null"}, scope=LOGFIRE_AGENTS).session == ""


def test_braintrust_task() -> None:
    """Braintrust: a task is a chain with its own name and counts no tokens."""
    run = read(
        {
            "braintrust.span_attributes": '{"type": "task", "name": "answer"}',
            "braintrust.metrics": '{"prompt_tokens": 61}',
            "braintrust.metadata": '{"session_id": "s-17"}',
        }
    )
    assert (run.kind, run.model, run.input_tokens) == ("chain", "answer", None)
    assert run.session == "s-17"


LLAMA_INDEX: Final = "llamaindex.opentelemetry.tracer"
BLOCKS: Final = '[{"block_type": "text", "text": "Line 13, from platform B."}]'
MESSAGES: Final = json.dumps(
    [{"role": "user", "blocks": [{"block_type": "text", "text": QUESTION}]}]
)


@pytest.mark.parametrize(
    "usage",
    [
        {"response.raw.usage.prompt_tokens": 61, "response.raw.usage.completion_tokens": 18},
        {"response.raw": '{"usage": {"prompt_tokens": 61, "completion_tokens": 18}}'},
        {"response.additional_kwargs": '{"prompt_tokens": 61, "completion_tokens": 18}'},
    ],
)
def test_llama_index(usage: dict[str, Value]) -> None:
    """LlamaIndex: all data of a call is read from its start and end events."""
    run = read(
        {},
        event("LLMChatStartEvent", {"messages": MESSAGES, "model_dict.model_name": "gpt-4o-mini"}),
        event(
            "LLMChatEndEvent",
            {"response.message.role": "assistant", "response.message.blocks": BLOCKS, **usage},
        ),
        scope=LLAMA_INDEX,
    )
    assert lines(run) == ("model", "gpt-4o-mini", QUESTION, ANSWER)
    assert (run.dialect, run.input_tokens, run.output_tokens) == ("llama-index", 61, 18)


def test_llama_index_failure() -> None:
    """LlamaIndex: a failed call, which has no end event, shows its error."""
    run = read(
        {},
        event("LLMChatStartEvent", {"messages": MESSAGES, "model_dict.model_name": "gpt-4o-mini"}),
        scope=LLAMA_INDEX,
        status_code=_ERROR,
        status_message="too many tokens",
    )
    assert lines(run) == ("model", "gpt-4o-mini", QUESTION, "too many tokens")


@pytest.mark.parametrize(
    ("name", "attributes", "kind"),
    [
        ("RetrievalStartEvent", {"str_or_query_bundle": QUESTION}, "retriever"),
        ("QueryStartEvent", {"query": QUESTION}, "chain"),
        ("EmbeddingEndEvent", {"chunks": json.dumps([QUESTION])}, "embedding"),
    ],
)
def test_llama_index_kinds(name: str, attributes: dict[str, Value], kind: str) -> None:
    """LlamaIndex: the name of an event determines the kind of its span."""
    run = read({}, event(name, attributes), scope=LLAMA_INDEX)
    assert (run.kind, run.inputs_preview) == (kind, QUESTION)


@pytest.mark.parametrize(
    ("method", "told", "kind", "line"),
    [
        ("resources/read", {"mcp.resource.uri": "file:///a.txt"}, "retriever", "file:///a.txt"),
        ("prompts/get", {"gen_ai.prompt.name": "greet"}, "chain", "greet"),
        ("tools/call", {"gen_ai.tool.call.arguments": '{"a": "b"}'}, "tool", "b"),
        ("ping", {}, "span", ""),
    ],
)
def test_mcp(method: str, told: dict[str, Value], kind: str, line: str) -> None:
    """MCP requests that read or call something have a kind and a preview."""
    run = read({"mcp.method.name": method, "mcp.session.id": "connection", **told})
    assert (run.kind, run.inputs_preview, run.session) == (kind, line, "")


def test_guardrail() -> None:
    """A guardrail of the GenAI conventions shows its texts and its verdict."""
    told: dict[str, Value] = {
        "gen_ai.operation.name": "run_guardrail",
        "gen_ai.guardrail.component.name": "content_filter",
        "gen_ai.guardrail.verdict.type": "deny",
        "gen_ai.guardrail.verdict.reason": "not a question about trams",
        "gen_ai.guardrail.security.content.input.value": QUESTION,
    }
    run = read(told)
    verdict = {"reason": "not a question about trams", "type": "deny"}
    assert lines(run)[:3] == ("chain", "content_filter", QUESTION)
    assert json.loads(run.outputs) == verdict
    assert json.loads(run.params)["verdict.type"] == "deny"
    changed = read({**told, "gen_ai.guardrail.security.content.output.value": ANSWER})
    assert changed.outputs_preview == ANSWER


@pytest.mark.parametrize("count", [1, 2])
def test_events_of_a_guardrail(count: int) -> None:
    """A guardrail whose results are only events shows them as its output, oldest first."""
    results = [
        {"type": "severity", "value": "6", "category": "Violence"},
        {"type": "action", "value": "BLOCKED"},
    ]
    events = [
        Event(
            "gen_ai.guardrail.result",
            NOW_NS + number,
            {
                f"gen_ai.guardrail.{'risk' if name == 'category' else 'result'}.{name}": value
                for name, value in result.items()
            },
        )
        for number, result in enumerate(results[:count])
    ]
    attributes: dict[str, Value] = {"gen_ai.operation.name": "apply_guardrail"}
    run = map_one(make_span("apply_guardrail gate", attributes, events=events[::-1]))
    assert run.kind == "chain"
    assert json.loads(run.outputs) == (results if count > 1 else results[0])
    stated = attributes | {"gen_ai.guardrail.result.value": "PASSED"}
    run = map_one(make_span("apply_guardrail gate", stated, events=events))
    assert json.loads(run.outputs) == {"value": "PASSED"}
    call = attributes | {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
    assert map_one(make_span("chat", call, events=events)).outputs == ""


def test_contents_of_a_guardrail() -> None:
    """A guardrail shows the texts that it checked, also under their present names."""
    run = read(
        {
            "gen_ai.operation.name": "apply_guardrail",
            "gen_ai.provider.name": "azure.ai.content_safety",
            "gen_ai.guardrail.component.name": "gate",
            "gen_ai.guardrail.content.input.value": QUESTION,
            "gen_ai.guardrail.content.output.value": ANSWER,
        }
    )
    assert lines(run)[:4] == ("chain", "gate", QUESTION, ANSWER)
    assert run.provider == "azure.ai.content_safety"


@pytest.mark.parametrize(
    "told",
    [
        {"openinference.span.kind": "GUARDRAIL", "llm.token_count.prompt": 61},
        {"gen_ai.operation.name": "run_guardrail", "gen_ai.usage.input_tokens": 61},
        {
            "langfuse.observation.type": "guardrail",
            "langfuse.observation.usage_details": '{"input": 61}',
        },
    ],
)
def test_guardrail_that_asks_a_model(told: dict[str, Value]) -> None:
    """A guardrail with token counts is a model call."""
    run = read(told)
    assert (run.kind, run.input_tokens) == ("model", 61)


def test_tool_of_a_framework() -> None:
    """The operation `execute_tool` takes precedence over the framework's kind of step."""
    told = {"gen_ai.operation.name": "execute_tool", "traceloop.span.kind": "task"}
    assert read({**told, "traceloop.entity.name": "fare"}).kind == "tool"
    assert read({**told, "openinference.span.kind": "CHAIN"}).kind == "tool"


@pytest.mark.parametrize("operation", ["embed", "embedding", "embeddings", "embed_content"])
def test_embeddings(operation: str) -> None:
    """An embedding is recognized by every spelling of its operation."""
    assert read({"gen_ai.operation.name": operation}).kind == "embedding"


@pytest.mark.parametrize(
    ("attributes", "session", "user"),
    [
        ({"acme.metadata.sessionId": "s", "acme.metadata.userId": "u"}, "s", "u"),
        ({"acme.association.properties.session_id": "s"}, "s", ""),
        ({"acme.association.properties.user_id": "u"}, "", "u"),
        ({"metadata": '{"thread_id": "s", "user_id": "u"}'}, "s", "u"),
        ({"acme.metadata": '{"conversation_id": "s"}'}, "s", ""),
        ({"metadata.session_id": "s"}, "s", ""),
        ({"acme.ops.session.id": "s", "acme.user.id": "u"}, "s", "u"),
        ({"session.id": "s", "acme.session.id": "other"}, "s", ""),
        ({"acme.metadata": "no JSON", "acme.thread_id": "t"}, "t", ""),
        ({"mcp.session.id": "connection"}, "", ""),
        # a missing value, written as a word
        ({"acme.session.id": "null", "acme.user.id": "undefined"}, "", ""),
        ({"metadata": '{"thread_id": null, "user_id": "None"}'}, "", ""),
    ],
)
def test_session_and_user(attributes: dict[str, Value], session: str, user: str) -> None:
    """Session and user are read from unknown prefixes too."""
    run = read(attributes)
    assert (run.session, run.user) == (session, user)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("agent.id", "a-1"), ("agent.description", "Answers."), ("agent.version", "1.0.0")),
        *(("tool.call.id", "call_1"), ("tool.type", "function"), ("data_source.id", "d-1")),
        *(("output.type", "json"), ("embeddings.dimension.count", 512), ("prompt.name", "greet")),
        *(("memory.store.id", "ms-1"), ("memory.record.id", "mem-1")),
        *(("usage.text.input_tokens", 10), ("usage.image.input_tokens", 40)),
        ("system_instructions", [{"type": "text", "content": "Be brief."}]),
    ],
)
def test_facts_of_the_conventions(name: str, value: Value) -> None:
    """GenAI attributes of a call that have no field of their own are shown as parameters."""
    run = read({"gen_ai.operation.name": "chat", f"gen_ai.{name}": value})
    assert json.loads(run.params) == {name: value}


def test_time_to_first_token() -> None:
    """Model servers report the time to the first token in their own attribute, which is read."""
    run = read(
        {
            "gen_ai.response.model": "m",
            "gen_ai.usage.prompt_tokens": 61,
            "gen_ai.latency.time_to_first_token": 0.12,
        },
        end_ns=NOW_NS + 600 * MS_NS,
    )
    assert (run.kind, run.first_token_ms) == ("model", 120.0)
