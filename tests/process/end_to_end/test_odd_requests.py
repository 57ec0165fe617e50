"""Requests that were once lost, refused or answered wrongly; each test covers a fixed bug."""

import gzip
import time
from typing import Any

import pytest
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.process.end_to_end.test_otlp_contract import (
    PROTOBUF,
    make_request,
    make_span,
    project,
    refused_by_http,
    send_http,
    stored_names,
)
from tests.support.collector import CollectorProcess

__all__ = ["project"]


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def run_id(span: Span) -> str:
    return f"{span.trace_id.hex()}-{span.span_id.hex()}"


CHAT = [text("gen_ai.operation.name", "chat")]


def test_gzip_members(collector: CollectorProcess, project: str) -> None:
    """A gzip body of two members is read to its end (RFC 1952 2.2)."""
    body = gzip.compress(make_request(make_span("one"))) + gzip.compress(
        make_request(make_span("two"))
    )
    headers = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip", "x-otel-ml-project": project}
    status, _, answer = collector.post("/v1/traces", body, headers)
    assert (status, answer, stored_names(collector, project)) == (200, b"", ["one", "two"])


def test_gzip_trailing(collector: CollectorProcess) -> None:
    """A gzip body followed by other bytes is refused with 400."""
    body = gzip.compress(make_request(make_span("one"))) + b"garbage"
    assert refused_by_http(collector, body, {"Content-Encoding": "gzip"})[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        {
            "events": [
                Span.Event(
                    name="gen_ai.evaluation.result",
                    time_unix_nano=2**63,
                    attributes=[text("gen_ai.evaluation.name", "j")],
                )
            ]
        },
        {
            "parent_span_id": b"abc",
            "attributes": [text("otel_ml.record", "evaluation"), text("otel_ml.judge.name", "j")],
        },
    ],
    ids=["late evaluation event", "short parent of an evaluation"],
)
def test_bad_span_among_good(
    collector: CollectorProcess, project: str, fields: dict[str, Any]
) -> None:
    """A bad span never prevents the good spans of its request from being stored."""
    request = make_request(make_span("one"), make_span("bad", **fields), make_span("two"))
    answer = ExportTraceServiceResponse.FromString(send_http(collector, request, project))
    assert "one" in stored_names(collector, project)
    assert answer.partial_success.rejected_spans <= 1


def test_many_roots(collector: CollectorProcess, project: str) -> None:
    """Each run of a trace with many root spans can be read."""
    start = time.time_ns()
    first = make_span("r0", start_time_unix_nano=start)
    more = [
        make_span(f"r{n}", trace_id=first.trace_id, start_time_unix_nano=start + n * 1000)
        for n in range(1, 150)
    ]
    send_http(collector, make_request(first, *more), project)
    assert collector.get(f"/runs/{run_id(more[-1])}").get("name") == "r149"


def test_times_of_points(collector: CollectorProcess, project: str) -> None:
    """The time of a metric point is stored to the nanosecond."""
    run = make_span("chat", attributes=CHAT)
    time_ns = run.start_time_unix_nano | 1

    def lists(key: str, value: AnyValue) -> KeyValue:
        return KeyValue(key=key, value=AnyValue(array_value=ArrayValue(values=[value])))

    update = make_span(
        "update",
        trace_id=run.trace_id,
        parent_span_id=run.span_id,
        attributes=[
            text("otel_ml.record", "update"),
            lists("otel_ml.metric.names", AnyValue(string_value="loss")),
            lists("otel_ml.metric.values", AnyValue(double_value=1.0)),
            lists("otel_ml.metric.times", AnyValue(int_value=time_ns)),
        ],
    )
    send_http(collector, make_request(run, update), project)
    [series] = collector.get(f"/projects/{project}/metrics", run_id=run_id(run))["series"]
    assert [point["time_ns"] for point in series["points"]] == [time_ns]


def test_status_message_beside_exception(collector: CollectorProcess, project: str) -> None:
    """If an exception event has no message, the span's status message is used."""
    event = Span.Event(name="exception", attributes=[text("exception.type", "E")])
    span = make_span(
        "chat",
        attributes=CHAT,
        events=[event],
        status=Status(code=Status.STATUS_CODE_ERROR, message="said no"),
    )
    send_http(collector, make_request(span), project)
    assert collector.get(f"/runs/{run_id(span)}")["error_message"] == "said no"


def test_project_of_plain_spans(collector: CollectorProcess, project: str) -> None:
    """A project that has only plain spans is listed."""
    send_http(collector, make_request(make_span("one")), project)
    assert project in [found["project"] for found in collector.get("/projects")["projects"]]


def test_large_body(collector: CollectorProcess) -> None:
    """An uncompressed body of 100 MiB is refused with 413."""
    assert refused_by_http(collector, bytes(100 * 1024 * 1024))[0] == 413


def test_span_kind(collector: CollectorProcess, project: str) -> None:
    """A span's kind is stored."""
    span = make_span("GET /", kind=Span.SPAN_KIND_SERVER, trace_state="a=b")
    send_http(collector, make_request(span), project)
    assert collector.get(f"/runs/{run_id(span)}")["span_kind"] == "server"


def test_many_months(collector: CollectorProcess, project: str) -> None:
    """Evaluations with run start times in 150 months are stored or refused, never answered 503."""
    month_ns = 31 * 86_400 * 10**9
    records = [
        make_span(
            "e",
            parent_span_id=b"parent00",
            attributes=[
                text("otel_ml.record", "evaluation"),
                text("otel_ml.judge.name", "j"),
                KeyValue(key="otel_ml.target.start_ns", value=AnyValue(int_value=n * month_ns)),
            ],
        )
        for n in range(1, 151)
    ]
    headers = {"Content-Type": PROTOBUF, "x-otel-ml-project": project}
    status, _, answer = collector.post("/v1/traces", make_request(*records), headers)
    assert status in {200, 400}, RpcStatus.FromString(answer)
