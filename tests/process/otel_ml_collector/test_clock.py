"""Tests of how the collector detects that its clock is wrong."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ml_collector.clock import ClockTracker, Seen
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.span import Scope
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import DAY_NS, NOW_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.wire import encode

MINUTE_NS: Final = 60 * SECOND_NS


class Machine:
    """A collector's machine with an adjustable clock, and its senders."""

    def __init__(self, behind_ns: int = 0) -> None:
        self.now_ns = NOW_NS
        self.behind_ns = behind_ns
        self.watch = ClockTracker(lambda: self.now_ns - self.behind_ns, lambda: self.now_ns)

    def send(self, *hosts: str, ahead_ns: int = 0, old_ns: int = 0) -> bool:
        """Send a request of spans that ended now; return whether it is accepted."""
        end_ns = self.now_ns + ahead_ns - old_ns
        seen: list[Seen] = [({"host.name": host}, end_ns - SECOND_NS, end_ns) for host in hosts]
        try:
            list(self.watch.follow(seen, lambda one: one))
        except Unavailable:
            return False
        return True


def test_right_clock() -> None:
    """If all clocks are right, everything is accepted without a warning."""
    machine = Machine()
    assert machine.send("a", "b")
    assert machine.send("c", old_ns=30 * DAY_NS)
    assert (machine.watch.trouble, machine.watch.behind_s) == ("", 0)


@pytest.mark.parametrize("behind_ns", [2 * 3600 * SECOND_NS, DAY_NS, 50 * 365 * DAY_NS])
def test_behind(behind_ns: int) -> None:
    """A clock that is behind is detected at the first request, which the sender must repeat."""
    machine = Machine(behind_ns)
    assert (machine.send("a"), machine.watch.is_sure) == (False, False)
    assert (machine.send("b", "c"), machine.watch.is_sure) == (False, True)
    assert machine.watch.behind_s == behind_ns / SECOND_NS
    assert re.fullmatch(
        "this machine's clock seems to be behind: it shows .* UTC, and 3 senders are ahead of that "
        r"by about [\d.]+ (hours|days); correct the wrong clock",
        machine.watch.trouble,
    )


def test_clock_set_right() -> None:
    """Once the clock is corrected, the warning is gone and everything is accepted."""
    machine = Machine(DAY_NS)
    assert not machine.send("a", "b", "c")
    machine.behind_ns = 0
    assert machine.watch.trouble == ""
    assert machine.send("a", "b", "c")


def test_clock_set_back() -> None:
    """A clock set back while the collector runs is detected, despite earlier requests."""
    machine = Machine()
    assert machine.send("a", "b", "c")
    machine.behind_ns = DAY_NS
    assert machine.watch.is_sure
    assert not machine.send("a")


def test_odd_sender() -> None:
    """A sender with a wrong clock is no longer delayed once a right sender has sent."""
    machine = Machine()
    assert not machine.send("odd", ahead_ns=DAY_NS)
    assert machine.send("right")
    assert machine.send("odd", ahead_ns=DAY_NS)
    assert machine.send("odd", "right", ahead_ns=0)
    assert machine.watch.trouble == ""


def test_odd_span() -> None:
    """If one span of a sender has an odd time and the others do not, the clock is not blamed."""
    machine = Machine()
    right: Seen = ({"host.name": "a"}, machine.now_ns, machine.now_ns)
    odd: Seen = ({"host.name": "a"}, machine.now_ns + DAY_NS, machine.now_ns + DAY_NS)
    assert list(machine.watch.follow([odd, right, odd], lambda one: one)) == [odd, right, odd]
    assert machine.watch.trouble == ""


def test_old_spans() -> None:
    """Old spans that arrive late from a spool do not count for or against the clock."""
    machine = Machine(DAY_NS)
    assert machine.send("a", old_ns=20 * DAY_NS)
    assert not machine.send("b")


def test_few_on_time() -> None:
    """If many senders are ahead, a single one on time counts as a coincidence of an old span."""
    machine = Machine(DAY_NS)
    assert machine.send("late", old_ns=DAY_NS)
    for host in "abcde":
        machine.send(host)
    assert machine.watch.is_sure
    assert not machine.send("a")


def test_forgotten() -> None:
    """A sender is forgotten after an hour without requests."""
    machine = Machine(DAY_NS)
    assert not machine.send("a", "b", "c")
    machine.now_ns += 61 * MINUTE_NS
    assert machine.watch.trouble == ""


