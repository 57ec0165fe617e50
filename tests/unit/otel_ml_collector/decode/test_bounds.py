"""Tests of the limits of a request: small bodies that would use a lot of memory are rejected."""

import json
import tracemalloc
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml_collector.decode.bounds import MOST_RECORDS, check_values
from otel_ml_collector.decode.requests import read_logs, read_points, read_spans
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import TooLarge
from tests.unit.otel_ml_collector.decode.test_traces import field

MIB = 2**20
READERS = (read_spans, read_logs, read_points)
Read = Callable[[bytes, Form], object]


def nested(content: bytes, *numbers: int) -> bytes:
    """Nest protobuf fields, the outermost number first."""
    for number in reversed(numbers):
        content = field(number, content)
    return content


# Two bytes for each empty message: resources, spans, attributes, values of a list, links.
EMPTY = {
    "envelopes": b"\x0a\x00" * (5 * MIB),
    "records": nested(b"\x12\x00" * (5 * MIB), 1, 2),
    "attributes": nested(b"\x4a\x00" * (5 * MIB), 1, 2, 2),
    "values": nested(b"\x0a\x00" * (5 * MIB), 1, 2, 2, 9, 2, 5),
    "links": nested(b"\x6a\x00" * (2 * MIB), 1, 2, 2),
}
JSON = {
    "objects": b'{"a":[' + b"{}," * (9 * MIB) + b"{}]}",
    "lists": b'{"a":[' + b"[]," * (9 * MIB) + b"[]]}",
    "texts": b'{"a":[' + b'"",' * (9 * MIB) + b'""]}',
}


@pytest.mark.parametrize("body", EMPTY.values(), ids=EMPTY)
def test_empty_messages(body: bytes) -> None:
    """Millions of empty messages are rejected."""
    with pytest.raises(TooLarge, match=r"^The body has more than 1500000 values: send smaller"):
        check_values(body, Form.PROTOBUF)


@pytest.mark.parametrize("body", JSON.values(), ids=JSON)
def test_empty_objects(body: bytes) -> None:
    """Millions of empty values in JSON are rejected."""
    with pytest.raises(TooLarge, match=r"^The body has more than 3000000 values: send smaller"):
        check_values(body, Form.JSON)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("read", READERS)
def test_before(read: Read, form: Form) -> None:
    """A body with too many values is rejected before any of them is decoded."""
    body = EMPTY["values"] if form is Form.PROTOBUF else JSON["lists"]
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            read(body, form)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * len(body)


def test_text_of_marks() -> None:
    """JSON inside a string does not count as values."""
    document = json.dumps([{"a": ["b", {}]}] * (MIB // 2))
    check_values(json.dumps({"resourceSpans": document}).encode(), Form.JSON)


def test_text_of_lines() -> None:
    """Strings do not count as messages: 64 MiB of lines are accepted."""
    body = nested(b'\n    "key": "value",\n\n' * (2 * MIB), 1, 2, 2, 9, 2, 1)
    check_values(body, Form.PROTOBUF)


def traces(number: int) -> bytes:
    request = ExportTraceServiceRequest()
    for part in (number // 2, number - number // 2):
        spans = request.resource_spans.add().scope_spans.add().spans
        for _ in range(part):
            spans.add()
    return request.SerializeToString()


def logs(number: int) -> bytes:
    request = ExportLogsServiceRequest()
    for part in (number // 2, number - number // 2):
        records = request.resource_logs.add().scope_logs.add().log_records
        for _ in range(part):
            records.add()
    return request.SerializeToString()


def json_traces(number: int) -> bytes:
    parts: list[list[object]] = [[{}] * (number // 2), [{}] * (number - number // 2)]
    request = {"resourceSpans": [{"scopeSpans": [{"spans": part}]} for part in parts]}
    return json.dumps(request).encode()


def json_logs(number: int) -> bytes:
    parts: list[list[object]] = [[{}] * (number // 2), [{}] * (number - number // 2)]
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": part}]} for part in parts]}
    return json.dumps(request).encode()


@pytest.mark.parametrize(
    ("make", "read", "form"),
    [
        (traces, read_spans, Form.PROTOBUF),
        (logs, read_logs, Form.PROTOBUF),
        (json_traces, read_spans, Form.JSON),
        (json_logs, read_logs, Form.JSON),
    ],
    ids=["traces", "logs", "json traces", "json logs"],
)
def test_records(make: Callable[[int], bytes], read: Read, form: Form) -> None:
    """A request with one record more than allowed is rejected."""
    with pytest.raises(TooLarge, match=r"^The body has 25001 records: expected at most 25000"):
        read(make(MOST_RECORDS + 1), form)


def test_most_records() -> None:
    """A request with the maximum number of records is read."""
    assert len(read_spans(traces(MOST_RECORDS), Form.PROTOBUF)) == MOST_RECORDS


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"\x0a\x00" * (MOST_RECORDS + 1), Form.PROTOBUF),
        (nested(b"\x12\x00" * (MOST_RECORDS + 1), 1), Form.PROTOBUF),
        (b'{"resourceSpans":[' + b"{}," * MOST_RECORDS + b"{}]}", Form.JSON),
    ],
    ids=["resources", "scopes", "json"],
)
def test_envelopes(body: bytes, form: Form) -> None:
    """Envelopes (resources, scopes) count as records, even if they are empty."""
    with pytest.raises(TooLarge, match=r"^The body has 25001 records"):
        read_spans(body, form)
