"""Tests of recognizing runs that were stored recently."""

from dataclasses import replace
from typing import Final

from otel_ml_collector.receive.commit import Recent
from otel_ml_collector.records import Records, Run
from tests.support.otel_ml_collector.spans import make_call, map_all

RUN: Final[Run] = map_all(make_call()).runs[0]


def news(recent: Recent, *runs: Run) -> list[Run]:
    """Return the new runs of a group."""
    return recent.leave_news(Records(runs=list(runs)), {}).runs


def remember(recent: Recent, *runs: Run) -> None:
    """Remember runs as a group that was stored."""
    ranks: dict[bytes, int] = {}
    recent.leave_news(Records(runs=list(runs)), ranks)
    recent.remember(ranks)


def test_unknown() -> None:
    """A run that was not stored is new."""
    assert news(Recent(), RUN) == [RUN]


def test_known() -> None:
    """A run that was stored is not new."""
    recent = Recent()
    remember(recent, RUN)
    assert news(recent, RUN) == []


def test_rank() -> None:
    """A delivery of a stored run is new if its rank is higher, and not if it is lower."""
    recent = Recent()
    remember(recent, RUN)
    fuller, poorer = replace(RUN, rank=RUN.rank + 1), replace(RUN, rank=RUN.rank - 1)
    assert news(recent, fuller, poorer) == [fuller]


def test_project() -> None:
    """A run with the same IDs in another project is a different run."""
    recent = Recent()
    remember(recent, RUN)
    other = replace(RUN, project="other")
    assert news(recent, other) == [other]


def test_spans_that_share_an_id() -> None:
    """A span with the ID of another span but a different start is new, even within a group."""
    recent = Recent()
    server = replace(RUN, start_ns=RUN.start_ns + 1, rank=RUN.rank - 1)
    assert news(recent, RUN, server) == [RUN, server]
    remember(recent, RUN)
    assert news(recent, RUN, server) == [server]


def test_twice_in_a_group() -> None:
    """A run that occurs twice in a group is new once."""
    assert news(Recent(), RUN, RUN) == [RUN]


def test_group_that_failed() -> None:
    """A run of a group that was not stored is still new."""
    recent = Recent()
    news(recent, RUN)
    assert news(recent, RUN) == [RUN]


def test_nothing_new() -> None:
    """If all runs of a request are stored, nothing of it is left, not even its trace keys."""
    recent = Recent()
    remember(recent, RUN)
    records = map_all(make_call(trace_id=RUN.trace_id, span_id=RUN.span_id))
    records.runs[0].rank = RUN.rank
    assert records.trace_keys
    assert recent.leave_news(records, {}) == Records()


def test_bounded() -> None:
    """At least the latest runs are remembered, and at most twice as many."""
    recent = Recent(ids=10)
    runs = [replace(RUN, span_id=number.to_bytes(8)) for number in range(1, 41)]
    for run in runs:
        remember(recent, run)
    known = [run for run in runs if not news(recent, run)]
    assert known == runs[-len(known) :]
    assert 10 <= len(known) <= 20
