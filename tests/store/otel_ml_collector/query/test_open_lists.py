"""Tests of lists of runs with and without an end: order, pages and filters."""

import threading
from typing import Final

import pytest

from otel_ml.orders import NEWEST, OLDEST
from otel_ml_collector.runs.find import cursor_of
from otel_ml_collector.span import Span, Value
from tests.support.otel_ml_collector.query.timeline import Arrivals, Timeline
from tests.support.otel_ml_collector.spans import (
    SECOND_NS,
    id_of,
    make_record,
    make_sign,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a store for this module: records without a process keep all open runs alive."""
    return own_store


def make_mixture(line: Timeline, number: int) -> list[Span]:
    """Make runs, newest first. Every third is open, and pairs start at the same time."""
    base_ns = line.now_ns
    runs = [
        line.call(
            f"run {place}",
            trace_id=trace_id(1_000 - place),
            span_id=span_id(2_000 - place),
            start_ns=base_ns - place // 2 * 900 * SECOND_NS,
        )
        for place in range(number)
    ]
    spans = [make_start(run) if place % 3 == 0 else run for place, run in enumerate(runs)]
    line.take(*sorted(spans, key=lambda span: span.trace_id[-1] * 7 % 13))
    return runs


@sampled(1)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("newest_first", [True, False])
def test_order(line: Timeline, limit: int, *, newest_first: bool) -> None:
    """Runs with and without an end are listed page by page in one order, each once."""
    runs = make_mixture(line, 20)
    expected = [id_of(run) for run in (runs if newest_first else reversed(runs))]
    assert [
        run.run_id for run in line.walk(limit, order=NEWEST if newest_first else OLDEST)
    ] == expected


@sampled(1)
@pytest.mark.parametrize("limit", [1, 3, 50])
def test_order_of_open_runs(line: Timeline, limit: int) -> None:
    """A list that contains only runs without an end is paged too."""
    runs = [line.call(f"run {age}", start_ns=line.now_ns - age * SECOND_NS) for age in range(7)]
    line.take(*(make_start(run) for run in runs))
    assert [run.run_id for run in line.walk(limit)] == [id_of(run) for run in runs]
    assert [run.run_id for run in line.walk(limit, where='outcome == "running"')] == [
        id_of(run) for run in runs
    ]


@at_night
def test_many_open_runs(line: Timeline) -> None:
    """All of 2,500 runs without an end are listed."""
    runs = [line.call(start_ns=line.now_ns - age * SECOND_NS) for age in range(2_500)]
    line.take(*(make_start(run) for run in runs))
    assert [run.run_id for run in line.walk(1_000)] == [id_of(run) for run in runs]


def test_run_that_ends_between_pages(line: Timeline) -> None:
    """A run that ends while its list is being paged is listed once."""
    runs = make_mixture(line, 9)
    found = []
    for run in line.walk(1):
        found.append(run.run_id)
        line.take(*runs)
    assert found == [id_of(run) for run in runs]


def test_runs_that_end_while_they_are_listed(line: Timeline) -> None:
    """A list read while its runs are ending contains each of them once."""
    runs = [line.call(start_ns=line.now_ns - age) for age in range(20)]
    line.take(*(make_start(run) for run in runs))

    def end_all() -> None:
        for run in runs:
            line.take(run)

    ending = threading.Thread(target=end_all)
    ending.start()
    while ending.is_alive():
        assert [run.run_id for run in line.runs()] == [id_of(run) for run in runs]
    ending.join()
    assert {run.outcome for run in line.runs()} == {"ok"}


def test_cursor_of_an_open_run(line: Timeline) -> None:
    """The cursor of a run without an end lists the runs after it."""
    make_mixture(line, 9)
    runs = line.runs()
    for place, run in enumerate(runs):
        assert line.runs(cursor=cursor_of(run)) == runs[place + 1 :]


def test_bounds(line: Timeline) -> None:
    """Time bounds apply to runs without an end: the start is inclusive, the end exclusive."""
    runs = [line.call(f"run {age}", start_ns=line.now_ns - age) for age in range(4)]
    line.take(*(make_start(run) for run in runs))
    assert line.names(start_ns=line.now_ns - 2, end_ns=line.now_ns) == ["run 1", "run 2"]


OPEN_TOLD: Final[dict[str, Value]] = {
    "otel_ml.kind": "training",
    "otel_ml.model.version": "00000000000000aa",
    "otel_ml.tag.client": "bigshot",
    "otel_ml.tag.size": 3,
    "session.id": "s-1",
}


@pytest.fixture(scope="module")
def filtered(arrivals: Arrivals) -> Timeline:
    """Return a project with a running, a crashed and an ended run."""
    line = Timeline(arrivals, "filtered")
    live = line.call("live", start_ns=line.now_ns - 2)
    dead = line.call("dead", start_ns=line.now_ns - 1)
    version: dict[str, Value] = {"otel_ml.model.version": "00000000000000aa"}
    ended = line.call("ended", start_ns=line.now_ns - 3, attributes=version)
    line.take(
        make_start(live, {**OPEN_TOLD, "otel_ml.process": "00000002"}),
        make_start(dead),
        ended,
        make_sign("goodbye", line.now_ns),
        make_record("update", dead, {"otel_ml.tag.late": "yes"}, start_ns=line.now_ns),
        make_record(
            "evaluation",
            dead,
            {
                "otel_ml.judge.name": "polite",
                "otel_ml.score.value": 0.5,
                "otel_ml.passed": True,
                "otel_ml.target.start_ns": dead.start_ns,
            },
            start_ns=line.now_ns,
        ),
    )
    return line


@sampled(5)
@pytest.mark.parametrize(
    ("where", "names"),
    [
        ('outcome == "running"', ["live"]),
        ('outcome == "crashed"', ["dead"]),
        ('outcome in ("running", "crashed")', ["dead", "live"]),
        ('outcome != "ok"', ["dead", "live"]),
        ('not outcome == "crashed"', ["live", "ended"]),
        ('outcome == "ok"', ["ended"]),
        ('model == "live"', ["live"]),
        ('model == "live" or model == "ended"', ["live", "ended"]),
        ('kind == "training"', ["live"]),
        ('kind != "training"', ["dead", "ended"]),
        ('name == "dead" and outcome == "crashed"', ["dead"]),
        ("version == 1", ["live", "ended"]),
        ("not version == 1", ["dead"]),
        ('session == "s-1"', ["live"]),
        ('tags["client"] == "bigshot"', ["live"]),
        ('tags["client"] != "bigshot"', []),
        ('tags["size"] >= 3', ["live"]),
        ('tags["late"] == "yes"', ["dead"]),
        ('scores["polite"] > 0.2', ["dead"]),
        ('passed["polite"] == True', ["dead"]),
        ("latency_ms > 0", ["ended"]),
        ("latency_ms >= 0 or latency_ms < 0", ["ended"]),
        ("not latency_ms > 0", ["dead", "live"]),
        ("input_tokens >= 0 or cost >= 0", []),
        ('error_type == ""', ["dead", "live", "ended"]),
    ],
)
def test_filter(filtered: Timeline, where: str, names: list[str]) -> None:
    """Filters apply to runs without an end by the fields that they have."""
    assert filtered.names(where) == names


def test_filter_among_pages(line: Timeline) -> None:
    """A filter on runs without an end is paged like any other filter."""
    runs = make_mixture(line, 20)
    expected = [id_of(run) for place, run in enumerate(runs) if place % 3 == 0]
    for limit in (1, 3, 50):
        found = [run.run_id for run in line.walk(limit, where='outcome == "running"')]
        assert found == expected
