"""OpenInference: Arize's conventions, as Phoenix and its instrumentations write them.

Spec: https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
"""

from collections.abc import Mapping
from typing import Final

from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.table import AROUND, CALLS, Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.judged import judged
from otel_ml_collector.mapping.values import to_json, to_text
from otel_ml_collector.records import Metric, Run
from otel_ml_collector.span import Span, Value

TABLE: Final = Table(
    dialect="openinference",
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
    rows=(
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
        Row("cost", ("llm.cost.total",)),
        Row("session", ("session.id",)),
        Row("user", ("user.id",)),
        Row("tags", ("tag.tags", "metadata")),
    ),
    scores=("evaluations.N.evaluation", "annotations.N.annotation"),
    notes=(
        "An evaluation or annotation of `annotator_kind` `HUMAN` is a score of source `human`, any "
        "other of source `judge`.",
        "`graph.node.*`, templates, prompts, tools, details of costs and what is said of a trace "
        "or session (`trace.evaluations`, `session.evaluations`) stay attributes.",
        "A value whose `input.mime_type` or `output.mime_type` is `text/plain` is text, even if it "
        "could be read as JSON.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that OpenInference's attributes name and nobody named before."""
    told = span.attributes
    table.read_run(TABLE, told, present, found)
    for name in ("input", "output"):
        value = told.get(f"{name}.value")
        is_read = f"{name}.value" in found["used"]
        if is_read and told.get(f"{name}.mime_type") == "text/plain" and isinstance(value, str):
            text = value, to_json(value)
            if name == "input":
                found["inputs"] = text
            else:
                found["outputs"] = text


def read_scores(span: Span, present: Names, run: Run) -> list[Metric]:
    """Read what was said of a run by those who judged it."""
    told = (source.read(span.attributes, {}) for source in present.scores)
    items = [item for one in told if isinstance(one, list) for item in one]
    return [
        score
        for position, item in enumerate(items)
        if isinstance(item, Mapping) and (score := _score(run, item, position)) is not None
    ]


def _score(run: Run, told: Mapping[str, Value], position: int) -> Metric | None:
    is_human = to_text(told.get("annotator_kind")).upper() == "HUMAN"
    return judged(
        run,
        to_text(told.get("name")),
        told.get("score"),
        label=to_text(told.get("label")),
        explanation=to_text(told.get("explanation")),
        human=position if is_human else None,
    )
