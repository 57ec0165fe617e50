"""The official JavaScript exporters on a real Node.js, from span to record.

A process that ended well has its answers: nothing here waits for a record.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest

from tests.support.collector import CollectorProcess

Protocol = Literal["grpc", "http"]

pytestmark = pytest.mark.node

PACKAGE = Path(__file__).parent.parent / "node"

RESOURCE = {"service.name": "shop-js", "service.version": "4.5.6"}
CHAT_ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.25,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 0,
    "gen_ai.conversation.id": "conversation 7",
    "shop.order": 9_007_199_254_740_991,
    "shop.express": False,
    "shop.weights": [0.5, 1.5],
}
TOOL_ATTRIBUTES = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.type": "function",
    "gen_ai.tool.call.id": "call_1",
}
QUESTION = [{"role": "user", "parts": [{"type": "text", "content": "Où est mon colis ? 📦"}]}]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "It arrives on Friday."}]}]

on_each_client = pytest.mark.parametrize(
    ("protocol", "compression"),
    [("grpc", "none"), ("grpc", "gzip"), ("http", "none"), ("http", "gzip")],
)


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of the test's own."""
    name: str = request.node.name
    return name


def send(
    node: str,
    collector: CollectorProcess,
    protocol: Protocol,
    compression: str,
    *,
    project: str,
    start_s: int,
) -> Mapping[str, str]:
    """Run the script; returns the run ids of ``chat`` and ``tool``."""
    endpoints = {"grpc": f"http://{collector.grpc}", "http": collector.endpoint}
    done = subprocess.run(
        [node, "send.mjs", protocol, str(start_s)],
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints[protocol],
            "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-otel-ml-project={quote(project)}",
        },
    )
    assert (done.returncode, done.stderr) == (0, "")
    ids: dict[str, str] = json.loads(done.stdout)
    return ids


def expected_run(run_id: str, start_ns: int, **fields: object) -> dict[str, object]:
    """Write the whole record of a span of the script, with what a plain one leaves empty."""
    seconds, rest = divmod(start_ns, 10**9)
    return {
        "run_id": run_id,
        "trace_id": run_id[:32],
        "parent_run_id": None,
        "version": None,
        "digest": "",
        "start_time": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z",
        "start_ns": start_ns,
        "outcome": "ok",
        "last_heard_ns": None,
        "error_type": "",
        "error_message": "",
        "tags": {},
        "scores": {},
        "passed": {},
        "failed_judges": [],
        "session": "",
        "user": "",
        "environment": "",
        "release": "4.5.6",
        "provider": "",
        "provider_model": "",
        "tokens": {"input": None, "output": None, "cached": None, "reasoning": None},
        "cost": None,
        "params": None,
        "metrics": {},
        "metric_points": {},
        "evaluations": [],
        "artifacts": [],
        "capture": {},
        "trace_key": "",
        "trace_keys": [],
        "tag_details": [],
        "logs": [],
        "events": [],
        "links": [],
        "resource": RESOURCE,
        "scope": {"name": "shop.assistant", "version": "2.0"},
        "dialect": "gen_ai",
        **fields,
    }


@on_each_client
def test_chat_span(
    node: str, collector: CollectorProcess, project: str, protocol: Protocol, compression: str
) -> None:
    """A chat span of the JavaScript SDK is a model run with each attribute in its place."""
    start_s = int(time.time())
    ids = send(node, collector, protocol, compression, project=project, start_s=start_s)
    assert collector.get(f"/runs/{ids['chat']}") == expected_run(
        ids["chat"],
        start_s * 10**9,
        project=project,
        kind="model",
        span_kind="client",
        name="chat gpt-4o-mini",
        model="gpt-4o-mini",
        latency_ms=1_500.0,
        inputs=QUESTION,
        outputs=ANSWER,
        session="conversation 7",
        provider="openai",
        provider_model="gpt-4o-mini-2024-07-18",
        tokens={"input": 12, "output": 0, "cached": None, "reasoning": None},
        params={"temperature": 0.25},
        attributes=CHAT_ATTRIBUTES,
    )


@on_each_client
def test_tool_span(
    node: str, collector: CollectorProcess, project: str, protocol: Protocol, compression: str
) -> None:
    """A tool span of the JavaScript SDK is a tool run under its chat, with arguments and result."""
    start_s = int(time.time())
    ids = send(node, collector, protocol, compression, project=project, start_s=start_s)
    assert collector.get(f"/runs/{ids['tool']}") == expected_run(
        ids["tool"],
        start_s * 10**9 + 250_000_000,
        parent_run_id=ids["chat"],
        project=project,
        kind="tool",
        span_kind="internal",
        name="execute_tool search",
        model="search",
        latency_ms=500.0,
        inputs={"order": 17, "open": True},
        outputs=[{"day": "Friday"}],
        session="conversation 7",  # of the chat, the trace's root
        attributes=TOOL_ATTRIBUTES,
    )


@on_each_client
def test_list_of_runs(
    node: str, collector: CollectorProcess, project: str, protocol: Protocol, compression: str
) -> None:
    """The list of runs shows both spans of the JavaScript SDK, the newest first."""
    start_s = int(time.time())
    ids = send(node, collector, protocol, compression, project=project, start_s=start_s)
    runs = collector.runs(project)
    assert [(run["run_id"], run["inputs"], run["outputs"]) for run in runs] == [
        (ids["tool"], "order: 17, open: true", "Friday"),
        (ids["chat"], "Où est mon colis ? 📦", "It arrives on Friday."),
    ]
