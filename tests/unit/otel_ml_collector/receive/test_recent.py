"""Tests of what is known of runs that were stored a short while ago."""

from dataclasses import replace
from typing import Final

from otel_ml_collector.receive.commit import Recent
from otel_ml_collector.records import Records, Run
from tests.support.otel_ml_collector.spans import make_call, map_all

RUN: Final[Run] = map_all(make_call()).runs[0]


def news(recent: Recent, *runs: Run) -> list[Run]:
    """Ask which runs are new, as one group."""
    return recent.leave_news(Records(runs=list(runs)), {}).runs


def remember(recent: Recent, *runs: Run) -> None:
    """Note runs as the group that is stored would."""
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
    """Of a stored run a delivery with a higher rank is new, one with a lower rank is not."""
    recent = Recent()
    remember(recent, RUN)
    fuller, poorer = replace(RUN, rank=RUN.rank + 1), replace(RUN, rank=RUN.rank - 1)
    assert news(recent, fuller, poorer) == [fuller]


def test_project() -> None:
    """The same ids in another project are another run."""
    recent = Recent()
    remember(recent, RUN)
    other = replace(RUN, project="other")
    assert news(recent, other) == [other]


def test_spans_that_share_an_id() -> None:
    """A span with the ID of a stored span and another start is new, also within a group."""
    recent = Recent()
    server = replace(RUN, start_ns=RUN.start_ns + 1, rank=RUN.rank - 1)
    assert news(recent, RUN, server) == [RUN, server]
    remember(recent, RUN)
    assert news(recent, RUN, server) == [server]


def test_twice_in_a_group() -> None:
    """A run that comes twice in one group is new once."""
    assert news(Recent(), RUN, RUN) == [RUN]


def test_group_that_failed() -> None:
    """A run of a group that was not stored is still new."""
    recent = Recent()
    news(recent, RUN)
    assert news(recent, RUN) == [RUN]


def test_nothing_new() -> None:
    """Of a request whose runs are all stored nothing is left, its trace keys neither."""
    recent = Recent()
    remember(recent, RUN)
    records = map_all(make_call(trace_id=RUN.trace_id, span_id=RUN.span_id))
    records.runs[0].rank = RUN.rank
    assert records.trace_keys
    assert recent.leave_news(records, {}) == Records()


def test_bounded() -> None:
    """At least the last runs are known, and no more than twice as many."""
    recent = Recent(ids=10)
    runs = [replace(RUN, span_id=number.to_bytes(8)) for number in range(1, 41)]
    for run in runs:
        remember(recent, run)
    known = [run for run in runs if not news(recent, run)]
    assert known == runs[-len(known) :]
    assert 10 <= len(known) <= 20
