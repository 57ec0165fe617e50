"""The official JavaScript exporters on a real Node.js, from span to record.

A script exits after its requests are acknowledged, so the tests need not wait for records.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.support.collector import CollectorProcess
from tests.support.folders import NODE
from tests.support.plain_run import plain_run, written
from tests.support.waiting import wait_until

PACKAGE = NODE

SCOPE = {"name": "shop.assistant", "version": "2.0"}
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

CLIENTS = [
    (protocol, compression)
    for protocol in ("grpc", "http", "json")
    for compression in ("none", "gzip")
]


@dataclass(frozen=True, slots=True)
class Sent:
    """Run ids that a script has sent and printed, by name, with project and start."""

    project: str
    start_s: int
    ids: Mapping[str, str]

    @property
    def start_ns(self) -> int:
        return self.start_s * 10**9


def run_script(
    node: str, script: str, protocol: str, endpoint: str, project: str, **variables: str
) -> Sent:
    """Run a script of tests/support/node with an endpoint."""
    start_s = int(time.time())
    done = subprocess.run(
        [node, script, protocol, str(start_s)],
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-otel-ml-project={quote(project)}",
            **variables,
        },
    )
    assert (done.returncode, done.stderr) == (0, "")
    return Sent(project, start_s, json.loads(done.stdout))


def send(
    node: str, script: str, collector: CollectorProcess, protocol: str, compression: str
) -> Sent:
    """Run a script that sends to a collector, in its own project."""
    endpoint = f"http://{collector.grpc}" if protocol == "grpc" else collector.endpoint
    project = f"{script} {protocol} {compression}"
    variables = {"OTEL_EXPORTER_OTLP_COMPRESSION": compression}
    return run_script(node, script, protocol, endpoint, project, **variables)


@pytest.fixture(scope="module", params=CLIENTS, ids="-".join)
def sent(request: pytest.FixtureRequest, node: str, collector: CollectorProcess) -> Sent:
    """Send a model call that contains a tool call, once with each client."""
    return send(node, "send.mjs", collector, *request.param)


@pytest.fixture(scope="module", params=CLIENTS, ids="-".join)
def logged(request: pytest.FixtureRequest, node: str, collector: CollectorProcess) -> Sent:
    """Send a model call with a log record and an evaluation, once with each client."""
    return send(node, "send_logs.mjs", collector, *request.param)


def expected_run(run_id: str, start_ns: int, **fields: object) -> dict[str, object]:
    """Return the whole expected record of a span sent by a script."""
    told = {
        "release": "4.5.6",
        "resource": RESOURCE,
        "scope": SCOPE,
        "dialect": "gen_ai",
        "otlp": {"flags": 0x101},  # sampled, and its parent is known not to be remote
    }
    return plain_run(run_id, start_ns, **{**told, **fields})


def test_chat_span(collector: CollectorProcess, sent: Sent) -> None:
    """A chat span of the JavaScript SDK becomes a model run with each attribute in its field."""
    assert collector.get(f"/runs/{sent.ids['chat']}") == expected_run(
        sent.ids["chat"],
        sent.start_ns,
        project=sent.project,
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
        tokens={
            "input": 12,
            "output": 0,
            "cached": None,
            "reasoning": None,
            "cache_creation": None,
        },
        cost=12 * 0.15e-6,
        finish_reason="stop",
        params={"temperature": 0.25},
        attributes=CHAT_ATTRIBUTES,
    )


def test_tool_span(collector: CollectorProcess, sent: Sent) -> None:
    """A tool span of the JavaScript SDK becomes a tool run below its chat, with its values."""
    # The session of a trace is resolved after the response.
    wait_until(lambda: bool(collector.get(f"/runs/{sent.ids['tool']}")["session"]))
    assert collector.get(f"/runs/{sent.ids['tool']}") == expected_run(
        sent.ids["tool"],
        sent.start_ns + 250_000_000,
        parent_run_id=sent.ids["chat"],
        project=sent.project,
        kind="tool",
        span_kind="internal",
        name="execute_tool search",
        params={"tool.call.id": "call_1", "tool.type": "function"},
        model="search",
        latency_ms=500.0,
        inputs={"order": 17, "open": True},
        outputs=[{"day": "Friday"}],
        session="conversation 7",  # of the chat, which is the trace's root
        attributes=TOOL_ATTRIBUTES,
    )


def test_list_of_runs(collector: CollectorProcess, sent: Sent) -> None:
    """The list of runs shows both spans of the JavaScript SDK, newest first."""
    runs = collector.runs(sent.project)
    assert [(run["run_id"], run["inputs"], run["outputs"]) for run in runs] == [
        (sent.ids["tool"], '{"order": 17, "open": true}', "Friday"),
        (sent.ids["chat"], "Où est mon colis ? 📦", "It arrives on Friday."),
    ]


def test_logs(collector: CollectorProcess, logged: Sent) -> None:
    """Log records of the JavaScript SDK become log lines of their run, evaluations its scores."""
    chat = logged.ids["chat"]
    assert collector.get(f"/runs/{chat}") == expected_run(
        chat,
        logged.start_ns,
        project=logged.project,
        kind="model",
        span_kind="client",
        name="chat gpt-4o-mini",
        model="gpt-4o-mini",
        latency_ms=1_500.0,
        inputs=None,
        outputs=None,
        provider_model="gpt-4o-mini",
        attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"},
        scores={"helpfulness": 0.75},
        passed={"helpfulness": True},
        evaluations=[
            {
                "judge": "helpfulness",
                "version": None,
                "digest": "",
                "score": 0.75,
                "passed": True,
                "label": "pass",
                "explanation": "It says when",
                "error": "",
                "source": "judge",
                "actual": None,
                "time": written(logged.start_ns + 1_600_000_000),
                "annotator": "",
            }
        ],
        logs=[
            {
                "time_ns": logged.start_ns + 500_000_000,
                "offset_ms": 500.0,
                "severity": "warning",
                "message": "The order is late 📦",
                "event": "",
                "attributes": {
                    "otel.scope.name": "shop.log",
                    "shop.depots": ["Lyon", "Ghent"],
                    "shop.order": 17,
                },
            }
        ],
    )
