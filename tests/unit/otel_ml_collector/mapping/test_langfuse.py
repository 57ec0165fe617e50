"""Tests of Langfuse's dialect."""

from typing import Any

import pytest

from otel_ml_collector.records import Tag
from otel_ml_collector.span import Scope, Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import map_call


@pytest.mark.parametrize(
    ("level", "outcome", "message"), [("ERROR", "error", "No such city"), ("WARNING", "ok", "")]
)
def test_level(level: str, outcome: str, message: str) -> None:
    """An observation of level ERROR failed, and its status message is the error message."""
    told: dict[str, Value] = {
        "langfuse.observation.level": level,
        "langfuse.observation.status_message": "No such city",
    }
    run = map_call("find", told)
    assert (run.outcome, run.error_message) == (outcome, message)


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        ({"langfuse.session.id": "s"}, "session", "s"),
        ({"session.id": "s", "langfuse.session.id": "other"}, "session", "s"),
        ({"langfuse.user.id": "u"}, "user", "u"),
        ({"langfuse.version": "v"}, "release", "v"),
        ({"langfuse.release": "r-7", "langfuse.version": "v"}, "release", "r-7"),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.cost_details": '{"input": 0.1, "total": 0.25}',
            },
            "cost",
            0.25,
        ),
        (
            {
                "langfuse.observation.metadata.client": '"acme"',
                "langfuse.trace.metadata.depth": "3",
                "langfuse.trace.tags": ["beta"],
            },
            "tags",
            [Tag("beta", True), Tag("client", "acme"), Tag("depth", 3)],
        ),
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
