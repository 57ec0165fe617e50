"""Tests that the rows do not depend on the order or the repetition of the facts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.fold.facts import Facts
from otel_ml_collector.fold.fold import fold
from otel_ml_collector.records import Records, Run
from tests.support.otel_ml_collector.facts import facts_of
from tests.support.otel_ml_collector.worlds import worlds

PROJECT = "order of facts"
_LISTS = ("spans", "tags", "metrics", "logs", "points")


def facts_in(records: Records) -> Facts:
    """Return the facts of the test project."""
    return facts_of(records)[PROJECT]


def places_of(runs: Sequence[Run]) -> set[tuple[bytes, bytes, int]]:
    """Return the identity of each run: trace ID, span ID and start."""
    return {(run.trace_id, run.span_id, run.start_ns) for run in runs}


@given(worlds(PROJECT), st.randoms(use_true_random=False), st.data())
def test_any_order_and_repetition(records: Records, random: Any, data: st.DataObject) -> None:
    """Shuffled and repeated facts give the same rows."""
    facts = facts_in(records)
    changed: dict[str, Any] = {}
    for name in _LISTS:
        items = [*getattr(facts, name)]
        items += data.draw(st.lists(st.sampled_from(items), max_size=3)) if items else []
        random.shuffle(items)
        changed[name] = items
    assert fold(replace(facts, **changed)) == fold(facts)


@given(worlds(PROJECT))
def test_every_run_has_one_row(records: Records) -> None:
    """Each span has one row, whether or not it has ended."""
    spans = {
        (run.trace_id, run.span_id, run.start_ns) for run in (*records.runs, *records.open_runs)
    }
    rows = fold(facts_in(records))
    assert len(rows) == len(spans)
    assert {(row.run.trace_id, row.run.span_id, row.run.start_ns) for row in rows} == spans
