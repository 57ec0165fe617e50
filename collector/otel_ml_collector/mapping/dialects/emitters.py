"""The tables of libraries and programs with attribute names of their own.

Tables for conventions that many libraries share are in `tables`.
"""

from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.dialects.table import (
    AROUND,
    CALLS,
    Dialect,
    Evidence,
    Failure,
    Row,
)

_TOOLS: Final = frozenset({"tool"})

# Mastra's exporter: the texts of each span are below the name of its type.
# https://mastra.ai/docs/observability/tracing/exporters/otel
_MASTRA_TYPES: Final = (
    *("agent_run", "model_generation", "model_step", "model_inference", "tool_call"),
    *("mcp_tool_call", "workflow_run", "workflow_step", "processor_run", "generic"),
)
_MASTRA: Final = Dialect(
    name="mastra",
    marks=("mastra.",),
    kind_sources=("mastra.span.type",),
    kinds={
        "agent_run": "agent",
        "tool_call": "tool",
        "mcp_tool_call": "tool",
        **dict.fromkeys(
            ("workflow_run", "workflow_step", "model_step", "processor_run", "generic"), "chain"
        ),
    },
    rows=(
        Row("inputs", tuple(f"mastra.{kind}.input" for kind in _MASTRA_TYPES)),
        Row("outputs", tuple(f"mastra.{kind}.output" for kind in _MASTRA_TYPES)),
        Row("tags", ("mastra.metadata.*",)),
    ),
    instead={
        "mastra.model_inference.input": names.GEN_AI_INPUT_MESSAGES,
        "mastra.model_inference.output": names.GEN_AI_OUTPUT_MESSAGES,
        "mastra.model_generation.input": names.GEN_AI_INPUT_MESSAGES,
        "mastra.model_generation.output": names.GEN_AI_OUTPUT_MESSAGES,
        "mastra.tool_call.input": names.GEN_AI_TOOL_ARGUMENTS,
        "mastra.tool_call.output": names.GEN_AI_TOOL_RESULT,
    },
    notes=(
        "`model_generation` and `model_inference` are calls if they have a model and usage. A "
        "generation without usage surrounds the inferences that have it, and is a chain.",
    ),
)

# `logfire.instrument_openai_agents`: the template of the message tells what a span is.
# https://logfire.pydantic.dev/docs/integrations/llms/openai/#openai-agents
_LOGFIRE_AGENTS: Final = Dialect(
    name="logfire-openai-agents",
    marks=("logfire.",),
    scope="logfire.openai_agents",
    kind_sources=("logfire.msg_template",),
    kinds={
        "agent run: {name!r}": "agent",
        "function: {name}": "tool",
        **dict.fromkeys(
            (
                *("responses api", "responses api with {gen_ai.request.model!r}"),
                "chat completion with {gen_ai.request.model!r}",
            ),
            "model",
        ),
        **dict.fromkeys(
            (
                *("openai agents trace: {name}", "custom span: {name}"),
                *("guardrail {name!r} {triggered=}", "guardrail: {name}"),
                *("handoff: {from_agent} -> {to_agent}", "handoff: {from_agent} \u2192 {to_agent}"),
                "mcp: list tools from server {server!r}",
            ),
            "chain",
        ),
    },
    rows=(
        Row("model", ("name",), AROUND),
        Row("inputs", ("events",), CALLS, form="asked"),
        Row("inputs", ("raw_input",), CALLS),
        Row("inputs", ("input",)),
        Row("outputs", ("events",), CALLS, form="answered"),
        Row("outputs", ("response", "output", "triggered")),
        Row("session", ("group_id",)),
        Row("tags", ("metadata",)),
    ),
    notes=(
        "Recognized by the scope `logfire.openai_agents`. `events` holds the messages of a call: "
        "those after the last question or tool result are the answer.",
    ),
)

