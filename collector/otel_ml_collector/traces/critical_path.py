"""Finds the spans that a trace waited for: its critical path, and the spans that were slow."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.runs.answers import RunSummary, SpanOutline
from otel_ml_collector.stats import StatsQuery, find_group_totals
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window
from otel_ml_collector.wording import THIN

# A long span: the trace waited for it for at least this share of its time.
MOST_SHARE: Final = 1 / 3
# A span is never slow below this length, unless it exceeds the usual p95 of its model.
SLOW_MS: Final = 100.0
_USUAL_DAYS: Final = 7
_USUAL_RUNS: Final = 30
Span = TypeVar("Span", RunSummary, SpanOutline)


def group_by_parent(spans: Sequence[Span]) -> defaultdict[str | None, list[Span]]:
    """Group spans by their parent; spans whose parent is not here are under None."""
    known = {span.run_id for span in spans}
    children: defaultdict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        above = span.parent_run_id
        children[above if above in known and above != span.run_id else None].append(span)
    return children


@dataclass(frozen=True, slots=True)
class LongSpan:
    """A span that is responsible for at least a third of the duration of its trace.

    Attributes:
        length_ms: How long the span took.
        wait_ms: How long the trace waited for this span alone, while no span below it was running.
        share: `wait_ms` as a share of the duration of the trace, from 0 to 1.
    """

    run_id: str
    project: str
    name: str
    length_ms: float
    wait_ms: float
    share: float

    @property
    def percent(self) -> str:
        """The share in words."""
        return f"{100 * self.share:.0f}{THIN}%"


def find_long_spans(spans: Sequence[SpanOutline]) -> list[LongSpan]:
    """Find the spans that took most of the time of a trace, the longest first."""
    length_ns = max((s.end_ns for s in spans), default=0) - min(
        (s.start_ns for s in spans), default=0
    )
    if len(spans) <= 1 or length_ns <= 0:
        return []
    waits = find_waits(spans)
    long_spans = [
        LongSpan(
            span.run_id,
            span.project,
            span.name,
            (span.end_ns - span.start_ns) / 1e6,
            waits[span.run_id] / 1e6,
            waits[span.run_id] / length_ns,
        )
        for span in spans
        if waits.get(span.run_id, 0) >= MOST_SHARE * length_ns
    ]
    return sorted(long_spans, key=lambda span: -span.wait_ms)


def find_slow(
    long_spans: Sequence[LongSpan], models: Mapping[str, str], usual_ms: Mapping[str, float]
) -> set[str]:
    """Find the spans that were slow: 100 ms or longer, or longer than usual for their model.

    Args:
        long_spans: The spans to check, each responsible for at least a third of its trace's time.
        models: The model of each run, by run ID.
        usual_ms: The usual p95 of the latency of each model, in ms.

    Returns:
        The run IDs of the slow spans.
    """
    return {
        span.run_id
        for span in long_spans
        if span.length_ms >= SLOW_MS
        or span.length_ms > usual_ms.get(models.get(span.run_id, ""), SLOW_MS)
    }


def find_usual_ms(
    reader: Reader, project: str, models: Sequence[str], now_ns: int
) -> dict[str, float]:
    """Read the p95 of some models over the last week; models with too few runs are left out."""
    wanted = sorted({model for model in models if model})
    if not wanted:
        return {}
    query = StatsQuery(
        project=project,
        where=" or ".join(f"model == {quoted(model)}" for model in wanted),
        group="model",
        window=Window(now_ns - _USUAL_DAYS * DAY_NS, now_ns),
        step_ns=None,
        groups=len(wanted),
        only=wanted,
    )
    return {
        model: total.p95_ms
        for model, total in find_group_totals(reader, query).items()
        if total.p95_ms is not None and total.runs >= _USUAL_RUNS
    }


def find_waits(spans: Sequence[SpanOutline]) -> Mapping[str, int]:
    """Find how long a trace waited for each of its spans, in nanoseconds, by run ID.

    This is the time that a span is on the critical path of the trace. To find the path, this
    function goes backwards from the end of each span. If several children were running at a moment,
    the trace waited for the one that ended last. If no child was running, the trace waited for the
    span itself. So each moment counts for one span only. A span has 0 if a sibling ran during all
    of its time and ended later. The part of a child that lies outside its parent is ignored.
    """
    children = group_by_parent(list({span.run_id: span for span in spans}.values()))
    for below in children.values():
        below.sort(key=lambda span: -span.end_ns)
    waits: defaultdict[str, int] = defaultdict(int)
    start_ns = min((span.start_ns for span in spans), default=0)
    end_ns = max((span.end_ns for span in spans), default=0)
    waiting: list[tuple[str | None, int, int]] = [(None, start_ns, end_ns)]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        run_id, from_ns, until_ns = waiting.pop()
        itself_ns = 0
        for child in children.get(run_id, ()):
            begun_ns, done_ns = max(child.start_ns, from_ns), min(child.end_ns, until_ns)
            if begun_ns < done_ns:
                itself_ns += until_ns - done_ns
                waiting.append((child.run_id, begun_ns, done_ns))
                until_ns = begun_ns
        if run_id is not None:
            waits[run_id] = itself_ns + until_ns - from_ns
    return waits
