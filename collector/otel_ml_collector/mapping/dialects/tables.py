"""The tables of the dialects, in order of precedence.

If several dialects provide a field, the first value is used: our own attributes, then these
dialects in this order, then the general conventions. Frameworks come before backends, because a
framework knows more about its own call than the SDK of a backend.
"""

from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.dialects.emitters import A2A, BACKENDS, FRAMEWORKS, MCP
from otel_ml_collector.mapping.dialects.table import (
    AROUND,
    CALLS,
    Dialect,
    Evidence,
    Failure,
    Row,
)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_STEPS: Final = frozenset({"agent", "chain", "tool"})
# Operations of gateways, such as LiteLLM. Asynchronous ones start with an a.
_CALLED: Final = {
    "completion": "model",
    "responses": "model",
    "anthropic_messages": "model",
    "generate_content_stream": "model",
    "rerank": "model",
    "moderation": "model",
    "image_generation": "model",
    "image_edit": "model",
    "image_variation": "model",
    "create_video": "model",
    "speech": "model",
    "transcription": "model",
    "translation": "model",
    "speech_to_text": "model",
    "text_to_speech": "model",
    "realtime_inference": "model",
    "generate_live_content": "model",
    "embed": "embedding",
    "embed_content": "embedding",
    "embedding": "embedding",
}
_OPERATIONS: Final = {**names.OPERATIONS, **_CALLED}
_CALL_WORDS: Final = {
    **_OPERATIONS,
    **{f"a{word}": kind for word, kind in _OPERATIONS.items() if kind in CALLS},
}

# Operations on the memory of agents: a search finds records, the others write them.
_MEMORY: Final = {
    "search_memory": "retriever",
    **dict.fromkeys(
        (
            *("create_memory", "update_memory", "upsert_memory", "delete_memory"),
            *("create_memory_store", "delete_memory_store"),
        ),
        "tool",
    ),
}

# Operations without inference: the answer of an earlier call, and what the user said.
_NO_CALLS: Final = ("fetch_response", "user_speech", "user_input")
_GUARDRAILS: Final = ("run_guardrail", "apply_guardrail", "guardrail")
# Facts about a call that the conventions define, but that no field of a run holds.
_NAMED_FACTS: Final = (
    *("gen_ai.agent.id", "gen_ai.agent.description", "gen_ai.agent.version"),
    *("gen_ai.tool.call.id", "gen_ai.tool.type", "gen_ai.tool.description"),
    *("gen_ai.data_source.id", "gen_ai.output.type", "gen_ai.embeddings.dimension.count"),
    *("gen_ai.prompt.name", "gen_ai.prompt.version", "gen_ai.memory.store.id"),
    *("gen_ai.retrieval.top_k", "gen_ai.speech.voice", "gen_ai.speech.input.language"),
    *("gen_ai.memory.store.name", "gen_ai.memory.record.id", "gen_ai.memory.record.count"),
    *(
        f"gen_ai.usage.{modality}.{count}_tokens"
        for modality in ("text", "audio", "image", "video", "document")
        for count in ("input", "output", "cache_read.input", "cache_write.input")
    ),
    names.GEN_AI_SYSTEM,
)

