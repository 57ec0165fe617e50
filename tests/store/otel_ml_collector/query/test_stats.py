"""Tests of statistics: their figures, and their equality with and without the daily rollup."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.errors import BadInput
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.measures.projects import find_project
from otel_ml_collector.span import Span, Value
from otel_ml_collector.stats import (
    JudgeFigures,
    RunStats,
    StatsQuery,
    find_all_stats,
    find_at_once,
    find_group_totals,
    find_stats,
    make_question,
)
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.versions.find import find_models, find_versions
from otel_ml_collector.windows import Window, read_zone
from tests.bench.dataset import Dataset, Plan
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    SECOND_NS,
    make_call,
    make_record,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

HOUR_NS: Final = 3_600 * SECOND_NS
TODAY_NS: Final = NOW_NS // DAY_NS * DAY_NS
WEEK: Final = Window(TODAY_NS - 7 * DAY_NS, TODAY_NS)
GROUPS: Final = ("", "version", "model", "outcome")


def ask(
    store: Store, project: str, group: str = "", where: str = "", *, groups: int = 10
) -> RunStats:
    return find_stats(store.reader, StatsQuery(project, where, group, WEEK, DAY_NS, groups))


def compute(store: Store, project: str) -> None:
    """Compute the rollup of the week."""
    store.compute(project, [WEEK.start_ns + day * DAY_NS for day in range(7)])


def days_of_rollup(store: Store, project: str) -> int:
    query = StatsQuery(project, "", "", WEEK, DAY_NS, 1)
    return len(make_question(store.reader, query).rollup.days)


def take_week(store: Store, project: str, runs: int = 400) -> None:
    """Store a week of runs with many versions, scores and outcomes, some of them twice."""
    dataset = Dataset(Plan(runs, TODAY_NS - HOUR_NS, days=6.5))
    for body, _ in dataset.requests():
        spans = [
            replace(span, attributes={**span.attributes, "otel_ml.project": project})
            for span in decode_traces(body)
        ]
        store.writer.write(map_spans(spans, Filing(None, NOW_NS)))


def test_figures(store: Store, project: str) -> None:
    """Errors, latency, tokens and scores cover exactly the matching runs."""
    at_ns = WEEK.start_ns + HOUR_NS
    for place, latency_ms in enumerate((100, 200, 300)):
        told = {
            "gen_ai.usage.input_tokens": 10,
            "otel_ml.outcome": "error" if place == 2 else "ok",
            "otel_ml.score.grounded": place / 2,
            "otel_ml.passed.grounded": place > 0,
            "otel_ml.tag.client": "big" if place else "small",
        }
        call = make_call(attributes=told, start_ns=at_ns, end_ns=at_ns + latency_ms * MS_NS)
        store.take(project, call)
    stats = ask(store, project, 'tags["client"]')
    within = pytest.approx(200, rel=0.01)
    assert stats.total.model_dump() == {
        "runs": 3,
        "errors": 1,
        "error_share": 1 / 3,
        "p50_ms": within,
        "p90_ms": within,
        "p95_ms": within,
        "p99_ms": within,
        "tokens": {"input": 30, "output": 0, "cached": 0, "reasoning": 0, "cache_creation": 0},
        "cost": None,
        "judges": [
            {
                "judge": "grounded",
                "version": None,
                "digest": "",
                "evaluations": 3,
                "failed": 0,
                "mean_score": 0.5,
                "pass_rate": 2 / 3,
            }
        ],
    }
    assert [(group.group, group.total.runs) for group in stats.groups] == [("big", 2), ("small", 1)]
    assert [bucket.start_ns for bucket in stats.groups[0].buckets] == [WEEK.start_ns]


def test_quantiles(store: Store, project: str) -> None:
    """Quantiles of 100 calls of 1 to 100 s are within 1 % of 50, 90, 95 and 99 s."""
    at_ns = WEEK.start_ns + HOUR_NS
    ends_ns = [at_ns + seconds * SECOND_NS for seconds in range(1, 101)]
    store.take(project, *(make_call(start_ns=at_ns, end_ns=end_ns) for end_ns in ends_ns))
    total = ask(store, project).total
    found = (total.p50_ms, total.p90_ms, total.p95_ms, total.p99_ms)
    assert found == pytest.approx((50_000, 90_000, 95_000, 99_000), rel=0.011)


def test_totals_of_groups(store: Store, project: str) -> None:
    """The totals of selected groups equal those in the statistics by group."""
    at_ns = WEEK.start_ns + HOUR_NS
    for place, model in enumerate(("answer", "rank", "answer", "embed"), 1):
        store.take(project, make_call(model, start_ns=at_ns, end_ns=at_ns + place * SECOND_NS))
    by_model = {one.group: one.total for one in ask(store, project, "model").groups}
    wanted = ["answer", "embed", "unknown"]
    query = StatsQuery(project, "", "model", WEEK, None, len(wanted), only=wanted)
    found = find_group_totals(store.reader, query)
    assert found == {name: by_model[name] for name in ("answer", "embed")}
    assert (found["answer"].runs, found["embed"].runs) == (2, 1)


@at_night
@pytest.mark.parametrize("is_computed", [False, True])
def test_versions_agree(store: Store, project: str, is_computed: bool) -> None:
    """The versions of a model have the same figures on its page and in statistics."""
    take_week(store, project)
    if is_computed:
        compute(store, project)
    for model in find_models(store.reader, project):
        by_version = ask(store, project, "version", f'model == "{model.model}"', groups=50)
        of_stats = {
            group.group: (
                *(group.total.runs, group.total.errors, group.total.p50_ms, group.total.p95_ms),
                [
                    (item.judge, item.version, item.evaluations, item.mean_score)
                    for item in group.total.judges
                ],
            )
            for group in by_version.groups
            if group.group != model.model
        }
        of_page = {
            f"{model.model}:v{version.version}": (
                *(version.runs, version.errors, version.p50_ms, version.p95_ms),
                [
                    (item.judge, item.version, item.evaluations, item.mean_score)
                    for item in version.judges
                ],
            )
            for version in find_versions(store.reader, project, model.model)
            if version.runs
        }
        assert of_page == of_stats
        assert of_page


def say(version: str, score: float, *, passed: bool, at_ns: int = WEEK.start_ns) -> Span:
    """Make a run with a score by a judge version."""
    told = {"grounded": {"version": version}}
    return make_call(
        attributes={
            "otel_ml.model.version": "aa",
            "otel_ml.score.grounded": score,
            "otel_ml.passed.grounded": passed,
            "otel_ml.judges": json.dumps(told),
        },
        start_ns=at_ns,
        end_ns=at_ns + MS_NS,
    )


def told(figures: Sequence[JudgeFigures]) -> list[tuple[str, int, float | None, float | None]]:
    return [(one.name, one.evaluations, one.mean_score, one.pass_rate) for one in figures]


@at_night
@pytest.mark.parametrize("is_computed", [False, True], ids=["runs", "rollup"])
def test_versions_of_a_judge_are_never_joined(
    store: Store, project: str, is_computed: bool
) -> None:
    """The figures of judge versions stay separate, newest first, from runs or the rollup."""
    place = f"{project} {is_computed}"
    store.take(place, say("a1", 0.0, passed=False))
    rejudged = say("b2", 0.5, passed=True)
    store.take(place, rejudged, say("b2", 1.0, passed=True))
    again: dict[str, Value] = {
        "otel_ml.judge.name": "grounded",
        "otel_ml.judge.version": "a1",
        "otel_ml.score.value": 0.25,
        "otel_ml.passed": True,
        "otel_ml.target.start_ns": rejudged.start_ns,
    }
    store.take(place, make_record("evaluation", rejudged, again))
    if is_computed:
        compute(store, place)
        assert days_of_rollup(store, place) == 7
    expected = [("grounded:v2", 2, 0.75, 1.0), ("grounded:v1", 2, 0.125, 0.5)]
    for group in GROUPS:
        stats = ask(store, place, group)
        assert told(stats.total.judges) == expected
        assert told(stats.groups[0].total.judges) == expected
        assert told(stats.groups[0].buckets[0].judges) == expected
    (version,) = find_versions(store.reader, place, "answer")
    assert [(one.name, one.passed, one.judged, one.mean_score) for one in version.judges] == [
        ("grounded:v2", 2, 2, 0.75),
        ("grounded:v1", 1, 2, 0.125),
    ]


@sampled(1)
@pytest.mark.parametrize("is_computed", [False, True], ids=["runs", "rollup"])
def test_newest_score_of_a_version_counts(store: Store, project: str, is_computed: bool) -> None:
    """If a judge's version scores a run again, only the newest score counts."""
    place = f"{project} {is_computed}"
    scored = say("a1", 0.0, passed=False)
    again: dict[str, Value] = {
        "otel_ml.judge.name": "grounded",
        "otel_ml.judge.version": "a1",
        "otel_ml.score.value": 1.0,
        "otel_ml.passed": True,
        "otel_ml.target.start_ns": scored.start_ns,
    }
    store.take(place, scored)
    store.take(place, make_record("evaluation", scored, again))
    if is_computed:
        compute(store, place)
    assert told(ask(store, place).total.judges) == [("grounded:v1", 1, 1.0, 1.0)]


