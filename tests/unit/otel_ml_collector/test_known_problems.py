"""Tests of when a problem that a user marked as known is shown again."""

from dataclasses import replace
from typing import Any

import pytest

from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.problems.known import (
    Harm,
    KnownProblem,
    measure_difference,
    measure_runs,
)
from otel_ml_collector.problems.problems import Sign, name_mark
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.windows import Window

MARKED_NS = 20_000 * DAY_NS
NOW_NS = MARKED_NS + HOUR_NS
MARK = KnownProblem(
    name="0",
    problem="ask-errors",
    title="ask fails more often",
    who="ann",
    marked_time=to_rfc3339(MARKED_NS),
    end_time=to_rfc3339(MARKED_NS + 30 * DAY_NS),
    most={"24h": 0.2},
)


def make_sign(**facts: Any) -> Sign:
    finding = Finding(
        "slice",
        "ask fails for client Remax in 20 % of runs",
        "ask",
        "",
        0,
        1,
        1.0,
        measured="errors",
        condition='tags["client"] == "Remax"',
        version=2,
    )
    return Sign(
        kind="slice",
        measure="errors",
        title="ask fails for client Remax",
        text=" in 20 % of runs",
        evidence="",
        short="",
        model="ask",
        where="",
        window=Window(0, 1),
        size=1.0,
        finding=replace(finding, **facts),
    )


@pytest.mark.parametrize(
    ("harm", "since_ns", "is_known"),
    [
        (Harm(0.05, 0.2), None, True),
        (Harm(0.19, 0.4), None, True),
        (Harm(0.21, 0.4), None, False),  # clearly worse
        (Harm(0.05, 0.2), MARKED_NS - HOUR_NS, True),
        (Harm(0.05, 0.2), MARKED_NS + 1, False),  # it started again
    ],
)
def test_counts_again(harm: Harm, since_ns: int | None, *, is_known: bool) -> None:
    """A known problem is shown again if it started again or has certainly become worse."""
    assert MARK.hides(harm, "24h", since_ns, NOW_NS) is is_known


def test_other_time_range() -> None:
    """A mark does not hide a problem in a time range in which it had not been found."""
    assert not MARK.hides(Harm(0.0, 0.1), "1h", None, NOW_NS)


def test_end_of_a_mark() -> None:
    """A mark ends after 30 days."""
    harm = Harm(0.0, 0.1)
    assert MARK.hides(harm, "24h", None, MARKED_NS + 30 * DAY_NS - 1)
    assert not MARK.hides(harm, "24h", None, MARKED_NS + 30 * DAY_NS)


@pytest.mark.parametrize(
    ("low", "high", "neutral", "expected"),
    [
        (-0.32, -0.19, 0.0, (0.19, 0.32)),
        (0.02, 0.05, 0.0, (0.02, 0.05)),
        (1.5, 3.0, 1.0, (0.5, 2.0)),
        (-0.01, 0.04, 0.0, (0.0, 0.04)),
        (1.5, None, 1.0, (0.5, 1e12)),
    ],
)
def test_harm_of_a_difference(
    low: float, high: float | None, neutral: float, expected: tuple[float, float]
) -> None:
    """The harm of a difference is its distance from "no difference", in either direction."""
    difference = Interval(value=0.0, low=low, high=high, n=100, clusters=100)
    harm = measure_difference(difference, neutral)
    assert (harm.least, harm.most) == pytest.approx(expected)


def test_harm_of_runs() -> None:
    """The number of runs per day counts as larger only if chance does not explain the increase."""
    marked = measure_runs(9, DAY_NS)
    assert measure_runs(18, DAY_NS).least < marked.most
    assert measure_runs(40, DAY_NS).least > marked.most
    assert measure_runs(36, 4 * DAY_NS).least < marked.most


@pytest.mark.parametrize(
    "facts",
    [
        {"version": 3},
        {"condition": 'tags["client"] == "Nova"'},
        {"measured": "missing outputs"},
        {"target": "churned"},
    ],
)
def test_other_problem(facts: dict[str, Any]) -> None:
    """A problem with a different version, slice, measure or prediction target has its own mark."""
    assert name_mark(make_sign(**facts)) != name_mark(make_sign())


def test_same_problem() -> None:
    """A mark does not depend on figures that change constantly."""
    later = make_sign(sentence="ask fails for client Remax in 21 % of runs", size=2.0, end_ns=5)
    assert name_mark(replace(later, text=" in 21 % of runs", size=2.0)) == name_mark(make_sign())
