"""Metrics of recorded runs and of scores, made of plain numbers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from otel_ml_collector.telemetry.counts import BOUNDS_S, RunCounts, ScoreCounts

Labels = tuple[str, ...]


def make_run_metrics(names: Sequence[str], counts: Mapping[Labels, RunCounts]) -> Iterable[Metric]:
    """Make the metrics of recorded runs.

    Args:
        names: Of the labels.
        counts: The numbers by the labels' values.
    """
    runs = CounterMetricFamily("otel_ml_runs", "Recorded runs", labels=names)
    errors = CounterMetricFamily(
        "otel_ml_run_errors", "Recorded runs that ended with an error", labels=names
    )
    tokens = CounterMetricFamily(
        "otel_ml_run_tokens", "Tokens of recorded runs", labels=[*names, "type"]
    )
    latency = HistogramMetricFamily(
        "otel_ml_run_duration_seconds", "Latency of recorded runs", labels=names
    )
    for labels, one in counts.items():
        runs.add_metric(labels, one.runs)
        errors.add_metric(labels, one.errors)
        tokens.add_metric([*labels, "input"], one.input_tokens)
        tokens.add_metric([*labels, "output"], one.output_tokens)
        bounds = (*map(str, BOUNDS_S), "+Inf")
        buckets = list(zip(bounds, accumulate(one.buckets), strict=True))
        latency.add_metric(labels, buckets, one.latency_ns / 1e9)
    return runs, errors, tokens, latency


def make_score_metrics(
    names: Sequence[str], counts: Mapping[Labels, ScoreCounts]
) -> Iterable[Metric]:
    """Make the metrics of what judges said of recorded runs; arguments as above."""
    scores = SummaryMetricFamily(
        "otel_ml_judge_score", "Scores of recorded runs: their sum and how many", labels=names
    )
    verdicts = CounterMetricFamily(
        "otel_ml_judge_verdicts",
        "Recorded runs that a judge passed or did not pass",
        labels=[*names, "passed"],
    )
    errors = CounterMetricFamily(
        "otel_ml_judge_errors", "Judges that failed: no score, no pass", labels=names
    )
    for labels, one in counts.items():
        scores.add_metric(labels, one.scores, one.total)
        verdicts.add_metric([*labels, "true"], one.passed)
        verdicts.add_metric([*labels, "false"], one.failed)
        errors.add_metric(labels, one.errors)
    return scores, verdicts, errors
