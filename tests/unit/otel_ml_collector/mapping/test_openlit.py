"""Tests of OpenLIT's dialect."""

from typing import Final

from otel_ml_collector.span import Scope, Value
from tests.support.otel_ml_collector.spans import make_span, map_all
from tests.unit.otel_ml_collector.mapping.dialect_runs import (
    SPAN,
    TRACE,
    expect,
    expect_score,
    map_call,
    without,
)

SCOPE: Final = Scope({"telemetry.sdk.name": "openlit"}, "openlit", "1", {})
CHAT: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.content.prompt": "user: Where?",
    "gen_ai.content.completion": "In Kyoto.",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.total_tokens": 16,
    "gen_ai.usage.cost": 0.25,
    "gen_ai.request.user": "u-1",
    "gen_ai.environment": "staging",
}


def test_chat() -> None:
    """A model call is read by the GenAI conventions, with OpenLIT's additions."""
    assert map_call("chat gpt-5", CHAT, scope=SCOPE) == expect(
        "chat gpt-5",
        without(CHAT, "gen_ai.content."),
        kind="model",
        dialect="openlit",
        model="gpt-5",
        provider="openai",
        provider_model="gpt-5",
        params='{"user":"u-1"}',
        inputs='"user: Where?"',
        inputs_preview="user: Where?",
        outputs='"In Kyoto."',
        outputs_preview="In Kyoto.",
        input_tokens=12,
        cost=0.25,
        user="u-1",
        environment="staging",
        resource='{"telemetry.sdk.name":"openlit"}',
        scope='{"name":"openlit","version":"1"}',
    )


def test_another_sender() -> None:
    """OpenLIT's own attributes from another sender are read by their names, except the user."""
    run = map_call("chat gpt-5", CHAT)
    assert (run.dialect, run.inputs, run.user) == ("gen_ai", '"user: Where?"', "")


def test_scores() -> None:
    """The numbers of OpenLIT's judges are scores."""
    told: dict[str, Value] = {"gen_ai.eval.groundedness": 0.5, "gen_ai.eval.other": []}
    span = make_span("chat", told, trace_id=TRACE, span_id=SPAN, scope=SCOPE)
    assert map_all(span).metrics == [expect_score("groundedness", 0.5)]
    assert map_all(make_span("chat", told)).metrics == []
