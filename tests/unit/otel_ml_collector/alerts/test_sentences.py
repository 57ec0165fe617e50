"""Tests of the sentences about alerts: values with units, conditions, slices and the past."""

import re

import pytest

from otel_ml_collector.alerts.conditions import read_condition
from otel_ml_collector.alerts.sentences import (
    describe_slice,
    explain_condition,
    explain_unjudged,
    write_past,
    write_value,
)
from otel_ml_collector.times import HOUR_NS


@pytest.mark.parametrize(
    ("when", "value", "written"),
    [
        ("error_share > 0.25", 0.6129, "61\u202f%"),
        ('pass_rate("grounded") < 0.9', 0.9876, "98.8\u202f%"),
        ("p95(latency_ms) > 3000", 3_812.0, "3.81\u202fs"),
        ("cost > 1", 0.0412, "$ 0.041"),
        ("runs < 100", 1_204.0, "1,204"),
        ('mean_score("grounded") < 0.7', 0.6129, "0.6129"),
        ("drift(inputs.text) > 0", 0.31, "0.31"),
        ("error_share > 0.25", None, "–"),
    ],
)
def test_value(when: str, value: float | None, written: str) -> None:
    """A value is written with its unit: shares in percent, times in seconds, cost in dollars."""
    assert write_value(read_condition(when).main, value) == written


@pytest.mark.parametrize(
    ("when", "explained"),
    [
        (
            "surely(error_share > 0.05)",
            "Share of failed runs above 5\u202f% "
            "(only if the difference from 5\u202f% is statistically significant)",
        ),
        ('pass_rate("grounded") < 0.925', 'Pass rate by judge "grounded" below 92.5\u202f%'),
        ("3000 < p50(latency_ms)", "p50 latency above 3\u202fs"),
        ('cost > 2 * previous("7d")', ""),
        ('worse("grounded")', ""),
    ],
)
def test_condition(when: str, explained: str) -> None:
    """A condition that compares with a number is explained in words. Other conditions are not."""
    assert explain_condition(read_condition(when)) == explained


def test_slice() -> None:
    """The sentence names the slice, the value, the duration and the limit."""
    condition = read_condition("error_share > 0.25")
    described = describe_slice(condition, {"client": "Kessler"}, 0.6129, "5m")
    assert described == "Kessler: 61\u202f% failed in 5\u202fmin (limit 25\u202f%)"
    everyone = describe_slice(condition, {}, 0.6129, "1h")
    assert everyone == "61\u202f% failed in 1\u202fh (limit 25\u202f%)"


@pytest.mark.parametrize(
    ("fired", "days", "hours", "is_complete", "expected"),
    [
        (26, 6, 168, True, "The rule would have fired 26 times on 6 of the last 7 days."),
        (9, 8, 168, True, "The rule would have fired 9 times on 7 of the last 7 days."),
        (1, 1, 168, True, "The rule would have fired once in the last 7 days."),
        (0, 0, 720, True, "The rule would not have fired in the last 30 days."),
        (3, 1, 6, True, "The rule would have fired 3 times in the last 6 hours."),
        (2, 1, 1, True, "The rule would have fired 2 times in the last hour."),
        (
            *(2, 2, 55, False),
            "The rule would have fired 2 times on 2 of the last 2 days. Earlier runs were not "
            "checked, because that takes too long.",
        ),
    ],
)
def test_past(fired: int, days: int, hours: int, is_complete: bool, expected: str) -> None:
    """The sentence has the number of times and days a rule would have fired, and the period."""
    assert write_past(fired, days, hours * HOUR_NS, is_complete=is_complete) == expected


@pytest.mark.parametrize(
    ("most_runs", "unknown", "expected"),
    [
        (12, [], {"2,880 windows", "30 runs", "min_runs"}),
        (0, [], {"2,880 finished", "filter"}),
        (30, [], {"2,880 windows", "30 runs", '"grounded"'}),
        (30, ["The project has no judge."], {"no judge"}),
    ],
)
def test_unjudged(most_runs: int, unknown: list[str], expected: set[str]) -> None:
    """If no window can be judged, the sentence gives the actual reason and no other."""
    main = read_condition('pass_rate("grounded") < 0.9').main
    written = explain_unjudged(2_880, 30, most_runs=most_runs, main=main, unknown=unknown)
    parts = r'\d[\d,]* \w+|min_runs|filter|"grounded"|no judge'
    assert {*re.findall(parts, written)} == expected
