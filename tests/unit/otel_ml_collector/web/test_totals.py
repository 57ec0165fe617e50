"""Tests of what a trace used up in all."""

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


def test_nothing_counts_twice() -> None:
    """A span above calls that says their sum, also at some distance, is left out."""
    found = add_up(
        [
            span("agent", None, Tokens(input=30, output=3), 3.0),
            span("step", "agent"),
            span("a", "step", Tokens(input=10, output=1), 1.0),
            span("b", "step", Tokens(input=20, output=2), 2.0),
        ]
    )
    assert found == Totals(Tokens(input=30, output=3), 3.0)


def test_cost_of_the_agent_alone() -> None:
    """Where only the span above says a cost it counts, whoever says the tokens."""
    found = add_up([span("agent", None, None, 3.0), span("a", "agent", Tokens(input=10, output=1))])
    assert found == Totals(Tokens(input=10, output=1), 3.0)


def test_nothing_said() -> None:
    """Where no span says anything there is no total, which is not zero."""
    assert add_up([span("root", None)]) == Totals(Tokens(), None)
    assert add_up([]) == Totals(Tokens(), None)


def test_circle() -> None:
    """Spans that are each other's parents end the search."""
    found = add_up([span("a", "b", Tokens(input=1)), span("b", "a", Tokens(input=2))])
    assert found == Totals(Tokens(), None)
