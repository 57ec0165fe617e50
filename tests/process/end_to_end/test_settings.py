"""Settings for cost and project take effect, from OTLP to the API of a real collector."""

import time
from pathlib import Path

import pytest

from otel_ml_collector.span import Scope, Value
from tests.support.collector import running
from tests.support.otel_ml_collector.spans import make_span
from tests.support.otel_ml_collector.wire import encode

PRICES = '{"here": {"llama": {"input": 1, "output": 2}}}'


def test_cost(tmp_path: Path) -> None:
    """A run's cost is the one sent, or is computed with the configured or built-in prices."""
    calls: dict[str, dict[str, Value]] = {
        "told": {"gen_ai.provider.name": "openai", "gen_ai.usage.cost": 7.5},
        "known": {"gen_ai.provider.name": "openai"},
        "ours": {"gen_ai.provider.name": "here", "gen_ai.request.model": "llama"},
        "unknown": {"gen_ai.provider.name": "nobody", "gen_ai.request.model": "nothing"},
    }
    now_ns = time.time_ns()
    spans = [
        make_span(
            name,
            {
                "otel_ml.project": "shop",
                "otel_ml.model.name": name,
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 1_000,
                "gen_ai.usage.output_tokens": 200,
                **attributes,
            },
            start_ns=now_ns,
            end_ns=now_ns + 1,
        )
        for name, attributes in calls.items()
    ]
    with running(tmp_path / "data", "--prices", PRICES) as collector:
        headers = {"content-type": "application/x-protobuf"}
        collector.deliver(encode(spans), headers)
        found = {run["model"]: run["run_id"] for run in collector.runs("shop")}
        costs = {name: collector.get(f"/runs/{run_id}")["cost"] for name, run_id in found.items()}
    assert costs == {
        "told": 7.5,
        "known": pytest.approx(0.0045),
        "ours": pytest.approx(0.0014),
        "unknown": None,
    }


def test_project_of_a_service(tmp_path: Path) -> None:
    """With `--project-from service.name`, spans without a project belong to their service."""
    now_ns = time.time_ns()
    scope = Scope({"service.name": "checkout"}, "tests", "1", {})
    call = make_span(
        "ask", {"gen_ai.operation.name": "chat"}, start_ns=now_ns, end_ns=now_ns + 1, scope=scope
    )
    headers = {"content-type": "application/x-protobuf"}
    with running(tmp_path / "data", "--project-from", "service.name") as collector:
        collector.deliver(encode([call]), headers)
        assert [run["name"] for run in collector.runs("checkout")] == ["ask"]
        page = collector.get_text("/projects/default/runs")
    assert "No runs in project default" in page
    assert '<a href="/projects/checkout/runs">checkout</a> (1)' in page