def test_other_groups(store: Store, project: str) -> None:
    """Groups beyond the limit are counted together as others."""
    store.take(project, *(make_call(name, start_ns=WEEK.start_ns) for name in "aaabbc"))
    stats = ask(store, project, "model", groups=1)
    assert stats.other is not None
    assert [group.group for group in stats.groups] == ["a"]
    assert (stats.groups_found, stats.other.total.runs, stats.total.runs) == (3, 3, 6)


def test_late_tag(store: Store, project: str) -> None:
    """Runs are grouped by a tag that arrived after the run."""
    call = make_call(attributes={"otel_ml.tag.client": "old"}, start_ns=WEEK.start_ns)
    store.take(project, call, make_record("update", call, {"otel_ml.tag.client": "new"}))
    assert [group.group for group in ask(store, project, "tags['client']").groups] == ["new"]


def test_rollup_is_the_same(store: Store, project: str) -> None:
    """Statistics from the rollup equal those from the runs, including quantiles."""
    take_week(store, project)
    store.take(project, make_call("today", start_ns=TODAY_NS))
    before = [ask(store, project, group) for group in GROUPS]
    counted = (find_project(store.reader, project), find_models(store.reader, project))
    filtered = ask(store, project, "version", 'outcome == "ok" and model == "answer"')
    compute(store, project)
    assert days_of_rollup(store, project) == 7
    assert [ask(store, project, group) for group in GROUPS] == before
    again = ask(store, project, "version", 'outcome == "ok" and model == "answer"')
    assert again == filtered
    assert (find_project(store.reader, project), find_models(store.reader, project)) == counted


