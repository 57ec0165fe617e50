"""Tests of the rows that `fold` computes from the facts of a trace."""

from collections.abc import Sequence
from typing import Any, Final

import pytest

from otel_ml.records import Tokens
from otel_ml_collector.fold.facts import Facts, SpanFact
from otel_ml_collector.fold.fold import fold
from otel_ml_collector.fold.rows import NO_AMOUNTS, Amounts, FoldedRun
from otel_ml_collector.owners import own_key, own_tag
from otel_ml_collector.records import LateTag, Metric, Run, Tag
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, span_id, trace_id

PROJECT: Final = "fold"
USED: Final = Tokens(input=50, output=7)
PRICED: Final = Amounts(USED, 0.25)


def run(place: int, parent: int = 0, kind: str = "model", **fields: Any) -> Run:
    """Make an ended run of 10 ms. Its span ID is its place in the trace."""
    made: dict[str, Any] = {
        "project": PROJECT,
        "trace_id": trace_id(1),
        "span_id": span_id(place),
        "parent_span_id": span_id(parent) if parent else b"",
        "kind": kind,
        "outcome": "ok",
        "start_ns": NOW_NS + place * MS_NS,
        "rank": 1,
        **fields,
    }
    return Run(**{"end_ns": made["start_ns"] + 10 * MS_NS, **made})


def priced(place: int, parent: int = 0, **fields: Any) -> Run:
    """Make a run that reports 50 + 7 tokens and a cost of 0.25."""
    reported = {"input_tokens": 50, "output_tokens": 7, "cost": 0.25}
    return run(place, parent, **reported | fields)


def facts_about(*runs: Run, **late: Any) -> Facts:
    """Make facts of runs that a single instrumentation recorded."""
    return Facts(PROJECT, [SpanFact(item, "tests") for item in runs], **late)


def rows_of(*runs: Run, **late: Any) -> dict[int, FoldedRun]:
    """Fold runs and return the rows by place."""
    return {int.from_bytes(row.run.span_id): row for row in fold(facts_about(*runs, **late))}


def score(owner: str, value: float | None, at: int = 0, **fields: Any) -> Metric:
    """Make a score by a judge."""
    made: dict[str, Any] = {
        "project": PROJECT,
        "owner": owner,
        "owner_start_ns": 0,
        "name": "grounded",
        "source": "judge",
        "step": -1,
        "mode": "single",
        "value": value,
        "time_ns": NOW_NS + at,
    }
    return Metric(**made | fields)


def places(rows: dict[int, FoldedRun], name: str) -> list[int]:
    """Return the places of the rows for which a flag is set."""
    return sorted(place for place, row in rows.items() if getattr(row, name))


def test_amounts() -> None:
    """An agent shows the sum of its calls, and a total counts each call once."""
    agent = run(1, kind="agent", input_tokens=100, output_tokens=14, cost=0.5)
    rows = rows_of(agent, priced(2, 1), run(3, 1, "chain"), priced(4, 3))
    twice = Amounts(Tokens(input=100, output=14), 0.5)
    assert rows[1].own == twice
    assert rows[1].counted == NO_AMOUNTS
    assert rows[1].inside == twice
    assert rows[3].inside == rows[4].counted == PRICED


def test_only_the_agent_reports_usage() -> None:
    """Usage is counted even if only the agent reports it."""
    rows = rows_of(priced(1, kind="agent"), run(2, 1))
    assert rows[1].counted == PRICED
    assert rows[2].counted == rows[1].inside == NO_AMOUNTS


def test_calls_of_judges_are_not_inside() -> None:
    """Tokens and cost of a judge's calls do not count for the run that it judges."""
    rows = rows_of(run(1), priced(2, 1, kind="judge"), priced(3, 2, kind="judge"))
    assert rows[1].inside == NO_AMOUNTS
    assert rows[2].inside == PRICED


def test_second_record_of_a_call() -> None:
    """If a call is recorded twice, one record counts and is completed from the other."""
    ours = SpanFact(run(1, inputs_preview="why"), "otel_ml", has_inputs=True)
    theirs = SpanFact(
        priced(2, 1, end_ns=NOW_NS + 11 * MS_NS, outputs_preview="so", provider_model="gpt"),
        "openai",
        has_outputs=True,
    )
    ours.run.input_tokens, ours.run.output_tokens = 50, 7
    first, second = fold(Facts(PROJECT, [ours, theirs]))
    assert second.record_of is not None
    assert second.record_of.run_id == first.run.run_id
    assert (first.counted, second.counted) == (PRICED, NO_AMOUNTS)
    assert (first.outputs_preview, first.provider_model) == ("so", "gpt")
    assert [ref.run_id for ref in first.content_of] == [second.run.run_id]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_delivery_that_counts(order: Sequence[int]) -> None:
    """An ended run takes precedence over its start record, then the highest rank does."""
    deliveries = [
        SpanFact(run(1, name="old", rank=1)),
        SpanFact(run(1, name="new", rank=2)),
        SpanFact(run(1, name="began", rank=3), is_open=True),
    ]
    (row,) = fold(Facts(PROJECT, [deliveries[place] for place in order]))
    assert (row.run.name, row.is_open, row.last_heard_ns) == ("new", False, 0)


def test_spans_that_share_an_id() -> None:
    """Two spans with the same ID are two runs. A child belongs to the one running at its start."""
    first, second = run(1, kind="agent"), run(1, kind="agent", start_ns=NOW_NS + 50 * MS_NS)
    child = priced(2, 1, start_ns=NOW_NS + 52 * MS_NS)
    rows = fold(facts_about(first, second, child))
    assert [row.inside for row in rows] == [NO_AMOUNTS, PRICED, NO_AMOUNTS]


