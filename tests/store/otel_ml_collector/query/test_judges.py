"""Tests of judge versions: their figures, and the filters that list the runs behind them."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.assistants.references import find_reference
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.judges.find import (
    JudgeVersion,
    bounds_of,
    find_judge_versions,
    find_judges,
)
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Span, Value
from otel_ml_collector.stats import StatsQuery, find_stats
from otel_ml_collector.versions.find import find_models
from otel_ml_collector.windows import Window
from tests.store.otel_ml_collector.store.test_calls import make_answer
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    make_call,
    make_record,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

END_NS: Final = (NOW_NS // DAY_NS + 1) * DAY_NS
MONTH: Final = Window(END_NS - 30 * DAY_NS, END_NS)
RUBRIC: Final = {
    "type": "judge",
    "description": "does it follow?",
    "criterion": "def passes(score): ...",
    "source": "def rubric(outputs): ...",
    "signature": "(outputs)",
}


def tell(version: str, judge: str = "grounded", **definition: object) -> Span:
    """Make the record that defines a version of a judge."""
    attributes: dict[str, Value] = {
        "otel_ml.record": "update",
        "otel_ml.target.model": judge,
        "otel_ml.target.version": version,
        "otel_ml.target.kind": "judge",
        "otel_ml.model.definition": json.dumps({**RUBRIC, **definition}),
    }
    return make_span("otel_ml.update", attributes, start_ns=NOW_NS, end_ns=NOW_NS)


def say(
    call: Span,
    version: str,
    said: float | str,
    *,
    after_s: float = 1,
    more: Mapping[str, Value] | None = None,
) -> Span:
    """Make an evaluation by a judge version: a score (0.5 or more passes) or an error type."""
    words: dict[str, Value] = {"error.type": said}
    if not isinstance(said, str):
        words = {"otel_ml.score.value": said, "otel_ml.passed": said >= 0.5}
    attributes = {
        "otel_ml.judge.name": "grounded",
        **({"otel_ml.judge.version": version} if version else {}),
        "otel_ml.target.start_ns": call.start_ns,
        **words,
        **(more or {}),
    }
    at_ns = call.start_ns + int(after_s * SECOND_NS)
    return make_record("evaluation", call, attributes, start_ns=at_ns)


def calls(number: int, **attributes: Value) -> list[Span]:
    """Make one run per day."""
    return [
        make_call(attributes=attributes, start_ns=NOW_NS - place * DAY_NS - SECOND_NS)
        for place in range(number)
    ]


def versions_of(store: Store, project: str, judge: str = "grounded") -> list[JudgeVersion]:
    return find_judge_versions(store.reader, project, judge, MONTH.cut(DAY_NS))


def listed(store: Store, project: str, where: str) -> int:
    """Count all runs that match a filter, page by page."""
    number, cursor = 0, None
    while True:
        query = RunsQuery(project, where, limit=3, cursor=cursor)
        page = find_runs(store.reader, query, NOW_NS)
        number, cursor = number + len(page.runs), page.next_cursor
        if cursor is None:
            return number


def check_bars(store: Store, project: str, judge: str = "grounded") -> None:
    """Assert that each count of a judge equals the length of the list that it links to."""
    found = versions_of(store, project, judge)
    for one in found:
        assert listed(store, project, one.where) == one.evaluations
        assert listed(store, project, one.where_errors) == one.errors
        parts = [(part.where, part.evaluations) for part in one.distribution]
        parts += [(part.where, part.evaluations) for part in one.buckets]
        for where, number in parts:
            assert listed(store, project, where) == number, where
        assert sum(part.evaluations for part in one.distribution) == one.scored
        assert sum(part.evaluations for part in one.buckets) == one.evaluations


def test_versions(store: Store, project: str) -> None:
    """A judge version has its number, definition and score figures. Versions are newest first."""
    one, two, three = calls(3)
    paid: dict[str, Value] = {"otel_ml.latency_ms": 4, "otel_ml.judge.cost": 0.25}
    store.take(project, tell("a1"), one, two, three)
    store.take(project, tell("b2", source="def rubric(outputs): return 1"))
    store.take(project, say(one, "a1", 0.25, more=paid), say(two, "a1", 0.75, more=paid))
    store.take(project, say(three, "a1", "TimeoutError"), say(one, "b2", 1.0))
    newest, oldest = versions_of(store, project)
    assert (newest.name, newest.digest, newest.pass_rate, newest.mean_score) == (
        "grounded:v2",
        "b2",
        1.0,
        1.0,
    )
    assert newest.definition.source == "def rubric(outputs): return 1"
    told = oldest.model_dump(exclude={"distribution", "buckets", "first_seen_time", "definition"})
    assert told == {
        "judge": "grounded",
        "version": 1,
        "digest": "a1",
        "evaluations": 3,
        "errors": 1,
        "scored": 2,
        "mean_score": 0.5,
        "passed": 1,
        "judged": 2,
        "pass_rate": 0.5,
        "p50_ms": 4.0,
        "p95_ms": 4.0,
        "cost": 0.5,
        "priced": 2,
        "last_start_time": "2026-11-20T06:59:59.000000000Z",
        "where": 'failed["grounded"][1] in (True, False)',
        "where_errors": 'failed["grounded"][1]',
        "experiment_evaluations": 0,
    }
    definition = oldest.definition
    assert (definition.description, definition.criterion, definition.source) == (
        "does it follow?",
        "def passes(score): ...",
        "def rubric(outputs): ...",
    )
    assert [(part.low, part.evaluations, part.passed) for part in oldest.distribution] == [
        (place / 10, int(place in {2, 7}), int(place == 7)) for place in range(10)
    ]
    assert [(part.evaluations, part.errors, part.pass_rate) for part in oldest.buckets] == [
        (1, 1, None),
        (1, 0, 1.0),
        (1, 0, 0.0),
    ]
    check_bars(store, project)


def test_judge_is_no_model(store: Store, project: str) -> None:
    """A judge with a definition is listed as a judge and not as a model."""
    store.take(project, tell("a1"))
    assert find_models(store.reader, project) == []
    [judge] = find_judges(store.reader, project)
    assert (judge.judge, judge.description, judge.versions) == ("grounded", "does it follow?", 1)
    assert (judge.newest.name, judge.newest.evaluations, judge.others) == ("grounded:v1", 0, [])


@at_night
def test_judge_without_a_definition(store: Store, project: str) -> None:
    """A judge without a definition is listed by its name and the versions of its scores."""
    one, two = calls(2)
    foreign = {"otel_ml.score.foreign": 3, "otel_ml.score.grounded": 0.5}
    store.take(project, make_call(attributes=foreign, start_ns=NOW_NS - SECOND_NS))
    store.take(project, one, two, say(one, "a1", 0.25), say(two, "a1", 0.75))
    judges = {judge.judge: judge for judge in find_judges(store.reader, project)}
    assert sorted(judges) == ["foreign", "grounded"]
    foreign_one = judges["foreign"].newest
    assert (foreign_one.version, foreign_one.mean_score, foreign_one.p50_ms) == (None, 3.0, None)
    assert [(one.name, one.evaluations) for one in judges["grounded"].others] == [("grounded", 1)]
    assert (judges["grounded"].newest.name, judges["grounded"].versions) == ("grounded:v1", 1)
    check_bars(store, project)
    check_bars(store, project, "foreign")


@at_night
def test_older_definition(store: Store, project: str) -> None:
    """A definition that an older SDK sent with a score still provides the pass criterion."""
    [call] = calls(1)
    old = '{"source": "def rubric(): ...", "helpers": {"passing_criteria": "def passes(): ..."}}'
    store.take(project, call, say(call, "a1", 1.0, more={"otel_ml.model.definition": old}))
    [version] = versions_of(store, project)
    assert version.definition.criterion == "def passes(): ..."
    assert (version.definition.source, version.definition.helpers) == ("def rubric(): ...", {})


def test_people_are_no_judges(store: Store, project: str) -> None:
    """A label by a reviewer has a score but does not create a judge."""
    [call] = calls(1)
    told: dict[str, Value] = {"otel_ml.judge.name": "thumbs", "otel_ml.source": "human"}
    store.take(project, call, make_record("evaluation", call, {**told, "otel_ml.score.value": 1}))
    assert find_judges(store.reader, project) == []


@at_night
def test_people_beside_a_judge(store: Store, project: str) -> None:
    """Labels under a judge's name do not count in the judge's figures or add a version."""
    runs = calls(2)
    store.take(project, tell("a1"), *runs, *(say(run, "a1", 1.0) for run in runs))
    told: dict[str, Value] = {"otel_ml.judge.name": "grounded", "otel_ml.source": "human"}
    store.take(project, make_record("evaluation", runs[0], {**told, "otel_ml.score.value": 0}))
    [version] = versions_of(store, project)
    assert (version.version, version.evaluations, version.mean_score) == (1, 2, 1.0)
    [judge] = find_judges(store.reader, project)
    assert judge.others == []


def test_unknown_judge(store: Store, project: str) -> None:
    """An unknown judge is not found."""
    with pytest.raises(Missing, match="has no judge 'nobody'"):
        versions_of(store, project, "nobody")


@sampled(1)
@pytest.mark.parametrize("name", ["groundd", "Grounded", "ground"])
def test_similar_judge(store: Store, project: str, name: str) -> None:
    """The error for a misspelled judge suggests the right name."""
    scores: dict[str, Value] = {
        "otel_ml.score.grounded": 1.0,
        "otel_ml.score.short": 0.0,
        "otel_ml.judges": '{"grounded": {"version": "00000000000000aa"}}',
    }
    store.take(project, make_call("answer", scores))
    with pytest.raises(Missing, match=r": did you mean grounded\?$"):
        versions_of(store, project, name)
    with pytest.raises(Missing, match=r": did you mean grounded\?$"):
        find_reference(store.reader, project, name)


@at_night
def test_bars_of_runs_that_are_not_there(store: Store, project: str) -> None:
    """Bars count only listed runs, including open runs, but no plain spans or missing runs."""
    span = make_span("GET", start_ns=NOW_NS - SECOND_NS)
    begun, never = (make_call(start_ns=NOW_NS - SECOND_NS) for _ in range(2))
    store.take(project, span, make_start(begun))
    store.take(project, *(say(one, "a1", 0.5) for one in (span, begun, never)))
    [version] = versions_of(store, project)
    assert version.evaluations == 1
    check_bars(store, project)


@at_night
def test_score_of_a_key(store: Store, project: str) -> None:
    """A score for a trace key counts for the run with that key."""
    call = make_call(attributes={"otel_ml.trace_key": "order"}, start_ns=NOW_NS - SECOND_NS)
    told: dict[str, Value] = {
        "otel_ml.judge.name": "grounded",
        "otel_ml.judge.version": "a1",
        "otel_ml.score.value": 0.5,
        "otel_ml.target.trace_key": "order",
    }
    store.take(project, call, make_record("evaluation", make_call(), told))
    [version] = versions_of(store, project)
    assert (version.evaluations, version.mean_score) == (1, 0.5)
    check_bars(store, project)


@sampled(2)
@pytest.mark.parametrize(
    ("lowest", "highest", "is_whole", "bounds"),
    [
        (0.25, 1.0, False, [place / 10 for place in range(11)]),
        (1.0, 1.0, True, [place / 10 for place in range(11)]),
        (0.0, 1.0, True, [place / 10 for place in range(11)]),
        (1.0, 5.0, True, [1, 2, 3, 4, 5, 6]),
        (-10.0, 10.0, False, [-10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10]),
        (7.5, 7.5, False, [7.5, 8.5]),
    ],
)
def test_bounds(lowest: float, highest: float, is_whole: bool, bounds: list[float]) -> None:
    """Bins are tenths for scores and booleans from 0 to 1, else whole numbers or ten equal bins."""
    assert bounds_of(lowest, highest, is_whole=is_whole) == pytest.approx(bounds)


@pytest.fixture(scope="module")
def rejudged(store: Store) -> tuple[Store, list[Span]]:
    """Return runs that two versions of a judge scored, in either order, with their store.

    Scores by run: 0 both (v2 last), 1 both (v1 last), 2 v1 only, 3 v2 only, 4 v1, then v2
    failed, 5 none, 6 by a judge without a version.
    """
    runs = calls(7)
    store.take("judged again", tell("a1"))
    store.take("judged again", tell("b2"))
    said = [
        say(runs[0], "a1", 0.2),
        say(runs[0], "b2", 0.9, after_s=2),
        say(runs[1], "a1", 0.8, after_s=2),
        say(runs[1], "b2", 0.1),
        say(runs[2], "a1", 0.3),
        say(runs[3], "b2", 0.7),
        say(runs[4], "a1", 0.6),
        say(runs[4], "b2", "TimeoutError", after_s=2),
        say(runs[6], "", 0.4),
    ]
    store.take("judged again", *runs, *said)
    return store, runs


@sampled(3)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('judge_version["grounded"] == 2', {0, 3, 4}),
        ('judge_version["grounded"] == 1', {1, 2}),
        ('judge_version["grounded"] >= 1', {0, 1, 2, 3, 4}),
        ('judge_version["grounded"] in (2, 7)', {0, 3, 4}),
        ('judge_version["grounded"] != 2', {1, 2}),
        ('not judge_version["grounded"] == 2', {1, 2, 5, 6}),
        ('judge_version["grounded"] == "b2"', {0, 3, 4}),
        ('judge_version["grounded"] != "b2"', {1, 2}),
        ('judge_version["grounded"] in ("a1", "b2")', {0, 1, 2, 3, 4}),
        ('"a" in judge_version["grounded"]', {1, 2}),
        ('judge_version["grounded"]', {0, 1, 2, 3, 4}),
        ('"grounded" in judge_version', {0, 1, 2, 3, 4}),
        ('"grounded" not in judge_version', {5, 6}),
        ('judge_version["nobody"] == 1', set()),
        ('scores["grounded"] > 0.5', {0, 1, 3}),
        ('scores["grounded"][2] > 0.5', {0, 3}),
        ('scores["grounded"][1] > 0.5', {1, 4}),
        ('scores["grounded"]["a1"] > 0.5', {1, 4}),
        ('scores["grounded"][""] > 0', {6}),
        ('0.1 <= scores["grounded"][2] < 0.8', {1, 3}),
        ('scores["grounded"][9] > 0', set()),
        ('passed["grounded"][2]', {0, 3}),
        ('passed["grounded"][2] in (True, False)', {0, 1, 3}),
        ('passed["grounded"][2] not in (True,)', {1}),
        ('failed["grounded"]', {4}),
        ('failed["grounded"][1]', set()),
        ('failed["grounded"][2] == False', {0, 1, 3}),
        ('"grounded" in failed', {0, 1, 2, 3, 4, 6}),
        ('judge_version["grounded"] == 2 and scores["grounded"] > 0.8', {0}),
    ],
)
def test_filters(rejudged: tuple[Store, list[Span]], where: str, expected: set[int]) -> None:
    """A filter selects judge versions by number or digest, or by the newest score."""
    store, runs = rejudged
    found = find_runs(store.reader, RunsQuery("judged again", where), NOW_NS).runs
    places = {run.span_id.hex(): place for place, run in enumerate(runs)}
    assert {places[run.run_id[33:]] for run in found} == expected


@sampled(2)
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ('judge_version["grounded"] == True', "Expected a number, found True"),
        ('judge_version["grounded"] == (2, "b2")', "Expected a text, a number"),
        ('judge_version["grounded"] in (2, "b2")', "Expected a text in quotes, found 2"),
        ("judge_version == 2", 'Expected a key as in judge_version["name"]'),
        ('judge_version["grounded"][2] == 2', 'Expected a key as in judge_version["name"]'),
        ('scores["grounded"][2][3] > 1', 'Expected a key as in scores["name"]'),
        ('passed["grounded"] > 1', "Expected == True or == False"),
        ('failed["grounded"] in (1, 2)', "Expected == True or == False"),
    ],
)
def test_wrong_filters(rejudged: tuple[Store, list[Span]], where: str, message: str) -> None:
    """An invalid filter on a judge version is rejected with the expected form."""
    store, _ = rejudged
    with pytest.raises(BadInput) as caught:
        find_runs(store.reader, RunsQuery("judged again", where), NOW_NS)
    assert message in str(caught.value)


@at_night
def test_bars_of_runs_that_were_judged_again(rejudged: tuple[Store, list[Span]]) -> None:
    """A bar of an older version lists its runs, including runs that a newer version also scored."""
    store, _ = rejudged
    newest, oldest, unversioned = versions_of(store, "judged again")
    assert [(one.name, one.evaluations, one.errors) for one in (newest, oldest, unversioned)] == [
        ("grounded:v2", 4, 1),
        ("grounded:v1", 4, 0),
        ("grounded", 1, 0),
    ]
    check_bars(store, "judged again")


PLACES: Final = iter(range(10_000))


@at_night
@settings(max_examples=examples(5, on_commit=2), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from(["a1", "b2", ""]),
            st.sampled_from([0.1, 0.45, 0.5, 1.0, -3.0, 7.25, "wrong"]),
            st.floats(1, 9),
        ),
        max_size=8,
        unique_by=lambda one: (one[0], one[1], one[3]),
    ),
    st.randoms(use_true_random=False),
)
def test_any_order_twice(
    store: Store, said: list[tuple[int, str, float | str, float]], draw: Any
) -> None:
    """Records in any order, with duplicates, give the same figures. Bars match their lists."""
    first, second = f"any{next(PLACES)}", f"any{next(PLACES)}"
    runs = calls(5)
    store.take(first, tell("a1"))
    store.take(second, tell("a1", description="of an older delivery"))
    spans = [tell("b2"), *runs]
    spans += [say(runs[place], version, what, after_s=at) for place, version, what, at in said]
    store.take(first, *spans)
    shuffled = [*spans, *draw.sample(spans, len(spans) // 2), tell("a1")]
    draw.shuffle(shuffled)
    for span in shuffled:
        store.take(second, span)
    told, told_again = (
        [one.model_dump(exclude={"first_seen_time"}) for one in versions_of(store, project)]
        for project in (first, second)
    )
    for one in (*told, *told_again):
        del one["definition"]
    assert told == told_again
    check_bars(store, first)


@at_night
def test_call_of_several_records(store: Store, project: str) -> None:
    """A call that three instrumentations recorded and the judge scored each time counts once."""
    answer = make_answer(1)
    store.take(project, *answer, *(say(span, "aa", 0.75) for span in answer[1:]))
    check_bars(store, project)
    [version] = versions_of(store, project)
    stats = find_stats(store.reader, StatsQuery(project, "", "", MONTH, DAY_NS, 1))
    assert version.evaluations == stats.total.judges[0].evaluations == 1
