"""A trace as a whole: the times of all its spans, and who sent some of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from otel_ml.records import Tokens, tokens_of
from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.store.outline import read_outline, read_senders
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.rows import load_json
from otel_ml_collector.store.runs import find_places

MOST: Final = 100_000
_SENDERS: Final = 1_000
_SERVICE: Final = "service.name"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run in outline; one without an end reaches to where it was last known to be open."""

    run_id: str
    parent_run_id: str | None
    project: str
    name: str
    start_ns: int
    end_ns: int
    tokens: Tokens
    cost: float | None


@dataclass(frozen=True, slots=True)
class Sender:
    """Which process sent a run.

    Attributes:
        service: The name that it gave itself; empty when it gave none.
        process: What tells it from other processes of that service.
    """

    service: str
    process: str


def find_outline(reader: Reader, trace_id: str) -> list[Stretch] | None:
    """Find all ended runs of a trace; None when they are more than 100,000."""
    found: dict[str, Stretch] = {}
    for place in find_places(reader, trace_id):
        for row in read_outline(reader, place, MOST + 1 - len(found)):
            run_id = f"{place.trace_id}-{row['span_id']}"
            above = row["parent_span_id"]
            found[run_id] = Stretch(
                run_id=run_id,
                parent_run_id=f"{place.trace_id}-{above}" if above.strip("0") else None,
                project=place.project,
                name=row["name"],
                start_ns=row["start_ns"],
                end_ns=row["end_ns"],
                tokens=tokens_of(row),
                cost=row["cost"],
            )
        if len(found) > MOST:
            return None
    return list(found.values())


def outline_of(runs: Sequence[RunSummary], now_ns: int) -> list[Stretch]:
    """Outline runs that are all here; one that is running reaches to now."""
    return [
        Stretch(
            run_id=run.run_id,
            parent_run_id=run.parent_run_id,
            project=run.project,
            name=run.name,
            start_ns=run.start_ns,
            end_ns=run.start_ns + round(length_ms(run, now_ns) * 1e6),
            tokens=run.tokens,
            cost=run.cost,
        )
        for run in runs
    ]


def length_ms(run: RunSummary, now_ns: int) -> float:
    """Return how long a run took: up to now while it is running, else to when it was heard of."""
    if run.latency_ms is not None:
        return run.latency_ms
    until_ns = now_ns if run.outcome == "running" else run.last_heard_ns or 0
    return max(until_ns - run.start_ns, 0) / 1e6  # clocks of two machines


def find_senders(reader: Reader, trace_id: str, run_ids: Sequence[str]) -> dict[str, Sender]:
    """Find who sent some runs of a trace, the first 1,000 of them, by run id."""
    span_ids = [run_id.partition("-")[2] for run_id in run_ids[:_SENDERS]]
    return {
        f"{place.trace_id}-{row['span_id']}": _sender(row["resource"])
        for place in (find_places(reader, trace_id) if span_ids else ())
        for row in read_senders(reader, place, span_ids)
    }


def _sender(resource: str) -> Sender:
    service = load_json(resource, {}).get(_SERVICE)
    return Sender(service if isinstance(service, str) else "", resource)


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens and cost of a trace; None for what none of its runs says."""

    tokens: Tokens
    cost: float | None


def add_up(spans: Sequence[Stretch]) -> Totals:
    """Add up tokens and cost of a trace.

    A run that says them of itself and stands above others that do, such as an agent above its
    calls, says the sum of those: it is left out, so that nothing counts twice.
    """
    lowest = _lowest(spans, lambda span: _has_tokens(span.tokens))
    costs = [span.cost for span in _lowest(spans, lambda span: span.cost is not None)]
    return Totals(
        tokens=Tokens(
            *[_sum([getattr(span.tokens, one.name) for span in lowest]) for one in fields(Tokens)]
        ),
        cost=sum(cost for cost in costs if cost is not None) if costs else None,
    )


def _has_tokens(tokens: Tokens) -> bool:
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
