"""The collector's own numbers, as Prometheus reads them at ``/metrics``."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

__all__ = ["ANSWERS", "MEDIA_TYPE", "UPLOAD_ANSWERS", "Telemetry"]

ANSWERS = ("success", "partial", "refused", "unavailable")
UPLOAD_ANSWERS = ("stored", "known", "refused", "unavailable", "broken")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ROWS = (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


class Telemetry:
    """Counts what comes in and what becomes of it; a registry of its own, so tests stay apart."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "otel_ml_requests",
            "Export requests by transport and answer",
            ["transport", "answer"],
            registry=self._registry,
        )
        self._accepted = Counter(
            "otel_ml_spans_accepted", "Spans stored durably", registry=self._registry
        )
        self._rejected = Counter(
            "otel_ml_spans_rejected",
            "Spans that can never be stored, by reason",
            ["reason"],
            registry=self._registry,
        )
        self._commit_s = Histogram(
            "otel_ml_commit_seconds",
            "Time to store one group of records",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._failed_commits = Counter(
            "otel_ml_commits_failed",
            "Groups that could not be stored and will be sent again",
            registry=self._registry,
        )
        self._commit_rows = Histogram(
            "otel_ml_commit_rows", "Records in one group", buckets=_ROWS, registry=self._registry
        )
        self._uploads = Counter(
            "otel_ml_artifact_uploads",
            "Uploads of artifacts by answer",
            ["answer"],
            registry=self._registry,
        )
        self._artifact_bytes = Counter(
            "otel_ml_artifact_bytes",
            "Bytes of uploaded artifacts stored durably",
            registry=self._registry,
        )
        for answer in UPLOAD_ANSWERS:
            self._uploads.labels(answer)
        for transport in ("http", "grpc"):  # at 0 from the start: rate() sees the first event
            for answer in ANSWERS:
                self._requests.labels(transport, answer)
        self._queue_bytes = Gauge(
            "otel_ml_queue_bytes",
            "Bytes of requests that wait for an answer",
            registry=self._registry,
        )

    def count_request(self, transport: str, answer: str) -> None:
        """Count one answered request."""
        self._requests.labels(transport, answer).inc()

    def count_spans(self, accepted: int, rejected: Mapping[str, int]) -> None:
        """Count the spans of one request that is stored."""
        self._accepted.inc(accepted)
        for reason, number in rejected.items():
            self._rejected.labels(reason).inc(number)

    def count_upload(self, answer: str) -> None:
        """Count one answered upload of an artifact."""
        self._uploads.labels(answer).inc()

    def count_artifact(self, size: int) -> None:
        """Count the bytes of one artifact that is stored."""
        self._artifact_bytes.inc(size)

    def count_failed_commit(self) -> None:
        """Count one group that could not be stored."""
        self._failed_commits.inc()

    def observe_commit(self, duration_s: float, rows: int) -> None:
        """Note one stored group."""
        self._commit_s.observe(duration_s)
        self._commit_rows.observe(rows)

    def set_queue_bytes(self, number: int) -> None:
        """Note how much waits for an answer now."""
        self._queue_bytes.set(number)

    def render(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return generate_latest(self._registry)
