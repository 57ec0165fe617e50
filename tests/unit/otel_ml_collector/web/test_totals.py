"""Tests of the total usage of a trace."""

from dataclasses import replace

from otel_ml.records import Tokens
from otel_ml_collector.runs.answers import SpanOutline, Totals, add_up


def span(
    name: str, above: str | None, tokens: Tokens | None = None, cost: float | None = None
) -> SpanOutline:
    return SpanOutline(name, above, "p", name, 0, 1, tokens or Tokens(), cost)


def test_calls_are_added_up() -> None:
    """Tokens and costs of the calls of a trace are added up."""
    found = add_up(
        [
            span("root", None),
            span("a", "root", Tokens(input=100, output=10, cached=40), 0.5),
            span("b", "root", Tokens(input=1, output=2, reasoning=1), 0.25),
        ]
    )
    assert found == Totals(Tokens(input=101, output=12, cached=40, reasoning=1), 0.75)


def test_calls_of_judges() -> None:
    """The usage of judges does not count for a trace."""
    judge = replace(span("judge", "root", Tokens(input=5), 2.0), kind="judge")
    found = add_up([span("root", None, Tokens(input=10), 1.0), judge])
    assert found == Totals(Tokens(input=10), 1.0)


def test_nothing_said() -> None:
    """If no span reports usage, there is no total, which is not zero."""
    assert add_up([span("root", None)]) == Totals(Tokens(), None)
    assert add_up([]) == Totals(Tokens(), None)
