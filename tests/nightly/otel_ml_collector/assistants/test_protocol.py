"""Slow cases of tests/process/otel_ml_collector/assistants/test_protocol.py."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from otel_ml import Client as Recorder
from otel_ml_collector.assistants.definitions import (
    LIMIT_S,
)
from tests.process.otel_ml_collector.assistants.test_protocol import CALL, JSON, read_metrics
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import make_call
from tests.support.waiting import wait_until

LONG_TEXTS: Final = 12


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector whose project asked has three runs."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Recorder("asked", endpoint=opened.endpoint, join=False)

        @client.trace
        def answer(question: str) -> str:
            return question.upper()

        for question in ("why", "how", "who"):
            answer(question)
        assert client.flush()
        client.close()
        yield opened


def test_slow_question(tmp_path: Path) -> None:
    """A slow query is cancelled after 10 s, and runs are stored in the meantime."""
    slow = CollectorProcess(tmp_path)
    try:
        slow.wait_ready()
        draw = random.Random(7)  # noqa: S311 - it chooses letters
        text = json.dumps("".join(draw.choices("ab", k=10**6)))
        assert {send(slow, "slow", text) for _ in range(LONG_TEXTS)} == {200}
        # The automaton has more states than the engine caches: each letter is tried in all states.
        where = 'matches(input, "[ab]*a[ab]{900}c")'
        asked = {"name": "statistics", "arguments": {"project": "slow", "where": where}}
        body = json.dumps({**CALL, "params": asked}).encode()
        began_s = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(slow.post, "/mcp", body, JSON)
            statuses: list[int] = []

            def is_answered() -> bool:
                statuses.append(send(slow, "asked", '"meanwhile"'))
                return answered.done()

            wait_until(is_answered, 2 * LIMIT_S + 10)
            took_s = time.monotonic() - began_s
        result = json.loads(answered.result()[2])["result"]
        told = "The answer took longer than 10 s: narrow it with since, until or where"
        assert (result["isError"], result["content"][0]["text"]) == (True, told)
        assert LIMIT_S <= took_s < LIMIT_S + 10
        assert len(statuses) >= LIMIT_S
        assert {*statuses} == {200}
        count = 'otel_ml_mcp_calls_total{outcome="timeout",tool="statistics"}'
        assert read_metrics(slow)[count] == 1
        _, _, stored = slow.post("/mcp", json.dumps(CALL).encode(), JSON)
        [row] = json.loads(stored)["result"]["structuredContent"]["rows"]
        assert row[:2] == [len(statuses), 0]
    finally:
        slow.kill()


def send(collector: CollectorProcess, project: str, inputs: str) -> int:
    """Send a run as an exporter does, and return the status of the response."""
    run = make_call("answer")
    told = {"project": project, "kind": "model", "model.name": "answer", "inputs": inputs}
    now_ns = time.time_ns()
    span = {
        "traceId": run.trace_id.hex(),
        "spanId": run.span_id.hex(),
        "name": "answer",
        "startTimeUnixNano": str(now_ns),
        "endTimeUnixNano": str(now_ns + 1),
        "attributes": [
            {"key": f"otel_ml.{name}", "value": {"stringValue": text}}
            for name, text in told.items()
        ],
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    return collector.post("/v1/traces", body, {"content-type": "application/json"})[0]