# OpenInference: Arize's conventions, used by Phoenix and its instrumentations.
# https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
_OPENINFERENCE: Final = Dialect(
    name="openinference",
    marks=("openinference.span.kind",),
    kind_sources=("openinference.span.kind",),
    kinds={
        "llm": "model",
        "chain": "chain",
        "tool": "tool",
        "retriever": "retriever",
        "embedding": "embedding",
        "agent": "agent",
        "reranker": "model",
        "guardrail": "chain",
        "evaluator": "chain",
        "prompt": "chain",
        "decision": "chain",
        "unknown": "chain",
    },
    counted=frozenset({"guardrail"}),
    evidence=Evidence(
        tools=("tool.name",),
        agents=("agent.name",),
        models=("llm.model_name", "llm.request.model_name", "llm.response.model_name"),
        answers=("llm.token_count.", "llm.input_messages.N", "llm.output_messages.N"),
    ),
    rows=(
        Row("model", ("agent.name", "graph.node.id"), frozenset({"agent"})),
        Row("model", ("tool.name", "agent.name"), AROUND),
        Row(
            "model",
            (
                "llm.request.model_name",
                "llm.invocation_parameters{model}",
                "llm.model_name",
                "embedding.model_name",
                "reranker.model_name",
                "llm.response.model_name",
            ),
            CALLS,
        ),
        Row(
            "provider_model",
            (
                "llm.response.model_name",
                "llm.model_name",
                "llm.request.model_name",
                "embedding.model_name",
                "reranker.model_name",
                "llm.invocation_parameters{model}",
            ),
        ),
        Row("provider", ("llm.provider", "llm.system")),
        # For spans around calls, the flattened messages often hold only the role of the first
        # message.
        Row("inputs", ("input.value",), _STEPS),
        Row("outputs", ("output.value",), _STEPS),
        Row(
            "inputs",
            (
                "llm.input_messages.N.message",
                "llm.prompts.N.prompt.text",
                "llm.prompts",
                "embedding.embeddings.N.embedding.text",
                "input.value",
                "reranker.query",
            ),
        ),
        Row(
            "outputs",
            (
                "llm.output_messages.N.message",
                "llm.choices.N.completion.text",
                "retrieval.documents.N.document",
                "reranker.output_documents.N.document",
                "embedding.embeddings.N.embedding.vector",
                "output.value",
            ),
        ),
        Row("params", ("llm.invocation_parameters",)),
        Row("input_tokens", ("llm.token_count.prompt",)),
        Row("output_tokens", ("llm.token_count.completion",)),
        Row(
            "cached_tokens",
            (
                "llm.token_count.prompt_details.cache_read",
                "llm.token_count.prompt_details.cache_input",
            ),
        ),
        Row("reasoning_tokens", ("llm.token_count.completion_details.reasoning",)),
        Row("cache_creation_tokens", ("llm.token_count.prompt_details.cache_write",)),
        Row("total_tokens", ("llm.token_count.total",)),
        Row("audio_input_tokens", ("llm.token_count.prompt_details.audio",)),
        Row("audio_output_tokens", ("llm.token_count.completion_details.audio",)),
        Row("cost", ("llm.cost.total",)),
        Row("response_id", ("output.value",), CALLS, form="held"),
        Row("user", ("user.id", "metadata{user_id}", "metadata{userId}")),
        Row("tags", ("tag.tags", "metadata")),
    ),
    # Some libraries write one span per token of a stream, with the kind of a call.
    needs=(
        *("llm.model_name", "llm.request.model_name", "llm.response.model_name"),
        *("llm.token_count.", "llm.input_messages.N", "llm.output_messages.N"),
        *("llm.prompts", "llm.prompts.N", "llm.choices.N", "output.value", "gen_ai."),
        "reranker.",
    ),
    scores=(
        *("evaluations.N.evaluation", "annotations.N.annotation"),
        *("trace.evaluations.N.evaluation", "trace.annotations.N.annotation"),
        *("session.evaluations.N.evaluation", "session.annotations.N.annotation"),
    ),
    texts={"input.value": "input.mime_type", "output.value": "output.mime_type"},
    notes=(
        "Evaluations and annotations become scores. The source is `human` if `annotator_kind` is "
        "`HUMAN`, and the annotator is its `identifier`. Otherwise the source is `judge`.",
        "A span of kind `EVALUATOR` with one link carries feedback that arrives after the run. Its "
        "scores belong to the linked run.",
        "`trace.evaluations` and `trace.annotations` are scores of the root runs of the span's "
        "trace, or of the linked trace.",
        "`session.evaluations` and `session.annotations` are scores of the session in "
        "`session.id`, not of a run.",
        "A span of kind `LLM` or `RERANKER` without model, tokens, messages, `output.value` and "
        "error is not a call. Some libraries write such a span for each token of a stream.",
        "`graph.node.*`, templates, prompts, tools and details of costs stay attributes.",
        "CrewAI writes no span for an agent that receives a delegated task. The tool "
        "`Delegate work to coworker` names the agent in its argument `coworker`, and the agent's "
        "calls are inside that tool run.",
        "If `input.mime_type` or `output.mime_type` is `text/plain`, the value is text, even if it "
        "is valid JSON.",
    ),
)

