"""Tests of OpenLLMetry's dialect."""

from typing import Final

import pytest

from otel_ml_collector.records import Tag
from otel_ml_collector.span import Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import expect, map_call, without

CHAT: Final[dict[str, Value]] = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-08-01",
    "gen_ai.request.temperature": 0.5,
    "llm.top_k": 3,
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "Where?",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "In Kyoto.",
    "gen_ai.completion.0.finish_reason": "stop",
    "gen_ai.usage.prompt_tokens": 12,
    "gen_ai.usage.completion_tokens": 4,
    "gen_ai.usage.cache_read_input_tokens": 8,
    "gen_ai.usage.reasoning_tokens": 2,
    "llm.usage.total_tokens": 16,
    "traceloop.workflow.name": "plan trip",
    "traceloop.association.properties.session_id": "s-1",
    "traceloop.association.properties.user_id": "u-1",
    "traceloop.association.properties.client": "acme",
}


def test_chat() -> None:
    """A model call is mapped field by field, including its GenAI attributes."""
    assert map_call("openai.chat", CHAT) == expect(
        "openai.chat",
        without(CHAT, "gen_ai.prompt.", "gen_ai.completion."),
        kind="model",
        dialect="openllmetry",
        model="gpt-5",
        provider="openai",
        provider_model="gpt-5-2026-08-01",
        params='{"temperature":0.5,"top_k":3}',
        inputs='[{"content":"Where?","role":"user"}]',
        inputs_preview="Where?",
        outputs='[{"content":"In Kyoto.","finish_reason":"stop","role":"assistant"}]',
        outputs_preview="In Kyoto.",
        input_tokens=12,
        output_tokens=4,
        cached_tokens=8,
        reasoning_tokens=2,
        session="s-1",
        user="u-1",
        tags=[Tag("client", "acme")],
    )


@pytest.mark.parametrize(
    ("attribute", "word", "kind"),
    [
        ("traceloop.span.kind", "agent", "agent"),
        ("traceloop.span.kind", "unknown", "chain"),
        ("llm.request.type", "completion", "model"),
        ("llm.request.type", "embedding", "embedding"),
        ("llm.request.type", "rerank", "model"),
        ("traceloop.workflow.name", "plan trip", "span"),
    ],
)
def test_kind(attribute: str, word: str, kind: str) -> None:
    """Each OpenLLMetry kind or request type is mapped to the closest kind."""
    assert map_call("it", {attribute: word}).kind == kind


def test_session() -> None:
    """The standard attribute of the session is preferred to Traceloop's property."""
    assert map_call("openai.chat", {**CHAT, "session.id": "s-2"}).session == "s-2"
