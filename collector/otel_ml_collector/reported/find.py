"""Reads what services report about their calls in metrics, by model.

A cumulative point counts since the start of its process, so its value at the beginning of the time
range is subtracted.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.reported.quantiles import Intervals, add_buckets, find_quantile
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, to_rfc3339

_MOST_SERIES: Final = 20_000
# A series that is silent for longer has no known value at the beginning of the time range.
_BEFORE_NS: Final = 2 * DAY_NS
_LABELS: Final = Sql("metric, model, provider, kind, error_type")
_DELTAS: Final = Sql("""
    SELECT {labels}, bounds, sum(count) AS count, sum(total) AS total,
      sumForEach(buckets) AS buckets
    FROM call_points FINAL
    WHERE project = {project:String} AND is_delta
      AND time_ns > {start:Int64} AND time_ns <= {end:Int64}
    GROUP BY {labels}, bounds LIMIT {most}""").fill(labels=_LABELS, most=_MOST_SERIES)
_CUMULATIVE: Final = Sql("""
    SELECT {labels}, series, start_ns, max(time_ns) AS last_ns,
      argMax(count, time_ns) AS count, argMax(total, time_ns) AS total,
      argMax(bounds, time_ns) AS bounds, argMax(buckets, time_ns) AS buckets,
      countIf(time_ns <= {start:Int64}) > 0 AS is_known,
      if(is_known, argMaxIf(count, time_ns, time_ns <= {start:Int64}), argMin(count, time_ns))
        AS first_count,
      if(is_known, argMaxIf(total, time_ns, time_ns <= {start:Int64}), argMin(total, time_ns))
        AS first_total,
      if(is_known, argMaxIf(bounds, time_ns, time_ns <= {start:Int64}), argMin(bounds, time_ns))
        AS first_bounds,
      if(is_known, argMaxIf(buckets, time_ns, time_ns <= {start:Int64}), argMin(buckets, time_ns))
        AS first_buckets
    FROM call_points FINAL
    WHERE project = {project:String} AND NOT is_delta
      AND time_ns > {start:Int64} - {before:Int64} AND time_ns <= {end:Int64}
    GROUP BY {labels}, series, start_ns
    HAVING last_ns > {start:Int64} LIMIT {most}""").fill(labels=_LABELS, most=_MOST_SERIES)
_SERVICES: Final = Sql("""
    SELECT DISTINCT service FROM call_points
    WHERE project = {project:String} AND service != ''
      AND time_ns > {start:Int64} AND time_ns <= {end:Int64}
    ORDER BY service LIMIT 100""")
_DURATIONS: Final = ("gen_ai.client.operation.duration", "gen_ai.client.inference.duration")
_USAGE: Final = "gen_ai.client.token.usage"
_COUNTERS: Final = "gen_ai.client.inference.usage."
_HISTOGRAMS: Final = "gen_ai.client.inference.operation."


class ReportedModel(AnswerBody):
    """Figures that services report about the calls of a model. Null: not reported."""

    model: str = Field(description="Model as the request named it; empty if it was not reported")
    provider: str
    calls: int | None
    errors: int | None
    errors_by_type: dict[str, int]
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    p50_ms: float | None = Field(description="Median latency in ms, interpolated within a bucket")
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Reported(AnswerBody):
    """Figures from metrics. They are never added to the figures of runs."""

    source: str = Field(default="metrics", description="Always `metrics`")
    start_time: str
    end_time: str
    services: list[str]
    models: list[ReportedModel] = Field(description="The models, those with the most calls first")


@dataclass(slots=True)
class _Model:
    """The sums of a model's series.

    Attributes:
        counts: Number of values, by metric and kind.
        totals: Sums of the values, by metric and kind.
        failed: Number of failed calls, by metric and type of error.
        latencies: Durations in seconds, by metric.
    """

    providers: set[str] = field(default_factory=set)
    counts: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    totals: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    failed: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    latencies: defaultdict[str, Intervals] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )

    def add(self, row: Row) -> None:
        """Add a series, without what it had counted before the time range."""
        metric = row["metric"]
        key = metric, row["kind"]
        count = max(row["count"] - row.get("first_count", 0), 0)
        self.counts[key] += count
        self.totals[key] += max(row["total"] - row.get("first_total", 0.0), 0.0)
        if row["provider"]:
            self.providers.add(row["provider"])
        if metric not in _DURATIONS:
            return
        if row["error_type"]:
            self.failed[metric, row["error_type"]] += count
        add_buckets(self.latencies[metric], row["bounds"], row["buckets"])
        if "first_buckets" in row:
            add_buckets(self.latencies[metric], row["first_bounds"], row["first_buckets"], -1)

    def answer(self, name: str) -> ReportedModel:
        """Return its figures."""
        duration = next((one for one in _DURATIONS if (one, "") in self.counts), "")
        failed = {kind: n for (metric, kind), n in self.failed.items() if metric == duration and n}
        latencies = self.latencies[duration]
        return ReportedModel(
            model=name,
            provider=", ".join(sorted(self.providers)),
            calls=self.counts[duration, ""] if duration else self._calls_by_tokens(),
            errors=sum(failed.values()) if duration else None,
            errors_by_type=dict(sorted(failed.items(), key=lambda pair: (-pair[1], pair[0]))),
            input_tokens=self._tokens("input", "input_tokens"),
            output_tokens=self._tokens("output", "output_tokens"),
            cached_tokens=self._tokens("cached", "cache_read.input_tokens"),
            cache_creation_tokens=self._tokens("cache_creation", "cache_write.input_tokens"),
            reasoning_tokens=self._tokens("reasoning", "reasoning.output_tokens"),
            p50_ms=_milliseconds(find_quantile(latencies, 0.5)),
            p90_ms=_milliseconds(find_quantile(latencies, 0.9)),
            p95_ms=_milliseconds(find_quantile(latencies, 0.95)),
            p99_ms=_milliseconds(find_quantile(latencies, 0.99)),
        )

    def _calls_by_tokens(self) -> int | None:
        """Return the number of calls whose tokens were counted one by one."""
        metrics = (_USAGE, f"{_HISTOGRAMS}input_tokens", f"{_HISTOGRAMS}output_tokens")
        counts = [
            max(self.counts.get((metric, kind), 0) for kind in ("input", "output"))
            for metric in metrics
        ]
        return max(counts) or None

    def _tokens(self, kind: str, name: str) -> int | None:
        """Return the tokens of a kind from the best metric that reports them, never from two."""
        for metric in (f"{_COUNTERS}{name}", _USAGE, f"{_HISTOGRAMS}{name}"):
            if (metric, kind) in self.totals:
                return round(self.totals[metric, kind])
        return None


def find_reported(reader: Reader, project: str, start_ns: int, end_ns: int) -> Reported:
    """Add up what services reported in metrics about their calls in a time range, by model."""
    asked = {"project": project, "start": start_ns, "end": end_ns, "before": _BEFORE_NS}
    models: defaultdict[str, _Model] = defaultdict(_Model)
    for row in _rows(reader, asked):
        models[row["model"]].add(row)
    answers = [model.answer(name) for name, model in models.items()]
    answers.sort(
        key=lambda answer: (-(answer.calls or 0), -(answer.input_tokens or 0), answer.model)
    )
    return Reported(
        start_time=to_rfc3339(start_ns),
        end_time=to_rfc3339(end_ns),
        services=[row["service"] for row in reader.rows(_SERVICES, asked)] if answers else [],
        models=answers,
    )


def _rows(reader: Reader, asked: dict[str, Any]) -> Iterable[Row]:
    yield from reader.rows(_DELTAS, asked)
    for row in reader.rows(_CUMULATIVE, asked):
        # A process that started in the time range, or at an unknown time, began at 0.
        if row["is_known"] or 0 < row["start_ns"] < asked["start"]:
            yield row
        else:
            yield {name: value for name, value in row.items() if not name.startswith("first_")}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 3)
