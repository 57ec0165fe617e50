"""Fixtures for checks of metrics and queries: a collector with data for every counter."""

import time
from collections.abc import Iterator, Mapping

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.wire import any_value
from tests.support.waiting import wait_until

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector that stored, missed and rejected spans and refused a request.

    A sampler dropped a span of another project.
    """
    process = CollectorProcess(tmp_path_factory.mktemp("counting"), "--sampled-projects", "sampled")
    try:
        process.wait_ready()
        ended: dict[str, str | float | bool] = {
            "record": "goodbye",
            "process": "0000000a",
            "seq": 2,
        }
        _send(process, _span("goodbye", ended))
        _send(process, _span("goodbye", {**ended, "project": "sampled"}))
        process.restart()  # missing spans are detected at the start
        judged: dict[str, str | float | bool] = {
            "model.name": "answer",
            "gen_ai.usage.cost": 0.5,
            "score.grounded": 0.5,
            "passed.grounded": True,
            "judges": '{"grounded": {"version": "00000000000000aa"}}',
        }
        _send(process, _span("answer", judged), Span(name="no ids"), is_whole=False)
        assert process.post("/v1/traces", b"\xff", PROTOBUF)[0] == 400
        wait_until(lambda: "otel_ml_runs_total{" in process.get_text("/metrics"))
        yield process
    finally:
        process.kill()


def _send(process: CollectorProcess, *spans: Span, is_whole: bool = True) -> None:
    scopes = [ScopeSpans(spans=spans)]
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=scopes)])
    process.deliver(request.SerializeToString(), PROTOBUF, is_whole)


def _span(name: str, attributes: Mapping[str, str | float | bool]) -> Span:
    """Return a span in otel-ml's own dialect that starts now."""
    now_ns = time.time_ns()
    return Span(
        trace_id=b"t" * 16,
        span_id=name[:8].encode().ljust(8),
        name=name,
        start_time_unix_nano=now_ns,
        end_time_unix_nano=now_ns,
        attributes=[
            KeyValue(
                key=key if key.startswith("gen_ai.") else f"otel_ml.{key}", value=any_value(value)
            )
            for key, value in attributes.items()
        ],
    )
