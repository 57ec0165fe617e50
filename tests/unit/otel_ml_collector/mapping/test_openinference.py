"""Tests of OpenInference's dialect."""

from typing import Any, Final

import pytest

from otel_ml_collector.records import Tag
from otel_ml_collector.span import Link, Value
from tests.support.otel_ml_collector.spans import make_span, map_all
from tests.unit.otel_ml_collector.mapping.dialect_runs import (
    SPAN,
    TRACE,
    expect_score,
    map_call,
)


@pytest.mark.parametrize(
    ("told", "user"),
    [
        ({"metadata": '{"user_id": "ada", "ls_provider": "openai"}'}, "ada"),
        ({"metadata": '{"userId": "ada"}'}, "ada"),
        ({"metadata": '{"user_id": "ada"}', "user.id": "eve"}, "eve"),
        ({"metadata": '{"ls_provider": "openai"}'}, ""),
    ],
)
def test_user_of_metadata(told: dict[str, Value], user: str) -> None:
    """The user in the metadata of LangChain's configuration is used, unless `user.id` is set."""
    run = map_call("ChatOpenAI", {"openinference.span.kind": "LLM", **told})
    assert run.user == user


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        ({"llm.provider": "azure", "llm.system": "openai"}, "provider", "azure.ai.openai"),
        (
            {"llm.model_name": "gpt-5-2026-08-01", "llm.request.model_name": "gpt-5"},
            "model",
            "gpt-5",
        ),
        ({"llm.cost.total": 0.25}, "cost", 0.25),
        ({"llm.token_count.completion": 4, "gen_ai.usage.output_tokens": 99}, "output_tokens", 4),
        ({"session.id": "s", "gen_ai.conversation.id": "other"}, "session", "s"),
        (
            {"metadata": '{"plan": "free", "nested": {"a": 1}, "n": 3}', "tag.tags": ["beta"]},
            "tags",
            [Tag("beta", True), Tag("n", 3), Tag("plan", "free")],
        ),
        (
            {
                "llm.input_messages.1.message.role": "user",
                "llm.input_messages.1.message.contents.0.message_content.type": "text",
                "llm.input_messages.1.message.contents.0.message_content.text": "Where is it?",
                "llm.input_messages.0.message.role": "system",
                "llm.input_messages.0.message.content": "Be short.",
                "input.value": '{"messages": []}',
            },
            "inputs",
            '[{"content":"Be short.","role":"system"},'
            '{"role":"user","content":[{"text":"Where is it?","type":"text"}]}]',
        ),
    ],
)
def test_field(told: dict[str, Value], field: str, value: Any) -> None:
    """Fields that no recorded model call has are read, too."""
    told = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 12, **told}
    assert getattr(map_call("ChatCompletion", told), field) == value


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("GUARDRAIL", "chain"),
        ("EVALUATOR", "chain"),
        ("PROMPT", "chain"),
        ("DECISION", "chain"),
        ("UNKNOWN", "chain"),
        ("of tomorrow", "chain"),
        (7, "chain"),
        ("", "span"),
        (None, "span"),
    ],
)
def test_kind(word: Value, kind: str) -> None:
    """Each OpenInference kind is mapped to the closest kind."""
    assert map_call("it", {"openinference.span.kind": word}).kind == kind


# BeeAI's instrumentation writes each event of a stream as a span of its call's kind.
EVENT: Final[dict[str, Value]] = {
    "openinference.span.kind": "LLM",
    "input.value": '{"value": {"output": [{"role": "assistant"}]}}',
    "input.mime_type": "application/json",
    "metadata.path": "backend.ollama.chat.new_token",
}


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "span"),
        ({"llm.model_name": ""}, "span"),
        ({"llm.model_name": "granite"}, "model"),
        ({"llm.token_count.prompt": 3}, "model"),
        ({"llm.input_messages.0.message.content": "Where?"}, "model"),
        ({"output.value": "In Kyoto."}, "model"),
        ({"gen_ai.request.model": "granite"}, "model"),
    ],
)
def test_call_without_anything_of_one(more: dict[str, Value], kind: str) -> None:
    """An LLM span without any data of a call is not a model call."""
    assert map_call("it", {**EVENT, **more}).kind == kind


def test_call_that_failed_at_once() -> None:
    """An LLM span that failed is a call, whatever data it has."""
    assert map_call("it", EVENT, status_code=2).kind == "model"


@pytest.mark.parametrize(
    ("told", "inputs"),
    [
        ({"input.value": "[1]", "input.mime_type": "text/plain"}, '"[1]"'),
        ({"input.value": "[1]", "input.mime_type": "application/json"}, "[1]"),
        ({"input.value": "[1"}, '"[1"'),
        ({"input.value": "42"}, '"42"'),
        ({"llm.prompts.0.prompt.text": "a", "llm.prompts.2.prompt.text": "b"}, '["a","b"]'),
        ({"embedding.embeddings.0.embedding.text": "a", "input.value": "x"}, '["a"]'),
        ({"reranker.query": "a"}, '"a"'),
    ],
)
def test_inputs(told: dict[str, Value], inputs: str) -> None:
    """Inputs are read from any of their attributes, as text or JSON according to the MIME type."""
    assert map_call("it", {"openinference.span.kind": "LLM", **told}).inputs == inputs


