"""Tests of attributes that no table lists: they are read by the words of their names."""

import json
from typing import Any, Final

import pytest

from otel_ml_collector.mapping.dialects.spares import kind_of
from otel_ml_collector.records import Run
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.spans import make_span, map_one

QUESTION: Final = "Which tram goes to the fish market?"
ANSWER: Final = "Line 13, from platform B."
FARE: Final = '{"line": "M7", "zones": 3}'
ASKED: Final = json.dumps([{"role": "user", "content": QUESTION}])
CHAT: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 61,
    "gen_ai.usage.output_tokens": 18,
}


def read(attributes: dict[str, Value], name: str = "step", **fields: Any) -> Run:
    """Map a span to its run."""
    return map_one(make_span(name, attributes, **fields))


def lines(run: Run) -> tuple[str, str, str, str]:
    """Return the kind, the model and both previews of a run."""
    return run.kind, run.model, run.inputs_preview, run.outputs_preview


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        # the kind is under a name that describes nothing but the span
        ({"acme.span.kind": "TOOL"}, "tool"),
        ({"acme.span.type": "agent"}, "agent"),
        ({"acme.span_kind": "Retriever"}, "retriever"),
        ({"acme.observation.type": "guardrail"}, "chain"),
        ({"_ml_obs.meta.span.kind": "retrieval"}, "retriever"),
        ({"ag2.span.type": "agent", "gen_ai.agent.name": "porter"}, "agent"),
        ({"gen_ai.span.kind": "RERANKER"}, "chain"),
        ({"gen_ai.span.kind": "TASK", "input.value": "a"}, "chain"),
        # the operation of the conventions has a word that no table knows
        ({"gen_ai.operation.name": "tool_call"}, "tool"),
        ({"gen_ai.operation.name": "agent.run"}, "agent"),
        ({"gen_ai.operation.name": "vector_search"}, "retriever"),
        ({"gen_ai.operation.name": "framework", "spring.ai.kind": "tool_call"}, "tool"),
        ({"gen_ai.operation.name": "framework", "spring.ai.kind": "advisor"}, "chain"),
        # the kind is under any other name, next to an input, an output or a name
        ({"acme.kind": "tool", "acme.tool.args": FARE}, "tool"),
        ({"acme.type": "AGENT", "acme.input": QUESTION}, "agent"),
        ({"acme.operation": "retrieval", "acme.query": QUESTION}, "retriever"),
        ({"acme.operation.name": "invoke_agent", "acme.agent.name": "porter"}, "agent"),
        ({"type": "tool", "input": FARE, "output": "2.40"}, "tool"),
        ({"acme.category": "embedding", "acme.model": "m-1", "acme.input": "a"}, "embedding"),
        ({"sentry.op": "gen_ai.execute_tool", "gen_ai.tool.name": "fare"}, "tool"),
        ({"llm.kind": "workflow", "llm.input": "a"}, "chain"),
        # a known operation is better
        ({"gen_ai.operation.name": "execute_tool", "acme.span.type": "AGENT"}, "tool"),
        # a call needs a model and a sign of a call
        ({"acme.span.kind": "LLM", "acme.model": "my-model", "acme.prompt": "a"}, "model"),
        ({"acme.span.kind": "LLM", "acme.model": "my-model", "acme.total_tokens": 7}, "model"),
        ({"acme.span.kind": "LLM", "acme.prompt": "a"}, "chain"),
        ({"gen_ai.span.kind": "LLM", "gen_ai.model_name": "m", "input.value": "a"}, "model"),
        # none of these describes the span
        ({"acme.tool.type": "function", "acme.input": "a"}, "span"),
        ({"acme.kind": "tool"}, "span"),
        ({"acme.kind": "invoice", "acme.input": "a"}, "span"),
        ({"span.kind": "client"}, "span"),
        ({"span.type": "web", "input": "a"}, "span"),
        ({"job.type": "task", "queue": "a"}, "span"),
        ({"db.operation.name": "search", "db.query.text": "SELECT"}, "span"),
        ({"messaging.operation.type": "agent", "acme.input": "a"}, "span"),
        ({"span.type": "a long text about an agent"}, "span"),
        # a word with other meanings, next to a model alone
        ({"machine.operation": "plan", "ai.model": "gpt-4o"}, "span"),
        ({"ticket.operation": "chat", "form.question": "a", "ai.model": "gpt-4o"}, "span"),
        ({"conversation.kind": "chat", "agent.name": "Anna", "job.input": "a"}, "span"),
        ({"ticket.operation": "plan", "gen_ai.conversation.id": "c-7"}, "chain"),
    ],
)
def test_kinds(attributes: dict[str, Value], expected: str) -> None:
    """A span that states its kind gets it, whatever the spelling."""
    assert read(attributes).kind == expected


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("TOOL", "tool"),
        ("execute_tool", "tool"),
        ("ToolCall", "tool"),
        ("mcp.tool.call", "tool"),
        ("function_call", "tool"),
        ("AgentRun", "agent"),
        ("invoke_agent", "agent"),
        ("LlmAgent", "agent"),
        ("agent_step", "chain"),
        ("agent_tool", "tool"),
        ("llm_request", "model"),
        ("chat_completion", "model"),
        ("gen_ai.chat", "model"),
        ("text-embedding", "embedding"),
        ("embedding_model", "embedding"),
        ("knowledge_base", "retriever"),
        ("workflow_run", "chain"),
        ("chat_client", "model"),
        ("HTTP", None),
        ("internal", None),
        ("", None),
    ],
)
def test_words_of_kinds(word: str, kind: str | None) -> None:
    """A word for a kind is recognized in upper and lower case, and with a verb."""
    stated = kind_of(word)
    assert (stated and stated.kind) == kind


