"""Runs of a function in each hour of eight days: how many, how many fail, and what they cost."""

from collections.abc import Callable, Iterator
from typing import Final

from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.support.otel_ml_collector.spans import make_call, trace_id

HOURS: Final = 24 * 8
EACH: Final = 10
# Failures of ten runs, or the cost of a run in thousandths of a dollar, by hours before now.
Rate = Callable[[int], int]


def make_hours(
    model: str,
    now_ns: int,
    first_id: int,
    *,
    failures: Rate = lambda _: 0,
    cost: Rate = lambda _: 0,
    runs: Rate = lambda _: EACH,
) -> Iterator[Span]:
    """Make the runs of a function in the full hours of the last eight days."""
    for hour in range(1, HOURS):
        for place in range(runs(hour)):
            attributes: dict[str, Value] = {
                "otel_ml.outcome": "error" if place < failures(hour) else "ok"
            }
            if cost(hour):
                attributes["gen_ai.usage.cost"] = cost(hour) / 1000
            start_ns = now_ns // HOUR_NS * HOUR_NS - hour * HOUR_NS + place * MINUTE_NS
            yield make_call(
                model,
                attributes,
                trace_id=trace_id(first_id + hour * 1_000 + place),
                start_ns=start_ns,
                end_ns=start_ns + 10**6,
            )
