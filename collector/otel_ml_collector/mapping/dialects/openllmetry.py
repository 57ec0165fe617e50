"""OpenLLMetry: Traceloop's conventions, beside or instead of ``gen_ai.*``.

Spec: https://www.traceloop.com/docs/openllmetry/contributing/semantic-conventions
"""

from typing import Final

from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.table import AROUND, Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.span import Span

_PROPERTIES: Final = "traceloop.association.properties."
TABLE: Final = Table(
    dialect="openllmetry",
    marks=(
        "traceloop.",
        "llm.request.type",
        "llm.usage.total_tokens",
        "gen_ai.prompt.",
        "gen_ai.completion.",
    ),
    kind_sources=("traceloop.span.kind", "llm.request.type"),
    kinds={
        "workflow": "chain",
        "task": "chain",
        "agent": "agent",
        "tool": "tool",
        "unknown": "chain",
        "chat": "model",
        "completion": "model",
        "embedding": "embedding",
        "rerank": "model",
    },
    rows=(
        Row("model", ("traceloop.entity.name", "traceloop.workflow.name"), AROUND),
        Row("inputs", ("gen_ai.prompt.N", "traceloop.entity.input"), is_quoted=True),
        Row("outputs", ("gen_ai.completion.N", "traceloop.entity.output"), is_quoted=True),
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
        "What is written in `gen_ai.*` is read from there.",
        "Prompts (`traceloop.prompt.*`), paths, `traceloop.entity.version` and totals of tokens "
        "stay attributes.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that OpenLLMetry's attributes name and nobody named before."""
    table.read_run(TABLE, span.attributes, present, found)
