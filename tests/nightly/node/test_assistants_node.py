"""The JavaScript MCP client, on a real Node.js, queries a collector and writes to it."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml_collector.assistants.definitions import ALL_TOOLS, INSTRUCTIONS, TOOLS
from tests.support.collector import CollectorProcess, running
from tests.support.folders import NODE

PACKAGE: Final = NODE


def ask(node: str, collector: CollectorProcess, calls: Sequence[tuple[str, Any]]) -> Any:
    """Let the client list the tools and make the calls."""
    done = subprocess.run(
        [node, "ask.mjs"],
        cwd=PACKAGE,
        env={
            **os.environ,
            "MCP_URL": f"{collector.endpoint}/mcp",
            "CALLS": json.dumps(calls),
        },
        capture_output=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def record(collector: CollectorProcess) -> str:
    """Record three calls of a model and return the ID of the one that fails."""
    client = Client("asked", endpoint=collector.endpoint, join=False)

    @client.trace
    def answer(question: str) -> str:
        if question == "who":
            raise ValueError(f"nobody knows {len(question)}")
        return question.upper()

    for question in ("why", "how"):
        answer(question)
    with pytest.raises(ValueError, match="nobody"):
        answer("who")
    assert client.flush()
    client.close()
    [failed] = collector.get('/projects/asked/runs?where=outcome=="error"')["runs"]
    return str(failed["run_id"])


def test_questions(node: str, own_collector: CollectorProcess) -> None:
    """The client lists the tools, validates results against their schemas, and receives errors."""
    record(own_collector)
    found = ask(
        node,
        own_collector,
        [
            ("overview", {"project": "asked"}),
            ("errors", {"project": "asked"}),
            ("find_runs", {"project": "asked", "limit": 500}),
        ],
    )
    assert (found["server"], found["instructions"]) == ("otel-ml", INSTRUCTIONS)
    assert [tool["name"] for tool in found["tools"]] == list(TOOLS)
    assert all(tool["annotations"]["readOnlyHint"] for tool in found["tools"])
    overview, errors, wrong = found["answers"]
    assert overview["structured"]["totals"] == json.loads(overview["text"])["totals"]
    assert (overview["structured"]["totals"]["runs"], overview["isError"]) == (3, False)
    [group] = errors["structured"]["rows"]
    assert group[:3] == ["ValueError", "nobody knows #", 1]
    assert (wrong["isError"], wrong["text"]) == (True, "limit: 500 is more than 50")


def test_writes(node: str, tmp_path: Path) -> None:
    """With `--mcp-writes`, all tools are listed, and feedback sent twice is stored once."""
    with running(tmp_path / "data", "--mcp-writes") as collector:
        run_id = record(collector)
        said = {"project": "asked", "runs": [run_id[-16:]], "judge": "triage", "label": "data"}
        found = ask(node, collector, [("add_feedback", said)] * 2)
        assert [tool["name"] for tool in found["tools"]] == list(ALL_TOOLS)
        first, second = (one["structured"] for one in found["answers"])
        assert (first["stored"], second["stored"], first["rows"] == second["rows"]) == (1, 0, True)
        assert collector.get(f"/runs/{run_id}")["agent"] == {"triage": "data"}


@pytest.mark.parametrize(
    "scenario", ["server-initialize", "ping", "tools-list", "dns-rebinding-protection"]
)
def test_conformance(node: str, collector: CollectorProcess, scenario: str) -> None:
    """The protocol's conformance suite passes in the scenarios that apply to a server of tools.

    The other scenarios call tools, prompts and resources of the suite's own sample server.
    """
    suite = PACKAGE / "node_modules/.bin/conformance"
    url = f"{collector.endpoint}/mcp"
    done = subprocess.run(
        [node, suite, "server", "--url", url, "--scenario", scenario],
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed: 0" in done.stdout or "0 failed" in done.stdout, done.stdout
