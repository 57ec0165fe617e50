"""Tests of decoding logs: OTLP bytes, protobuf and JSON, to log records."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.decode.json import decode_json_logs
from otel_ml_collector.decode.protobuf import decode_logs
from otel_ml_collector.errors import Rejected
from otel_ml_collector.span import Log, Scope, Value
from tests.support.otel_ml_collector.json_wire import encode_json_logs
from tests.support.otel_ml_collector.log_wire import encode_logs
from tests.unit.otel_ml_collector.decode.test_traces import attributes, texts, times, values

logs = st.builds(
    Log,
    trace_id=st.binary(max_size=17),
    span_id=st.binary(max_size=9),
    time_ns=times,
    observed_ns=times,
    severity_number=st.integers(0, 24),
    severity_text=texts,
    event=texts,
    body=values,
    attributes=attributes,
    scope=st.builds(Scope, attributes, texts, texts, attributes),
)

# Other tests may have the processors.


def make_log(event: str = "", attributes: dict[str, Value] | None = None) -> Log:
    scope = Scope({}, "", "", {})
    return Log(b"", b"", 0, 0, 0, "", event, None, attributes or {}, scope)


def events(log: Log) -> list[str]:
    """Send a log record both ways and return what event it is found to be each time."""
    (binary,) = decode_logs(encode_logs([log]))
    (json_,) = decode_json_logs(encode_json_logs([log], Random(1)))  # noqa: S311 - a choice of forms
    return [binary.event, json_.event]


@given(st.lists(logs, max_size=4))
def test_round_trip(given_logs: list[Log]) -> None:
    """What the official messages encode is decoded to the same log records in the same order."""
    assert decode_logs(encode_logs(given_logs)) == given_logs


@given(st.lists(logs, max_size=4), st.randoms(use_true_random=False))
def test_json(given_logs: list[Log], random: Random) -> None:
    """A request in JSON is decoded to the same log records as one in protobuf."""
    assert decode_json_logs(encode_json_logs(given_logs, random)) == decode_logs(
        encode_logs(given_logs)
    )


def test_event_name() -> None:
    """What event a log record is stands in a field of its own."""
    assert events(make_log("gen_ai.evaluation.result")) == ["gen_ai.evaluation.result"] * 2


def test_older_event_name() -> None:
    """Older senders say what event it is in an attribute."""
    assert events(make_log(attributes={"event.name": "older"})) == ["older"] * 2


def test_both_event_names() -> None:
    """Where both say what event it is, the field does."""
    assert events(make_log("newer", {"event.name": "older"})) == ["newer"] * 2


def test_no_event_name() -> None:
    """An attribute that is no text makes no event of a log record."""
    assert events(make_log(attributes={"event.name": 7})) == ["", ""]


def test_severity_name() -> None:
    """A severity that is written as its name, against the rule, is read."""
    record = {"severityNumber": "SEVERITY_NUMBER_WARN"}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    (log,) = decode_json_logs(body.encode())
    assert log.severity_number == 13


@pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"], ids=repr)
def test_empty(body: bytes) -> None:
    """A request without log records, also one of empty envelopes, gives none."""
    assert decode_logs(body) == []


@pytest.mark.parametrize("body", [b"\x0a\x7f\x01", b"{}"], ids=repr)
def test_undecodable(body: bytes) -> None:
    """A body that is no export request is refused for good."""
    with pytest.raises(
        Rejected, match=r"^The body is not an OTLP ExportLogsServiceRequest in prot"
    ):
        decode_logs(body)
