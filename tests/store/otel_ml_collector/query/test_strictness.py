"""Tests of the strictness of two judge versions on runs that both scored."""

import re
from collections.abc import Sequence

import pytest

from otel_ml_collector.errors import Missing
from otel_ml_collector.judges.strictness import JudgeStrictness, find_strictness
from otel_ml_collector.span import Span, Value
from tests.store.otel_ml_collector.query.test_judges import listed, say, tell
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night


def judge_twice(
    store: Store, project: str, scores: Sequence[tuple[float | str, float | str]], **told: Value
) -> list[Span]:
    """Store runs, one minute apart, that v1 and v2 of a judge scored."""
    runs = [
        make_call(attributes=told, start_ns=NOW_NS - (place + 1) * 60 * SECOND_NS)
        for place in range(len(scores))
    ]
    store.take(project, tell("a1"))
    store.take(project, tell("b2"))
    spans = list(runs)
    for run, (old, new) in zip(runs, scores, strict=True):
        spans += [say(run, "a1", old), say(run, "b2", new, after_s=2)]
    store.take(project, *spans)
    return runs


def check_links(store: Store, project: str, found: JudgeStrictness) -> None:
    """Assert that each count equals the length of the list that it links to."""
    for part in (found.both_pass, found.both_fail, found.flipped_to_pass, found.flipped_to_fail):
        assert part is not None
        assert listed(store, project, part.where) == part.runs, part.where
    assert listed(store, project, found.where) == found.runs + found.left_out


def test_flips(store: Store, project: str) -> None:
    """Each cell counts the runs with its pair of verdicts, and its filter lists them."""
    known = [(0.9, 0.1)] * 14 + [(0.9, 0.9)] * 15 + [(0.1, 0.9)] * 2 + [(0.1, 0.1)] * 3
    judge_twice(store, project, [*known, (0.9, "TimeoutError")])
    found = find_strictness(store.reader, project, "grounded", 2, 1)
    told = (found.word, found.runs, found.left_out, found.in_experiments, found.is_cut)
    assert told == ("stricter", 34, 1, False, False)
    assert found.flipped_to_fail
    assert found.flipped_to_pass
    assert (found.flipped_to_fail.runs, found.flipped_to_pass.runs) == (14, 2)
    figures = re.findall(r"\bv?\d+\b", found.sentence)
    assert figures[:7] == ["v2", "50", "85", "v1", "14", "34", "2"]
    check_links(store, project, found)


@at_night
def test_turned_round(store: Store, project: str) -> None:
    """With the versions swapped, the old version is the more lenient one."""
    judge_twice(store, project, [(0.9, 0.1)] * 20 + [(0.9, 0.9)] * 10)
    found = find_strictness(store.reader, project, "grounded", 1, 2)
    assert found.word == "more lenient"
    check_links(store, project, found)


def test_runs_of_one_version_alone(store: Store, project: str) -> None:
    """Runs that only one version scored do not count."""
    runs = judge_twice(store, project, [(0.9, 0.1)] * 20)
    alone = make_call(start_ns=runs[0].start_ns)
    store.take(project, alone, say(alone, "b2", 0.9))
    found = find_strictness(store.reader, project, "grounded", 2, 1)
    assert (found.runs, found.left_out) == (20, 0)


@at_night
def test_experiments(store: Store, project: str) -> None:
    """If neither version scored production runs, the runs of experiments are compared."""
    judge_twice(
        store,
        project,
        [(0.9, 0.1)] * 20 + [(0.9, 0.9)] * 4,
        **{"otel_ml.experiment": f"{'1' * 32}-{'1' * 16}", "otel_ml.item.id": "one"},
    )
    found = find_strictness(store.reader, project, "grounded", 2, 1)
    assert (found.in_experiments, found.runs) == (True, 24)
    check_links(store, project, found)


def test_nothing_in_common(store: Store, project: str) -> None:
    """Versions without a common run have no value, and the sentence explains it."""
    store.take(project, tell("a1"))
    store.take(project, tell("b2"))
    found = find_strictness(store.reader, project, "grounded", 2, 1)
    assert (found.word, found.runs, found.both_pass) == ("not enough data", 0, None)
    assert re.findall(r"\bv?\d+\b", found.sentence) == ["v2", "v1"]


def test_session_over_several_traces(store: Store, project: str) -> None:
    """Runs of one session are one cluster, even if each has a separate trace."""
    judge_twice(store, project, [(0.9, 0.1)] * 20, **{"session.id": "one"})
    found = find_strictness(store.reader, project, "grounded", 2, 1)
    assert found.before is not None
    assert (found.runs, found.before.clusters) == (20, 1)


def test_unknown_version(store: Store, project: str) -> None:
    """An unknown judge version is not found."""
    store.take(project, tell("a1"))
    with pytest.raises(Missing, match="has no version 2"):
        find_strictness(store.reader, project, "grounded", 2, 1)