OPENLLMETRY: Final = "openllmetry"
_PROPERTIES: Final = "traceloop.association.properties."
# OpenLLMetry: Traceloop's conventions, in addition to or instead of ``gen_ai.*``.
# https://www.traceloop.com/docs/openllmetry/contributing/semantic-conventions
_OPENLLMETRY: Final = Dialect(
    name=OPENLLMETRY,
    marks=(
        "traceloop.",
        "llm.request.type",
        "llm.usage.total_tokens",
        "gen_ai.prompt.N",
        "gen_ai.completion.N",
    ),
    kind_sources=("traceloop.span.kind", "llm.request.type"),
    kinds={
        "workflow": "chain",
        "task": "chain",
        "agent": "agent",
        "tool": "tool",
        "unknown": "chain",
        **{word: kind for word, kind in _CALL_WORDS.items() if kind in CALLS},
    },
    evidence=Evidence(
        answers=("gen_ai.prompt.N", "gen_ai.completion.N", "llm.usage.total_tokens"),
    ),
    rows=(
        Row("model", ("traceloop.entity.name", "traceloop.workflow.name"), AROUND),
        Row("inputs", ("gen_ai.prompt.N", "traceloop.entity.input"), form="quoted"),
        Row("outputs", ("gen_ai.completion.N", "traceloop.entity.output"), form="quoted"),
        Row(
            "params",
            (
                "gen_ai.request.*",
                "llm.top_k",
                "llm.frequency_penalty",
                "llm.presence_penalty",
                "llm.chat.stop_sequences",
            ),
        ),
        Row(
            "session",
            ("session.id", f"{_PROPERTIES}session_id", f"{_PROPERTIES}chat_id"),
        ),
        Row("user", ("user.id", f"{_PROPERTIES}user_id", "gen_ai.user", "llm.user")),
        Row("tags", (f"{_PROPERTIES}*",)),
    ),
    notes=(
        "Attributes in `gen_ai.*` are read as in the dialect `gen_ai`.",
        "Prompts (`traceloop.prompt.*`), paths, `traceloop.entity.version` and token totals "
        "stay attributes.",
    ),
)

# MLflow's traces: every value is JSON, even plain text.
# https://mlflow.org/docs/latest/genai/tracing/
_MLFLOW: Final = Dialect(
    name="mlflow",
    marks=("mlflow.",),
    kind_sources=("mlflow.spanType",),
    kinds={
        "llm": "model",
        "chat_model": "model",
        "chain": "chain",
        "agent": "agent",
        "tool": "tool",
        "retriever": "retriever",
        "embedding": "embedding",
        "reranker": "model",
        "parser": "chain",
        "evaluator": "chain",
        "guardrail": "chain",
        "workflow": "chain",
        "task": "chain",
        "unknown": "chain",
    },
    counted=frozenset({"guardrail"}),
    evidence=Evidence(models=("mlflow.llm.model",), answers=("mlflow.chat.tokenUsage",)),
    rows=(
        Row("model", ("mlflow.spanFunctionName",), AROUND),
        Row("model", ("mlflow.spanInputs{model}", "mlflow.llm.model"), CALLS),
        Row("provider_model", ("mlflow.llm.model",)),
        Row("provider_model", ("mlflow.spanInputs{model}",), CALLS),
        Row("provider", ("mlflow.llm.provider",)),
        Row("inputs", ("mlflow.spanInputs",)),
        Row("outputs", ("mlflow.spanOutputs",)),
        Row("input_tokens", ("mlflow.chat.tokenUsage{input_tokens}",)),
        Row("output_tokens", ("mlflow.chat.tokenUsage{output_tokens}",)),
        Row("cached_tokens", ("mlflow.chat.tokenUsage{cache_read_input_tokens}",)),
        Row("cache_creation_tokens", ("mlflow.chat.tokenUsage{cache_creation_input_tokens}",)),
        Row("total_tokens", ("mlflow.chat.tokenUsage{total_tokens}",)),
        Row("cost", ("mlflow.llm.cost{total_cost}",)),
        Row("session", ("session.id", "mlflow.trace.session")),
        Row("user", ("user.id", "mlflow.trace.user")),
        Row("tags", ("mlflow.traceTag.*",), form="quoted"),
    ),
    form="quoted",
    notes=(
        "Totals of a trace (`mlflow.trace.tokenUsage`, `mlflow.trace.cost`), experiments, logged "
        "models, prompts and log levels stay attributes. MLflow does not put assessments on spans.",
    ),
)