# Claude Code: an interaction with its requests and tools. Its log records add the answer.
# https://code.claude.com/docs/en/monitoring-usage
CLAUDE_CODE_SCOPE: Final = "com.anthropic.claude_code"
_CLAUDE_CODE: Final = Dialect(
    name="claude-code",
    marks=("span.type",),
    scope=CLAUDE_CODE_SCOPE,
    kind_sources=("span.type",),
    kinds={"interaction": "agent", "llm_request": "model", "tool": "tool"},
    other_kind="chain",
    rows=(
        Row("model", ("tool_name",), _TOOLS),
        Row("model", (names.GEN_AI_REQUEST_MODEL, "model"), CALLS),
        Row("provider_model", (names.GEN_AI_RESPONSE_MODEL, "model"), CALLS),
        Row("inputs", ("user_prompt", "prompt", "tool_input", "full_command", "file_path")),
        Row("outputs", ("response", "response.model_output", "tool_output")),
        Row("input_tokens", ("input_tokens",)),
        Row("output_tokens", ("output_tokens",)),
        Row("cached_tokens", ("cache_read_tokens",)),
        Row("cache_creation_tokens", ("cache_creation_tokens",)),
    ),
    failure=Failure("success", at=False, message="error", is_spare=True),
    notes=(
        "Recognized by a scope that starts with `com.anthropic.claude_code`. Its input tokens "
        "leave out cached tokens, which are added.",
        "The execution of a tool and the wait for the user are chains inside the tool.",
        "The answer of an interaction is in a [log record](wire.md#log-records).",
    ),
)

# Mirascope: traced functions around calls that follow the GenAI conventions.
# https://mirascope.com/docs/ops/tracing
_MIRASCOPE: Final = Dialect(
    name="mirascope",
    marks=("mirascope.",),
    kind_sources=("mirascope.type",),
    kinds={"trace": "chain", "call": "chain", "tool": "tool"},
    rows=(
        Row("model", ("mirascope.fn.qualname",), AROUND),
        Row("inputs", ("mirascope.trace.arg_values",)),
        Row("outputs", ("mirascope.trace.output",)),
        Row("usage", ("mirascope.response.usage",)),
        Row("tags", ("mirascope.trace.tags", "mirascope.trace.metadata")),
    ),
)

# AgentOps: decorated functions, and calls in OpenLLMetry's attributes.
# https://docs.agentops.ai/v2/concepts/core-concepts
_AGENTOPS: Final = Dialect(
    name="agentops",
    marks=("agentops.",),
    kind_sources=("agentops.span.kind",),
    kinds={
        "agent": "agent",
        "tool": "tool",
        "llm": "model",
        **dict.fromkeys(
            ("session", "workflow", "operation", "task", "chain", "guardrail", "text"), "chain"
        ),
    },
    endings={".agent": "agent", ".tool": "tool", ".llm": "model"},
    rows=(
        Row(
            "model",
            ("tool.name", "agent.name", "agentops.entity.name", "operation.name"),
            AROUND,
        ),
        Row(
            "inputs",
            ("agentops.entity.input", "agentops.tool.input", "tool.parameters"),
            form="quoted",
        ),
        Row(
            "outputs",
            ("agentops.entity.output", "agentops.tool.output", "tool.result"),
            form="quoted",
        ),
        Row("tags", ("agentops.tags",)),
    ),
    needs=("gen_ai.", "llm."),
    notes=(
        "The tool call of an answer is a span of kind tool inside the call; the call itself does "
        "not contain it.",
    ),
)

# LangSmith's export to OpenTelemetry.
# https://docs.langchain.com/langsmith/trace-with-opentelemetry
_LANGSMITH: Final = Dialect(
    name="langsmith",
    marks=("langsmith.",),
    kind_sources=("langsmith.span.kind",),
    kinds={
        "llm": "model",
        "embedding": "embedding",
        "retriever": "retriever",
        "tool": "tool",
        **dict.fromkeys(("chain", "prompt", "parser"), "chain"),
    },
    rows=(
        Row("model", ("langsmith.trace.name",), AROUND),
        Row("usage", ("langsmith.metadata.usage_metadata", "langsmith.usage_metadata")),
        Row("tags", ("langsmith.span.tags",)),
    ),
    notes=(
        "Attributes in `gen_ai.*` are read as in the dialect `gen_ai`. "
        "`langsmith.trace.session_id` is a project of LangSmith, not a session.",
    ),
)

