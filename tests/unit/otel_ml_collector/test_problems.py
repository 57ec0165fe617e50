"""Tests of grouping findings into problems: one per cause, in order of importance."""

from dataclasses import replace
from typing import Any, cast
from zoneinfo import ZoneInfo

from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.overview.seen import read_seen
from otel_ml_collector.problems.news import OverviewNews
from otel_ml_collector.problems.problems import (
    FoundProblems,
    Sign,
    SignKind,
    group_signs,
    share_traces,
)
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.verdicts.claims import Measure
from otel_ml_collector.windows import Window

NOW_NS = 2_000 * DAY_NS


def make_sign(
    title: str,
    traces: range,
    kind: SignKind = "slice",
    measure: Measure = "errors",
    **facts: Any,
) -> Sign:
    """Make a sign of a slice, by default of `ask`. Its traces are numbers."""
    model = facts.pop("model", "ask")
    finding = Finding(
        "slice",
        title,
        model,
        "",
        0,
        1,
        facts.get("size", 1.0),
        title=title,
        measure=measure,
        condition=facts.pop("condition", ""),
        version=facts.pop("version", None),
    )
    return Sign(
        kind=kind,
        measure=measure,
        title=title,
        text="",
        evidence="",
        short="",
        model=model,
        where="",
        window=Window(0, 1),
        size=facts.pop("size", 1.0),
        finding=finding if kind in ("slice", "release") else None,
        runs=len(traces),
        traces=traces,
        **facts,
    )


def test_nested_functions_are_one_problem() -> None:
    """A function inside another one is not a separate problem."""
    outer = make_sign("ticket fails", range(100), model="ticket", tops=100)
    inner = make_sign("classify fails", range(100), model="classify")
    (problem,) = group_signs([inner, outer], "24h")
    assert problem.first.title == "ticket fails"
    assert [sign.short for sign in problem.also] == ["function classify"]


def test_coarser_tag_is_no_problem_of_its_own() -> None:
    """A region that contains a client is reported under the client."""
    client = make_sign(
        "fails for client", range(90), size=80.0, condition='tags["client"] == "Kessler"'
    )
    region = make_sign(
        "fails for region", range(100), size=80.0, condition='tags["region"] == "EU"'
    )
    (problem,) = group_signs([region, client], "24h")
    assert problem.first.title == "fails for client"
    assert [sign.short for sign in problem.also] == ["region EU"]


def test_slice_of_a_bad_version() -> None:
    """A slice of the last day has the same cause as a version that has been bad for longer.

    Most traces of the version are older, so only those of the last day are compared.
    """
    release = make_sign(
        "v2 is worse for client",
        range(1_000),
        kind="release",
        measure="quality",
        version=2,
        recent=range(990, 1_000),
    )
    region = make_sign(
        "worse for region",
        range(990, 1_200),
        measure="quality",
        condition='tags["region"] == "EU"',
        recent=range(990, 1_200),
    )
    (problem,) = group_signs([region, release], "24h")
    assert problem.first.title == "v2 is worse for client"
    assert [sign.short for sign in problem.also] == ["region EU"]


def test_claim_does_not_repeat_its_title() -> None:
    """The claim contains the title only if its text continues the title's sentence."""
    slice_ = make_sign("ask fails for client Kessler", range(9))
    (problem,) = group_signs([replace(slice_, text=" in 44 % of runs, elsewhere in 9 %")], "24h")
    assert problem.claim == "ask fails for client Kessler in 44 % of runs, elsewhere in 9 %"
    (problem,) = group_signs([replace(slice_, text=": 81 % pass, 99 % with v1")], "24h")
    assert problem.claim == "81 % pass, 99 % with v1"


def test_alert_and_error_of_the_same_runs() -> None:
    """An alert and a new error about the same runs belong to the slice's problem."""
    slice_ = make_sign("ask fails", range(100))
    alert = make_sign("Alert burst is firing", range(10, 90), kind="alert", subject="burst")
    error = make_sign("New error ValueError", range(95), kind="error", subject="ValueError")
    (problem,) = group_signs([alert, error, slice_], "24h")
    assert [sign.short for sign in problem.also] == ["alert burst", "New error ValueError"]


def test_other_causes_stay_apart() -> None:
    """Different runs, or a different measure of the same runs, are a separate problem."""
    signs = [
        make_sign("ask is slow", range(100), measure="latency"),
        make_sign("ask fails", range(100)),
        make_sign("fails for another client", range(200, 220)),
        make_sign("ask is worse", range(100), measure="quality"),
        make_sign("no input", range(300, 310), kind="broken", measure="data"),
    ]
    titles = [problem.first.title for problem in group_signs(signs, "24h")]
    # Broken data first, then quality, errors by number of runs, latency.
    assert titles == [
        "no input",
        "ask is worse",
        "ask fails",
        "fails for another client",
        "ask is slow",
    ]
    assert len({problem.key for problem in group_signs(signs, "24h")}) == len(signs)


def test_experiment_belongs_to_its_model() -> None:
    """An experiment, whose runs are its own, belongs to the problem of the function it ran."""
    release = make_sign("ask v2 is worse", range(50), kind="release", measure="quality", version=2)
    experiment = make_sign(
        "Experiment plain", range(900, 950), kind="experiment", measure="quality", subject="plain"
    )
    (problem,) = group_signs([experiment, release], "24h")
    assert [sign.short for sign in problem.also] == ["experiment plain"]


def test_share_of_samples() -> None:
    """For large sets, the shared part is estimated from the smallest hashes."""
    assert round(share_traces(range(0, 2_000, 2), range(0, 3_000, 3)), 2) == 0.5
    assert share_traces(range(0, 2_000, 2), range(1, 2_001, 2)) == 0.0
    assert share_traces(range(5), range(3, 20)) == 0.4
    assert share_traces([], range(9)) == 0.0


def find(*titles: str) -> FoundProblems:
    """Return one problem for each title."""
    signs = [
        make_sign(title, range(100 * place, 100 * place + 9), model=title)
        for place, title in enumerate(titles)
    ]
    news = cast("OverviewNews", None)
    return FoundProblems(group_signs(signs, "24h"), [], [], news, None)


def test_new_since_the_last_visit() -> None:
    """The page compares with the previous visit, even if it is opened twice within minutes."""
    utc = ZoneInfo("UTC")
    first = read_seen("")
    assert first.write_since(find("a", "b"), NOW_NS, utc) == ""
    cookie = first.add(find("a", "b"), NOW_NS)
    for later_ns in (NOW_NS + 20 * HOUR_NS, NOW_NS + 20 * HOUR_NS + 60 * 10**9):
        seen = read_seen(cookie)
        found = find("b", "c")
        assert seen.list_new(found, later_ns) == {"c-errors"}
        text = seen.write_since(found, later_ns, utc)
        assert text.endswith(", 1 problem is new and 1 problem is resolved (a).")
        cookie = seen.add(found, later_ns)


def test_wrong_cookie() -> None:
    """An invalid cookie counts as no cookie."""
    for cookie in ("x", "bm8=", "W10="):
        assert read_seen(cookie) == read_seen("")