@at_night
@pytest.mark.parametrize(
    ("hours", "step", "days"),
    [
        ((0, 72), 1, 3),
        ((5, 100), 1, 5),
        ((5, 100.5), 1, 5),
        ((18, 162), 6, 7),
        ((0.3, 71.7), 1, 3),
        ((0.3, 167.7), 24, 7),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_hours_of_the_rollup_are_the_same(
    *, store: Store, project: str, hours: tuple[float, float], step: int, days: int, zone: str
) -> None:
    """Hourly and daily statistics from the rollup equal those from the runs, for any start."""
    take_week(store, project)
    start_ns, end_ns = (WEEK.start_ns + int(hour * HOUR_NS) for hour in hours)
    window = Window(start_ns, end_ns, read_zone(zone))
    queries = [StatsQuery(project, "", group, window, step * HOUR_NS, 10) for group in GROUPS]
    before = [find_stats(store.reader, query) for query in queries]
    assert len(before[0].groups[0].buckets) > 5
    compute(store, project)
    parts = [make_question(store.reader, query).rollup for query in queries]
    assert [len(part.days) + len(part.cut_days) for part in parts] == [days] * 4
    assert [find_stats(store.reader, query) for query in queries] == before


@at_night
@pytest.mark.parametrize("groups", [3, 50])
@pytest.mark.parametrize("where", ["", 'outcome == "ok"', 'model == "nothing"'])
def test_groupings_at_once_are_the_same(
    store: Store, project: str, groups: int, where: str
) -> None:
    """Statistics for several groupings in one read equal those of separate reads."""
    take_week(store, project)
    talked = make_call("talked", {"session.id": "s1"}, start_ns=WEEK.start_ns + HOUR_NS)
    store.take(project, talked, say("aa", 0.3, passed=False, at_ns=WEEK.start_ns + 2 * HOUR_NS))
    window = Window(WEEK.start_ns, WEEK.start_ns + DAY_NS)
    by = ["model", "session", 'tags["client"]', "version"]
    query = StatsQuery(project, where, "", window, HOUR_NS, groups)
    whole, *grouped = find_at_once(store.reader, query, by)
    alone = find_stats(store.reader, replace(query, groups=1))
    assert whole == alone
    day = replace(query, step_ns=DAY_NS)
    for stats, group in zip(grouped, by, strict=True):
        own = find_stats(store.reader, replace(day, group=group))
        for one in (*own.groups, *([own.other] if own.other else [])):
            one.buckets.clear()
        assert stats.model_copy(update={"bucket_s": own.bucket_s}) == own
        assert bool(own.groups) == (where != 'model == "nothing"')


@at_night
def test_hours_of_two_buckets(store: Store, project: str) -> None:
    """In a zone with a half-hour offset, days come from the rollup except their first hours."""
    take_week(store, project)
    window = Window(WEEK.start_ns + 1, WEEK.end_ns - 1, read_zone("Asia/Kolkata"))
    query = StatsQuery(project, "", "version", window, DAY_NS, 10)
    before = find_stats(store.reader, query)
    compute(store, project)
    part = make_question(store.reader, query).rollup
    assert (len(part.days), len(part.cut_days), len(part.pieces)) == (0, 7, 9)
    assert find_stats(store.reader, query) == before


def judged(stats: RunStats) -> Sequence[JudgeFigures]:
    return stats.total.judges


@at_night
def test_many_versions(store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions have the same figures if there are too many to name in the query."""
    take_week(store, project)
    filters = ("", 'outcome == "ok" and model == "answer"')
    few = [ask(store, project, "version", where) for where in filters]
    monkeypatch.setattr("otel_ml_collector.stats._MOST_NAMED", 0)
    assert [ask(store, project, "version", where) for where in filters] == few
    compute(store, project)
    assert [ask(store, project, "version", where) for where in filters] == few


@at_night
def test_models_without_versions(store: Store, project: str) -> None:
    """A model without versions is a group next to versions, even if the model is new."""
    version = {"otel_ml.model.version": "aa"}
    store.take(project, *(make_call("answer", version, start_ns=WEEK.start_ns) for _ in range(2)))
    first = ask(store, project, "version")
    store.take(project, make_call("gpt-4o", start_ns=WEEK.start_ns))
    asked = [ask(store, project, "version") for _ in range(2)]
    told = [[(one.group, one.total.runs) for one in stats.groups] for stats in (first, *asked)]
    assert told == [[("answer:v1", 2)], *[[("answer:v1", 2), ("gpt-4o", 1)]] * 2]
    assert [(one.groups_found, one.other) for one in (first, *asked)] == [
        (1, None),
        *[(2, None)] * 2,
    ]


@at_night
def test_late_score(store: Store, project: str) -> None:
    """A score that arrives after its day's rollup counts immediately."""
    call = make_call(start_ns=WEEK.start_ns)
    store.take(project, call)
    compute(store, project)
    assert days_of_rollup(store, project) == 7
    told: dict[str, Value] = {
        "otel_ml.judge.name": "grounded",
        "otel_ml.score.value": 0.25,
        "otel_ml.target.start_ns": call.start_ns,
    }
    records = map_spans([make_record("evaluation", call, told)], Filing(project, NOW_NS))
    Writer(store.connections).write(records)  # by a collector that did not mark the day
    said = JudgeFigures(
        judge="grounded",
        version=None,
        digest="",
        evaluations=1,
        failed=0,
        mean_score=0.25,
        pass_rate=None,
    )
    assert (days_of_rollup(store, project), judged(ask(store, project))) == (6, [said])
    compute(store, project)
    assert (days_of_rollup(store, project), judged(ask(store, project))) == (7, [said])


@at_night
def test_score_without_a_start(store: Store, project: str) -> None:
    """A score without its run's start invalidates only the rolled-up days of its trace."""
    call = make_call(start_ns=WEEK.start_ns)
    store.take(project, call)
    compute(store, project)
    told: dict[str, Value] = {"otel_ml.judge.name": "grounded", "otel_ml.score.value": 0.25}
    records = map_spans([make_record("evaluation", call, told)], Filing(project, NOW_NS))
    Writer(store.connections).write(records)  # by a collector that did not mark the day
    assert days_of_rollup(store, project) == 6
    assert [figures.mean_score for figures in judged(ask(store, project))] == [0.25]
    compute(store, project)
    assert days_of_rollup(store, project) == 7
    assert [figures.mean_score for figures in judged(ask(store, project))] == [0.25]


def test_score_before_its_run(store: Store, project: str) -> None:
    """A score that arrives before its run invalidates no day. The run then does."""
    call = make_call(start_ns=WEEK.start_ns)
    compute(store, project)
    told: dict[str, Value] = {"otel_ml.judge.name": "grounded", "otel_ml.score.value": 0.25}
    store.take(project, make_record("evaluation", call, told))
    assert days_of_rollup(store, project) == 7
    store.take(project, call)
    assert days_of_rollup(store, project) == 6
    assert [figures.mean_score for figures in judged(ask(store, project))] == [0.25]


@at_night
def test_scores_of_keys_beside_the_rollup(store: Store, project: str) -> None:
    """If scores target trace keys, runs come from the rollup, with the same figures."""
    take_week(store, project)
    call = make_call(attributes={"otel_ml.trace_key": "order 1"}, start_ns=WEEK.start_ns)
    told: dict[str, Value] = {
        "otel_ml.target.trace_key": "order 1",
        "otel_ml.judge.name": "refunded",
        "otel_ml.score.value": 0.25,
    }
    store.take(project, call, make_record("evaluation", call, told))
    before = [ask(store, project, group) for group in GROUPS]
    assert [figures.judge for figures in judged(before[0])] == ["grounded", "refunded"]
    compute(store, project)
    assert days_of_rollup(store, project) == 7
    assert [ask(store, project, group) for group in GROUPS] == before


def test_too_many_buckets(store: Store, project: str) -> None:
    """More buckets than a response can contain are rejected with the maximum."""
    query = StatsQuery(project, "", "", WEEK, SECOND_NS, 10)
    with pytest.raises(BadInput, match="604,800 buckets: expected at most 750"):
        find_stats(store.reader, query)


def test_unknown_group(store: Store, project: str) -> None:
    """The error for an unknown group names it."""
    with pytest.raises(BadInput, match="Invalid group 'colour'"):
        ask(store, project, "colour")


def test_all_projects(store: Store, project: str) -> None:
    """The last day of every project is returned by the hour, with its cost."""
    store.take(project, make_call("m", {"gen_ai.usage.cost": 0.25}), make_call())
    groups = find_all_stats(store.reader, NOW_NS + 1).groups
    [found] = [one for one in groups if one.project == project]
    assert (found.runs, found.errors, [bucket.runs for bucket in found.buckets]) == (2, 0, [2])
    assert (found.cost, found.p95_ms) == (0.25, found.buckets[0].p95_ms)


def test_quantiles_of_all_projects(store: Store, project: str) -> None:
    """The p95 of a project is that of its runs: 95 s for 100 calls of 1 to 100 s."""
    start_ns = NOW_NS - HOUR_NS
    ends_ns = [start_ns + seconds * SECOND_NS for seconds in range(1, 101)]
    store.take(project, *(make_call(start_ns=start_ns, end_ns=end_ns) for end_ns in ends_ns))
    [found] = [one for one in find_all_stats(store.reader, NOW_NS).groups if one.project == project]
    assert found.p95_ms == pytest.approx(95_000, rel=0.011)


def test_calls_of_judges(store: Store, project: str) -> None:
    """A judge's calls count only in queries for their kind, not in models, lists or sessions."""
    spent: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 7,
        "session.id": "s",
    }
    run_id = f"{'0' * 31}1-{'0' * 15}1"
    mark: dict[str, Value] = {"otel_ml.judging": "grounded", "otel_ml.judging.run": run_id}
    at_ns = TODAY_NS - HOUR_NS
    for name, told in (("answer", spent), ("ask", spent | mark)):
        store.take(project, make_call(name, attributes=told, start_ns=at_ns, end_ns=at_ns + 1))
    counted = {where: ask(store, project, where=where).total for where in ("", 'kind == "judge"')}
    assert {where: (one.runs, one.tokens.input) for where, one in counted.items()} == {
        "": (1, 7),
        'kind == "judge"': (1, 7),
    }
    found = find_project(store.reader, project)
    assert (found.runs, found.other_spans) == (1, 1)
    compute(store, project)
    again = {where: ask(store, project, where=where).total for where in counted}
    assert again == counted


def test_failing_turn_of_nested_runs(store: Store, project: str) -> None:
    """A failing turn of three nested runs counts as three failed runs and one failed trace."""
    fails: dict[str, Value] = {"otel_ml.outcome": "error"}
    now_ns = time.time_ns()
    spans = [
        make_call(
            f"level {depth}",
            fails,
            trace_id=trace_id(1),
            span_id=span_id(depth),
            parent_span_id=span_id(depth - 1) if depth > 1 else b"",
            start_ns=now_ns - SECOND_NS,
        )
        for depth in (1, 2, 3)
    ]
    store.take(project, *spans, now_ns=now_ns)
    [found] = [one for one in find_all_stats(store.reader, now_ns).groups if one.project == project]
    assert (found.runs, found.errors, found.failed_traces) == (3, 3, 1)
    assert sum(bucket.runs for bucket in found.buckets) == 3
