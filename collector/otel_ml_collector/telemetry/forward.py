"""Numbers of what is sent on to the services that take records."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_FORWARD: Final = "otel_ml_forward_records"


class RecordNumbers(Collector):
    """Counts, for each target, what was acknowledged, what failed, and how far it is behind."""

    def __init__(self) -> None:
        self._sent = Counter(
            _FORWARD, "Records that a target acknowledged", ("target", "kind"), registry=None
        )
        self._refused = Counter(
            f"{_FORWARD}_refused",
            "Records that a target will never take; they were left out",
            ("target",),
            registry=None,
        )
        self._failures = Counter(
            f"{_FORWARD}_failures",
            "Requests to a target that failed and were or will be sent again",
            ("target",),
            registry=None,
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
