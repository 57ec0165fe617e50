"""What a trace used up in all: tokens and cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otel_ml_collector.traces.outline import Stretch, Used


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens and cost of a trace; None for what none of its runs says."""

    tokens: Used
    cost: float | None


def add_up(spans: Sequence[Stretch]) -> Totals:
    """Add up tokens and cost of a trace.

    A run that says them of itself and stands above others that do, such as an agent above its
    calls, says the sum of those: it is left out, so that nothing counts twice.
    """
    lowest = _lowest(spans, lambda span: _has_tokens(span.tokens))
    costs = [span.cost for span in _lowest(spans, lambda span: span.cost is not None)]
    return Totals(
        tokens=Used(
            input=_sum([span.tokens.input for span in lowest]),
            output=_sum([span.tokens.output for span in lowest]),
            cached=_sum([span.tokens.cached for span in lowest]),
            reasoning=_sum([span.tokens.reasoning for span in lowest]),
        ),
        cost=sum(cost for cost in costs if cost is not None) if costs else None,
    )


def _has_tokens(tokens: Used) -> bool:
    return tokens.input is not None or tokens.output is not None


def _lowest(spans: Sequence[Stretch], says: Callable[[Stretch], bool]) -> list[Stretch]:
    """Keep those that say something and have none below them that does."""
    above = {span.run_id: span.parent_run_id for span in spans}
    telling = [span for span in spans if says(span)]
    covered: set[str] = set()
    for span in telling:
        over = span.parent_run_id
        while over is not None and over != span.run_id and over not in covered:
            covered.add(over)
            over = above.get(over)
    return [span for span in telling if span.run_id not in covered]


def _sum(numbers: Sequence[int | None]) -> int | None:
    told = [number for number in numbers if number is not None]
    return sum(told) if told else None