# Braintrust: logs as JSON, with OpenAI's names of tokens.
# https://www.braintrust.dev/docs/integrations/sdk-integrations/opentelemetry
_BRAINTRUST: Final = Dialect(
    name="braintrust",
    marks=(
        *("braintrust.span_attributes", "braintrust.span_attributes.", "braintrust.metrics"),
        *("braintrust.metrics.", "braintrust.input_json", "braintrust.output_json"),
    ),
    kind_sources=("braintrust.span_attributes{type}", "braintrust.span_attributes.type"),
    kinds={
        "llm": "model",
        "tool": "tool",
        **dict.fromkeys(
            ("task", "function", "eval", "score", "facet", "preprocessor", "review"), "chain"
        ),
    },
    evidence=Evidence(
        models=("braintrust.metadata.model",), answers=("braintrust.metrics.prompt_tokens",)
    ),
    rows=(
        Row(
            "model",
            ("braintrust.span_attributes{name}", "braintrust.span_attributes.name"),
            AROUND,
        ),
        Row("model", ("braintrust.metadata{model}", "braintrust.metadata.model"), CALLS),
        Row("provider_model", ("braintrust.metadata{model}", "braintrust.metadata.model"), CALLS),
        Row("provider", ("braintrust.metadata{provider}", "braintrust.metadata.provider"), CALLS),
        Row("inputs", ("braintrust.input_json", "braintrust.input"), form="quoted"),
        Row("outputs", ("braintrust.output_json", "braintrust.output"), form="quoted"),
        Row("usage", ("braintrust.metrics", "braintrust.metrics.*")),
        Row("params", ("braintrust.metadata",), CALLS),
        Row("tags", ("braintrust.tags", "braintrust.metadata")),
    ),
)

# NeMo Guardrails: the texts of a request are events of its root span.
# https://docs.nvidia.com/nemo/guardrails/latest/user-guides/tracing/index.html
_NEMO_EVENTS: Final = (
    *("guardrails.user_message", "guardrails.utterance.user.finished"),
    *("guardrails.utterance.bot.started", "guardrails.utterance.bot.finished"),
)
_NEMO: Final = Dialect(
    name="nemo-guardrails",
    marks=_NEMO_EVENTS,
    scope="nemo_guardrails",
    events=_NEMO_EVENTS,
    rows=(
        Row(
            "inputs",
            (
                "guardrails.user_message:content",
                "guardrails.utterance.user.finished:content",
                "guardrails.utterance.user.finished:final_transcript",
            ),
        ),
        Row(
            "outputs",
            (
                "guardrails.utterance.bot.started:content",
                "guardrails.utterance.bot.started:script",
                "guardrails.utterance.bot.finished:content",
                "guardrails.utterance.bot.finished:final_script",
            ),
        ),
    ),
    notes=("Recognized by the scope `nemo_guardrails`. Its calls follow the GenAI conventions.",),
)

# LlamaIndex's own OpenTelemetry: everything is in events of its spans.
# https://developers.llamaindex.ai/python/framework/module_guides/observability/
_LLAMA_CALLS: Final = ("LLMChat", "LLMCompletion", "LLMStructuredPredict")


def _of_starts(*members: str) -> tuple[str, ...]:
    return tuple(f"{call}StartEvent:{member}" for member in members for call in _LLAMA_CALLS)


def _of_ends(*members: str) -> tuple[str, ...]:
    return tuple(f"{call}EndEvent:{member}" for member in members for call in _LLAMA_CALLS)