PROVIDER_WORDS: Final = "ai.response.providerMetadata"
# Attributes of the AI SDK that show that its input tokens include cached ones.
COUNTED_INPUT: Final = frozenset(
    f"ai.usage.inputTokenDetails.{name}"
    for name in ("noCacheTokens", "cacheReadTokens", "cacheWriteTokens")
)
# Members of the provider's metadata with the number of cached tokens, as the AI SDK passes them on.
_CACHED_BY_PROVIDER: Final = (
    *("openai.cachedPromptTokens", "azure.cachedPromptTokens"),
    *("anthropic.usage.cache_read_input_tokens", "anthropic.cacheReadInputTokens"),
    *("bedrock.usage.cacheReadInputTokens", "deepseek.promptCacheHitTokens"),
    *("google.usageMetadata.cachedContentTokenCount",),
    *("vertex.usageMetadata.cachedContentTokenCount",),
)
_WRITTEN_BY_PROVIDER: Final = (
    *("anthropic.usage.cache_creation_input_tokens", "anthropic.cacheCreationInputTokens"),
    "bedrock.usage.cacheWriteInputTokens",
)
# Vercel's AI SDK: each call is a span of the function with a span of the model inside.
# https://ai-sdk.dev/docs/ai-sdk-core/telemetry
VERCEL: Final = Dialect(
    name="vercel",
    marks=("ai.operationId", "ai.model.id", "ai.toolCall.name"),
    kind_sources=("ai.operationId",),
    kinds={
        "ai.generatetext": "chain",
        "ai.streamtext": "chain",
        "ai.generateobject": "chain",
        "ai.streamobject": "chain",
        "ai.embed": "chain",
        "ai.embedmany": "chain",
        "ai.rerank": "chain",
        "ai.generatetext.dogenerate": "model",
        "ai.streamtext.dostream": "model",
        "ai.generateobject.dogenerate": "model",
        "ai.streamobject.dostream": "model",
        "ai.embed.doembed": "embedding",
        "ai.embedmany.doembed": "embedding",
        "ai.rerank.dorerank": "model",
        "ai.toolcall": "tool",
    },
    # The span of the function repeats model and usage of the call inside. So only a known operation
    # makes a call.
    other_kind="chain",
    rows=(
        Row("model", ("ai.toolCall.name", "ai.telemetry.functionId", "ai.operationId"), AROUND),
        Row("model", ("ai.model.id", "ai.response.model"), CALLS),
        Row("provider_model", ("ai.response.model", "ai.model.id")),
        Row("provider", ("ai.model.provider",)),
        Row(
            "inputs",
            (
                "ai.prompt.messages",
                "ai.prompt",
                "ai.toolCall.args",
                "ai.values",
                "ai.value",
                "ai.documents",
            ),
            form="quoted",
        ),
        Row(
            "outputs",
            (
                "ai.response.text",
                "ai.response.object",
                "ai.response.toolCalls",
                "ai.response.reasoning",
                "ai.response.files",
            ),
        ),
        Row(
            "outputs",
            ("ai.toolCall.result", "ai.embeddings", "ai.embedding", "ai.ranking"),
            form="quoted",
        ),
        Row("params", ("ai.settings.*", "gen_ai.request.*")),
        Row(
            "input_tokens",
            ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        ),
        Row("output_tokens", ("ai.usage.outputTokens", "ai.usage.completionTokens")),
        Row(
            "cached_tokens",
            (
                "ai.usage.inputTokenDetails.cacheReadTokens",
                "ai.usage.cachedInputTokens",
                *(f"{PROVIDER_WORDS}{{{member}}}" for member in _CACHED_BY_PROVIDER),
            ),
        ),
        Row(
            "reasoning_tokens",
            ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
        ),
        Row(
            "cache_creation_tokens",
            (
                "ai.usage.inputTokenDetails.cacheWriteTokens",
                *(f"{PROVIDER_WORDS}{{{member}}}" for member in _WRITTEN_BY_PROVIDER),
            ),
        ),
        Row("response_id", ("ai.response.id",)),
        Row("session", ("session.id", "ai.telemetry.metadata.sessionId")),
        Row("user", ("user.id", "ai.telemetry.metadata.userId")),
        Row("tags", ("ai.telemetry.metadata.*",)),
    ),
    notes=(
        "The span of the function is a chain. The call with the tokens is the span inside it whose "
        "operation ends in `.doGenerate`, `.doStream` or `.doEmbed`.",
        "Tools, headers, finish reasons and times of the first chunk stay attributes.",
        "Before version 6 of the AI SDK, input tokens of Anthropic and Bedrock do not include "
        "cached tokens. The cached tokens from the provider's metadata are added.",
    ),
)

