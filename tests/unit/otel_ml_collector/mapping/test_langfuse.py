"""Tests of Langfuse's dialect."""

from typing import Any, Final

import pytest

from otel_ml_collector.records import Tag
from otel_ml_collector.span import Scope, Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import expect, map_call, without

GENERATION: Final[dict[str, Value]] = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-5",
    "langfuse.observation.model.parameters": '{"temperature": 0.5}',
    "langfuse.observation.input": '[{"role": "user", "content": "Where?"}]',
    "langfuse.observation.output": "In Kyoto.",
    "langfuse.observation.usage_details": (
        '{"input": 4, "output": 3, "input_cached_tokens": 8, "output_reasoning_tokens": 2}'
    ),
    "langfuse.observation.cost_details": '{"input": 0.1, "output": 0.15, "total": 0.25}',
    "langfuse.observation.metadata.client": '"acme"',
    "langfuse.trace.metadata.depth": "3",
    "langfuse.trace.tags": ["beta"],
    "langfuse.environment": "staging",
    "langfuse.release": "r-7",
    "langfuse.version": "v-2",
    "session.id": "s-1",
    "user.id": "u-1",
}


def test_generation() -> None:
    """A generation is mapped field by field."""
    left = ("langfuse.observation.input", "langfuse.observation.output", "session.id", "user.id")
    assert map_call("answer", GENERATION) == expect(
        "answer",
        without(GENERATION, *left),
        kind="model",
        dialect="langfuse",
        model="gpt-5",
        provider_model="gpt-5",
        params='{"temperature":0.5}',
        inputs='[{"role":"user","content":"Where?"}]',
        inputs_preview="Where?",
        outputs='"In Kyoto."',
        outputs_preview="In Kyoto.",
        input_tokens=12,
        output_tokens=5,
        cached_tokens=8,
        reasoning_tokens=2,
        cost=0.25,
        session="s-1",
        user="u-1",
        environment="staging",
        release="r-7",
        tags=[Tag("beta", True), Tag("client", "acme"), Tag("depth", 3)],
    )


def test_error() -> None:
    """An observation of level ERROR failed, and its status message is the error message."""
    told: dict[str, Value] = {
        "langfuse.observation.type": "tool",
        "langfuse.observation.level": "ERROR",
        "langfuse.observation.status_message": "No such city",
    }
    assert map_call("find", told) == expect(
        "find",
        told,
        kind="tool",
        dialect="langfuse",
        outcome="error",
        error_message="No such city",
        outputs_preview="No such city",
    )


def test_warning() -> None:
    """An observation of another level did not fail."""
    told = {"langfuse.observation.level": "WARNING", "langfuse.observation.status_message": "Hm"}
    run = map_call("find", told)
    assert (run.outcome, run.error_message) == ("ok", "")


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        ({"langfuse.session.id": "s"}, "session", "s"),
        ({"langfuse.user.id": "u"}, "user", "u"),
        ({"langfuse.version": "v"}, "release", "v"),
        ({"langfuse.trace.input": '"a"'}, "inputs", '"\\"a\\""'),
        ({"langfuse.trace.tags": '["a", "b"]'}, "tags", [Tag("a", True), Tag("b", True)]),
        ({"langfuse.trace.metadata": '{"a": 1}'}, "tags", [Tag("a", 1)]),
        ({"langfuse.observation.metadata.a": '{"b": 1}'}, "tags", []),
        ({"langfuse.observation.metadata.a.b": "x"}, "tags", [Tag("a.b", "x")]),
    ],
)
def test_field(told: dict[str, Value], field: str, value: Any) -> None:
    """Alternative and trace-level attributes are read too."""
    assert getattr(map_call("it", told), field) == value


def test_environment_of_the_span() -> None:
    """The environment of the span takes precedence over that of its resource."""
    scope = Scope({"deployment.environment.name": "production"}, "langfuse-sdk", "5", {})
    assert map_call("it", {"langfuse.environment": "dev"}, scope=scope).environment == "dev"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("span", "chain"),
        ("event", "span"),
        ("chain", "chain"),
        ("retriever", "retriever"),
        ("evaluator", "chain"),
        ("guardrail", "chain"),
    ],
)
def test_kind(word: str, kind: str) -> None:
    """Each Langfuse type is mapped to the closest kind."""
    assert map_call("it", {"langfuse.observation.type": word}).kind == kind