TOOL: Final[dict[str, Value]] = {"gen_ai.operation.name": "execute_tool"}


@pytest.mark.parametrize(
    "names",
    [
        ("gen_ai.tool.input", "gen_ai.tool.output"),
        ("tool.args", "tool.result"),
        ("tool.parameters", "tool.response"),
        ("acme.tool.call.arguments", "acme.tool.call.result"),
        ("toolInput", "toolOutput"),
        ("function.arguments", "function.return_value"),
        ("input.value", "output.value"),
        ("tool_call.kwargs", "tool_call.output"),
        ("request", "response"),
        ("mcp.tool.arguments", "mcp.tool.result.content"),
    ],
)
def test_words_of_tools(names: tuple[str, str]) -> None:
    """Arguments and result of a tool are read from any names that end like them."""
    given, result = names
    run = read(TOOL | {"gen_ai.tool.name": "fare", given: FARE, result: "2.40 EUR"})
    assert (*lines(run)[:2], run.inputs, run.outputs) == (
        *("tool", "fare"),
        *('{"line":"M7","zones":3}', '"2.40 EUR"'),
    )


@pytest.mark.parametrize(
    "names",
    [
        ("gen_ai.request.messages", "gen_ai.response.text"),
        ("gen_ai.content.prompt", "gen_ai.content.completion"),
        ("gen_ai.prompt_json", "gen_ai.response_json"),
        ("prompt_json", "completion_json"),
        ("request.messages", "response.text"),
        ("input", "output"),
        ("llm.input", "llm.answer"),
        ("acme.request.body", "acme.response.body"),
        ("user_message", "assistant_message"),
        ("messages", "reply"),
        ("llm.request.contents", "llm.response.candidates"),
    ],
)
def test_words_of_calls(names: tuple[str, str]) -> None:
    """Input and output of a call are read from names that no table lists."""
    asked, answered = names
    assert lines(read({**CHAT, asked: ASKED, answered: ANSWER})) == (
        *("model", "gpt-4o-mini"),
        *(QUESTION, ANSWER),
    )


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        # one side under a known name
        ({"gen_ai.completion": ANSWER, "gen_ai.content.prompt": QUESTION}, (QUESTION, ANSWER)),
        ({"gen_ai.input.messages": ASKED, "acme.reply": ANSWER}, (QUESTION, ANSWER)),
        ({"gen_ai.output.messages": "[]", "response.text": ANSWER}, ("", ANSWER)),
        # one side alone
        ({"acme.prompt": QUESTION}, (QUESTION, "")),
        ({"response.text": f'["{ANSWER}"]'}, ("", ANSWER)),
        # a conversation that ends with the answer
        (
            {
                "acme.messages": json.dumps(
                    [
                        {"role": "user", "content": QUESTION},
                        {"role": "assistant", "content": ANSWER},
                    ]
                )
            },
            (QUESTION, ANSWER),
        ),
        # a list that is spread over attributes
        (
            {
                "acme.request.messages.0.role": "system",
                "acme.request.messages.0.content": "Be brief.",
                "acme.request.messages.1.role": "user",
                "acme.request.messages.1.content": QUESTION,
            },
            (QUESTION, ""),
        ),
        # calls of tools, unless there is a text
        (
            {
                "gen_ai.response.tool_calls": json.dumps(
                    [{"name": "fare", "type": "function_call", "arguments": FARE}]
                )
            },
            ("", 'fare(line="M7", zones=3)'),
        ),
        # nothing of the call
        ({"gen_ai.system_prompt": "Be brief.", "prompt.template": "{x}"}, ("", "")),
        ({"response.finish_reason": "stop", "request.id": "r-1"}, ("", "")),
        ({"input": "null", "output": "{}"}, ("", "")),
    ],
)
def test_one_side(attributes: dict[str, Value], expected: tuple[str, str]) -> None:
    """Each side of a call is read for itself; empty lists and objects are no texts."""
    assert lines(read(CHAT | attributes))[2:] == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"acme.span.type": "agent", "acme.agent.name": "porter", "input": QUESTION},
            ("agent", "porter", QUESTION, ""),
        ),
        (
            {"acme.span.type": "tool", "acme.tool.definition.name": "fare", "acme.args": FARE},
            ("tool", "fare", '{"line": "M7", "zones": 3}', ""),
        ),
        (
            {
                "acme.span.kind": "RETRIEVER",
                "retrieval.query": QUESTION,
                "retrieval.documents": json.dumps([{"content": ANSWER}, {"content": "no"}]),
            },
            ("retriever", "step", QUESTION, ANSWER),
        ),
        (
            {"acme.span.kind": "guardrail", "acme.input": QUESTION, "acme.verdict": "pass"},
            ("chain", "step", QUESTION, "pass"),
        ),
        (
            {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.request.model": "bge-m3",
                "inputs": '["moss"]',
                "embeddings": "[[0.5, 0.25]]",
            },
            ("embedding", "bge-m3", "moss", "1 × 2"),
        ),
    ],
)
def test_steps(attributes: dict[str, Value], expected: tuple[str, str, str, str]) -> None:
    """Spans around calls get their name, input and output as well."""
    assert lines(read(attributes)) == expected


