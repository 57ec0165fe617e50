"""Tests of the collector's own numbers."""

from prometheus_client.parser import text_string_to_metric_families

from otel_ml_collector.telemetry import Telemetry


def read(telemetry: Telemetry) -> dict[tuple[str, tuple[str, ...]], float]:
    """Read the numbers as Prometheus does, by name and label values, in order of the labels."""
    families = text_string_to_metric_families(telemetry.render().decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_counts() -> None:
    """What is counted is read by Prometheus' own parser."""
    telemetry = Telemetry()
    telemetry.count_request("http", "success")
    telemetry.count_request("http", "success")
    telemetry.count_request("grpc", "refused")
    telemetry.count_spans(7, {"invalid_span_id": 2})
    telemetry.count_failed_commit()
    telemetry.count_upload("stored")
    telemetry.count_artifact(1_000)
    telemetry.set_queue_bytes(4_096)
    numbers = read(telemetry)
    assert numbers["otel_ml_requests_total", ("success", "http")] == 2
    assert numbers["otel_ml_requests_total", ("refused", "grpc")] == 1
    assert numbers["otel_ml_spans_accepted_total", ()] == 7
    assert numbers["otel_ml_spans_rejected_total", ("invalid_span_id",)] == 2
    assert numbers["otel_ml_commits_failed_total", ()] == 1
    assert numbers["otel_ml_artifact_uploads_total", ("stored",)] == 1
    assert numbers["otel_ml_artifact_uploads_total", ("known",)] == 0
    assert numbers["otel_ml_artifact_bytes_total", ()] == 1_000
    assert numbers["otel_ml_queue_bytes", ()] == 4_096


def test_commits() -> None:
    """A stored group is counted by its duration and its size."""
    telemetry = Telemetry()
    telemetry.observe_commit(0.03, 512)
    numbers = read(telemetry)
    assert numbers["otel_ml_commit_seconds_bucket", ("0.025",)] == 0
    assert numbers["otel_ml_commit_seconds_bucket", ("0.05",)] == 1
    assert numbers["otel_ml_commit_seconds_count", ()] == 1
    assert numbers["otel_ml_commit_rows_bucket", ("500.0",)] == 0
    assert numbers["otel_ml_commit_rows_bucket", ("1000.0",)] == 1
    assert numbers["otel_ml_commit_rows_sum", ()] == 512


def test_requests_from_the_start() -> None:
    """Every answer of every transport is there with 0 before the first request."""
    requests = {key: value for key, value in read(Telemetry()).items() if "requests" in key[0]}
    assert requests == {
        ("otel_ml_requests_total", (answer, transport)): 0
        for transport in ("http", "grpc")
        for answer in ("success", "partial", "refused", "unavailable")
    }


def test_apart() -> None:
    """Two collectors of one process count apart."""
    one, two = Telemetry(), Telemetry()
    one.count_spans(1, {})
    assert read(two)["otel_ml_spans_accepted_total", ()] == 0
