"""Imported records, compared with how the official library reads OTLP/JSON."""

import json
import math
from typing import Any

from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_ml.export.answer import read_json_partial_success
from otel_ml.imports.lines import SourcePlace
from otel_ml.imports.otlp_records import (
    ImportedScore,
    RecordMaker,
    SourceRecord,
    join_records,
    otlp_attributes,
)

PLACE = SourcePlace("export.jsonl", 1)
SCALARS = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
)


def read_value(value: AnyValue) -> Any:
    """Return a value as plain Python, with NaN as text so that it equals itself."""
    kind = value.WhichOneof("value") or ""
    if kind == "array_value":
        return [read_value(item) for item in value.array_value.values]
    found = getattr(value, kind)
    return "NaN" if isinstance(found, float) and math.isnan(found) else found


@given(value=st.one_of(SCALARS, st.lists(SCALARS, max_size=3)))
def test_attributes(value: Any) -> None:
    """Scalars and lists of scalars are read back unchanged."""
    [encoded] = otlp_attributes({"key": value, "absent": None})
    read = read_value(Parse(json.dumps(encoded), KeyValue()).value)
    named = [value] if not isinstance(value, list) else value
    expected = ["NaN" if isinstance(item, float) and math.isnan(item) else item for item in named]
    assert read == (expected if isinstance(value, list) else expected[0])


def test_nested_attributes() -> None:
    """Mappings, lists of mappings and huge integers become JSON text."""
    given = {"a": {"b": [1]}, "c": [{"d": None}], "e": 2**64}
    encoded = [(item["key"], item["value"]["stringValue"]) for item in otlp_attributes(given)]
    assert encoded == [("a", '{"b":[1]}'), ("c", '[{"d":null}]'), ("e", "18446744073709551616")]


def test_requests() -> None:
    """Adjacent records share their resource and scope; the resource is marked as history."""
    maker = RecordMaker("phoenix", "shop")
    first, second = {"service.name": "a"}, {"service.name": "b", "otel_ml.project": "other"}
    records = [
        maker.span({"name": "1"}, PLACE, resource=first, scope="x"),
        maker.span({"name": "2"}, PLACE, resource=dict(first), scope="x"),
        maker.span({"name": "3"}, PLACE, resource=first),
        maker.span({"name": "4"}, PLACE, resource=second),
    ]
    request = Parse(join_records(records), ExportTraceServiceRequest())
    assert [
        [[span.name for span in scope.spans] for scope in group.scope_spans]
        for group in request.resource_spans
    ] == [[["1", "2"], ["3"]], [["4"]]]
    resources = [
        {item.key: item.value.string_value for item in group.resource.attributes}
        for group in request.resource_spans
    ]
    marks = {"otel_ml.import": "phoenix", "otel_ml.project": "shop"}
    assert resources == [{"service.name": "a", **marks}, {"service.name": "b", **marks}]


def make_score(project: str, **facts: Any) -> SourceRecord:
    score = ImportedScore(id="s1", name="helpful", time_ns=5, run_id="r", **facts)
    return RecordMaker("phoenix", project).score(score, PLACE)


def test_ids_of_scores() -> None:
    """A score has the same IDs in every import, and other IDs in another project."""
    spans = [
        json.loads(make_score(project, value=value).item)
        for project, value in (("shop", 0.5), ("shop", 1.0), ("bank", 0.5))
    ]
    ids = [(span["traceId"], span["spanId"]) for span in spans]
    assert ids[0] == ids[1] != ids[2]


def test_partial_success() -> None:
    """Rejected spans and log records are counted; an invalid body counts as none rejected."""
    spans = b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "why"}}'
    assert read_json_partial_success(spans) == (2, "why")
    assert read_json_partial_success(b'{"partialSuccess": {"rejectedLogRecords": 3}}') == (3, "")
    for body in (b"", b"{", b"[]", b'{"partialSuccess": 1}', b'{"partialSuccess": {}}'):
        assert read_json_partial_success(body) == (0, "")