_LLAMA_KINDS: Final = {
    "model": (
        *(f"{call}{end}Event" for call in _LLAMA_CALLS for end in ("Start", "End")),
        *("ReRankStartEvent", "ReRankEndEvent"),
    ),
    "embedding": ("EmbeddingStartEvent", "EmbeddingEndEvent"),
    "retriever": ("RetrievalStartEvent", "RetrievalEndEvent"),
    "tool": ("AgentToolCallEvent",),
    "agent": (
        *("AgentChatWithStepStartEvent", "AgentChatWithStepEndEvent"),
        *("AgentRunStepStartEvent", "AgentRunStepEndEvent"),
    ),
    "chain": (
        *("QueryStartEvent", "QueryEndEvent", "SynthesizeStartEvent", "SynthesizeEndEvent"),
        *("StreamChatStartEvent", "StreamChatEndEvent"),
    ),
}
_LLAMA_EVENTS: Final = tuple(event for events in _LLAMA_KINDS.values() for event in events)
_LLAMA_INDEX: Final = Dialect(
    name="llama-index",
    marks=_LLAMA_EVENTS,
    scope="llamaindex.opentelemetry",
    events=_LLAMA_EVENTS,
    named_kinds=_LLAMA_KINDS,
    rows=(
        Row(
            "model",
            (
                *_of_starts("model_dict.model_name", "model_dict.model", "model_dict{model_name}"),
                *_of_starts("model_dict{model}"),
                *(
                    f"EmbeddingStartEvent:{member}"
                    for member in ("model_dict.model_name", "model_dict{model_name}")
                ),
            ),
            CALLS,
        ),
        Row("model", ("AgentToolCallEvent:tool.name", "AgentToolCallEvent:tool{name}"), _TOOLS),
        Row(
            "provider_model",
            (
                *_of_ends("response.raw.model", "response.raw{model}", "response{raw.model}"),
                *_of_starts("model_dict.model_name", "model_dict.model", "model_dict{model_name}"),
                *_of_starts("model_dict{model}"),
                "EmbeddingStartEvent:model_dict.model_name",
            ),
            CALLS,
        ),
        Row(
            "inputs",
            (
                *_of_starts("messages", "prompt", "template"),
                *_of_ends("messages", "prompt"),
                *("EmbeddingEndEvent:chunks", "RetrievalStartEvent:str_or_query_bundle"),
                *("ReRankStartEvent:query", "QueryStartEvent:query", "SynthesizeStartEvent:query"),
                *("AgentToolCallEvent:arguments", "AgentChatWithStepStartEvent:user_msg"),
            ),
        ),
        Row(
            "outputs",
            (
                *_of_ends("response.message.*", "response.message", "response{message}"),
                *_of_ends("response.text", "response{text}", "output", "response"),
                *("RetrievalEndEvent:nodes", "ReRankEndEvent:nodes"),
                *("EmbeddingEndEvent:embeddings", "QueryEndEvent:response.response"),
                *("QueryEndEvent:response", "SynthesizeEndEvent:response.response"),
                *("SynthesizeEndEvent:response", "AgentChatWithStepEndEvent:response.response"),
                "AgentChatWithStepEndEvent:response",
            ),
            form="members",
        ),
        Row(
            "usage",
            (
                *_of_ends("response.raw.usage.*", "response.raw{usage}", "response{raw.usage}"),
                *_of_ends("response.additional_kwargs.*", "response.additional_kwargs"),
            ),
        ),
        Row("response_id", _of_ends("response.raw.id", "response.raw{id}", "response{raw.id}")),
    ),
    notes=(
        "Recognized by a scope that starts with `llamaindex.opentelemetry`. Everything is in the "
        "events of its spans.",
    ),
)

# Model Context Protocol: requests of clients to servers.
# https://github.com/open-telemetry/semantic-conventions-genai
MCP: Final = Dialect(
    name="mcp",
    marks=("mcp.method.name",),
    kind_sources=("mcp.method.name",),
    kinds={
        "tools/call": "tool",
        "resources/read": "retriever",
        "prompts/get": "chain",
        "sampling/createmessage": "chain",
        "elicitation/create": "chain",
    },
    other_kind="span",
    rows=(
        Row("model", ("gen_ai.prompt.name", "mcp.method.name"), frozenset({"chain", "retriever"})),
        Row(
            "inputs", ("mcp.resource.uri", "gen_ai.prompt.name"), frozenset({"chain", "retriever"})
        ),
    ),
    notes=("All other requests are plain spans, such as lists of tools and pings.",),
)

# Agent2Agent protocol: requests of clients to agents, whatever the agent is called.
# https://github.com/open-telemetry/semantic-conventions-genai
A2A: Final = Dialect(
    name="a2a",
    marks=("a2a.method.name", "a2a.method", "a2a.operation.name", "a2a.operation"),
    kind_sources=("a2a.method.name", "a2a.method", "a2a.operation.name", "a2a.operation"),
    other_kind="span",
    rows=(),
    notes=(
        "A request is a plain span, on both sides, although it names an agent. The agent's own "
        "work is a span with `gen_ai.operation.name`.",
    ),
)

# TanStack AI: a chat is a span around its calls of the model and its tools. It names the model too.
# https://tanstack.com/ai
_CHATS: Final = {"agent": ("tanstack.ai.iterations",)}
_TANSTACK: Final = Dialect(
    name="tanstack",
    marks=("tanstack.ai.",),
    named_kinds=_CHATS,
    rows=(),
    notes=(
        "A span without `gen_ai.operation.name` is an agent if it has `tanstack.ai.iterations`. It "
        "repeats the usage of the calls inside it.",
    ),
)

# In order of precedence. A program's own names come before those of the conventions it also uses.
FRAMEWORKS: Final = (
    _CLAUDE_CODE,
    _LOGFIRE_AGENTS,
    _MASTRA,
    _MIRASCOPE,
    _NEMO,
    _LLAMA_INDEX,
    _TANSTACK,
)
BACKENDS: Final = (_AGENTOPS, _LANGSMITH, _BRAINTRUST)
