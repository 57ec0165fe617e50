"""Spans of real processes lost on the way are counted as missing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.collector import CollectorProcess
from tests.support.relay import PROTOBUF, Relay
from tests.support.waiting import wait_until

PROJECT = "shop"
# The script creates 13 numbered spans when it ends normally: start and end of the run, 10 calls,
# and the final record.
SCRIPT = """
import os, signal, sys
from otel_ml import Client

client = Client("shop")

@client.trace
def answer(number):
    return number

@client.trace
def lost(number):
    return number

with client.run("training"):
    for call, times in ((answer, 3), (lost, 5), (answer, 2)):
        for number in range(times):
            call(number)
        assert client.flush(10).pending == 0
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def relay(own_collector: CollectorProcess) -> Iterator[Relay]:
    """Yield a relay that drops every request with a span named `lost`."""
    opened = Relay(own_collector, lambda names: "lost" in names)
    yield opened
    opened.close()


def run(relay: Relay, end: str) -> int:
    """Run the script; return its exit status."""
    environment = {**os.environ, "OTEL_ML_ENDPOINT": relay.endpoint}
    command = [sys.executable, "-c", SCRIPT, end]
    return subprocess.run(command, env=environment, timeout=180, check=False).returncode


def counts(collector: CollectorProcess) -> Any:
    return collector.get(f"/projects/{PROJECT}/loss")["totals"]


def test_lost_on_the_way(own_collector: CollectorProcess, relay: Relay) -> None:
    """Numbered spans not received by a process's end are missing; duplicates count once."""
    assert run(relay, "ended") == 0
    expected = {"received": 8, "missing": 5, "late": 0, "dropped": 0, "sampled": 0, "refused": 0}
    assert counts(own_collector) == expected
    for body in [*reversed(relay.passed), *relay.passed]:
        own_collector.deliver(body, PROTOBUF)
    assert counts(own_collector) == expected
    own_collector.restart()
    metric = 'otel_ml_spans_missing{project="shop"} 5.0'
    wait_until(lambda: metric in own_collector.get_text("/metrics"))
    (body,) = relay.lost
    own_collector.deliver(body, PROTOBUF)
    assert counts(own_collector) == {
        "received": 13,
        "missing": 0,
        "late": 0,
        "dropped": 0,
        "sampled": 0,
        "refused": 0,
    }
