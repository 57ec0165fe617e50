"""Tests of the fields that find calls by what their provider said."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Value
from tests.otel_ml_collector.asgi import ask
from tests.otel_ml_collector.spans import make_call
from tests.otel_ml_collector.stores import Service

CALLS: Final[Mapping[str, Mapping[str, Value]]] = {
    "plain": {},
    "limited": {"error.type": "openai.RateLimitError", "otel_ml.outcome": "error"},
    "quoted": {"error.type": "<class 'openai.RateLimitError'>", "otel_ml.outcome": "error"},
    "short": {"error.type": "RateLimitError", "otel_ml.outcome": "error"},
    "other": {"error.type": "MyRateLimitError", "otel_ml.outcome": "error"},
    "cut": {"gen_ai.response.finish_reasons": ["length"], "gen_ai.response.id": "resp_1"},
    "two": {"gen_ai.response.finish_reasons": ["stop", "length"], "gen_ai.response.id": "resp_2"},
    "vercel": {"ai.response.finishReason": "tool-calls", "gen_ai.response.id": "resp_3"},
    "stopped": {"llm.finish_reason": "stop"},
}
LIMITED: Final = ["limited", "quoted", "short"]


@pytest.fixture(scope="module")
def calls(service: Service) -> str:
    """A project with a call of each sort."""
    for name, attributes in CALLS.items():
        service.store.take("calls", make_call(name, attributes))
    return "calls"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('error_type == "RateLimitError"', LIMITED),
        ('error_type in ("RateLimitError", "x")', LIMITED),
        ('error_type == "openai.RateLimitError"', ["limited"]),
        ('error_type != "RateLimitError"', sorted(CALLS.keys() - LIMITED)),
        ('error_type == ""', sorted(CALLS.keys() - {*LIMITED, "other"})),
        ('"Rate" in error_type', sorted([*LIMITED, "other"])),
        ('finish_reason == "length"', ["cut", "two"]),
        ('finish_reason in ("stop", "tool-calls")', ["stopped", "two", "vercel"]),
        ('finish_reason != "length"', ["stopped", "vercel"]),
        ('"calls" in finish_reason', ["vercel"]),
        ("finish_reason", ["cut", "stopped", "two", "vercel"]),
        ('finish_reason == "stop" and response_id', ["two"]),
        ('response_id == "resp_1"', ["cut"]),
        ('response_id in ("resp_1", "resp_3")', ["cut", "vercel"]),
        ('response_id != "resp_1" and response_id != ""', ["two", "vercel"]),
        ('matches(response_id, "_[12]$") and last("36500d")', ["cut", "two"]),
        ('record_of == ""', sorted(CALLS)),
        ("record_of", []),
    ],
)
def test_found(service: Service, calls: str, where: str, expected: Sequence[str]) -> None:
    """A filter finds calls by the error's last name, by why they stopped, by the answer's id."""
    answered = ask(service.app, f"/api/v1/projects/{calls}/runs?where={quote(where)}")
    assert answered.status == 200, answered.text
    assert sorted(run["model"] for run in answered.json["runs"]) == expected


def test_exported(service: Service, calls: str) -> None:
    """The same fields are columns of an export."""
    columns = "model,response_id,finish_reason,record_of"
    path = f"/api/v1/projects/{calls}/export?format=jsonl&columns={columns}&where="
    answered = ask(service.app, path + quote('model == "two"'))
    assert answered.text == (
        '{"model":"two","response_id":"resp_2","finish_reason":"stop, length","record_of":null}\n'
    )
