"""Slow cases of tests/process/end_to_end/test_loss.py."""

import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from otel_ml_collector.loss import last_day, read_totals
from otel_ml_collector.span import Span, Value
from tests.process.end_to_end.test_loss import PROJECT, counts, run
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import make_call, make_sign
from tests.support.otel_ml_collector.stores import open_store
from tests.support.otel_ml_collector.wire import encode
from tests.support.relay import PROTOBUF, Relay
from tests.support.waiting import elapsed, wait_until


@pytest.fixture
def relay(own_collector: CollectorProcess) -> Iterator[Relay]:
    """Start a relay that drops every request with a span named "lost"."""
    opened = Relay(own_collector, lambda names: "lost" in names)
    yield opened
    opened.close()


def test_killed_process(own_collector: CollectorProcess, relay: Relay, tmp_path: Path) -> None:
    """After a kill of a process, gaps below its highest sequence number count as missing."""
    assert run(relay, "killed") == -9
    assert counts(own_collector)["missing"] == 0
    own_collector.stop()
    with open_store(tmp_path / "data") as store:
        (totals,) = read_totals(store.reader, last_day(time.time_ns() + 120 * 10**9))
    assert (totals["project"], totals["received"], totals["missing"]) == (PROJECT, 6, 5)


def test_killed_collector(own_collector: CollectorProcess) -> None:
    """If a sender repeats unacknowledged requests, kills of the collector lose nothing."""
    for moment, delay_s in enumerate((0.0, 0.02, 0.05)):
        body = encode([number(moment * 200 + place) for place in range(1, 201)])
        sender = threading.Thread(target=post, args=(own_collector, body))
        sender.start()
        wait_until(elapsed(delay_s))  # anywhere between the first byte and the answer
        own_collector.kill()
        sender.join()
        own_collector.restart()
        assert post(own_collector, body) == 200
    goodbye = make_sign("goodbye", time.time_ns(), "0000000a", seq=601, project=PROJECT)
    assert post(own_collector, encode([goodbye])) == 200
    assert counts(own_collector) == {
        "received": 601,
        "missing": 0,
        "late": 0,
        "dropped": 0,
        "sampled": 0,
        "refused": 0,
    }


def number(seq: int) -> Span:
    """Return a call that ends now, with a sequence number."""
    now_ns = time.time_ns()
    told: dict[str, Value] = {
        "otel_ml.project": PROJECT,
        "otel_ml.process": "0000000a",
        "otel_ml.seq": seq,
    }
    return make_call("answer", told, start_ns=now_ns, end_ns=now_ns)


def post(collector: CollectorProcess, body: bytes) -> int:
    """Send a request, and return its status, or 0 if the collector is down."""
    try:
        return collector.post("/v1/traces", body, PROTOBUF)[0]
    except (OSError, HTTPException):
        return 0
