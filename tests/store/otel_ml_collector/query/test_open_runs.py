"""Tests of runs without an end: running, crashed, and ended after a crash."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import pytest

from otel_ml_collector.span import Span, Value
from tests.support.otel_ml_collector.query.timeline import Timeline
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    SECOND_NS,
    make_record,
    make_sign,
    make_start,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

OF_PROCESS: Final[dict[str, Value]] = {"otel_ml.process": "00000001"}


ORDERS: Final = {
    "end last": ["start", "end"],
    "end first": ["end", "start"],
    "start around": ["start", "end", "start"],
    "end around": ["end", "start", "end"],
    "together": ["start end"],
    "together, end first": ["end start"],
}


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a store for this module: records without a process keep all open runs alive."""
    return own_store


@sampled(2)
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_end_wins(line: Timeline, order: Sequence[str]) -> None:
    """A run with an end has ended, in any order and repetition of its start and end."""
    run = line.call(attributes={"otel_ml.outputs": '"done"'})
    told = {"start": make_start(run, {"otel_ml.params": "x" * 5_000}), "end": run}
    for together in order:
        line.take(*(told[name] for name in together.split()))
    line.wait(600)
    assert [(found.outcome, found.outputs) for found in line.runs()] == [("ok", "done")]
    assert line.names('outcome in ("running", "crashed")') == []
    assert (line.run(run).outputs, line.run(run).latency_ms) == ("done", 1_000)
    assert [found.outcome for found in line.trace(run.trace_id.hex()).runs] == ["ok"]


def test_end_after_a_crash(line: Timeline) -> None:
    """A run assumed to have crashed has ended once its end arrives."""
    run = line.call()
    line.take(make_start(run), make_sign("goodbye", line.now_ns + 1))
    line.wait(3_600)
    assert line.outcome(run) == "crashed"
    line.take(run)
    assert line.outcome(run) == "ok"


def test_start_twice(line: Timeline) -> None:
    """A start record that arrives twice, even at another collector, is one run."""
    start = make_start(line.call())
    line.take(start)
    before = [replace(run, last_heard_ns=0) for run in line.runs()]
    line.take(start, start)
    line.take_elsewhere(start)
    assert [replace(run, last_heard_ns=0) for run in line.runs()] == before
    assert len(before) == 1


@sampled(1)
@pytest.mark.parametrize("longer_first", [True, False])
def test_two_starts_of_one_run(line: Timeline, *, longer_first: bool) -> None:
    """The longer of two start records of a run is read, in any order of arrival."""
    run = line.call()
    starts = [make_start(run), make_start(run, {"otel_ml.params": '{"rate": 0.1}'})]
    for start in reversed(starts) if longer_first else starts:
        line.take(start)
    assert (line.run(run).params, len(line.runs())) == ({"rate": 0.1}, 1)


def test_goodbye(line: Timeline) -> None:
    """If a process reports its end, its open runs count as crashed immediately."""
    run = line.call()
    line.take(make_start(run))
    line.wait(1)
    line.take(make_sign("goodbye", line.now_ns))
    assert line.outcome(run) == "crashed"


def test_goodbye_first(line: Timeline) -> None:
    """A run whose start record arrives after its process' goodbye has crashed."""
    run = line.call()
    line.take(make_sign("goodbye", line.now_ns + SECOND_NS))
    line.take(make_start(run))
    assert line.outcome(run) == "crashed"


def test_run_after_a_goodbye(line: Timeline) -> None:
    """A run that began after the goodbye is running: its process has opened another client."""
    line.take(make_sign("goodbye", line.now_ns - 1))
    run = line.call()
    line.take(make_start(run))
    assert line.outcome(run) == "running"


@sampled(1)
@pytest.mark.parametrize("last", ["heartbeat", "goodbye"])
def test_heartbeat_and_goodbye(line: Timeline, last: str) -> None:
    """The later of heartbeat and goodbye by send time counts, in any order of arrival."""
    run = line.call()
    first = "goodbye" if last == "heartbeat" else "heartbeat"
    line.take(make_start(run), make_sign(last, line.now_ns + 2))
    line.take(make_sign(first, line.now_ns + 1))
    assert line.outcome(run) == ("running" if last == "heartbeat" else "crashed")


def test_silence(line: Timeline) -> None:
    """A run whose process is silent for 5 minutes has crashed, and shows when it was last heard."""
    run = line.call()
    line.take(make_start(run))
    heard_ns = line.now_ns
    line.wait(299)
    assert line.outcome(run) == "running"
    line.wait(2)
    assert line.outcome(run) == "crashed"
    last_heard_ns = line.run(run).last_heard_ns
    assert last_heard_ns is not None
    assert 0 <= last_heard_ns - heard_ns < MS_NS


def test_clock_of_the_sender(line: Timeline) -> None:
    """Silence is measured by the collector's clock, not by the sender's."""
    run = line.call(start_ns=line.now_ns - 30 * DAY_NS)
    line.take(make_start(run), make_sign("heartbeat", line.now_ns - 30 * DAY_NS))
    assert line.outcome(run) == "running"
    line.wait(301)
    line.take(make_sign("heartbeat", line.now_ns, "00000002"))
    assert line.outcome(run) == "crashed"


@sampled(2)
@pytest.mark.parametrize(
    "make_sign_of_life",
    [
        lambda line: make_sign("heartbeat", line.now_ns),
        lambda line: make_sign("heartbeat", line.now_ns - DAY_NS),
        lambda line: make_start(line.call("other")),
        lambda line: line.call("other", attributes=OF_PROCESS),
        lambda line: make_record("update", line.call("other"), OF_PROCESS, start_ns=line.now_ns),
    ],
    ids=["heartbeat", "late heartbeat", "start", "end", "update"],
)
def test_signs_of_life(line: Timeline, make_sign_of_life: Callable[[Timeline], Span]) -> None:
    """A run is running as long as any record of its process arrives within 5 minutes."""
    run = line.call()
    line.take(make_start(run))
    for _ in range(2):
        line.wait(290)
        line.take(make_sign_of_life(line))
    line.wait(290)
    assert line.run(run).outcome == "running"
    line.wait(11)
    assert line.run(run).outcome == "crashed"


@sampled(1)
@pytest.mark.parametrize(
    ("process", "elsewhere"), [("00000002", None), ("00000001", "signs of another project")]
)
def test_sign_of_another(line: Timeline, process: str, elsewhere: str | None) -> None:
    """A sign of life from another process or project does not keep a run running."""
    run = line.call()
    line.take(make_start(run))
    line.wait(301)
    line.take(make_sign("heartbeat", line.now_ns, process), project=elsewhere)
    assert line.outcome(run) == "crashed"


def test_start_without_a_process(line: Timeline) -> None:
    """A run without a known process is running for 5 minutes."""
    run = line.call()
    line.take(make_start(run, {"otel_ml.process": None}))
    assert line.outcome(run) == "running"
    line.wait(301)
    assert line.outcome(run) == "crashed"


def test_revived(line: Timeline) -> None:
    """A run assumed to have crashed is running again after its process sends a sign of life."""
    run = line.call()
    line.take(make_start(run))
    line.wait(400)
    assert line.outcome(run) == "crashed"
    line.take(make_sign("heartbeat", line.now_ns))
    assert line.outcome(run) == "running"
