"""MLflow's traces: every value is JSON, plain texts too.

Spec: https://mlflow.org/docs/latest/genai/tracing/
"""

from typing import Final

from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.table import AROUND, CALLS, Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.span import Span

TABLE: Final = Table(
    dialect="mlflow",
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
        Row("cost", ("mlflow.llm.cost{total_cost}",)),
        Row("session", ("session.id", "mlflow.trace.session")),
        Row("user", ("user.id", "mlflow.trace.user")),
        Row("tags", ("mlflow.traceTag.*",), is_quoted=True),
    ),
    is_quoted=True,
    notes=(
        "Totals of a trace (`mlflow.trace.tokenUsage`, `mlflow.trace.cost`), experiments, logged "
        "models, prompts and log levels stay attributes. Assessments do not travel on spans.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that MLflow's attributes name and nobody named before."""
    table.read_run(TABLE, span.attributes, present, found)
