"""Tests of large requests that are cut: the portions hold what the whole does."""

import json
from dataclasses import replace
from random import Random
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml_collector.decode.requests import (
    PORTION_BYTES,
    cut,
    read_logs,
    read_points,
    read_spans,
)
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import BadField, Rejected, TooLarge
from otel_ml_collector.span import Scope, Span
from tests.support.otel_ml_collector.json_wire import encode_json
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode, instrumentation, resource_of
from tests.unit.otel_ml_collector.decode.test_traces import field

SPANS: Final = 1_500
RANDOM: Final = Random(7)  # noqa: S311 - guards nothing


def make_spans() -> list[Span]:
    """Make spans of three resources, of 5 KB each and of odd texts."""
    scopes = [Scope({"service.name": f"s{n} ü"}, f"scope {n}", "1", {"n": n}) for n in range(3)]
    return [
        make_call(attributes={"text": f'{n} "{{[\\é\u2028' * 300}, scope=scopes[n * 3 // SPANS])
        for n in range(SPANS)
    ]


def grouped(spans: list[Span]) -> bytes:
    """Write spans in protobuf, those of a scope below one envelope, the scope after them."""
    written = b""
    for scope in dict.fromkeys(span.scope.name for span in spans):
        those = [span for span in spans if span.scope.name == scope]
        found = encode([replace(span, scope=Scope({}, "", "", {})) for span in those])
        request = ExportTraceServiceRequest.FromString(found)
        records = b"".join(
            field(2, one.scope_spans[0].spans[0].SerializeToString())
            for one in request.resource_spans
        )
        head = field(1, instrumentation(those[0].scope).SerializeToString())
        below = field(2, records + head)
        resource = field(1, resource_of(those[0].scope).SerializeToString())
        written += field(1, below + resource)
    return written + field(15, b"unknown")


def grouped_json(spans: list[Span]) -> bytes:
    """Write spans in JSON, those of a scope below one envelope, the scope after them."""
    found = json.loads(encode_json(spans, RANDOM))
    resources: dict[str, Any] = {}
    for one in found["resourceSpans"]:
        name = json.dumps(one["resource"], sort_keys=True)
        scope = resources.setdefault(
            name,
            {
                "scopeSpans": [{"spans": [], "scope": one["scopeSpans"][0]["scope"]}],
                "resource": one["resource"],
            },
        )
        scope["scopeSpans"][0]["spans"] += one["scopeSpans"][0]["spans"]
    return json.dumps({"x": [1], "resourceSpans": list(resources.values())}, indent=1).encode()


@pytest.mark.parametrize(
    ("form", "is_grouped"),
    [(Form.PROTOBUF, False), (Form.PROTOBUF, True), (Form.JSON, False), (Form.JSON, True)],
)
def test_same_spans(form: Form, is_grouped: bool) -> None:
    """The portions of a request hold its spans, in order, with their resources and scopes."""
    spans = make_spans()
    if form is Form.JSON:
        body = grouped_json(spans) if is_grouped else encode_json(spans, RANDOM)
    else:
        body = grouped(spans) if is_grouped else encode(spans)
    portions = list(cut(body, Signal.TRACES, form))
    assert [span for one in portions for span in read_spans(one.body, form)] == list(
        read_spans(body, form)
    )
    assert len(portions) >= len(body) // (2 * PORTION_BYTES)
    assert max(len(one.body) for one in portions) < 1.2 * PORTION_BYTES


@pytest.mark.parametrize("signal", [Signal.LOGS, Signal.METRICS])
def test_same_records(signal: Signal) -> None:
    """Log records and data points of a request in JSON are in its portions, each once."""
    levels = {
        Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
        Signal.METRICS: ("resourceMetrics", "scopeMetrics", "metrics"),
    }[signal]
    record = {"body": {"stringValue": "x" * 500}, "gauge": {"dataPoints": [{"asInt": 1}]}}
    scopes = [{levels[2]: [record] * 1_500} for _ in range(3)]
    body = json.dumps({levels[0]: [{levels[1]: scopes}]}).encode()
    portions = [one.body for one in cut(body, signal, Form.JSON)]
    if signal is Signal.LOGS:
        assert sum(len(read_logs(one, Form.JSON)) for one in portions) == 4_500
    else:
        assert sum(read_points(one, Form.JSON)[0] for one in portions) == 4_500
    assert len(portions) > 1


def test_place_of_error() -> None:
    """A field that is wrong is named by its place in the whole request."""
    good, bad = {"name": "x" * 400_000}, {"name": 5}
    scopes = [{"spans": [good] * 5}, {"spans": [good, good, good, good, bad]}]
    body = json.dumps({"resourceSpans": [{}, {"scopeSpans": scopes}]}).encode()
    *_, last = cut(body, Signal.TRACES, Form.JSON)
    with pytest.raises(BadField) as raised:
        read_spans(last.body, Form.JSON)
    assert last.place(raised.value.field) == "resourceSpans[1].scopeSpans[1].spans[4].name"


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}', Form.JSON),
        (b'{"resourceSpans":5}', Form.JSON),
        (b'{"resourceSpans":[]}}', Form.JSON),
        (b"[]", Form.JSON),
        (b"\xff" * 20, Form.PROTOBUF),
        (field(1, field(2, b"\x12\x05")), Form.PROTOBUF),
    ],
)
def test_odd(body: bytes, form: Form) -> None:
    """A request that is none is one portion, and whoever reads it says what is wrong."""
    (portion,) = cut(body, Signal.TRACES, form)
    with pytest.raises(Rejected):
        list(read_spans(portion.body, form))


@pytest.mark.parametrize("form", list(Form))
def test_too_many(form: Form) -> None:
    """A request of more records than it may have is refused before any of them is given."""
    records = 25_001
    if form is Form.JSON:
        body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%b]}]}]}' % b",".join([b"{}"] * records)
    else:
        body = field(1, field(2, b"\x12\x00" * records))
    with pytest.raises(TooLarge, match="25001 records"):
        cut(body, Signal.TRACES, form)