def test_spans_that_are_each_others_parents() -> None:
    """A cycle of parents is cut, and nothing is counted twice."""
    rows = rows_of(priced(1, 3), priced(2, 1), priced(3, 2), priced(4, 4))
    assert len(rows) == 4
    assert rows[1].inside.cost == 0.5
    assert rows[4].inside == NO_AMOUNTS


def test_deep_trace() -> None:
    """A trace may be deeper than Python's recursion limit."""
    rows = rows_of(*[priced(place, place - 1) for place in range(1, 3_001)])
    assert rows[1].inside.cost == 2_999 * 0.25
    assert places(rows, "is_top") == [1]


REQUESTS: Final[dict[str, tuple[list[Run], list[int], list[int]]]] = {
    "one call": ([run(1)], [1], [1]),
    "a call in a plain span": ([run(1, kind="span"), run(2, 1)], [1], [1, 2]),
    "a plain span without a call": ([run(1, kind="span"), run(2, 1, "span")], [], [1, 2]),
    "a call in an agent": ([run(1, kind="agent"), run(2, 1, "span"), run(3, 2)], [1], [1]),
    "the first span is missing": ([run(2, 1, "span"), run(3, 2), run(4, 3)], [3], [2, 3]),
    "a judge's call": ([run(1), run(2, kind="judge")], [1], [1, 2]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str) -> None:
    """A request has no recorded span around it. A top call has no other call around it."""
    runs, requests, tops = REQUESTS[name]
    rows = rows_of(*runs)
    assert places(rows, "is_request") == requests
    # A call inside a plain span can be top, and so is the plain span itself.
    assert set(tops) <= set(places(rows, "is_top"))


def test_names_of_the_trace() -> None:
    """Session, user and experiment of one run apply to its whole trace."""
    rows = rows_of(run(1, session="s1", experiment="e1"), run(2, 1, user="ann"))
    assert [rows[place].session for place in (1, 2)] == ["s1", "s1"]
    assert [rows[place].user for place in (1, 2)] == ["ann", "ann"]
    assert [rows[place].trace_experiment for place in (1, 2)] == ["e1", "e1"]
    assert rows[2].run.experiment == ""


def test_experiment_of_a_deleted_run() -> None:
    """A trace that was part of an experiment never counts as production."""
    rows = rows_of(run(2, 1), experiments={trace_id(1): "e1"})
    assert rows[2].trace_experiment == "e1"


def test_late_facts_by_key_and_tag() -> None:
    """A score by trace key is about the outermost calls, a score by tag about the tagged runs."""
    tag = LateTag(PROJECT, run(3).run_id, Tag("client", "bigshot"), NOW_NS, "late")
    names = own_key("order 1"), own_tag("client=bigshot")
    rows = rows_of(
        run(1),
        run(2, 1),
        run(3, 1),
        keys={trace_id(1): ["order 1"]},
        tags=[tag],
        metrics=[score(names[0], 0.5), score(names[1], 1.0)],
        owners=frozenset(names),
    )
    assert {place: row.late.scores for place, row in rows.items()} == {
        1: {"grounded": 0.5},
        2: {},
        3: {"grounded": 1.0},
    }
    assert [row.trace_keys for row in rows.values()] == [["order 1"]] * 3


def test_newest_score() -> None:
    """The newest score of a judge counts, of whichever version."""
    owner = run(1).run_id
    rows = rows_of(
        run(1),
        metrics=[
            score(owner, 0.1, at=3, judge_version="v1"),
            score(owner, 0.2, at=2, judge_version="v2"),
            score(owner, 0.9, at=1, judge_version="v2"),
        ],
    )
    assert rows[1].late.scores == {"grounded": 0.1}


def test_withdrawn_label() -> None:
    """A withdrawn label disappears, and an older label by another reviewer appears again."""
    owner = run(1).run_id
    kept = score(owner, 0.25, source="human", record_id="ann")
    given = score(owner, 1.0, at=1, source="human", record_id="bo")
    taken = score(owner, None, at=2, source="human", record_id="bo")
    rows = rows_of(run(1), metrics=[taken, given, kept])
    assert rows[1].late.labels == {"grounded": "0.25"}


def test_own_tag_newer_than_a_late_one() -> None:
    """A late tag that is older than the end of the run does not replace the run's own tag."""
    owner, end_ns = run(1).run_id, run(1).end_ns
    tagged = run(1, tags=[Tag("plan", "own")])
    before = LateTag(PROJECT, owner, Tag("plan", "before"), end_ns - 1, "a")
    after = LateTag(PROJECT, owner, Tag("plan", "after"), end_ns, "b")
    assert rows_of(tagged, tags=[before])[1].tags == {"plan": "own"}
    assert rows_of(tagged, tags=[after, before])[1].tags == {"plan": "after"}


def test_one_call_in_two_traces() -> None:
    """A call that two traces recorded is counted once, because both have its response ID."""
    ours = priced(1, response_id="msg_1", inputs_preview="why")
    theirs = priced(2, trace_id=trace_id(2), response_id="msg_1", outputs_preview="so")
    facts = [SpanFact(ours, "otel_ml"), SpanFact(theirs, "langsmith", has_outputs=True)]
    first, second = fold(Facts(PROJECT, facts))
    assert second.record_of is not None
    assert second.record_of.run_id == first.run.run_id
    assert [ref.run_id for ref in first.others] == [theirs.run_id]
    assert [ref.run_id for ref in first.content_of] == [theirs.run_id]
    assert (first.outputs_preview, first.counted, second.counted) == ("so", PRICED, NO_AMOUNTS)