_GENKIT_KIND: Final = "genkit:metadata:subtype"
_GENKIT_RAW: Final = "genkit:output{raw."
# Genkit: actions with their inputs and outputs, including models and tools.
# https://genkit.dev/docs/observability/overview/
_GENKIT: Final = Dialect(
    name="genkit",
    marks=("genkit:name", "genkit:type"),
    kind_sources=(_GENKIT_KIND, "genkit:type"),
    kinds={
        "model": "model",
        "background-model": "model",
        "reranker": "model",
        "embedder": "embedding",
        "retriever": "retriever",
        "tool": "tool",
        "tool.v2": "tool",
        "agent": "agent",
    },
    other_kind="chain",
    rows=(
        Row("model", ("genkit:name",)),
        Row(
            "provider_model",
            (f"{_GENKIT_RAW}model}}", f"{_GENKIT_RAW}modelVersion}}", "genkit:name"),
            CALLS,
        ),
        Row("provider", ("genkit:name",), CALLS, form="head"),
        Row("inputs", ("genkit:input",), form="quoted"),
        Row("outputs", ("genkit:output{message}",), form="quoted"),
        Row("outputs", ("genkit:output",), form="quoted"),
        Row("params", ("genkit:input{config}",), CALLS),
        Row("input_tokens", ("genkit:output{usage.inputTokens}",), CALLS),
        Row("output_tokens", ("genkit:output{usage.outputTokens}",), CALLS),
        Row(
            "cached_tokens",
            (
                "genkit:output{usage.cachedContentTokens}",
                f"{_GENKIT_RAW}usage.prompt_tokens_details.cached_tokens}}",
            ),
            CALLS,
        ),
        Row(
            "reasoning_tokens",
            (
                "genkit:output{usage.thoughtsTokens}",
                f"{_GENKIT_RAW}usage.completion_tokens_details.reasoning_tokens}}",
            ),
            CALLS,
        ),
        Row("response_id", (f"{_GENKIT_RAW}id}}", f"{_GENKIT_RAW}responseId}}"), CALLS),
    ),
    notes=(
        "The provider is the part of the model name before the slash.",
        "Every other action (a flow, a prompt, `generate` itself) is a chain, because it repeats "
        "the usage of the calls inside it.",
    ),
)

# Logfire and Pydantic AI: functions with their arguments, model calls, annotations.
# https://logfire.pydantic.dev/docs/reference/advanced/
_ACTING_NAMES: Final = {
    "agent": (*("agent_name", "final_result", "all_messages_events", "pydantic_ai.all_messages"),),
    "tool": ("tool_arguments", "tool_response"),
}
_LOGFIRE: Final = Dialect(
    name="logfire",
    marks=("logfire.",),
    rows=(
        # The run of a tool also names the agent, but is named after the tool.
        Row("model", (names.GEN_AI_TOOL_NAME,), frozenset({"tool"})),
        Row("model", ("agent_name",), AROUND),
        Row(
            "inputs",
            (
                "pydantic_ai.all_messages",
                "all_messages_events",
                "tool_arguments",
                "request_data",
            ),
        ),
        Row("inputs", ("events",), CALLS, form="asked"),
        Row("outputs", ("events",), CALLS, form="answered"),
        Row("outputs", ("final_result", "tool_response", "return", "response_data")),
        Row("inputs", ("logfire.json_schema{}",)),
        Row("cost", ("operation.cost",)),
        Row("tags", ("logfire.tags",)),
    ),
    named_kinds=_ACTING_NAMES,
    scores=("logfire.feedback.name",),
    request=(
        *("request_data", "response_data", names.GEN_AI_OUTPUT_MESSAGES, "gen_ai.usage."),
        *(names.GEN_AI_RESPONSE_ID, names.GEN_AI_FINISH_REASONS),
    ),
    instead={
        "request_data": "gen_ai.input.messages",
        "response_data": "gen_ai.output.messages",
        "logfire.json_schema": "gen_ai.",
        "events": "gen_ai.input.messages",
    },
    failure=Failure("logfire.level_num", 17, "logfire.msg", is_spare=True),
    notes=(
        "A span without `gen_ai.operation.name` is an agent if it has one of "
        f"{_listed(_ACTING_NAMES['agent'])}, and a tool if it has one of "
        f"{_listed(_ACTING_NAMES['tool'])}.",
        "The arguments of a function, listed by `logfire.json_schema`, are the inputs if there is "
        "no other source and the span has no `gen_ai.*`.",
        "`request_data` and `response_data` are used if `gen_ai.input.messages` and "
        "`gen_ai.output.messages` are absent.",
        "If `logfire.level_num` is at least 17, the outcome is `error`. The message is "
        "`logfire.msg` if the span has no other message.",
        "A stream has two spans, one for the request and one for the answer. The span with "
        "`request_data` but without any sign of an answer is a chain unless it failed. The other "
        "span is the call.",
        "A span with `logfire.span_type` `annotation` is a run of kind `span`. It carries a score "
        "for its parent, with source `human`. `logfire.feedback.name` names the attribute with the "
        "value: a number, a bool (passed) or text (label). `logfire.feedback.comment` is the "
        "explanation.",
        "A span with `logfire.span_type` `pending_span` marks its parent as running until the "
        "parent ends.",
    ),
)

