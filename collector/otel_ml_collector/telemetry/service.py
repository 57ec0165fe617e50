"""Metrics of the collector itself: received, answered, missing, stored and forwarded data."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.times import SECOND_NS

# Media type of `Telemetry.render`.
MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
ANSWERS: Final = (
    *("success", "partial", "refused", "unavailable"),
    *("unauthenticated", "forbidden", "over_quota"),
)
UPLOAD_ANSWERS: Final = ("stored", "known", "refused", "unavailable", "broken")
_QUOTAS: Final = ("spans", "bytes")
_SIGNALS: Final = ("traces", "logs", "metrics")

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_GROUP_SIZES: Final = (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
_LABELLED_PROJECTS: Final = 100
_OTHER: Final = "other"
_FRESH_S: Final = 15.0
ENDED_NOTIFICATIONS: Final = ("sent", "failed")
_FORWARD: Final = "otel_ml_forward_records"
DROPPED: Final = ("queue_full", "refused", "given_up", "unreadable", "not_allowed", "shutdown")


class Telemetry:
    """Metrics of requests and their outcomes. Each instance has its own registry.

    Attributes:
        left_points: Number of OTLP data points since the start that were not forwarded.
    """

    def __init__(self) -> None:
        self.left_points = 0
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._count_requests()
        self._count_records()
        self._count_commits()
        self._count_artifacts()
        self._count_tools()
        self._gauge(
            "otel_ml_build_info", "Which program this is, always 1", "version", "python"
        ).labels(version("otel-ml"), ".".join(map(str, sys.version_info[:3]))).set(1)

    def register(self, collector: Collector) -> None:
        """Add a collector that creates metrics at each scrape."""
        self._registry.register(collector)

    def count_request(self, transport: str, answer: str, signal: str = "traces") -> None:
        """Count an answered request."""
        self._requests.labels(transport, signal, answer).inc()

    def count_quota_refusal(self, quota: str) -> None:
        """Count a request that was over a quota of its key."""
        self._quota_refusals.labels(quota).inc()

    def count_user_refusal(self) -> None:
        """Count a request whose header names a user and is not accepted."""
        self._user_refusals.inc()

    def count_spans(self, accepted: int, rejected: Mapping[str, int]) -> None:
        """Count the spans of a stored request."""
        self._accepted.inc(accepted)
        _count_by_reason(self._rejected, rejected)

    def count_log_records(self, accepted: int, rejected: Mapping[str, int]) -> None:
        """Count the log records of a stored request."""
        self._accepted_logs.inc(accepted)
        _count_by_reason(self._rejected_logs, rejected)

    def count_rejected_points(self, rejected: Mapping[str, int]) -> None:
        """Count the rejected data points of a request."""
        _count_by_reason(self._rejected_points, rejected)

    def count_left_points(self, number: int) -> None:
        """Count the data points of a metrics request that is not forwarded."""
        self._left_points.inc(number)
        self.left_points += number

    def count_received(self, signal: str, number: int) -> None:
        """Count the decoded spans or log records of a request, whether or not they are stored."""
        self._received[signal].inc(number)

    def count_duplicates(self, number: int) -> None:
        """Count spans that were already stored."""
        self._duplicates.inc(number)

    def count_upload(self, answer: str) -> None:
        """Count an answered artifact upload."""
        self._uploads.labels(answer).inc()

    def count_artifact(self, size: int) -> None:
        """Count the bytes of a stored artifact."""
        self._artifact_bytes.inc(size)

    def count_failed_commit(self) -> None:
        """Count a group of records that could not be stored."""
        self._failed_commits.inc()

    def observe_commit(self, duration_s: float, rows: int) -> None:
        """Record the duration and the size of a stored group."""
        self._commit_s.observe(duration_s)
        self._commit_rows.observe(rows)
        self._last_commit.set(time.time())

    def set_queue_bytes(self, number: int) -> None:
        """Record the bytes of all requests that wait for an answer."""
        self._queue_bytes.set(number)

    def watch_clock(self, behind_s: Callable[[], float], ahead_s: Callable[[], float]) -> None:
        """Add metrics of how many seconds this machine's clock seems to be behind, or ahead."""
        self._gauge(
            "otel_ml_clock_behind_seconds",
            "Seconds by which this machine's clock seems to be behind, otherwise 0",
        ).set_function(behind_s)
        self._gauge(
            "otel_ml_clock_ahead_seconds",
            "Seconds by which this machine's clock seems to be ahead, otherwise 0",
        ).set_function(ahead_s)

    def count_tool(self, tool: str, outcome: str, characters: int) -> None:
        """Count a call of an assistant's tool and the characters of its answer."""
        self._tool_calls.labels(tool, outcome).inc()
        self._tool_characters.labels(tool).inc(characters)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def _count_requests(self) -> None:
        self._requests = self._counter(
            "otel_ml_requests",
            "Export requests by transport, signal and answer",
            *("transport", "signal", "answer"),
        )
        for transport in ("http", "grpc"):  # start at 0, so that rate() sees the first event
            for signal in _SIGNALS:
                for answer in ANSWERS:
                    self._requests.labels(transport, signal, answer)
        self._quota_refusals = self._counter(
            "otel_ml_quota_refusals",
            "Requests refused because of the rate limit of their key, by unit",
            "quota",
        )
        for quota in _QUOTAS:
            self._quota_refusals.labels(quota)
        self._user_refusals = self._counter(
            "otel_ml_user_refusals",
            "Requests refused because only a trusted proxy may name the user",
        )
        self._queue_bytes = self._gauge(
            "otel_ml_queue_bytes", "Bytes of requests that have no answer yet"
        )

    def _count_records(self) -> None:
        self._received = {
            "traces": self._counter(
                "otel_ml_spans_received", "Spans of all readable requests, stored or not"
            ),
            "logs": self._counter(
                "otel_ml_log_records_received",
                "Log records of all readable requests, stored or not",
            ),
        }
        self._accepted = self._counter("otel_ml_spans_accepted", "Spans that are safe on disk")
        self._rejected = self._counter(
            "otel_ml_spans_rejected", "Spans that were rejected for good, by reason", "reason"
        )
        self._duplicates = self._counter(
            "otel_ml_spans_duplicate",
            "Spans that were received again shortly after they were stored",
        )
        self._accepted_logs = self._counter(
            "otel_ml_log_records_accepted", "Log records that are safe on disk"
        )
        self._rejected_logs = self._counter(
            "otel_ml_log_records_rejected",
            "Log records that were rejected for good, by reason",
            "reason",
        )

        self._rejected_points = self._counter(
            "otel_ml_data_points_rejected",
            "Data points of OTLP metrics that were rejected for good, by reason",
            "reason",
        )
        self._left_points = self._counter(
            "otel_ml_data_points_left_out",
            "Data points of OTLP metrics that were neither stored nor forwarded",
        )

    def _count_commits(self) -> None:
        self._commit_s = Histogram(
            "otel_ml_commit_seconds",
            "Time to store one batch of records",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._failed_commits = self._counter(
            "otel_ml_commits_failed", "Batches that could not be stored; clients send them again"
        )
        self._commit_rows = Histogram(
            "otel_ml_commit_rows",
            "Records per batch",
            buckets=_GROUP_SIZES,
            registry=self._registry,
        )
        self._last_commit = self._gauge(
            "otel_ml_last_commit_timestamp_seconds",
            "Time of the last stored batch, 0 before the first one",
        )

    def _count_artifacts(self) -> None:
        self._uploads = self._counter(
            "otel_ml_artifact_uploads", "Uploads of artifacts by answer", "answer"
        )
        for answer in UPLOAD_ANSWERS:
            self._uploads.labels(answer)
        self._artifact_bytes = self._counter(
            "otel_ml_artifact_bytes", "Bytes of uploaded artifacts that are safe on disk"
        )

    def _count_tools(self) -> None:
        self._tool_calls = self._counter(
            "otel_ml_mcp_calls",
            "Calls of assistants' tools by outcome: answered, refused, timeout or busy",
            *("tool", "outcome"),
        )
        self._tool_characters = self._counter(
            "otel_ml_mcp_answer_characters", "Characters of answers to assistants", "tool"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)


# Reasons come from this program, so there are few. Senders cannot add new ones.
def _count_by_reason(counter: Counter, rejected: Mapping[str, int]) -> None:
    for reason, number in rejected.items():
        counter.labels(reason).inc(number)


@dataclass(frozen=True, slots=True)
class Missed:
    """Number of spans of a project that are missing, late, or dropped by a sampler."""

    missing: int
    late: int
    sampled: int = 0


class LossNumbers(Collector):
    """Metrics of missing spans: the 100 projects that miss most, and the sum of all others."""

    def __init__(self) -> None:
        self._shown: Mapping[str, Missed] = {}

    def set_missing(self, missed: Mapping[str, Missed]) -> None:
        """Set the numbers of missing spans of all projects."""
        ordered = sorted(
            missed.items(), key=lambda entry: (-entry[1].missing, -entry[1].late, entry[0])
        )
        shown = dict(ordered[:_LABELLED_PROJECTS])
        rest = [value for _, value in ordered[_LABELLED_PROJECTS:]]
        if rest:
            known = shown.get(_OTHER, Missed(0, 0))
            shown[_OTHER] = Missed(
                known.missing + sum(other.missing for other in rest),
                known.late + sum(other.late for other in rest),
                known.sampled + sum(other.sampled for other in rest),
            )
        self._shown = shown

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        missing = GaugeMetricFamily(
            "otel_ml_spans_missing",
            "Spans of the last 24 hours that were sent but are not here (lost, or dropped by "
            "sampling on the way)",
            labels=["project"],
        )
        late = GaugeMetricFamily(
            "otel_ml_spans_late",
            "Spans of the last 24 hours that arrived more than 5 minutes after they ended",
            labels=["project"],
        )
        sampled = GaugeMetricFamily(
            "otel_ml_spans_sampled",
            "Spans of the last 24 hours that a sampler on the way dropped: those that are not here "
            "of projects that the setting sampled_projects names",
            labels=["project"],
        )
        for project, value in self._shown.items():
            missing.add_metric([project], value.missing)
            late.add_metric([project], value.late)
            if value.sampled:
                sampled.add_metric([project], value.sampled)
        return missing, late, sampled


@dataclass(frozen=True, slots=True)
class TableSize:
    """Size of a table on disk. Deleted rows count until the database merges them away."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoreState:
    """Sizes of the store, and the time of its last backup.

    Attributes:
        tables: Size of each table.
        replaced_bytes: Bytes of files that merges and deletions have replaced. The store removes
            them within a minute.
        backup_ns: When the last backup was complete, in nanoseconds; 0 if there is none.
    """

    tables: Sequence[TableSize]
    replaced_bytes: int = 0
    backup_ns: int = 0


class StoreNumbers(Collector):
    """Metrics of the store and its disk. If the store fails, the last known numbers are used.

    Args:
        read: Reads the state of the store.
        folder: Folder of the store; None for a database server.
        find_behind_s: Returns how many seconds ago the oldest record arrived that is not in the
            rows of the runs that it changes.
        count_waiting: Returns how many runs have such a record.
    """

    def __init__(
        self,
        read: Callable[[], StoreState],
        folder: Path | None = None,
        find_behind_s: Callable[[], float] = lambda: 0.0,
        count_waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self._read = read
        self._find_behind_s = find_behind_s
        self._count_waiting = count_waiting
        self._folder = folder
        self._lock = threading.Lock()
        self._state: StoreState | None = None
        self._fresh_until_s = 0.0

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that the store is not queried at the start."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        size = GaugeMetricFamily(
            "otel_ml_store_bytes", "Bytes of a table on disk", labels=["table"]
        )
        rows = GaugeMetricFamily(
            "otel_ml_store_rows",
            "Rows of a table on disk, including replaced rows that are not merged away yet",
            labels=["table"],
        )
        behind = GaugeMetricFamily(
            "otel_ml_rows_behind_seconds",
            "Age of the oldest record that is not yet in the rows of the runs that it changes",
            value=self._find_behind_s(),
        )
        waiting = GaugeMetricFamily(
            "otel_ml_rows_waiting",
            "Runs whose rows lack a record, as far as they are counted",
            value=self._count_waiting(),
        )
        state = self._find_state()
        if state is None:
            return behind, waiting, *self._measure_disk()
        for item in state.tables:
            size.add_metric([item.table], item.bytes)
            rows.add_metric([item.table], item.rows)
        replaced = GaugeMetricFamily(
            "otel_ml_store_replaced_bytes",
            "Bytes of files that merges and deletions have replaced and that are not removed yet",
            value=state.replaced_bytes,
        )
        backup = GaugeMetricFamily(
            "otel_ml_last_backup_timestamp_seconds",
            "Time of the last complete backup, 0 if there is none",
            value=state.backup_ns / SECOND_NS,
        )
        return size, rows, replaced, backup, behind, waiting, *self._measure_disk()

    def _measure_disk(self) -> Sequence[Metric]:
        """Return the free space of the disk, which is not visible for a server."""
        if self._folder is None:
            return ()
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return ()
        return (
            GaugeMetricFamily(
                "otel_ml_disk_free_bytes",
                "Free bytes of the disk with the data folder",
                value=disk.f_bavail * disk.f_frsize,
            ),
            GaugeMetricFamily(
                "otel_ml_disk_free_inodes",
                "Free inodes of the disk with the data folder",
                value=disk.f_favail,
            ),
        )

    def _find_state(self) -> StoreState | None:
        with self._lock:
            now_s = time.monotonic()
            if now_s >= self._fresh_until_s:
                self._fresh_until_s = now_s + _FRESH_S
                with suppress(Unavailable):
                    self._state = self._read()
            return self._state


class RecordNumbers(Collector):
    """Metrics of forwarded records per destination: acknowledged, failed, and the delay."""

    def __init__(self) -> None:
        self._sent = _counter(_FORWARD, "Records that a destination acknowledged", "target", "kind")
        self._refused = _counter(
            f"{_FORWARD}_refused",
            "Records that a destination refused for good; they are skipped",
            "target",
        )
        self._failures = _counter(
            f"{_FORWARD}_failures",
            "Failed requests to a destination; they are retried",
            "target",
        )
        self._lag = Gauge(
            f"{_FORWARD}_lag_seconds",
            "Age of the oldest record that a destination has not acknowledged, otherwise 0",
            ("target",),
            registry=None,
        )

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        for metric in (self._sent, self._refused, self._failures, self._lag):
            yield from metric.collect()

    def add_target(self, target: str, lag_s: Callable[[], float], kinds: Iterable[str]) -> None:
        """Show a destination from the start, with counters at 0."""
        for kind in kinds:
            self._sent.labels(target, kind)
        self._refused.labels(target)
        self._failures.labels(target)
        self._lag.labels(target).set_function(lag_s)

    def count_sent(self, target: str, kind: str, sent: int, refused: int) -> None:
        """Count the acknowledged and the refused records of a request."""
        self._sent.labels(target, kind).inc(sent)
        self._refused.labels(target).inc(refused)

    def count_failure(self, target: str) -> None:
        """Count a failed request."""
        self._failures.labels(target).inc()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Number and bytes of requests that wait for a destination or are being sent to it."""

    requests: int
    bytes: int


class OtlpForwardNumbers(Collector):
    """Metrics of forwarded OTLP requests, per destination and signal."""

    def __init__(self) -> None:
        self._queues: dict[str, Callable[[], Waiting]] = {}
        self._forwarded = _counter(
            "otel_ml_otlp_forwarded", "Requests that a destination acknowledged", "target", "signal"
        )
        self._bytes = _counter(
            "otel_ml_otlp_forwarded_bytes", "Bytes of these requests, as received", "target"
        )
        self._partial = _counter(
            "otel_ml_otlp_forward_partial",
            "Requests that a destination acknowledged only in part",
            *("target", "signal"),
        )
        self._retries = _counter(
            "otel_ml_otlp_forward_retries", "Requests that are retried", "target"
        )
        self._dropped = _counter(
            "otel_ml_otlp_forward_dropped",
            "Requests that were dropped, by reason",
            *("target", "signal", "reason"),
        )

    def add_target(
        self, target: str, signals: Iterable[str], waiting: Callable[[], Waiting]
    ) -> None:
        """Show a destination with counts of 0, so that Prometheus' rate() sees the first event."""
        self._queues[target] = waiting
        self._bytes.labels(target)
        self._retries.labels(target)
        for signal in signals:
            self._forwarded.labels(target, signal)
            self._partial.labels(target, signal)
            for reason in DROPPED:
                self._dropped.labels(target, signal, reason)

    def count_forwarded(self, target: str, signal: str, size: int, *, partial: bool) -> None:
        """Count a request that a destination acknowledged. `size` is in bytes."""
        self._forwarded.labels(target, signal).inc()
        self._bytes.labels(target).inc(size)
        if partial:
            self._partial.labels(target, signal).inc()

    def count_retry(self, target: str) -> None:
        """Count a request that was put back into the queue."""
        self._retries.labels(target).inc()

    def count_dropped(self, target: str, signal: str, reason: str) -> None:
        """Count a request that will not reach a destination. `reason` is one of `DROPPED`."""
        self._dropped.labels(target, signal, reason).inc()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics; none if nothing is forwarded."""
        if not self._queues:
            return ()
        requests = GaugeMetricFamily(
            "otel_ml_otlp_forward_queue_requests",
            "Requests that wait for a destination or are being sent to it",
            labels=["target"],
        )
        size = GaugeMetricFamily(
            "otel_ml_otlp_forward_queue_bytes", "Bytes of these requests", labels=["target"]
        )
        for target, measure in self._queues.items():
            waiting = measure()
            requests.add_metric([target], waiting.requests)
            size.add_metric([target], waiting.bytes)
        counters = (self._forwarded, self._bytes, self._partial, self._retries, self._dropped)
        return chain((requests, size), *(counter.collect() for counter in counters))


@dataclass(frozen=True, slots=True)
class AlertPass:
    """Result of the last evaluation of all alert rules.

    Attributes:
        rules: Number of rules.
        windows: Number of windows evaluated since the start.
        failed: Number of rules that could not be evaluated.
        seconds: Duration of the evaluation.
        has_others: Whether another process evaluates rules of the same store.
        ended_ns: When the evaluation ended, in nanoseconds; 0 before the first one.
    """

    rules: int = 0
    windows: int = 0
    failed: int = 0
    seconds: float = 0.0
    has_others: bool = False
    ended_ns: int = 0


class AlertPassNumbers(Collector):
    """Metrics of the last evaluation of alert rules."""

    def __init__(self, read: Callable[[], AlertPass]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Return no metrics: there are none before the first evaluation."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        last_pass = self._read()
        for name, text, value in (
            ("rules", "Alert rules", last_pass.rules),
            (
                "rules_failed",
                "Alert rules that could not be evaluated in the last pass",
                last_pass.failed,
            ),
            ("look_seconds", "Duration of the last pass over all alert rules", last_pass.seconds),
            (
                "evaluators_others",
                "1 while a different collector evaluates the same rules, otherwise 0",
                int(last_pass.has_others),
            ),
            (
                "last_pass_timestamp_seconds",
                "Time when alert rules were last evaluated, 0 before the first time",
                last_pass.ended_ns / SECOND_NS,
            ),
        ):
            yield GaugeMetricFamily(f"otel_ml_alert_{name}", text, value)
        yield CounterMetricFamily(
            "otel_ml_alert_windows",
            "Time windows of alert rules that were evaluated",
            last_pass.windows,
        )


class AlertSendNumbers(Collector):
    """Metrics of alert notifications per receiver, and of failed attempts."""

    def __init__(self) -> None:
        self._ended = _counter(
            "otel_ml_alert_notifications",
            "Alert notifications that a receiver accepted or that were given up",
            *("target", "state"),
        )
        self._failures = _counter(
            "otel_ml_alert_notification_failures",
            "Failed attempts to send an alert notification",
            "target",
        )
        self._unknown = Counter(
            "otel_ml_alert_notifications_untargeted",
            "Alert notifications for a receiver that is not in the settings",
            registry=None,
        )
        self._waiting = Gauge(
            "otel_ml_alert_notifications_waiting",
            "Alert notifications that are not delivered yet",
            ("target",),
            registry=None,
        )

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        for metric in (self._ended, self._failures, self._unknown, self._waiting):
            yield from metric.collect()

    def add_target(self, target: str) -> None:
        """Show a receiver from the start, with counters at 0."""
        for state in ENDED_NOTIFICATIONS:
            self._ended.labels(target, state)
        self._failures.labels(target)
        self._waiting.labels(target)

    def count_ended(self, target: str, state: str) -> None:
        """Count a notification that is not sent again. `state` is one of `ENDED_NOTIFICATIONS`."""
        self._ended.labels(target, state).inc()

    def count_failure(self, target: str) -> None:
        """Count a failed attempt."""
        self._failures.labels(target).inc()

    def count_unknown(self) -> None:
        """Count a notification for a receiver that is not in the settings."""
        self._unknown.inc()

    def set_waiting(self, target: str, number: int) -> None:
        """Record how many notifications wait for a receiver."""
        self._waiting.labels(target).set(number)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=None)
