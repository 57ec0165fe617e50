"""The AI SDK of Vercel: each call is a span of the function, with one of the model inside.

Spec: https://ai-sdk.dev/docs/ai-sdk-core/telemetry
"""

from typing import Final

from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.table import AROUND, CALLS, Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.span import Span

TABLE: Final = Table(
    dialect="vercel",
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
            is_quoted=True,
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
            is_quoted=True,
        ),
        Row("params", ("ai.settings.*", "gen_ai.request.*")),
        Row(
            "input_tokens",
            ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        ),
        Row("output_tokens", ("ai.usage.outputTokens", "ai.usage.completionTokens")),
        Row(
            "cached_tokens",
            ("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
        ),
        Row(
            "reasoning_tokens",
            ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
        ),
        Row("response_id", ("ai.response.id",)),
        Row("session", ("session.id", "ai.telemetry.metadata.sessionId")),
        Row("user", ("user.id", "ai.telemetry.metadata.userId")),
        Row("tags", ("ai.telemetry.metadata.*",)),
    ),
    notes=(
        "The span of the function is a chain and that of the model inside it, whose operation ends "
        "in `.doGenerate`, `.doStream` or `.doEmbed`, is the call that has the tokens.",
        "Tools, headers, reasons to finish and times of the first chunk stay attributes.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that the AI SDK's attributes name and nobody named before."""
    table.read_run(TABLE, span.attributes, present, found)
