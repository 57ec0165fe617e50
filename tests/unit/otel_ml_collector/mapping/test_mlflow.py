"""Tests of MLflow's dialect."""

from typing import Any, Final

import pytest

from otel_ml_collector.records import Tag
from otel_ml_collector.span import Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import expect, map_call, without

CHAT: Final[dict[str, Value]] = {
    "mlflow.spanType": '"CHAT_MODEL"',
    "mlflow.spanFunctionName": '"create"',
    "mlflow.spanInputs": '{"messages": [{"role": "user", "content": "Where?"}], "model": "gpt-5"}',
    "mlflow.spanOutputs": '"In Kyoto."',
    "mlflow.llm.model": '"gpt-5"',
    "mlflow.llm.provider": '"OpenAI"',
    "mlflow.chat.tokenUsage": (
        '{"input_tokens": 12, "output_tokens": 0, "total_tokens": 12, "cache_read_input_tokens": 8}'
    ),
    "mlflow.llm.cost": '{"input_cost": 0.1, "output_cost": 0.15, "total_cost": 0.25}',
    "mlflow.trace.session": '"s-1"',
    "user.id": '"u-1"',
    "mlflow.traceTag.client": '"acme"',
    "mlflow.traceRequestId": '"tr-1"',
}


def test_chat() -> None:
    """A model call is mapped field by field."""
    assert map_call("Completions", CHAT) == expect(
        "Completions",
        without(CHAT, "mlflow.spanInputs", "mlflow.spanOutputs", "user.id"),
        kind="model",
        dialect="mlflow",
        model="gpt-5",
        provider="openai",
        provider_model="gpt-5",
        inputs='{"messages":[{"role":"user","content":"Where?"}],"model":"gpt-5"}',
        inputs_preview="Where?",
        outputs='"In Kyoto."',
        outputs_preview="In Kyoto.",
        input_tokens=12,
        output_tokens=0,
        cached_tokens=8,
        cost=0.25,
        session="s-1",
        user="u-1",
        tags=[Tag("client", "acme")],
    )


def test_function() -> None:
    """A function has its own name but no tokens, because the calls inside it report them."""
    told: dict[str, Value] = {
        "mlflow.spanType": '"UNKNOWN"',
        "mlflow.spanFunctionName": '"answer"',
        "mlflow.spanInputs": '{"question": "Where?"}',
        "mlflow.spanOutputs": "false",
        "mlflow.chat.tokenUsage": '{"input_tokens": 12}',
    }
    assert map_call("answer_1", told) == expect(
        "answer_1",
        without(told, "mlflow.spanInputs", "mlflow.spanOutputs"),
        dialect="mlflow",
        model="answer",
        inputs='{"question":"Where?"}',
        inputs_preview="Where?",
        outputs="false",
        outputs_preview="false",
    )


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