@pytest.mark.parametrize(
    ("attributes", "field", "count"),
    [
        ({"acme.usage.cache_input_tokens": 8}, "cached_tokens", 8),
        ({"gen_ai.usage.input_tokens.cached": 8}, "cached_tokens", 8),
        ({"gen_ai.usage.cached_read_tokens": 8}, "cached_tokens", 8),
        ({"llm.usage.input_cache_read_tokens": 8}, "cached_tokens", 8),
        ({"usage.promptCacheHitTokens": 8}, "cached_tokens", 8),
        ({"llm.token_count.prompt_details.cache_read": 8}, "cached_tokens", 8),
        ({"acme.usage": '{"prompt_tokens_details": {"cached_tokens": 8}}'}, "cached_tokens", 8),
        ({"acme.usage.cacheWriteInputTokens": 8}, "cache_creation_tokens", 8),
        ({"gen_ai.usage.input_tokens.cache_creation": 8}, "cache_creation_tokens", 8),
        ({"acme.usage.details.cache_write_tokens": 8}, "cache_creation_tokens", 8),
        ({"gen_ai.usage.details.reasoning_tokens": 8}, "reasoning_tokens", 8),
        ({"gen_ai.usage.output_tokens.reasoning": 8}, "reasoning_tokens", 8),
        ({"usage.output_tokens_details.reasoning_tokens": "8"}, "reasoning_tokens", 8),
        ({"acme.usage.thinkingTokens": 8}, "reasoning_tokens", 8),
        # other counts
        ({"gen_ai.usage.audio.cache_read.input_tokens": 8}, "cached_tokens", None),
        ({"gen_ai.usage.text.cache_read.input_tokens": 8}, "cached_tokens", None),
        ({"usage.prompt_cache_miss_tokens": 8}, "cached_tokens", None),
        ({"acme.cache.established_tokens": 8}, "cached_tokens", None),
        ({"gen_ai.request.thinking_budget_tokens": 8}, "reasoning_tokens", None),
        ({"acme.cached_tokens.cost": 8}, "cached_tokens", None),
    ],
)
def test_counts(attributes: dict[str, Value], field: str, count: int | None) -> None:
    """Cached and reasoning tokens are read by the last words of their names, in any order."""
    run = read(CHAT | attributes)
    assert (run.input_tokens, getattr(run, field)) == (61, count)


