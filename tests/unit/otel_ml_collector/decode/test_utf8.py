"""Tests of requests with texts that are not valid UTF-8."""

import json
import time
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml_collector.decode.requests import read_logs, read_spans
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.decode.utf8 import Replaced
from otel_ml_collector.errors import Rejected, TooLarge
from tests.support.otel_ml_collector.spans import make_span, span_id, trace_id
from tests.support.otel_ml_collector.wire import encode

# Half of an "é": valid requests contain MARK, which is replaced by CUT afterwards.
MARK = b"caf__"
CUT = b"caf\xc3x"
SPAN = f"{trace_id(1).hex()}-{span_id(2).hex()}"
PLACE = "resourceSpans[1].scopeSpans[0].spans[0]"


def break_texts(body: bytes) -> bytes:
    assert MARK in body
    return body.replace(MARK, CUT)


def make_json(*spans: dict[str, Any]) -> bytes:
    ids = [{"traceId": trace_id(1).hex(), "spanId": span_id(at).hex()} for at in (1, 2)]
    resources = [
        {"scopeSpans": [{"spans": [{**own, **span}]}]} for own, span in zip(ids, spans, strict=True)
    ]
    return break_texts(json.dumps({"resourceSpans": resources}, ensure_ascii=False).encode())


def make_protobuf(**fields: Any) -> bytes:
    one = make_span("good", {"note": "café"}, trace_id=trace_id(1), span_id=span_id(1))
    two = make_span(**{"name": "bad", **fields}, trace_id=trace_id(1), span_id=span_id(2))
    return break_texts(encode([one, two]))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"attributes": {"note": "caf__"}}, ".attributes[0].value.stringValue"),
        ({"attributes": {"a": 1, "caf__": "x"}}, ".attributes[1].key"),
        ({"name": "caf__"}, ".name"),
        ({"status_message": "caf__"}, ".status.message"),
        (
            {"attributes": {"a": [1, {"b": "caf__"}]}},
            ".attributes[0].value.arrayValue.values[1].kvlistValue.values[0].value.stringValue",
        ),
    ],
    ids=["value", "key", "name", "status", "nested"],
)
def test_protobuf(fields: dict[str, Any], place: str) -> None:
    """An invalid byte is replaced by one character, and its span and place are reported."""
    replaced: list[Replaced] = []
    good, bad = read_spans(make_protobuf(**fields), Form.PROTOBUF, replaced)
    assert (good.name, good.attributes) == ("good", {"note": "café"})
    assert "caf\ufffdx" in repr(bad)
    assert replaced == [Replaced(PLACE + place, SPAN)]


def test_valid_protobuf_is_unchanged() -> None:
    """Everything valid in a request with an invalid byte is decoded unchanged."""
    good = make_span("good", {"a": [b"\xff", 1.5, {"b": None}]}, span_id=span_id(1))
    bad = make_span("caf__", {"b": b"caf\xc3x"}, span_id=span_id(2))
    read = list(read_spans(break_texts(encode([good, bad])), Form.PROTOBUF, []))
    assert read[0] == good
    assert read[1].attributes == {"b": b"caf\xc3x"}


def test_json() -> None:
    """An invalid byte in JSON is replaced by one character, and its span and place are reported."""
    note = [{"key": "note", "value": {"stringValue": "caf__"}}]
    replaced: list[Replaced] = []
    body = make_json({"name": "café"}, {"name": "bad", "attributes": note})
    good, bad = read_spans(body, Form.JSON, replaced)
    assert (good.name, bad.attributes) == ("café", {"note": "caf\ufffdx"})
    assert replaced == [Replaced(f"{PLACE}.attributes[0].value.stringValue", SPAN)]


def test_json_key() -> None:
    """An invalid byte in a JSON key affects only that field."""
    replaced: list[Replaced] = []
    _, bad = read_spans(make_json({}, {"name": "bad", "caf__": 1}), Form.JSON, replaced)
    assert (bad.name, len(replaced)) == ("bad", 1)


def test_logs() -> None:
    """An invalid byte in a log record is replaced by one character."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for text in ("café", "caf__"):
        records.add().body.string_value = text
    replaced: list[Replaced] = []
    logs = read_logs(break_texts(request.SerializeToString()), Form.PROTOBUF, replaced)
    assert [log.body for log in logs] == ["café", "caf\ufffdx"]
    place = "resourceLogs[0].scopeLogs[0].logRecords[1].body.stringValue"
    assert replaced == [Replaced(place)]


def test_resource() -> None:
    """An invalid byte in a resource does not drop its spans."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="caf__").value.int_value = 1
    resource_spans.scope_spans.add().spans.add(name="one")
    replaced: list[Replaced] = []
    (span,) = read_spans(break_texts(request.SerializeToString()), Form.PROTOBUF, replaced)
    assert span.scope.resource == {"caf\ufffdx": 1}
    assert replaced == [Replaced("resourceSpans[0].resource.attributes[0].key")]


@pytest.mark.parametrize("form", list(Form))
def test_broken_requests_stay_rejected(form: Form) -> None:
    """A body that is not a request is rejected, even if it is not valid UTF-8."""
    for body in (b"\xff", b"\x0a\xff\xffcaf\xc3x", b'{"resourceSpans":"caf\xc3x'):
        with pytest.raises(Rejected):
            read_spans(body, form, [])


def test_nul_bytes() -> None:
    """A large body of NUL bytes is rejected within 2 seconds, because field number 0 is invalid."""
    started_s = time.thread_time()
    with pytest.raises(Rejected):
        read_spans(bytes(19 * 2**20), Form.PROTOBUF, [])
    assert time.thread_time() - started_s < 2


def test_too_many_fields() -> None:
    """A truncated body with millions of fields is rejected after a limited number of them."""
    with pytest.raises(TooLarge, match=r"^The body has too many invalid parts: send smaller"):
        read_spans(b"\x78\x01" * (9 * 2**20) + b"\x0a", Form.PROTOBUF, [])


def test_place_in_large_request() -> None:
    """The reported place of a text counts from the start of the request, even in a large one."""
    body = encode([make_span("caf__" if at == 2_500 else "a") for at in range(3_000)])
    replaced: list[Replaced] = []
    read_spans(break_texts(body), Form.PROTOBUF, replaced)
    assert [text.place for text in replaced] == ["resourceSpans[2500].scopeSpans[0].spans[0].name"]
