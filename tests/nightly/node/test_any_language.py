"""The Node.js examples in docs/how-to/any-language.md work on a real Node.js."""

import os
import re
import subprocess
from typing import Any

from tests.support.collector import CollectorProcess
from tests.support.folders import NODE, ROOT
from tests.support.recorded.server import serving
from tests.support.recorded.sink import Sink

PAGE = ROOT / "docs" / "how-to" / "any-language.md"


def run_example(
    node: str, collector: CollectorProcess, project: str, heading: str, **variables: str
) -> list[dict[str, Any]]:
    """Run the example under a heading of the page, and return the project's runs."""
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    (program,) = re.findall(r"```js\n(.*?)```", section, re.DOTALL)
    done = subprocess.run(
        [node, "--input-type=module"],
        input=program,
        cwd=NODE,  # has the packages that the page installs
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-otel-ml-project={project}",
            **variables,
        },
    )
    assert done.returncode == 0, done.stderr
    listed = collector.get(f"/projects/{project}/runs")["runs"]
    return [collector.get(f"/runs/{run['run_id']}") for run in listed]


def test_vercel(node: str, collector: CollectorProcess) -> None:
    """A call with the Vercel AI SDK is recorded with messages, tokens, user and session."""
    with serving(Sink()) as provider:
        runs = run_example(
            node,
            collector,
            "node-vercel",
            "Node.js with the Vercel AI SDK",
            OPENAI_API_KEY="none",
            OPENAI_BASE_URL=f"{provider}/v1",
        )
    call, request = sorted(runs, key=lambda run: run["parent_run_id"] is None)
    assert (request["model"], call["model"]) == ("ask", "gpt-4o-mini")
    assert call["parent_run_id"] == request["run_id"]
    for run in (request, call):
        assert (run["user"], run["session"], run["outputs"]) == ("ada", "chat-7", "Sunny in Ghent")
    assert (call["tokens"]["input"], call["tokens"]["output"]) == (12, 5)
    assert call["cost"] > 0


def test_attributes(node: str, collector: CollectorProcess) -> None:
    """A span with otel-ml attributes becomes a run with inputs, output, tag and session."""
    (run,) = run_example(node, collector, "node-plain", "Node.js")
    assert (run["model"], run["kind"]) == ("churn", "model")
    assert (run["inputs"], run["outputs"]) == ({"age": 41, "plan": "basic"}, False)
    assert (run["tags"], run["session"]) == ({"client": "acme"}, "customer-7")