@pytest.mark.parametrize(
    ("attributes", "session", "user"),
    [
        ({"conversation.id": "s", "user_id": "u"}, "s", "u"),
        ({"thread_id": "s"}, "s", ""),
        ({"session_id": "s", "userId": "u"}, "s", "u"),
        ({"gen_ai.session.id": "s", "gen_ai.user.id": "u"}, "s", "u"),
        ({"spring.ai.chat.client.conversation.id": "s"}, "s", ""),
        ({"acme.conversationId": "s", "acme.endUserId": "u"}, "s", "u"),
        ({"gen_ai.realtime_session.id": "s"}, "s", ""),
        ({"gen_ai.conversation.id": "c", "gen_ai.realtime_session.id": "s"}, "c", ""),
        # connections, threads of processes, and what other conventions call so
        ({"thread_id": "140213", "thread.id": 7}, "", ""),
        ({"messaging.message.conversation_id": "m"}, "", ""),
        ({"db.user.id": "u", "http.session_id": "s"}, "", ""),
    ],
)
def test_session_and_user(attributes: dict[str, Value], session: str, user: str) -> None:
    """Session and user are found under any name that ends like their ID."""
    run = read(attributes)
    assert (run.session, run.user) == (session, user)


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("open_ai", "openai"),
        ("openai-chat", "openai"),
        ("AzureOpenAI", "azure.ai.openai"),
        ("amazon-bedrock-converse", "aws.bedrock"),
        ("google_vertex_ai", "gcp.vertex_ai"),
        ("ChatAnthropic", "anthropic"),
        ("openai-compatible", "openai-compatible"),
        ("openai-community", "openai-community"),
    ],
)
def test_providers(provider: str, expected: str) -> None:
    """A provider is recognized by its words, and nothing else is taken for one."""
    assert read(CHAT | {"gen_ai.provider.name": provider}).provider == expected


def test_spare_provider_and_model() -> None:
    """Model and provider of a call are read under names that no table lists."""
    run = read(
        {
            "gen_ai.operation.name": "chat",
            "acme.model_name": "gpt-4o-mini",
            "acme.llm.provider": "open_ai",
        }
    )
    assert (run.kind, run.model, run.provider_model, run.provider) == (
        *("model", "gpt-4o-mini"),
        *("gpt-4o-mini", "openai"),
    )


def test_attributes_stay() -> None:
    """What is read by the words of its name also stays an attribute, because this is a guess."""
    attributes = {**CHAT, "acme.prompt": QUESTION}
    assert json.loads(read(attributes).attributes)["acme.prompt"] == QUESTION


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("realtime_inference", "model"),
        ("speech_to_text", "model"),
        ("fetch_response", "chain"),
        ("user_speech", "chain"),
    ],
)
def test_operations_of_the_conventions(operation: str, kind: str) -> None:
    """Generations of a realtime session are calls; a fetched answer and speech are none."""
    assert read(CHAT | {"gen_ai.operation.name": operation}).kind == kind


def test_guardrail_result() -> None:
    """The result of a guardrail is its output."""
    run = read(
        {
            "gen_ai.operation.name": "apply_guardrail",
            "gen_ai.guardrail.component.name": "gate",
            "gen_ai.guardrail.result.type": "action",
            "gen_ai.guardrail.result.value": "BLOCKED",
        }
    )
    assert (run.kind, run.model, run.outputs) == (
        *("chain", "gate"),
        '{"type":"action","value":"BLOCKED"}',
    )


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"a2a.method.name": "SendMessage", "gen_ai.agent.name": "porter"}, "span"),
        ({"a2a.method": "message/send", "gen_ai.agent.name": "porter"}, "span"),
        ({"a2a.task.id": "t", "gen_ai.operation.name": "invoke_agent"}, "agent"),
    ],
)
def test_requests_between_agents(attributes: dict[str, Value], kind: str) -> None:
    """Client and server spans of A2A are requests, not agents."""
    assert read(attributes).kind == kind