@pytest.mark.parametrize("ahead_days", [402, 500, 5_000])
def test_ahead(ahead_days: int) -> None:
    """A clock that is far ahead is detected at the first request, which the sender must repeat."""
    machine = Machine(-ahead_days * DAY_NS)
    assert (machine.send("a"), machine.watch.is_sure) == (False, False)
    assert (machine.send("b", "c"), machine.watch.is_sure) == (False, True)
    assert (machine.watch.behind_s, round(machine.watch.ahead_s / 86_400)) == (0, ahead_days)
    assert re.fullmatch(
        "this machine's clock seems to be ahead: it shows .* UTC, and 3 senders are behind that by "
        f"about {ahead_days} days; correct the wrong clock, or import history with otel_ml.import",
        machine.watch.trouble,
    )
    machine.behind_ns = 0
    assert machine.send("a", "b", "c")
    assert machine.watch.trouble == ""


def test_set_far_ahead() -> None:
    """A clock set far ahead while the collector runs is detected, despite earlier requests."""
    machine = Machine()
    assert machine.send("a", "b", "c")
    machine.behind_ns = -500 * DAY_NS
    assert machine.watch.is_sure
    assert not machine.send("a")


def test_old_spans_of_a_right_sender() -> None:
    """Old spans are refused for good once a sender has confirmed the collector's clock."""
    machine = Machine()
    machine.now_ns += 1_000 * DAY_NS  # so that spans can be old and yet newer than this program
    assert machine.send("a", "b")
    assert machine.send("a", old_ns=500 * DAY_NS)
    assert machine.send("c", "d", old_ns=500 * DAY_NS)
    assert machine.watch.trouble == ""


def test_older_than_the_program() -> None:
    """Spans from before this program existed are old, whatever the collector's clock shows."""
    machine = Machine()
    assert machine.send("a", old_ns=2_000 * DAY_NS)
    assert machine.send("b", old_ns=401 * DAY_NS)
    assert machine.watch.trouble == ""


def test_imported_history() -> None:
    """Imported history does not count for or against the clock."""
    machine = Machine(-500 * DAY_NS)
    end_ns = machine.now_ns
    imported: Seen = ({"host.name": "a", "otel_ml.import": True}, end_ns - SECOND_NS, end_ns)
    assert list(machine.watch.follow([imported], lambda one: one)) == [imported]
    assert machine.watch.trouble == ""


def test_no_time_at_all() -> None:
    """Times that no clock can show are the sender's error."""
    assert Machine().send("a", ahead_ns=120 * 365 * DAY_NS)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    with running(tmp_path / "data") as process:
        yield process


def send(collector: CollectorProcess, ahead_ns: int, *hosts: str) -> tuple[int, str, int]:
    """Send a span of each host; return the status, the message and the number of rejected spans."""
    end_ns = time.time_ns() + ahead_ns
    spans = [
        make_call("m", start_ns=end_ns - SECOND_NS, end_ns=end_ns, scope=scope_of(host))
        for host in hosts
    ]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "clocks"}
    status, _, body = collector.post("/v1/traces", encode(spans), headers)
    if status != 200:
        return status, Status.FromString(body).message, 0
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    return status, partial.error_message, partial.rejected_spans


def scope_of(host: str) -> Scope:
    return Scope({"host.name": host}, "tests", "1", {})


def test_loud(collector: CollectorProcess) -> None:
    """A collector with a late clock stores nothing, reports that everywhere, and loses nothing."""
    status, message, _ = send(collector, DAY_NS, "a", "b", "c")
    assert (status, message[:54]) == (503, "Not stored: this machine's clock seems to be behind: i")
    assert collector.status("/readyz") == 503
    assert "clock seems to be behind" in collector.get_text("/readyz")
    assert "this machine&#39;s clock seems to be behind" in collector.get_text("/")
    line = "Spans are not stored, and their senders are asked to send them again: this machine's"
    assert collector.output.count(line) == 1
    [behind] = [
        line
        for line in collector.get_text("/metrics").splitlines()
        if line.startswith("otel_ml_clock_behind_seconds ")
    ]
    assert float(behind.split()[1]) == pytest.approx(86_400, abs=300)


def test_odd_sender_is_told(collector: CollectorProcess) -> None:
    """One sender with a wrong clock blocks nobody; it waits until others show the right time."""
    assert send(collector, DAY_NS, "odd")[0] == 503
    ready = json.loads(collector.get_text("/readyz"))
    assert ready["status"] == "ready"
    assert "the only sender is ahead" in ready["warning"]
    assert send(collector, 0, "right") == (200, "", 0)
    rejected = (
        "Spans rejected for good: outside_time_window 1: their time is missing, more than an hour "
        "in the future or more than 400 days ago; check the clock of the sender"
    )
    assert send(collector, DAY_NS, "odd") == (200, rejected, 1)
    assert json.loads(collector.get_text("/readyz")) == {"status": "ready"}
    assert len(collector.runs("clocks")) == 1
