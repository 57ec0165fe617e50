"""A call recorded by two real instrumentations counts once."""

import json
import re
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.support.collector import CollectorProcess
from tests.support.folders import RECORDED_FOLDER
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

RECORDING: Final = RECORDED_FOLDER / "recordings/openinference_anthropic.json"
# The recording has three answers of Anthropic under OpenInference, each with 16 input and 5 output
# tokens, and a refused call.
CALLS, INPUT, OUTPUT = 4, 48, 15
WAIT_S: Final = 60.0
NOW_NS: Final = time.time_ns()


def read_spans(*, of_anthropic: bool) -> dict[str, Any]:
    """Return the recorded request with one instrumentation's spans, moved to the present."""
    request = json.loads(RECORDING.read_text())["request"]
    groups = [group for resource in request["resourceSpans"] for group in resource["scopeSpans"]]
    shift_ns = NOW_NS - max(
        int(span["endTimeUnixNano"]) for group in groups for span in group["spans"]
    )
    for group in groups:
        for span in group["spans"]:
            for name in ("startTimeUnixNano", "endTimeUnixNano"):
                span[name] = str(int(span[name]) + shift_ns)
    for resource in request["resourceSpans"]:
        resource["scopeSpans"] = [
            group
            for group in resource["scopeSpans"]
            if group["scope"]["name"].startswith("com.anthropic") == of_anthropic
        ]
    return {"resourceSpans": [one for one in request["resourceSpans"] if one["scopeSpans"]]}


def send(collector: CollectorProcess, project: str, *requests: dict[str, Any]) -> None:
    headers = {"content-type": "application/json", "x-otel-ml-project": project}
    for request in requests:
        collector.deliver(json.dumps(request).encode(), headers)


def totals(collector: CollectorProcess, project: str) -> tuple[int, int, int]:
    where = quote('kind == "model"')
    total = collector.get(f"/projects/{project}/stats?bucket=1d&where={where}")["total"]
    return total["runs"], total["tokens"]["input"], total["tokens"]["output"]


def tokens_in_metrics(collector: CollectorProcess, project: str) -> tuple[float, float]:
    """Return the numbers of runs and input tokens that /metrics reports."""
    page = collector.get_text("/metrics")
    found = []
    for name, kind in (("otel_ml_runs_total", ""), ("otel_ml_run_tokens_total", '.*type="input"')):
        pattern = rf'^{name}{{[^}}]*project="{project}"{kind}[^}}]*}} (\S+)$'
        found.append(sum(map(float, re.findall(pattern, page, re.MULTILINE))))
    return found[0], found[1]


@sampled(1)
@pytest.mark.parametrize("first", ["openinference", "anthropic", "together"])
def test_two_instrumentations(collector: CollectorProcess, first: str) -> None:
    """Calls recorded by two instrumentations count once, in whatever order their spans arrive."""
    requests: Sequence[dict[str, Any]] = [
        read_spans(of_anthropic=False),
        read_spans(of_anthropic=True),
    ]
    if first == "together":
        both = [one for request in requests for one in request["resourceSpans"]]
        requests = [{"resourceSpans": both}]
    elif first == "anthropic":
        requests = requests[::-1]
    send(collector, first, *requests)
    wait_until(lambda: totals(collector, first) == (CALLS, INPUT, OUTPUT), WAIT_S)
    runs = collector.runs(first)
    assert len(runs) == CALLS
    assert [len(run["also_recorded"]) for run in runs] == [1] * CALLS
    hidden = collector.runs(first, where='record_of != ""')
    assert {run["record_of"] for run in hidden} <= {run["run_id"] for run in runs}
    # The metrics are updated after the response to the sender.
    wait_until(lambda: tokens_in_metrics(collector, first) == (CALLS, INPUT), WAIT_S)
