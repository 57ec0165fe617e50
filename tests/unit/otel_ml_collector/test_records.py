"""Tests that records match ``records.proto``."""

from dataclasses import fields

import pytest
from google.protobuf.message import Message

from otel_ml_collector._proto import records_pb2
from otel_ml_collector.records import LineRecord, Metric, ModelVersion, Records, Run, Tag
from tests.support.otel_ml_collector.spans import make_call, make_span, map_all


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Run, records_pb2.Run),
        (ModelVersion, records_pb2.ModelVersion),
        (Metric, records_pb2.Metric),
        (LineRecord, records_pb2.LogLine),
    ],
)
def test_fields(record: type, message: type[Message]) -> None:
    """A record has the same field names as its message."""
    assert {field.name for field in fields(record)} == set(message.DESCRIPTOR.fields_by_name)


def test_fields_of_a_tag() -> None:
    """A tag has the fields of its message, whose value has one of several types."""
    names = {field.name for field in fields(Tag)}
    one_of = records_pb2.Tag.DESCRIPTOR.oneofs_by_name["value"]
    others = set(records_pb2.Tag.DESCRIPTOR.fields_by_name) - {f.name for f in one_of.fields}
    assert names == others | {"value"}


def test_extend() -> None:
    """Extending records adds all records of the other."""
    one = map_all(make_call(attributes={"otel_ml.model.version": "aa", "otel_ml.score.j": 1}))
    two = map_all(make_span(), make_span(span_id=b""))
    both = Records()
    both.extend(one)
    both.extend(two)
    assert both.runs == [*one.runs, *two.runs]
    assert both.versions == one.versions
    assert both.metrics == one.metrics
    assert both.trace_keys == [*one.trace_keys, *two.trace_keys]
    assert both.rejected == {"invalid_span_id": 1}


def test_size() -> None:
    """The size of a group is its number of rows."""
    records = map_all(make_call(attributes={"otel_ml.model.version": "aa", "otel_ml.score.j": 1}))
    assert (len(records), len(Records())) == (3, 0)
