"""Tests of the sums of a list, in total and by group."""

import pytest

from otel_ml_collector.errors import BadInput
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Span, Value
from otel_ml_collector.traces.sums import find_sums
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

LATER = NOW_NS + 60 * SECOND_NS


def turn(number: int, user: str, costs: list[float], **tags: str) -> list[Span]:
    """Make a user's agent turn that contains one model call per cost."""
    ids = {"trace_id": trace_id(number), "start_ns": NOW_NS + number}
    told: dict[str, Value] = {f"otel_ml.tag.{name}": value for name, value in tags.items()}
    root = make_span(
        "turn", {"otel_ml.kind": "agent", "user.id": user, **told}, span_id=span_id(number), **ids
    )
    calls = [
        make_call(
            "ask",
            {
                "gen_ai.usage.cost": cost,
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.output_tokens": 1,
                "gen_ai.request.model": f"m{at}",
            },
            span_id=span_id(number * 100 + at),
            parent_span_id=root.span_id,
            **ids,
        )
        for at, cost in enumerate(costs)
    ]
    return [root, *calls]


@pytest.fixture
def turns(store: Store, project: str) -> str:
    """Return a project with two turns of ada and one of bob."""
    store.take(
        project,
        *turn(1, "ada", [0.25, 0.5], client="x"),
        *turn(2, "ada", [0.125], client="y"),
        *turn(3, "bob", [2.0], client="x"),
    )
    return project


def test_all(store: Store, turns: str) -> None:
    """The sums of a list cover all matching runs, not only its page."""
    query = RunsQuery(turns, 'model == "ask"', limit=1)
    sums = find_sums(store.reader, query, "", LATER)
    assert sums is not None
    total = sums.total
    assert (total.runs, total.tokens.input, total.tokens.output, total.cost) == (4, 40, 4, 2.875)
    assert sums.groups == []


@sampled(1)
@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        ("user", {"ada": 0.875, "bob": 2.0}),
        ("provider_model", {"m0": 2.375, "m1": 0.5, "": None}),
        ("model", {"ask": 2.875, "turn": None}),
    ],
)
def test_groups(store: Store, turns: str, group: str, wanted: dict[str, float | None]) -> None:
    """Each group has its cost and the filter that lists its runs."""
    sums = find_sums(store.reader, RunsQuery(turns), group, LATER)
    assert sums is not None
    assert {one.label: one.total.cost for one in sums.groups} == wanted
    for one in sums.groups:
        listed = find_runs(store.reader, RunsQuery(turns, one.where), LATER).runs
        assert len(listed) == one.total.runs, one


@sampled(1)
@pytest.mark.parametrize("top", ["roots", "traces"])
def test_roots(store: Store, turns: str, top: str) -> None:
    """The sums of roots and traces include inner calls, selected and grouped by the top run."""
    query = RunsQuery(turns, 'tags["client"] == "x"', roots=top == "roots", traces=top == "traces")
    sums = find_sums(store.reader, query, "", LATER)
    assert sums is not None
    assert (sums.total.cost, sums.total.tokens.input) == (2.75, 30)
    for group, wanted in {
        'tags["client"]': {"x": 2.75, "y": 0.125},
        "user": {"ada": 0.875, "bob": 2.0},
    }.items():
        query = RunsQuery(turns, roots=top == "roots", traces=top == "traces")
        sums = find_sums(store.reader, query, group, LATER)
        assert sums is not None
        assert {one.label: one.total.cost for one in sums.groups} == wanted
        for one in sums.groups:
            query = RunsQuery(turns, one.where, roots=top == "roots", traces=top == "traces")
            inside = find_sums(store.reader, query, "", LATER)
            assert inside is not None
            assert inside.total.cost == one.total.cost


def test_nothing(store: Store, project: str, turns: str) -> None:
    """A project without runs has no sums, and an invalid group is rejected."""
    assert find_sums(store.reader, RunsQuery("nobody"), "", LATER) is None
    with pytest.raises(BadInput, match="Invalid group"):
        find_sums(store.reader, RunsQuery(turns), "tags[", LATER)
