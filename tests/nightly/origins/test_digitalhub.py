"""Slow cases of tests/process/origins/test_digitalhub.py."""

from pathlib import Path
from typing import Any, Final

from tests.process.origins.test_digitalhub import newest
from tests.support.collector import CollectorProcess
from tests.support.origins.program import finish, preamble, run, start
from tests.support.waiting import wait_until

TELL: Final = """
import sys
from otel_ml import Client

run_id, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run = Client("churn").about(run_id=run_id)
for number in range(first, first + count):
    run.log_metric("loss", number, step=number)
    run.tag({f"tag-{number}": number})
"""


OPEN: Final = """
from otel_ml import Client
run = Client("churn").run("shared")
print(run.id, flush=True)
input()
for number in range(1000, 1500):
    run.log_metric("loss", number, step=number)
"""


STEPS: Final = """
for step in range(1000):
    run.log_metrics({"loss": float("nan") if step == 500 else float(step)})
"""


def test_loop_of_a_thousand_steps(collector: CollectorProcess, tmp_path: Path) -> None:
    """A value logged at each step becomes a series in order, and a NaN becomes a gap."""
    run(tmp_path, preamble("c") + preamble("c1") + STEPS, collector)
    found = newest(collector, "fit")
    series = found["metrics"]["loss"]
    assert series == [None if step == 500 else float(step) for step in range(1000)]


def test_two_processes_lose_nothing(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """A run keeps all points and tags from two processes while a third process has it open."""
    holder = start(tmp_path, OPEN, own_collector.endpoint)
    assert holder.stdout is not None
    run_id = holder.stdout.readline().strip()
    others = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        first = str(number * 500)
        others.append(start(folder, TELL, own_collector.endpoint, run_id, first, "500"))
    for other in others:
        finish(other)
    finish(holder, "\n")

    def points() -> list[Any]:
        found = own_collector.get("/projects/churn/metrics", run_id=run_id, points=100_000)
        return sorted(point["step"] for one in found["series"] for point in one["points"])

    wait_until(lambda: points() == list(range(1500)))
    tags = own_collector.get(f"/runs/{run_id}")["tags"]
    assert tags == {f"tag-{number}": number for number in range(1000)}