def test_scores() -> None:
    """Evaluations are judges' scores. Annotations are scores by their annotators."""
    told: dict[str, Value] = {
        "openinference.span.kind": "CHAIN",
        "evaluations.0.evaluation.name": "relevance",
        "evaluations.0.evaluation.score": 0.5,
        "evaluations.0.evaluation.label": "so so",
        "evaluations.0.evaluation.explanation": "Half of it",
        "evaluations.0.evaluation.annotator_kind": "LLM",
        "evaluations.1.evaluation.score": 1.0,
        "annotations.0.annotation.name": "thumbs",
        "annotations.0.annotation.score": 1,
        "annotations.0.annotation.annotator_kind": "HUMAN",
        "annotations.1.annotation.name": "thumbs",
        "annotations.1.annotation.score": 0,
        "annotations.1.annotation.annotator_kind": "HUMAN",
        "annotations.1.annotation.identifier": "bob",
    }
    span = make_span("ask", told, trace_id=TRACE, span_id=SPAN)
    word = {"source": "human", "record_id": f"{SPAN.hex()}-2", "position": 2}
    other = {"source": "human", "record_id": f"{SPAN.hex()}-3", "position": 3}
    assert map_all(span).metrics == [
        expect_score("relevance", 0.5, label="so so", explanation="Half of it"),
        expect_score("thumbs", 1.0, **word),
        expect_score("thumbs", 0.0, annotator="bob", **other),
    ]


def test_feedback_after_the_run() -> None:
    """Feedback after a run belongs to the run that the evaluator's span links to."""
    told: dict[str, Value] = {
        "openinference.span.kind": "EVALUATOR",
        "evaluations.0.evaluation.name": "thumbs",
        "evaluations.0.evaluation.label": "up",
        "evaluations.0.evaluation.annotator_kind": "HUMAN",
        "evaluations.0.evaluation.identifier": "ann",
        "evaluations.1.evaluation.name": "grounded",
        "evaluations.1.evaluation.score": 0.5,
        "evaluations.1.evaluation.annotator_kind": "LLM",
        "annotations.0.annotation.name": "polite",
        "annotations.0.annotation.score": 1,
    }
    link = Link(b"t" * 16, b"s" * 8, {})
    span = make_span("rate", told, trace_id=TRACE, span_id=SPAN, links=[link])
    about, own = f"{(b't' * 16).hex()}-{(b's' * 8).hex()}", f"{TRACE.hex()}-{SPAN.hex()}"
    assert [
        (one.name, one.owner, one.owner_start_ns, one.source, one.annotator, one.label)
        for one in map_all(span).metrics
    ] == [
        ("thumbs", about, 0, "human", "ann", "up"),
        ("grounded", about, 0, "judge", "", ""),
        ("polite", about, 0, "judge", "", ""),
    ]
    unlinked = make_span("rate", told, trace_id=TRACE, span_id=SPAN)
    assert {one.owner for one in map_all(unlinked).metrics} == {own}


def test_feedback_about_a_trace() -> None:
    """Feedback on a trace belongs to the span's own trace, or to the one an evaluator links to."""
    told: dict[str, Value] = {
        "openinference.span.kind": "CHAIN",
        "trace.annotations.0.annotation.name": "helpful",
        "trace.annotations.0.annotation.label": "yes",
        "trace.annotations.0.annotation.annotator_kind": "HUMAN",
        "trace.annotations.0.annotation.identifier": "ann",
        "trace.evaluations.0.evaluation.name": "grounded",
        "trace.evaluations.0.evaluation.score": 0.5,
        "trace.evaluations.0.evaluation.annotator_kind": "LLM",
        "session.annotations.0.annotation.name": "of a session that it does not name",
        "session.annotations.0.annotation.score": 1,
    }
    inline = map_all(make_span("ask", told, trace_id=TRACE, span_id=SPAN))
    link = Link(b"t" * 16, b"s" * 8, {})
    later = {**told, "openinference.span.kind": "EVALUATOR"}
    linked = map_all(make_span("rate", later, trace_id=TRACE, span_id=SPAN, links=[link]))
    for records, trace_id in ((inline, TRACE), (linked, b"t" * 16)):
        assert {
            (score.name, score.owner, score.owner_start_ns, score.source, score.annotator)
            for score in records.metrics
        } == {
            ("helpful", f"key:{trace_id.hex()}", 0, "human", "ann"),
            ("grounded", f"key:{trace_id.hex()}", 0, "judge", ""),
        }
        # The trace key is found even before a run of the trace has arrived.
        assert (trace_id.hex(), bytes(16)) in {
            (key.key, key.trace_id) for key in records.trace_keys
        }