_USAGE: Final = "langfuse.observation.usage_details"
# Langfuse: observations, each with attributes of their trace.
# https://langfuse.com/integrations/native/opentelemetry
_LANGFUSE: Final = Dialect(
    name="langfuse",
    marks=("langfuse.",),
    kind_sources=("langfuse.observation.type",),
    kinds={
        "span": "chain",
        "generation": "model",
        "event": "span",
        "agent": "agent",
        "tool": "tool",
        "chain": "chain",
        "retriever": "retriever",
        "evaluator": "chain",
        "embedding": "embedding",
        "guardrail": "chain",
    },
    counted=frozenset({"guardrail"}),
    evidence=Evidence(models=("langfuse.observation.model.name",), answers=(_USAGE,)),
    rows=(
        Row("model", ("langfuse.observation.model.name",), CALLS),
        Row("provider_model", ("langfuse.observation.model.name",)),
        Row("inputs", ("langfuse.observation.input", "langfuse.trace.input")),
        Row("outputs", ("langfuse.observation.output", "langfuse.trace.output")),
        Row("params", ("langfuse.observation.model.parameters",)),
        Row("usage", (_USAGE,)),
        Row("cost", ("langfuse.observation.cost_details{total}",)),
        Row("session", ("session.id", "langfuse.session.id")),
        Row("user", ("user.id", "langfuse.user.id")),
        Row("environment", ("langfuse.environment",)),
        Row("release", ("langfuse.release", "langfuse.version")),
        Row(
            "tags",
            (
                "langfuse.trace.tags",
                "langfuse.observation.metadata.*",
                "langfuse.trace.metadata.*",
                "langfuse.observation.metadata",
                "langfuse.trace.metadata",
            ),
            form="quoted",
        ),
    ),
    failure=Failure("langfuse.observation.level", "ERROR", "langfuse.observation.status_message"),
    notes=(
        "If `langfuse.observation.level` is `ERROR`, the outcome is `error` and "
        "`langfuse.observation.status_message` is the message.",
        "In `langfuse.observation.usage_details`, `input` leaves out the tokens that are in other "
        "counts named `input_*`, so all of them are added. The same applies to `output`. If "
        "`total` is the sum of `input` and `output`, nothing is added. The names of OpenAI (chat "
        "completions and responses) and of Anthropic are read, too.",
        "Prompts and experiments stay attributes. Langfuse does not put scores on spans.",
    ),
)

_REPLY: Final = (
    "haystack.component.output{replies.0.meta",
    "haystack.agent.step.llm.output{replies.0.meta",
)
# Embedders and generators of plain text have their metadata next to the output.
_META: Final = (*_REPLY, "haystack.component.output{meta", "haystack.component.output{meta.0")


def _of_reply(member: str) -> tuple[str, ...]:
    return tuple(f"{source}.{member}}}" for source in _META)


# Haystack's tracing: pipelines, components, agents and their steps.
# https://docs.haystack.deepset.ai/docs/tracing
_HAYSTACK_NAMES: Final = {
    "agent": ("haystack.agent.max_steps", "haystack.agent.input"),
    "tool": ("haystack.tool.name",),
    "model": ("haystack.agent.step.llm.input", "haystack.agent.step.llm.output"),
    "chain": ("haystack.pipeline.input_data", "haystack.agent.step"),
}
_HAYSTACK: Final = Dialect(
    name="haystack",
    marks=("haystack.",),
    kind_sources=("haystack.component.type",),
    endings={"generator": "model", "embedder": "embedding", "retriever": "retriever"},
    other_kind="chain",
    named_kinds=_HAYSTACK_NAMES,
    rows=(
        Row("model", ("haystack.tool.name", "haystack.component.name"), AROUND),
        Row("model", (*_of_reply("model"), "haystack.component.name"), CALLS),
        Row("provider_model", _of_reply("model"), CALLS),
        Row(
            "inputs",
            (
                "haystack.component.input",
                "haystack.agent.input",
                "haystack.agent.step.llm.input",
                "haystack.agent.step.tool.input",
                "haystack.pipeline.input_data",
            ),
        ),
        Row(
            "outputs",
            (
                "haystack.component.output",
                "haystack.agent.output",
                "haystack.agent.step.llm.output",
                "haystack.agent.step.tool.output",
                "haystack.pipeline.output_data",
            ),
        ),
        Row("input_tokens", _of_reply("usage.prompt_tokens"), CALLS),
        Row("output_tokens", _of_reply("usage.completion_tokens"), CALLS),
        Row("cached_tokens", _of_reply("usage.prompt_tokens_details.cached_tokens"), CALLS),
        Row(
            "reasoning_tokens",
            _of_reply("usage.completion_tokens_details.reasoning_tokens"),
            CALLS,
        ),
    ),
    failure=Failure(
        "haystack.tool.error", at=True, message="haystack.agent.step.tool.output{error}"
    ),
    notes=(
        "Set `HAYSTACK_CONTENT_TRACING_ENABLED` to `true`. Otherwise Haystack's spans have no "
        "content, models and tokens.",
        "A component is a call if the name of its class ends in `Generator` or `Embedder`.",
        "A span with `haystack.tool.error` has the outcome `error`.",
    ),
)

