"""Tests of long and slow spans: which of its spans a trace waited for."""

from hypothesis import given
from hypothesis import strategies as st

from otel_ml.records import Tokens
from otel_ml_collector.runs.answers import SpanOutline
from otel_ml_collector.traces.critical_path import (
    LongSpan,
    find_long_spans,
    find_slow,
    find_waits,
)


def outline(name: str, above: str | None, start: int, end: int) -> SpanOutline:
    """Make a span named after its ID, with times in milliseconds."""
    ms = 10**6
    return SpanOutline(name, above, "p", name, start * ms, end * ms, Tokens(), None)


def waits(*spans: SpanOutline) -> dict[str, float]:
    return {name: wait / 1e6 for name, wait in find_waits(spans).items()}


def longest(*spans: SpanOutline) -> list[str]:
    return [one.name for one in find_long_spans(spans)]


def test_nested() -> None:
    """The wait for a span does not include the spans inside it."""
    spans = (
        outline("root", None, 0, 100),
        outline("middle", "root", 10, 90),
        outline("call", "middle", 20, 80),
    )
    assert waits(*spans) == {"root": 20, "middle": 20, "call": 60}
    assert longest(*spans) == ["call"]


def test_one_after_the_other() -> None:
    """Spans that follow each other all count."""
    spans = (
        outline("root", None, 0, 100),
        outline("a", "root", 0, 40),
        outline("b", "root", 40, 100),
    )
    assert waits(*spans) == {"root": 0, "a": 40, "b": 60}
    assert longest(*spans) == ["b", "a"]


def test_parallel() -> None:
    """For parallel spans, the trace waited for the one that ended last."""
    spans = (
        outline("root", None, 0, 100),
        outline("long", "root", 5, 95),
        outline("short", "root", 5, 80),
    )
    assert waits(*spans) == {"root": 10, "long": 90}
    assert longest(*spans) == ["long"]


def test_overlap() -> None:
    """For overlapping spans, each moment counts once, for the span that ended later."""
    spans = (
        outline("root", None, 0, 100),
        outline("a", "root", 0, 60),
        outline("b", "root", 50, 100),
    )
    assert waits(*spans) == {"root": 0, "a": 50, "b": 50}


def test_outside_of_the_parent() -> None:
    """A child outside its parent's time, because of a wrong clock, counts only within that time."""
    spans = (
        outline("root", None, 100, 200),
        outline("early", "root", 0, 150),
        outline("late", "root", 190, 500),
    )
    assert waits(*spans)["early"] == 50
    assert waits(*spans)["root"] == 40


def test_alone() -> None:
    """A single span is not long, and neither is one of many equal spans."""
    assert longest(outline("root", None, 0, 100)) == []
    steps = [outline(str(n), "root", n * 10, n * 10 + 10) for n in range(10)]
    assert longest(outline("root", None, 0, 100), *steps) == []


def test_no_time() -> None:
    """A trace without duration or without spans has no long spans."""
    assert longest(outline("a", None, 5, 5), outline("b", "a", 5, 5)) == []
    assert longest() == []


def test_told_with_its_share() -> None:
    """A long span has the time that the trace waited for it, and its share of the total."""
    [one] = find_long_spans([outline("root", None, 0, 100), outline("call", "root", 20, 95)])
    assert (one.run_id, one.wait_ms, one.share) == ("call", 75, 0.75)


def test_slow() -> None:
    """A span is slow from 100 ms, or above the usual p95 of its model."""
    spans = [
        LongSpan(name, "p", name, length_ms, length_ms, 0.5)
        for name, length_ms in (("a", 100.0), ("b", 99.0), ("c", 12.0), ("d", 12.0))
    ]
    models = {"b": "quick", "c": "quick", "d": "new"}
    assert find_slow(spans, models, {"quick": 20.0}) == {"a", "b"}


def test_deep() -> None:
    """A chain of 5,000 nested spans is followed to its end."""
    spans = [outline("0", None, 0, 20_000)]
    spans += [outline(str(n), str(n - 1), n, 20_000 - n) for n in range(1, 5_000)]
    assert waits(*spans)["4999"] == 10_002


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 50), st.integers(0, 50)),
        min_size=1,
        max_size=12,
    )
)
def test_no_moment_counts_twice(drawn: list[tuple[int, int, int]]) -> None:
    """The waits never exceed the trace's duration, for any spans and even for cycles."""
    spans = [
        outline(str(number), str(above) if above != number else None, start, start + length)
        for number, (above, start, length) in enumerate(drawn)
    ]
    took = max(span.end_ns for span in spans) - min(span.start_ns for span in spans)
    found = find_waits(spans)
    assert all(wait >= 0 for wait in found.values())
    assert sum(found.values()) <= took
    assert len(find_long_spans(spans)) <= 3
