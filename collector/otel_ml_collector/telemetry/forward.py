"""Numbers of what goes on to other services, by target: records, and OTLP requests."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final

from prometheus_client import Counter, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_FORWARD: Final = "otel_ml_forward_records"
DROPPED: Final = ("queue_full", "refused", "given_up", "unreadable", "not_allowed", "shutdown")


class RecordNumbers(Collector):
    """Counts, for each target, what was acknowledged, what failed, and how far it is behind."""

    def __init__(self) -> None:
        self._sent = _counter(_FORWARD, "Records that a target acknowledged", "target", "kind")
        self._refused = _counter(
            f"{_FORWARD}_refused",
            "Records that a target will never take; they were left out",
            "target",
        )
        self._failures = _counter(
            f"{_FORWARD}_failures",
            "Requests to a target that failed and were or will be sent again",
            "target",
        )
        self._lag = Gauge(
            f"{_FORWARD}_lag_seconds",
            "How long the oldest record waits that a target has not acknowledged, 0 when none does",
            ("target",),
            registry=None,
        )

    def collect(self) -> Iterable[Metric]:
        """Say all of it."""
        for metric in (self._sent, self._refused, self._failures, self._lag):
            yield from metric.collect()

    def add_target(self, target: str, lag_s: Callable[[], float], kinds: Iterable[str]) -> None:
        """Show a target from the start, at 0."""
        for kind in kinds:
            self._sent.labels(target, kind)
        self._refused.labels(target)
        self._failures.labels(target)
        self._lag.labels(target).set_function(lag_s)

    def count_sent(self, target: str, kind: str, sent: int, refused: int) -> None:
        """Count the records of one acknowledged request."""
        self._sent.labels(target, kind).inc(sent)
        self._refused.labels(target).inc(refused)

    def count_failure(self, target: str) -> None:
        """Count one request that failed."""
        self._failures.labels(target).inc()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a target, with what is on its way there."""

    requests: int
    bytes: int


class OtlpForwardNumbers(Collector):
    """Counts requests by target and signal; registered where they are to be seen."""

    def __init__(self) -> None:
        self._queues: dict[str, Callable[[], Waiting]] = {}
        self._forwarded = _counter(
            "otel_ml_otlp_forwarded", "Requests that a target has acknowledged", "target", "signal"
        )
        self._bytes = _counter(
            "otel_ml_otlp_forwarded_bytes", "Bytes of these requests, as they came", "target"
        )
        self._partial = _counter(
            "otel_ml_otlp_forward_partial",
            "Requests of which a target has acknowledged a part",
            *("target", "signal"),
        )
        self._retries = _counter(
            "otel_ml_otlp_forward_retries", "Requests put back to be sent again", "target"
        )
        self._dropped = _counter(
            "otel_ml_otlp_forward_dropped",
            "Requests that will not reach a target, by reason",
            *("target", "signal", "reason"),
        )

    def add_target(
        self, target: str, signals: Iterable[str], waiting: Callable[[], Waiting]
    ) -> None:
        """Show a target, at 0 from the start: rate() sees the first event."""
        self._queues[target] = waiting
        self._bytes.labels(target)
        self._retries.labels(target)
        for signal in signals:
            self._forwarded.labels(target, signal)
            self._partial.labels(target, signal)
            for reason in DROPPED:
                self._dropped.labels(target, signal, reason)

    def count_forwarded(self, target: str, signal: str, size: int, *, partial: bool) -> None:
        """Count one request that a target has acknowledged."""
        self._forwarded.labels(target, signal).inc()
        self._bytes.labels(target).inc(size)
        if partial:
            self._partial.labels(target, signal).inc()

    def count_retry(self, target: str) -> None:
        """Count one request that is put back."""
        self._retries.labels(target).inc()

    def count_dropped(self, target: str, signal: str, reason: str) -> None:
        """Count one request that will not reach a target, for one of `DROPPED`."""
        self._dropped.labels(target, signal, reason).inc()

    def collect(self) -> Iterable[Metric]:
        """Make the metrics; none while nothing is forwarded."""
        if not self._queues:
            return ()
        requests = GaugeMetricFamily(
            "otel_ml_otlp_forward_queue_requests",
            "Requests that wait for a target or are on their way to it",
            labels=["target"],
        )
        size = GaugeMetricFamily(
            "otel_ml_otlp_forward_queue_bytes", "Bytes of these requests", labels=["target"]
        )
        for target, look in self._queues.items():
            waiting = look()
            requests.add_metric([target], waiting.requests)
            size.add_metric([target], waiting.bytes)
        counters = (self._forwarded, self._bytes, self._partial, self._retries, self._dropped)
        return chain((requests, size), *(counter.collect() for counter in counters))


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=None)