# OpenLIT: the GenAI conventions plus its own names.
# https://docs.openlit.io/latest/sdk/destinations/overview
_OPENLIT: Final = Dialect(
    name="openlit",
    marks=("gen_ai.",),
    rows=(
        Row("inputs", ("gen_ai.content.prompt",)),
        Row("outputs", ("gen_ai.content.completion",)),
        Row("user", ("user.id", "gen_ai.request.user")),
        Row("environment", ("gen_ai.environment",)),
    ),
    sdk="openlit",
    scores=("gen_ai.eval.*",),
    notes=(
        "Recognized by the resource attribute `telemetry.sdk.name` with the value `openlit`. "
        "Attributes in `gen_ai.*` are read as in the dialect `gen_ai`.",
        "Each number in `gen_ai.eval.*` is the score of a judge of that name.",
        "The token total stays an attribute.",
    ),
)

# Programs that report calls in log records (mapping/logs.py). None of their spans is a call.
_GEMINI_CLI: Final = Dialect(
    name="gemini-cli",
    marks=("gen_ai.",),
    scope="gemini-cli",
    kind_sources=(names.GEN_AI_OPERATION,),
    kinds=names.OPERATIONS,  # used by its log records; its spans have other values
    other_kind="chain",
    rows=(
        Row("model", (names.GEN_AI_WORKFLOW_NAME, names.GEN_AI_OPERATION), frozenset({"chain"})),
    ),
    notes=(
        "Recognized by the scope `gemini-cli`. Its spans are chains. Its calls, tools and "
        "questions are in its [log records](wire.md#log-records).",
    ),
)
_CODEX: Final = Dialect(
    name="codex",
    marks=("codex.turn.token_usage.",),
    scope="codex",
    named_kinds={"chain": ("codex.turn.token_usage.input_tokens",)},
    rows=(Row("session", ("thread.id",), frozenset({"chain"})),),
    notes=(
        "Recognized by a scope that starts with `codex`. The span of a turn is a chain. Its calls, "
        "tools and questions are in its [log records](wire.md#log-records).",
    ),
)

