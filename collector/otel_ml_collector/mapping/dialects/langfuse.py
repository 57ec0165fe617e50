"""Langfuse: its observations, and what it writes of their trace on each of them.

Spec: https://langfuse.com/integrations/native/opentelemetry
"""

from typing import Final

from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.reading import add_error
from otel_ml_collector.mapping.dialects.table import Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import to_text
from otel_ml_collector.span import Span

_LEVEL: Final = "langfuse.observation.level"
_MESSAGE: Final = "langfuse.observation.status_message"
_USAGE: Final = "langfuse.observation.usage_details"
TABLE: Final = Table(
    dialect="langfuse",
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
    rows=(
        Row("model", ("langfuse.observation.model.name",), table.CALLS),
        Row("provider_model", ("langfuse.observation.model.name",)),
        Row("inputs", ("langfuse.observation.input", "langfuse.trace.input")),
        Row("outputs", ("langfuse.observation.output", "langfuse.trace.output")),
        Row("params", ("langfuse.observation.model.parameters",)),
        Row("input_tokens", (f"{_USAGE}{{input}}", f"{_USAGE}{{prompt_tokens}}")),
        Row("output_tokens", (f"{_USAGE}{{output}}", f"{_USAGE}{{completion_tokens}}")),
        Row(
            "cached_tokens",
            (
                f"{_USAGE}{{input_cached_tokens}}",
                f"{_USAGE}{{cache_read_input_tokens}}",
                f"{_USAGE}{{prompt_tokens_details.cached_tokens}}",
            ),
        ),
        Row(
            "reasoning_tokens",
            (
                f"{_USAGE}{{output_reasoning_tokens}}",
                f"{_USAGE}{{reasoning_tokens}}",
                f"{_USAGE}{{completion_tokens_details.reasoning_tokens}}",
            ),
        ),
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
            is_quoted=True,
        ),
    ),
    notes=(
        f"`{_LEVEL}` `ERROR` is the outcome `error`, and `{_MESSAGE}` its message.",
        "Prompts, experiments and the time of the first token stay attributes. Scores do not "
        "travel on spans.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that Langfuse's attributes name and nobody named before."""
    told = span.attributes
    table.read_run(TABLE, told, present, found)
    if told.get(_LEVEL) == "ERROR":
        add_error(to_text(told.get(_MESSAGE)), found)
