"""Children forked at once on a busy machine deliver everything they recorded."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess
from tests.support.hostile import crowd
from tests.support.otel_ml.otlp_sink import Sink, closed_address, open_sink
from tests.support.sampling import at_night, sampled

MODEL = "crowd"
STOPPED_S = 6.5


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with open_sink() as opened:
        monkeypatch.setenv("OTEL_ML_ENDPOINT", opened.address)
        yield opened


@sampled(without="20 times")
@pytest.mark.parametrize("rounds", [pytest.param(1, id="once"), pytest.param(20, id="20 times")])
def test_six_children_at_once(sink: Sink, rounds: int) -> None:
    """Every call of six children forked right after the first call arrives."""
    with crowd.busy_loops():
        outputs = [crowd.run(MODEL).stderr for _ in range(rounds)]
    assert outputs == [""] * rounds
    assert len(sink.runs) == rounds * crowd.CALLS


@at_night  # children wait 7.5 s for their receiver, which leaves a busy machine one second
def test_receiver_that_was_stopped(tmp_path: Path) -> None:
    """A receiver suspended for 6.5 s while six children end gets all of their calls."""
    collector = CollectorProcess(tmp_path)
    try:
        collector.wait_ready()
        pid = collector.pid
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(STOPPED_S, os.kill, (pid, signal.SIGCONT)).start()
        program = crowd.run(MODEL, OTEL_ML_ENDPOINT=collector.endpoint, OTEL_ML_PROJECT=MODEL)
        assert program.stderr == ""
        assert len(collector.runs(MODEL)) == crowd.CALLS
    finally:
        collector.kill()


@at_night
def test_refused_connection_ends_soon() -> None:
    """Six children whose connections are refused end within seconds; each reports its losses."""
    began_s = time.monotonic()
    program = crowd.run(MODEL, OTEL_ML_ENDPOINT=closed_address())
    assert program.stderr.count("could not be delivered") == crowd.CALLS
    assert time.monotonic() - began_s < 15
