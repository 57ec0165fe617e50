"""Tests of MLflow's dialect."""

from typing import Any

import pytest

from otel_ml_collector.records import Tag
from otel_ml_collector.span import Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import map_call


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        ({"mlflow.llm.provider": '"OpenAI"'}, "provider", "openai"),
        (
            {"mlflow.llm.cost": '{"input_cost": 0.1, "output_cost": 0.15, "total_cost": 0.25}'},
            "cost",
            0.25,
        ),
        ({"mlflow.chat.tokenUsage": '{"output_tokens": 0}'}, "output_tokens", 0),
        ({"mlflow.trace.session": '"s-1"'}, "session", "s-1"),
        ({"session.id": '"s-1"', "mlflow.trace.session": '"other"'}, "session", "s-1"),
        ({"user.id": '"u-1"'}, "user", "u-1"),
        ({"mlflow.traceTag.client": '"acme"'}, "tags", [Tag("client", "acme")]),
    ],
)
def test_field(told: dict[str, Value], field: str, value: Any) -> None:
    """Fields that no recorded model call has are read, too."""
    assert getattr(map_call("it", {"mlflow.spanType": '"CHAT_MODEL"', **told}), field) == value


def test_function() -> None:
    """A function has its own name but no tokens, because the calls inside it report them."""
    told: dict[str, Value] = {
        "mlflow.spanType": '"UNKNOWN"',
        "mlflow.spanFunctionName": '"answer"',
        "mlflow.chat.tokenUsage": '{"input_tokens": 12}',
    }
    run = map_call("answer_1", told)
    assert (run.kind, run.model, run.input_tokens) == ("chain", "answer", None)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ('"LLM"', "model"),
        ('"CHAIN"', "chain"),
        ('"RETRIEVER"', "retriever"),
        ('"RERANKER"', "model"),
        ('"PARSER"', "chain"),
        ("LLM", "model"),
        ('"MY_OWN"', "chain"),
    ],
)
def test_kind(word: str, kind: str) -> None:
    """Each MLflow type is mapped to the closest kind, with or without quotes."""
    assert map_call("it", {"mlflow.spanType": word}).kind == kind


@pytest.mark.parametrize(
    ("value", "outputs"),
    [
        ('"x"', '"x"'),
        ("x", '"x"'),
        ("42", "42"),
        ('"{\\"a\\": 1}"', '{"a":1}'),
        ('{"a": ', '"{\\"a\\": "'),
        ('"42"', '"42"'),
        ("null", "null"),
        (["a"], '["a"]'),
    ],
)
def test_outputs(value: Value, outputs: str) -> None:
    """Outputs are decoded as JSON at most twice, and broken JSON is kept as text."""
    assert map_call("it", {"mlflow.spanOutputs": value}).outputs == outputs


@pytest.mark.parametrize(
    ("usage", "count"),
    [
        ('{"input_tokens": "12"}', 12),
        ({"input_tokens": 12.0}, 12),
        ('"{\\"input_tokens\\": 12}"', 12),
        ('{"input_tokens": null}', None),
        ('{"input_tokens": [1]}', None),
        ("[12]", None),
        ("{", None),
        (12, None),
    ],
)
def test_usage(usage: Any, count: int | None) -> None:
    """Token counts are read from every valid form, and ignored if they are broken."""
    told = {"mlflow.spanType": '"LLM"', "mlflow.chat.tokenUsage": usage}
    assert map_call("it", told).input_tokens == count