# The GenAI semantic conventions, with current and former names.
# https://github.com/open-telemetry/semantic-conventions-genai
_ACTORS: Final = (names.GEN_AI_AGENT_NAME, names.GEN_AI_TOOL_NAME, names.GEN_AI_WORKFLOW_NAME)
GEN_AI: Final = Dialect(
    name="gen_ai",
    marks=("gen_ai.",),
    kind_sources=(names.GEN_AI_OPERATION,),
    kinds={**_CALL_WORDS, **_MEMORY, **dict.fromkeys((*_GUARDRAILS, *_NO_CALLS), "chain")},
    counted=frozenset(_GUARDRAILS),
    evidence=Evidence(
        tools=(names.GEN_AI_TOOL_NAME,),
        agents=(names.GEN_AI_AGENT_NAME,),
        models=(names.GEN_AI_REQUEST_MODEL, names.GEN_AI_RESPONSE_MODEL),
        answers=(
            "gen_ai.usage.",
            names.GEN_AI_INPUT_MESSAGES,
            names.GEN_AI_OUTPUT_MESSAGES,
            "gen_ai.prompt",
            "gen_ai.completion",
            names.GEN_AI_RESPONSE_ID,
            names.GEN_AI_FINISH_REASONS,
        ),
    ),
    rows=(
        Row("model", (names.GEN_AI_TOOL_NAME,), frozenset({"tool"})),
        Row("model", ("gen_ai.guardrail.component.name",), frozenset({"chain"})),
        Row("model", _ACTORS, frozenset({"agent", "tool", "chain"})),
        # Group by the requested model: answers name dated snapshots.
        Row("model", (names.GEN_AI_REQUEST_MODEL, names.GEN_AI_RESPONSE_MODEL), CALLS),
        Row("model", _ACTORS),
        Row("provider_model", (names.GEN_AI_RESPONSE_MODEL, names.GEN_AI_REQUEST_MODEL)),
        Row("provider", (names.GEN_AI_PROVIDER, "gen_ai.system")),
        Row(
            "inputs",
            (
                names.GEN_AI_INPUT_MESSAGES,
                names.GEN_AI_TOOL_ARGUMENTS,
                "gen_ai.retrieval.query.text",
                "gen_ai.memory.query.text",
                "gen_ai.prompt",
                "gen_ai.guardrail.content.input.value",
                "gen_ai.guardrail.security.content.input.value",
            ),
            form="json",
            system=names.GEN_AI_SYSTEM,
        ),
        Row("inputs", ("gen_ai.memory.records",), frozenset({"tool"}), form="json"),
        Row(
            "outputs",
            (
                names.GEN_AI_OUTPUT_MESSAGES,
                names.GEN_AI_TOOL_RESULT,
                "gen_ai.retrieval.documents",
                "gen_ai.completion",
                "gen_ai.guardrail.content.output.value",
                "gen_ai.guardrail.security.content.output.value",
                "gen_ai.guardrail.verdict.*",
                "gen_ai.guardrail.result.*",
                "gen_ai.guardrail.result",
            ),
            form="messages",
        ),
        Row("outputs", ("gen_ai.memory.records",), frozenset({"retriever"}), form="json"),
        Row(
            "params",
            (f"{names.GEN_AI_REQUEST_PREFIX}*", "gen_ai.guardrail.*", *_NAMED_FACTS),
            form="named",
        ),
        Row("input_tokens", (names.GEN_AI_INPUT_TOKENS, "gen_ai.usage.prompt_tokens")),
        Row("output_tokens", (names.GEN_AI_OUTPUT_TOKENS, "gen_ai.usage.completion_tokens")),
        Row(
            "cached_tokens",
            (
                names.GEN_AI_CACHE_READ_TOKENS,
                "gen_ai.usage.cache_read_input_tokens",
                "gen_ai.usage.cached_tokens",
                "gen_ai.usage.input_cached_tokens",
                "gen_ai.usage.cached_input_tokens",
                "gen_ai.usage.cache_read_tokens",
                "gen_ai.usage.details.cache_read_tokens",
                "gen_ai.usage.details.cached_tokens",
                "gen_ai.usage.input_tokens_details.cached_tokens",
                "gen_ai.usage.prompt_tokens_details.cached_tokens",
                # Google's agents, with any model.
                "gcp.vertex.agent.llm_response{usage_metadata.cached_content_token_count}",
            ),
        ),
        Row(
            "reasoning_tokens",
            (
                names.GEN_AI_REASONING_TOKENS,
                "gen_ai.usage.reasoning_tokens",
                "gen_ai.usage.thinking_tokens",
            ),
        ),
        Row(
            "cache_creation_tokens",
            (
                names.GEN_AI_CACHE_WRITE_TOKENS,
                "gen_ai.usage.cache_creation.input_tokens",
                "gen_ai.usage.cache_creation_input_tokens",
                "gen_ai.usage.cache_creation_tokens",
                "gen_ai.usage.cache_write_tokens",
                "gen_ai.usage.details.cache_write_tokens",
            ),
        ),
        Row("total_tokens", ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")),
        Row("audio_input_tokens", ("gen_ai.usage.audio.input_tokens",)),
        Row("audio_output_tokens", ("gen_ai.usage.audio.output_tokens",)),
        Row("cost", ("gen_ai.usage.cost", "gen_ai.cost.total_cost", "litellm.cost.total")),
        Row("response_id", (names.GEN_AI_RESPONSE_ID,)),
        Row("session", ("gen_ai.conversation.id",)),
    ),
    instead={
        "gen_ai.conversation.id": names.SESSION_ID,
        names.GEN_AI_SYSTEM: names.GEN_AI_INPUT_MESSAGES,
    },
)

DIALECTS: Final = (
    *(_GEMINI_CLI, _CODEX),
    *FRAMEWORKS,
    *(_OPENINFERENCE, _OPENLLMETRY, _MLFLOW, VERCEL, _GENKIT, _LOGFIRE, _LANGFUSE),
    *BACKENDS,
    *(_HAYSTACK, _OPENLIT, MCP),
    GEN_AI,
    A2A,
)
# Dialects whose content is in the events of spans.
EVENT_DIALECTS: Final = tuple(dialect for dialect in DIALECTS if dialect.events)
