"""Slow cases of tests/process/end_to_end/test_otlp_drain.py."""

import time

from tests.process.end_to_end.test_otlp_contract import (
    make_request,
    make_span,
)
from tests.process.end_to_end.test_otlp_drain import END_S, half_sent
from tests.support.collector import CollectorProcess
from tests.support.senders import LATER, OK, SPANS, UNREACHED, Senders, all_run_ids


def test_load(started_collector: CollectorProcess) -> None:
    """After a stop under load, exactly the acknowledged requests are stored."""
    senders = Senders(started_collector, "load")
    senders.wait_for(4 * SPANS)
    started = time.monotonic()
    status = started_collector.stop()
    assert (status, time.monotonic() - started < END_S) == (0, True)
    started_collector.restart()
    senders.drain()
    assert set(senders.answers) <= OK | LATER | {UNREACHED}
    assert sorted(run["run_id"] for run in started_collector.runs("load")) == sorted(
        all_run_ids(senders.acknowledged)
    )
    assert "Traceback" not in started_collector.output


def test_slow_client(started_collector: CollectorProcess) -> None:
    """A client that never finishes its request gets 503 before the stop takes too long."""
    with half_sent(started_collector, make_request(make_span("half"))) as connection:
        started = time.monotonic()
        status = started_collector.stop()
        took_s = time.monotonic() - started
        assert connection.recv(100).startswith(b"HTTP/1.1 503")
    assert (status, took_s < END_S) == (0, True), took_s
    assert "Traceback" not in started_collector.output
