"""Tests of writing values on pages."""

import ast
import math
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.addresses import read_segment
from otel_ml_collector import wording
from otel_ml_collector.filter.grammar import Both, Either, FieldComparison, parse
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.times import ago
from otel_ml_collector.web import view
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS

NBSP = "\u202f"
texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 d"),
        (400 * 86_400, "400 d"),
    ],
)
def test_ago(seconds: int, text: str) -> None:
    """The age of an event is written in its largest whole unit."""
    assert ago(NOW_NS - seconds * SECOND_NS, NOW_NS) == text


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(None, None), (0.0, 0), (0.995, 1), (0.1812, 0.18), (42.7, 43), (363.2, 363), (3_697, 3_697)],
)
def test_percentiles(value: float | None, rounded: float | None) -> None:
    """A percentile has the fewest decimals within its error of 1 %."""
    assert wording.percentile(value) == rounded


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("Infinity", "∞"),
        (math.nan, "–"),
        (0, "0"),
        (0.0004, "0.0004"),
        (-0.000154, "−0.000154"),
        (1.2e-5, "0.000012"),
        (1.2e-12, "1.2e-12"),
        (0.05, "0.05"),
        (0.456, "0.456"),
        (1, "1"),
        (12.34, "12.3"),
        (28.4501, "28.5"),
        (604.0, "604"),
        (999.4, "999"),
        (1_000, "1,000"),
        (11_516, "11,520"),
        (1_234_567.8, "1,235,000"),
        (-2.5, "−2.5"),
        (-1_234, "−1,234"),
        (1e308, "1e+308"),
    ],
)
def test_number(value: float | str | None, text: str) -> None:
    """A number has three significant digits, or four before the point."""
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [
        (0.5, f"0.5{NBSP}ms"),
        (12.34, f"12.3{NBSP}ms"),
        (999, f"999{NBSP}ms"),
        (1_000, f"1{NBSP}s"),
        (59_900, f"59.9{NBSP}s"),
        (60_000, f"1{NBSP}min"),
        (3_599_000, f"60{NBSP}min"),
        (5_400_000, f"1.5{NBSP}h"),
        (160_686_000, f"44.6{NBSP}h"),
        (604_800_000, f"7{NBSP}d"),
    ],
)
def test_duration(value_ms: float, text: str) -> None:
    """A duration is written with a suitable unit."""
    assert wording.duration(value_ms) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 5, f"0{NBSP}%"),
        (5, 5, f"100{NBSP}%"),
        (1, 3, f"33.3{NBSP}%"),
        (1, 1_000, f"0.1{NBSP}%"),
    ],
)
def test_percent(part: int, whole: int, text: str) -> None:
    """A share is written in percent, and as a dash if the whole is 0."""
    assert wording.percent(part, whole) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (wording.count(1_234_567), "1,234,567"),
        (wording.score(0.456), "0.46"),
        (
            view.cut_id("0123456789abcdef0123456789abcdef-fedcba9876543210"),
            "01234567…fedcba9876543210",
        ),
        (view.moment("2026-11-20T07:00:00.123456789Z"), "2026-11-20 07:00:00.123 UTC"),
        (wording.tag_value(True), "true"),
        (wording.tag_value(False), "false"),
        (wording.tag_value(3), "3"),
        (wording.tag_value("3"), "3"),
    ],
)
def test_small_values(written: str, text: str) -> None:
    """Counts, scores, IDs, times and tags are written in a readable form."""
    assert written == text


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (view.address(), "/"),
        (view.address("p"), "/projects/p"),
        (view.address("a/b", "runs"), "/projects/a%2Fb/runs"),
        (view.address("what?", "models", "#1"), "/projects/what%3F/models/%231"),
        (view.address("日本", "runs"), "/projects/%E6%97%A5%E6%9C%AC/runs"),
        (view.address("50%", "a b&c+d"), "/projects/50%25/a%20b%26c%2Bd"),
        (view.address("p", "runs", where="", cursor=None), "/projects/p/runs"),
        (
            view.address("p", "runs", where='a == "b" & c', limit=0),
            "/projects/p/runs?where=a+%3D%3D+%22b%22+%26+c&limit=0",
        ),
        (view.api_address("projects", "a/b", "runs"), "/api/v1/projects/a%2Fb/runs"),
        (view.api_address("projects", order="oldest"), "/api/v1/projects?order=oldest"),
    ],
)
def test_address(address: str, text: str) -> None:
    """Addresses are quoted, and empty parameters are omitted."""
    assert address == text


@given(texts.filter(bool), texts.filter(bool))
def test_address_of_anything(name: str, where: str) -> None:
    """Any name and filter can be read back from their address."""
    parts = urlsplit(view.address(name, "runs", where=where))
    assert [read_segment(part) for part in parts.path.split("/")] == ["", "projects", name, "runs"]
    assert parse_qs(parts.query, strict_parsing=True) == {"where": [where]}


@pytest.mark.parametrize(
    ("where", "condition", "text"),
    [
        ("", 'model == "a"', 'model == "a"'),
        ("version == 1", 'model == "a"', 'version == 1 and model == "a"'),
    ],
)
def test_narrow(where: str, condition: str, text: str) -> None:
    """A condition is added to a filter, which may be empty."""
    assert narrow(where, condition) == text


def test_narrow_an_alternative() -> None:
    """A condition added to alternatives applies to all of them."""
    tree = parse(narrow("version == 1 or version == 2", "latency_ms > 5"))
    assert isinstance(tree, Both)
    assert isinstance(tree.parts[0], Either)
    assert isinstance(tree.parts[1], FieldComparison)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("", '""'),
        ('say "a"', '"say \\"a\\""'),
        ("a\\b", '"a\\\\b"'),
        ("two\nlines", '"two\\nlines"'),
        ("it's", '"it\'s"'),
        ("日本", '"日本"'),
        ("\x000", '"\\x000"'),
        (3, "3"),
        (0.5, "0.5"),
        (True, "True"),
        (False, "False"),
    ],
    ids=repr,
)
def test_quoted(value: Any, text: str) -> None:
    """A value is written in the syntax of the filter language."""
    assert quoted(value) == text


@given(texts)
def test_quoted_text(text: str) -> None:
    """Any text, quoted in a filter, is read back as the same text."""
    assert ast.literal_eval(quoted(text)) == text
    tree = parse(f"session == {quoted(text)}")
    assert isinstance(tree, FieldComparison)
    assert tree.value == text
