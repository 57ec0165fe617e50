"""An application with a spool is killed repeatedly while it sends to a real collector."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.waiting import wait_until

KILLS = 10
MOST_CALLS = 400
PROJECT = "killed"

# Makes calls without end, some of them judged, and prints the run id of each returned call. With
# a number, makes that many calls and waits until its input ends.
APPLICATION = """
import itertools, os, sys
from otel_ml import Client, Judge, current_run
from tests.support.waiting import elapsed, wait_until

client = Client("killed", spool=sys.argv[1])

@client.trace(name="model")
def model(number):
    return current_run().id

@client.assess(Judge("even", "", lambda inputs: inputs["number"] % 2 == 0), name="judged")
def judged(number):
    return current_run().id

last = int(sys.argv[2]) if len(sys.argv) > 2 else None
for number in range(last) if last is not None else itertools.count():
    returned = (judged if number % 5 == 0 else model)(number)
    os.write(1, returned.encode() + b"\\n")
    wait_until(elapsed(0.001))
sys.stdin.read()
"""


@contextmanager
def running(endpoint: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", APPLICATION, *map(str, arguments)],
        env={**os.environ, "OTEL_ML_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_after(endpoint: str, spool: Path, calls: int) -> list[str]:
    """Kill an application after some calls, and return the runs of all calls that returned."""
    with running(endpoint, spool) as process:
        assert process.stdout is not None
        returned = [process.stdout.readline() for _ in range(calls)]
        process.kill()
        returned += process.stdout.readlines()
    return [line.strip() for line in returned if line.endswith("\n")]


@dataclass(frozen=True, slots=True)
class Killed:
    """The outcome of ten kills of an application.

    Attributes:
        returned: The runs of all calls that had returned.
        runs: The runs in the collector.
        left: The files that are left in the spool.
    """

    returned: list[str]
    runs: list[dict[str, Any]]
    left: list[Path]


@pytest.fixture(scope="module")
def killed(collector: CollectorProcess, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Kill the application at random moments, then let a last process deliver the rest."""
    spool = tmp_path_factory.mktemp("killed") / "spool"
    returned: list[str] = []
    for _ in range(KILLS):
        calls = 1 + random.randrange(MOST_CALLS)  # noqa: S311 - any moment will do
        returned += kill_after(collector.endpoint, spool, calls)

    def all_are_there() -> bool:
        models = collector.get(f"/projects/{PROJECT}/models")["models"]
        return bool(sum(model["runs"] for model in models) >= len(returned))

    with running(collector.endpoint, spool, 1) as last:
        assert last.stdout is not None
        returned.append(last.stdout.readline().strip())
        wait_until(all_are_there)
        last.communicate()
    return Killed(returned, collector.runs(PROJECT), list(spool.glob("*.spool")))


def test_each_call_that_returned_is_a_run(killed: Killed) -> None:
    """Each call that had returned is stored as a run exactly once."""
    counts = Counter(run["run_id"] for run in killed.runs)
    assert [run_id for run_id in killed.returned if counts[run_id] != 1] == []
    assert set(counts.values()) == {1}


def test_nothing_else_is_a_run(killed: Killed) -> None:
    """Each kill adds at most one other run: the call that returned but was not printed yet."""
    assert len(set(killed.returned)) == len(killed.returned)
    assert len(killed.runs) - len(killed.returned) <= KILLS


def test_nothing_is_left(killed: Killed) -> None:
    """A process that ends normally leaves nothing in the spool."""
    assert killed.left == []


def test_judges_are_right_or_lost(killed: Killed) -> None:
    """Each judged run has the right score or a judge error, never a wrong score."""
    judged = [run for run in killed.runs if run["model"] == "judged"]
    assert len(judged) >= KILLS
    for run in judged:
        right = {"even": float(int(run["inputs"]) % 2 == 0)}
        assert (run["scores"], run["failed_judges"]) in ((right, []), ({}, ["even"]))
