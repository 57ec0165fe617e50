"""Slow cases of tests/process/end_to_end/test_counted_once.py."""

from pathlib import Path

from tests.process.end_to_end.test_counted_once import (
    CALLS,
    INPUT,
    OUTPUT,
    WAIT_S,
    read_spans,
    send,
    totals,
)
from tests.support.collector import running
from tests.support.waiting import wait_until


def test_killed_between(tmp_path: Path) -> None:
    """A call is counted once even if the collector is killed between the records of the call."""
    with running(tmp_path) as collector:
        send(collector, "killed", read_spans(of_anthropic=True))
        collector.kill()
        collector.restart()
        send(collector, "killed", read_spans(of_anthropic=False))
        collector.kill()
        collector.restart()
        wait_until(lambda: totals(collector, "killed") == (CALLS, INPUT, OUTPUT), WAIT_S)
        assert len(collector.runs("killed")) == CALLS
