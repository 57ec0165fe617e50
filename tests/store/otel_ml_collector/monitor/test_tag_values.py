"""New and vanished tag values: the counts that are cached for past days."""

from collections.abc import Mapping
from typing import Final

import pytest

from otel_ml_collector.findings.findings import make_question
from otel_ml_collector.findings.tag_values import contribute
from otel_ml_collector.span import Span
from otel_ml_collector.store.rollup import mark_days
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.monitor.test_findings import count_statements
from tests.store.otel_ml_collector.monitor.test_slices import make_run_of
from tests.support.otel_ml_collector.spans import NOW_NS, make_record
from tests.support.otel_ml_collector.stores import Store

NEW: Final = 'model == "answer" and tags["client"] == "Zillow"'
GONE: Final = 'model == "answer" and tags["client"] == "Century"'
COMPUTED_DAYS: Final = [
    day * DAY_NS for day in range((NOW_NS - 12 * DAY_NS) // DAY_NS, NOW_NS // DAY_NS + 1)
]


def make_traffic() -> list[Span]:
    """Make ten days of runs of two clients, and a day on which another replaces the second."""
    spans = [
        make_run_of(client, NOW_NS - day * DAY_NS - place * MINUTE_NS)
        for day in range(1, 11)
        for place in range(1, 21)
        for client in ("Remax", "Century")
    ]
    spans += [
        make_run_of(client, NOW_NS - 2 * HOUR_NS + place * MINUTE_NS)
        for place in range(50)
        for client in ("Remax", "Zillow")
    ]
    return spans


def tell(store: Store, project: str) -> Mapping[str, float]:
    """Return the number of runs of each finding, by its filter."""
    findings = contribute(make_question(store.reader, project, NOW_NS, last="24h"))
    return {finding.where: finding.size for finding in findings}


def test_days_that_are_over_are_read_once(store: Store) -> None:
    """Past days are read again after they are marked, and once after they are computed."""
    store.take("over", *make_traffic())

    def count() -> int:
        return count_statements(store, lambda: tell(store, "over"))

    assert tell(store, "over") == {NEW: 50.0, GONE: 50.0}
    as_marked = count()
    store.compute("over", COMPUTED_DAYS)
    assert count() == as_marked
    assert count() == as_marked - 2  # the runs of each model, and their tags
    assert tell(store, "over") == {NEW: 50.0, GONE: 50.0}
    mark_days(store.connections.open(), store.connections.memory, [("over", COMPUTED_DAYS[5])])
    store.take("over", make_run_of("Zillow", COMPUTED_DAYS[5] + HOUR_NS))
    assert tell(store, "over") == {GONE: 50.0}
    assert count() == as_marked
    store.compute("over", COMPUTED_DAYS)
    assert [count(), count()] == [as_marked, as_marked - 2]
    assert tell(store, "over") == {GONE: 50.0}


def test_what_runs_now_is_always_read(store: Store) -> None:
    """Runs in the window count at once, even if earlier days are cached."""
    store.take("now", *make_traffic())
    store.compute("now", COMPUTED_DAYS)
    assert tell(store, "now") == {NEW: 50.0, GONE: 50.0}
    late = [make_run_of("Century", NOW_NS - HOUR_NS), make_run_of("Zillow", NOW_NS - HOUR_NS)]
    store.take("now", *late)
    assert tell(store, "now") == {NEW: 51.0}


def test_late_tags_are_always_read(store: Store) -> None:
    """A tag that arrives late marks no day, but counts."""
    spans = make_traffic()
    store.take("late", *spans)
    store.compute("late", COMPUTED_DAYS)
    assert tell(store, "late") == {NEW: 50.0, GONE: 50.0}
    attributes = {"otel_ml.tag.client": "Zillow"}
    store.take("late", make_record("update", spans[9], attributes, start_ns=spans[9].end_ns))
    assert tell(store, "late") == {GONE: 50.0}


# Only a sample of the runs before the window is counted, but all runs in it. One earlier run that
# is not in the sample has the plan that otherwise looks new.
WIDE: Final = Sql("""
    INSERT INTO runs (project, start_ns, trace_id, span_id, kind, model, name, tag_kv, rank)
    SELECT 'wide', {start:Int64} - number * 15840000000, leftPad(toString(number), 16, '0'),
      leftPad(toString(number), 8, '0'), 'model', 'answer', 'answer',
      arrayConcat([concat('client=', multiIf(number < 300, 'Zillow', number < 5460, 'Remax',
          number % 2 = 0, 'Century', 'Remax')),
        concat('plan=', if(number < 300 OR number = {single:UInt64}, 'free', 'paid'))],
        arrayMap(place -> concat('pad', toString(place), '=a'), range(8))), 1
    FROM numbers(60000)""")
UNCOUNTED_TRACE: Final = Sql("""
    SELECT min(number) AS place FROM numbers(30000, 1000)
    WHERE cityHash64(toFixedString(leftPad(toString(number), 16, '0'), 16)) % 4 != 0""")


def test_many_runs(store: Store) -> None:
    """A value is not new if earlier runs have it, even runs that are not counted."""
    (left_out,) = store.reader.rows(UNCOUNTED_TRACE, {})
    store.connections.open().command(
        WIDE, parameters={"start": NOW_NS - MINUTE_NS, "single": left_out["place"]}
    )
    assert tell(store, "wide") == {NEW: 300.0, GONE: pytest.approx(2_727, rel=0.02)}
