"""Measure the tool overview over 5,000 runs, beside loops that keep all cores busy."""

import argparse
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from otel_ml_collector.times import DAY_NS
from tests.bench.assistants import Asker, Called
from tests.bench.dataset import Dataset, Plan, project_name
from tests.bench.dataset_load import send_all
from tests.bench.process import wait_idle
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

RUNS: Final = 5_000
DAYS: Final = 7.0
LOOPS: Final = 8
TIMES: Final = 20
COMMANDS: Final = 3
_ANSWER_S: Final = 3.0
_PROJECT: Final = project_name(0)


class OneProject(Dataset):
    """A period with all of its runs in one project."""

    def _spans(self) -> Iterator[bytes]:
        plan = self._plan
        length_ns = int(plan.days * DAY_NS)
        while self.made < plan.runs:
            done = self.made / plan.runs
            yield from self._trace(0, plan.end_ns - length_ns + int(done * length_ns), done)


def report(
    runs: int = RUNS,
    *,
    days: float = DAYS,
    loops: int = LOOPS,
    times: int = TIMES,
    commands: int = COMMANDS,
) -> bool:
    """Measure and print. Return whether 95 % of the answers arrived in time.

    Args:
        runs: How many runs the project has.
        days: How many days they are spread over.
        loops: How many processes keep a core busy.
        times: How often the tool is called.
        commands: How often the command is run, which calls the tool.
    """
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            month = OneProject(Plan(runs, time.time_ns(), days=days))
            send_all(collector.endpoint, month.requests())
            wait_idle(collector.pid)
            asker = Asker(collector.endpoint)
            asker.call("overview", {"project": _PROJECT})  # the first call loads the protocol
            alone = [_call(asker) for _ in range(times)]
            with keep_busy(loops):
                beside = [_call(asker) for _ in range(times)]
                starts = [_run(collector.endpoint, "tools") for _ in range(commands)]
                whole = [
                    _run(collector.endpoint, "call", "overview", f"project={_PROJECT}")
                    for _ in range(commands)
                ]
            asker.close()
        finally:
            collector.kill()
    found = {"alone": alone, f"beside {loops} loops": beside}
    p95_s = {title: _p95_s(called) for title, called in found.items()}
    rows = [
        (
            title,
            f"{statistics.median(one.took_ms for one, _ in called) / 1e3:.2f}",
            f"{p95_s[title]:.2f}",
            f"{max(len(parts) for _, parts in called)}",
            verdict(p95_s[title] <= _ANSWER_S),
        )
        for title, called in found.items()
    ]
    heads = (f"overview of {month.made:,} runs", "p50 s", "p95 s", "parts left out, at most")
    print_table((*heads, f"≤ {_ANSWER_S:g} s"), rows)
    left_out = sorted({part for called in found.values() for _, parts in called for part in parts})
    print("left out:", ", ".join(left_out) or "nothing")
    if commands:
        start_s, whole_s = statistics.median(starts), statistics.median(whole)
        row = (f"beside {loops} loops", f"{start_s:.2f}", f"{whole_s:.2f}")
        print_table(("the command, median s", "its start", "with the call"), [row])
    return max(p95_s.values()) <= _ANSWER_S


def _call(asker: Asker) -> tuple[Called, list[str]]:
    """Call the tool; return the call and the parts that the answer leaves out."""
    called = asker.call("overview", {"project": _PROJECT})
    if called.refusal:
        assert "longer" in called.refusal, called.refusal
        return called, ["everything"]
    return called, json.loads(called.text).get("not_looked_at", [])


def _p95_s(called: list[tuple[Called, list[str]]]) -> float:
    took_ms = sorted(one.took_ms for one, _ in called)
    return took_ms[-(-len(took_ms) * 95 // 100) - 1] / 1e3


def _run(endpoint: str, *words: str) -> float:
    """Run ``otel-ml mcp``; return its seconds."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", "mcp", "--endpoint", endpoint, *words],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


@contextlib.contextmanager
def keep_busy(loops: int) -> Iterator[None]:
    """Keep cores busy with a number of processes."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spin, daemon=True) for _ in range(loops)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="how many the project has")
    parser.add_argument("--days", type=float, default=DAYS, help="over how many days")
    parser.add_argument("--loops", type=int, default=LOOPS, help="processes beside the collector")
    parser.add_argument("--times", type=int, default=TIMES, help="calls of the tool")
    parser.add_argument("--commands", type=int, default=COMMANDS, help="runs of the command")
    chosen = parser.parse_args()
    report(
        chosen.runs,
        days=chosen.days,
        loops=chosen.loops,
        times=chosen.times,
        commands=chosen.commands,
    )
