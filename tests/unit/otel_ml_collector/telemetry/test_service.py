"""Tests of the collector's own metrics."""

import sys
from importlib.metadata import version
from platform import python_version

import pytest

from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.telemetry.page import read


def test_counts() -> None:
    """All counters appear in the format that Prometheus' own parser reads."""
    telemetry = Telemetry()
    telemetry.count_request("http", "success")
    telemetry.count_request("http", "success", "logs")
    telemetry.count_request("grpc", "refused", "metrics")
    telemetry.count_received("traces", 9)
    telemetry.count_received("logs", 4)
    telemetry.count_spans(7, {"invalid_span_id": 2})
    telemetry.count_log_records(3, {"no_trace": 1})
    telemetry.count_rejected_points({"invalid_buckets": 6})
    telemetry.count_duplicates(5)
    telemetry.count_quota_refusal("bytes")
    telemetry.count_failed_commit()
    telemetry.count_upload("stored")
    telemetry.count_artifact(1_000)
    telemetry.set_queue_bytes(4_096)
    counted = {
        key: value
        for key, value in read(telemetry).items()
        if value and not key[0].startswith("otel_ml_build")
    }
    assert counted == {
        ("otel_ml_requests_total", ("success", "traces", "http")): 1,
        ("otel_ml_requests_total", ("success", "logs", "http")): 1,
        ("otel_ml_requests_total", ("refused", "metrics", "grpc")): 1,
        ("otel_ml_spans_received_total", ()): 9,
        ("otel_ml_log_records_received_total", ()): 4,
        ("otel_ml_spans_accepted_total", ()): 7,
        ("otel_ml_spans_rejected_total", ("invalid_span_id",)): 2,
        ("otel_ml_log_records_accepted_total", ()): 3,
        ("otel_ml_log_records_rejected_total", ("no_trace",)): 1,
        ("otel_ml_data_points_rejected_total", ("invalid_buckets",)): 6,
        ("otel_ml_spans_duplicate_total", ()): 5,
        ("otel_ml_quota_refusals_total", ("bytes",)): 1,
        ("otel_ml_commits_failed_total", ()): 1,
        ("otel_ml_artifact_uploads_total", ("stored",)): 1,
        ("otel_ml_artifact_bytes_total", ()): 1_000,
        ("otel_ml_queue_bytes", ()): 4_096,
    }


def test_commits() -> None:
    """A stored group is counted by duration and size."""
    telemetry = Telemetry()
    telemetry.observe_commit(0.03, 512)
    numbers = read(telemetry)
    assert numbers["otel_ml_commit_seconds_bucket", ("0.025",)] == 0
    assert numbers["otel_ml_commit_seconds_bucket", ("0.05",)] == 1
    assert numbers["otel_ml_commit_seconds_count", ()] == 1
    assert numbers["otel_ml_commit_rows_bucket", ("500.0",)] == 0
    assert numbers["otel_ml_commit_rows_bucket", ("1000.0",)] == 1
    assert numbers["otel_ml_commit_rows_sum", ()] == 512


def test_last_commit() -> None:
    """The metrics show when a group was last stored, and 0 before the first one."""
    telemetry = Telemetry()
    assert read(telemetry)["otel_ml_last_commit_timestamp_seconds", ()] == 0
    telemetry.observe_commit(0.03, 512)
    assert read(telemetry)["otel_ml_last_commit_timestamp_seconds", ()] > 1_700_000_000


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (
            "otel_ml_requests_total",
            [
                (answer, signal, transport)
                for transport in ("http", "grpc")
                for signal in ("traces", "logs", "metrics")
                for answer in (
                    *("success", "partial", "refused", "unavailable"),
                    *("unauthenticated", "forbidden", "over_quota"),
                )
            ],
        ),
        (
            "otel_ml_artifact_uploads_total",
            [(answer,) for answer in ("stored", "known", "refused", "unavailable", "broken")],
        ),
        ("otel_ml_quota_refusals_total", [("spans",), ("bytes",)]),
        ("otel_ml_spans_accepted_total", [()]),
        ("otel_ml_spans_duplicate_total", [()]),
    ],
)
def test_from_the_start(name: str, labels: list[tuple[str, ...]]) -> None:
    """Every possible label starts at 0, so that `rate()` sees the first increase."""
    numbers = {key: value for key, value in read(Telemetry()).items() if key[0] == name}
    assert numbers == {(name, one): 0 for one in labels}


def test_build() -> None:
    """The metrics show the versions of Python and otel-ml."""
    assert read(Telemetry())["otel_ml_build_info", (python_version(), version("otel-ml"))] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_process() -> None:
    """The metrics show memory and CPU time of the process, under the standard names."""
    page = Telemetry().render().decode()
    assert "\nprocess_resident_memory_bytes " in page
    assert "\nprocess_cpu_seconds_total " in page


def test_apart() -> None:
    """Two collectors in one process count separately."""
    one, two = Telemetry(), Telemetry()
    one.count_spans(1, {})
    assert read(two)["otel_ml_spans_accepted_total", ()] == 0
