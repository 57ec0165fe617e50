"""Records about an open run appear while it is open, also those of another process."""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.examples import examples
from tests.support.sampling import at_night, harder
from tests.support.waiting import elapsed, wait_until

POINTS = examples(1_000_000, on_commit=100_000)
OTHER = """
import sys
from otel_ml import Client

client = Client("join", endpoint=sys.argv[1])
with client.run("delivery", trace_key="order-7") as run:
    run.info("delivered")
client.about(run_id=sys.argv[2]).tag(checked=True)
client.about(trace_key="order-7").feedback("satisfied", 1, source="actual")
"""


def seconds_until_seen(collector: CollectorProcess, project: str, run_id: str, text: str) -> float:
    """Return the seconds until a run's record has a log line with the given text."""
    began = time.monotonic()

    def is_seen() -> bool:
        lines = record(collector, project, run_id).get("logs", [])
        return any(line["message"] == text for line in lines)

    wait_until(is_seen)
    return time.monotonic() - began


def record(collector: CollectorProcess, project: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = collector.get(f"/projects/{project}/runs/{run_id}")
    return found


@at_night
def test_line_is_seen_soon(collector: CollectorProcess) -> None:
    """A log line of an open run can be read after one second, or two if lines follow each other."""
    client = Client("live", endpoint=collector.endpoint)
    with client.run("training") as run:
        took_s = []
        wait_until(elapsed(2.0))  # after a pause, a group is stored at once
        for number in range(5):
            run.info(f"line {number}")
            took_s.append(seconds_until_seen(collector, "live", run.id, f"line {number}"))
        began = time.monotonic()
        open_record = record(collector, "live", run.id)
        slack_s = 10 * (time.monotonic() - began)  # a slow machine also reads slowly
    client.close()
    assert open_record["outcome"] == "running"
    assert took_s[0] <= 1.0 + slack_s
    assert statistics.median(took_s) <= 2.0 + slack_s


def test_open_run_shows_tags_and_metrics(collector: CollectorProcess) -> None:
    """Tags and metric points of an open run are part of its record."""
    client = Client("grow", endpoint=collector.endpoint)
    with client.run("training", params={"rate": 0.1}) as run:
        run.tag(client="acme")
        for step, loss in enumerate([0.5, 0.25]):
            run.log_metrics({"loss": loss}, step=step)

        def grew() -> bool:
            found = record(collector, "grow", run.id)
            shown = tuple(found.get(part) for part in ("outcome", "tags", "metrics"))
            return shown == ("running", {"client": "acme"}, {"loss": [0.5, 0.25]})

        wait_until(grew)
    client.close()


def test_another_process_joins(collector: CollectorProcess, tmp_path: Path) -> None:
    """Runs of two processes with one trace key form one trace, and remote tags reach the run."""
    client = Client("join", endpoint=collector.endpoint)
    with client.run("order", trace_key="order-7", session="s1", user="u1") as run:
        pass
    assert client.flush()
    script = tmp_path / "other.py"
    script.write_text(OTHER)
    arguments = [sys.executable, str(script), collector.endpoint, run.id]
    subprocess.run(arguments, check=True, timeout=180)
    client.close()
    found = record(collector, "join", run.id)
    assert (found["tags"], found["session"], found["user"]) == ({"checked": True}, "s1", "u1")
    trace = collector.get("/traces/order-7")
    assert {one["name"] for one in trace["runs"]} >= {"order", "delivery"}


@at_night
@harder
def test_very_many_points(collector: CollectorProcess) -> None:
    """A huge number of points of one run arrive, each at a constant cost."""
    client = Client("points", endpoint=collector.endpoint)
    took_s: list[float] = []
    with client.run("training") as run:
        for part in range(10):
            began = time.perf_counter()
            for step in range(part * POINTS // 10, (part + 1) * POINTS // 10):
                run.log_metric("loss", step, step=step)
            took_s.append(time.perf_counter() - began)
    assert client.flush(120)
    client.close()
    assert statistics.median(took_s[5:]) <= 3 * statistics.median(took_s[:5])
    [series] = collector.get("/projects/points/metrics", run_id=run.id)["series"]
    assert (series["name"], series["count"]) == ("loss", POINTS)
