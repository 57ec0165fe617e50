"""Findings: their order, and how missing ones are reported."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from otel_ml_collector.errors import Missing, StoreTimeout
from otel_ml_collector.findings import drift
from otel_ml_collector.findings.find import (
    find_monitor,
    find_project_findings,
    find_shown_monitor,
)
from otel_ml_collector.findings.findings import (
    Contributor,
    Finding,
    FindingKind,
    FindingsQuestion,
    find_findings,
    leave_decided,
    make_question,
    order_findings,
)
from otel_ml_collector.findings.releases import find_changes, find_changes_of, find_worse_releases
from otel_ml_collector.problems.problems import Sign, group_signs
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from otel_ml_collector.windows import Window
from tests.store.otel_ml_collector.monitor.test_fields import (
    TODAY_NS,
    make_day,
    pay,
    pay_broken,
    sketch_days,
)
from tests.support.otel_ml_collector.spans import NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night


def take_too_long(question: FindingsQuestion) -> list[Finding]:
    """Run a query that exceeds its time limit."""
    slow = Sql("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
    question.reader.rows(slow, {}, {"max_execution_time": 0.1})
    return []


SLOW = Contributor("slices", take_too_long)


def test_contributor_that_times_out(store: Store) -> None:
    """A contributor that times out is named as missing, next to the findings of the others."""
    broken = make_finding("broken", 1)
    question = make_question(store.reader, "shop", NOW_NS)
    gathered = find_findings(question, [SLOW, Contributor("fields", lambda _: [broken])])
    assert (gathered.findings, gathered.missing) == ([broken], ["slices"])


def test_known_weak_spot(store: Store) -> None:
    """A slice that was as bad in the week before comes below one that got worse, since when."""
    calls = []
    for day in range(5):
        for place in range(480):
            client = "abcd"[place % 4]
            # Client a always fails in a third of its runs, client b on the last day only.
            fails = place % 12 == 0 or (day == 0 and place % 8 == 1)
            calls.append(
                make_call(
                    "ask",
                    {"otel_ml.tag.client": client},
                    start_ns=NOW_NS - day * DAY_NS - (place + 1) * 3 * MINUTE_NS,
                    status_code=2 if fails else 0,
                )
            )
    store.take("weak", *calls)
    found = find_project_findings(store.reader, "weak", NOW_NS).findings
    fresh, known = [item for item in found if item.kind == "slice"]
    assert found[-1] is known
    assert (fresh.condition, fresh.weak_since_ns) == ('tags["client"] == "b"', None)
    assert known.condition == 'tags["client"] == "a"'
    assert known.weak_since_ns == min(
        call.start_ns for call in calls if call.attributes["otel_ml.tag.client"] == "a"
    )
    assert (known.model, known.measure) == ("ask", "errors")
    assert "; known weak spot since " in known.sentence
    assert known.evidence.startswith("A known weak spot: ")
    assert known.evidence.endswith(". No new version explains it.")
    assert ".." not in known.evidence
    assert (fresh.cause, known.cause) == ("no version", "no version")
    problems = [
        Sign(
            kind="slice",
            measure="errors",
            title=item.title,
            text="",
            evidence="",
            short="",
            model="ask",
            where="",
            window=Window(0, 1),
            size=1.0,
            finding=item,
            runs=1,
        )
        for item in (known, fresh)
    ]
    assert [one.first.finding for one in group_signs(problems, "24h")] == [fresh, known]


def test_kept_answer_of_another_key(store: Store) -> None:
    """A cached answer is not returned to a key that cannot read its project."""
    assert find_monitor(store.reader, "shop", "24h", NOW_NS).findings == []
    theirs = store.reader.narrow(replace(store.reader.access, projects=("other",)))
    with pytest.raises(Missing):
        find_monitor(theirs, "shop", "24h", NOW_NS)


def test_kept_answer_follows_what_arrives(store: Store) -> None:
    """A cached answer is reused for minutes, unless new runs arrive."""
    first = find_monitor(store.reader, "news", "24h", NOW_NS)
    assert find_monitor(store.reader, "news", "24h", NOW_NS + 1) is first
    store.take("news", make_call("buy", start_ns=NOW_NS - 5 * 10**9, end_ns=NOW_NS - 10**9))
    assert find_monitor(store.reader, "news", "24h", NOW_NS + 2) is not first


# More runs than are read again with each delivery.
MANY: Final = Sql("""
    INSERT INTO runs (project, start_ns, trace_id, span_id, kind, model, name, rank)
    SELECT {project:String}, {start:Int64} - number, leftPad(toString(number), 16, '0'),
      leftPad(toString(number), 8, '0'), 'model', 'buy', 'buy', 1
    FROM numbers({runs:UInt64})""")


def store_many(store: Store, project: str, start_ns: int, runs: int = 50_001) -> None:
    """Store more runs than Monitor reads again each time; the newest starts at `start_ns`."""
    values = {"project": project, "start": start_ns, "runs": runs}
    store.connections.open().command(MANY, parameters=values)


@at_night
def test_older_answer_of_many_runs(store: Store) -> None:
    """For many runs, an answer a few minutes old is shown at once, for up to half an hour."""
    store_many(store, "large", NOW_NS - MINUTE_NS)
    first = find_monitor(store.reader, "large", "24h", NOW_NS)
    later_ns = NOW_NS + 6 * MINUTE_NS
    assert find_shown_monitor(store.reader, "large", "24h", later_ns) is first
    newer = find_monitor(store.reader, "large", "24h", later_ns)
    assert (first.made_ns, newer.made_ns) == (NOW_NS, later_ns)
    assert find_shown_monitor(store.reader, "large", "24h", later_ns) is newer
    much_later_ns = NOW_NS + 45 * MINUTE_NS
    assert find_shown_monitor(store.reader, "large", "24h", much_later_ns).made_ns == much_later_ns
    theirs = store.reader.narrow(replace(store.reader.access, projects=("other",)))
    with pytest.raises(Missing):
        find_shown_monitor(theirs, "large", "24h", later_ns)


MARK: Final = Sql("""
    INSERT INTO daily (project, day_ns, marked_ns)
    SELECT 'days', {day_ns:Int64}, toUnixTimestamp64Nano(now64(9))""")
COUNT: Final = Sql("SELECT sum(value) AS queries FROM system.events WHERE event = 'Query'")
# Two versions, releases and LLMs; the second one of each is new.
VERSIONS: Final = Sql("""
    INSERT INTO runs (project, start_ns, trace_id, span_id, kind, model, name, digest, structure,
      release, provider_model, rank)
    SELECT 'changed', {start:Int64} + number * 60000000000, leftPad(toString(number), 16, '0'),
      leftPad(toString(number), 8, '0'), 'model', 'buy', 'buy', if(number < 200, 'aa', 'bb'), 's',
      if(number < 210, 'r1', 'r2'), if(number < 220, 'gpt-1', 'gpt-2'), 1
    FROM numbers(400)""")
NUMBERED: Final = Sql("""
    INSERT INTO model_versions (project, kind, name, digest, structure, first_arrived_ns,
      last_seen_ns, definition)
    SELECT 'changed', 'model', 'buy', digest, 's', arrived, arrived, '{}'
    FROM (SELECT ['aa', 'bb'][number + 1] AS digest, toInt64(number + 1) AS arrived
      FROM numbers(2))""")


def count_statements(store: Store, ask: Callable[[], object]) -> int:
    (before,) = store.reader.rows(COUNT, {})
    ask()
    (after,) = store.reader.rows(COUNT, {})
    return int(after["queries"] - before["queries"]) - 1


def test_changes_are_asked_for_once(store: Store) -> None:
    """Versions, releases and LLMs are read together, once for all contributors."""
    client = store.connections.open()
    client.command(NUMBERED)
    client.command(VERSIONS, parameters={"start": NOW_NS - DAY_NS})
    changes = find_changes(store.reader, "changed", NOW_NS)
    began = {change.dimension: (NOW_NS - DAY_NS, change.began_ns) for change in changes}
    assert {name: (at - first) // MINUTE_NS for name, (first, at) in began.items()} == {
        "version": 200,
        "release": 210,
        "provider_model": 220,
    }
    assert [change.name for change in changes] == ["gpt-2", "r2", "buy:v2"]
    alone = count_statements(store, lambda: find_changes(store.reader, "changed", NOW_NS))
    # All three are read together, and each is counted by hour. Versions have numbers and an alias,
    # and the order of the calls tells when the version was rolled out.
    assert alone <= 8
    question = make_question(store.reader, "changed", NOW_NS)
    contributors = [
        Contributor(name, lambda asked: find_worse_releases([], len(find_changes_of(asked))))
        for name in "abcd"
    ]
    assert count_statements(store, lambda: find_findings(question, contributors)) == alone


@at_night
def test_fields_are_judged_again_when_their_days_change(store: Store) -> None:
    """Unchanged whole days are not read again; if their runs change, they are judged again."""
    spans = make_day("pay", 1, 130, pay_broken)
    for day in range(2, 10):
        spans += make_day("pay", day, 130, pay)
    for first in range(0, len(spans), 500):
        store.take("days", *spans[first : first + 500], now_ns=time.time_ns())
    sketch_days(store.connections, "days", range(1, 10))
    question = make_question(store.reader, "days", time.time_ns(), last="24h", than="7d")
    answers: list[list[Finding]] = []

    def contribute() -> None:
        answers.append(drift.contribute(question))

    assert count_statements(store, contribute) > 2
    assert count_statements(store, contribute) == 1  # the query for days with sketches
    [broken] = [finding for finding in answers[0] if finding.kind == "broken"]
    assert (broken.model, broken.field) == ("pay", "inputs.amount")
    assert answers[1] == answers[0]
    store.take("days", *make_day("pay", 1, 260, pay)[130:], now_ns=time.time_ns())
    # A day is marked at most once in ten seconds, and its sketches are made a minute later.
    store.connections.open().command(MARK, parameters={"day_ns": TODAY_NS - DAY_NS})
    assert count_statements(store, contribute) > 2
    [again] = [finding for finding in answers[2] if finding.kind == "broken"]
    assert again.sentence != broken.sentence


def test_nothing_is_answered(store: Store) -> None:
    """If every contributor times out, the result is an error and not an empty list."""
    with pytest.raises(StoreTimeout):
        find_findings(make_question(store.reader, "shop", NOW_NS), [SLOW])


def make_finding(
    kind: FindingKind, size: float, sentence: str = "it is so", version: int | None = None
) -> Finding:
    where = 'model == "answer"' + (f" and version == {version}" if version else f" and {size} > 0")
    condition = f"version == {version}" if version else ""
    return Finding(
        kind, sentence, "answer", where, 0, 1, size, condition=condition, version=version
    )


def test_order() -> None:
    """Broken data precedes changed models, slices and traffic, whatever their size."""
    broken, traffic = make_finding("broken", 1), make_finding("traffic", 9_000)
    slices = [make_finding("slice", size) for size in (312, 88)]
    changed = [make_finding("model", 700), make_finding("release", 481)]
    given = [traffic, slices[1], changed[1], slices[0], broken, changed[0]]
    assert order_findings(given) == [broken, *changed, *slices, traffic]


def test_same_size() -> None:
    """Findings of the same kind and size are sorted by their text."""
    first, second = make_finding("slice", 5, "a"), make_finding("slice", 5, "b")
    assert order_findings([second, first]) == order_findings([first, second]) == [first, second]


def test_release_is_no_slice() -> None:
    """A compared version or release is not listed as a slice too, but its ground truth is."""
    other = make_finding("slice", 7, version=1)
    version = make_finding("slice", 9, version=2)
    release = replace(version, condition='release == "1.1"')
    truth = replace(version, target="label")
    decided = {("answer", "version == 2"), ("answer", 'release == "1.1"')}
    assert leave_decided([version, release, other, truth], decided) == [other, truth]


def test_slice_of_a_release_is_listed_once() -> None:
    """A slice for which a version is worse is no second finding about the same figure."""
    of_slice = replace(make_finding("slice", 9), condition='tags["city"] == "Bonn"', measured="a")
    release = replace(of_slice, kind="release", version=2, cause="slice of a version")
    other = replace(of_slice, measured="b")
    assert order_findings([of_slice, other, release]) == [release, other]
