"""Tests of decoding logs from OTLP protobuf and JSON."""

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


def make_log(event: str = "", attributes: dict[str, Value] | None = None) -> Log:
    scope = Scope({}, "", "", {})
    return Log(b"", b"", 0, 0, 0, "", event, None, attributes or {}, scope)


def events(log: Log) -> list[str]:
    """Decode a log record from protobuf and from JSON, and return both event names."""
    (binary,) = decode_logs(encode_logs([log]))
    (json_,) = decode_json_logs(encode_json_logs([log], Random(1)))  # noqa: S311 - a choice of forms
    return [binary.event, json_.event]


@given(st.lists(logs, max_size=4))
def test_round_trip(given_logs: list[Log]) -> None:
    """Requests encoded with the official messages are decoded to the same log records, in order."""
    assert decode_logs(encode_logs(given_logs)) == given_logs


@given(st.lists(logs, max_size=4), st.randoms(use_true_random=False))
def test_json(given_logs: list[Log], random: Random) -> None:
    """A request in JSON is decoded to the same log records as one in protobuf."""
    assert decode_json_logs(encode_json_logs(given_logs, random)) == decode_logs(
        encode_logs(given_logs)
    )


def test_event_name() -> None:
    """The event name is read from its own field."""
    assert events(make_log("gen_ai.evaluation.result")) == ["gen_ai.evaluation.result"] * 2


def test_older_event_name() -> None:
    """Older senders put the event name into an attribute, which is read too."""
    assert events(make_log(attributes={"event.name": "older"})) == ["older"] * 2


def test_both_event_names() -> None:
    """If both are set, the field takes precedence over the attribute."""
    assert events(make_log("newer", {"event.name": "older"})) == ["newer"] * 2


def test_no_event_name() -> None:
    """An `event.name` attribute that is not a string is ignored."""
    assert events(make_log(attributes={"event.name": 7})) == ["", ""]


def test_severity_name() -> None:
    """A severity written as its name, which the specification forbids, is read too."""
    record = {"severityNumber": "SEVERITY_NUMBER_WARN"}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    (log,) = decode_json_logs(body.encode())
    assert log.severity_number == 13


@pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"], ids=repr)
def test_empty(body: bytes) -> None:
    """A request without log records, even with empty envelopes, is decoded to none."""
    assert decode_logs(body) == []


@pytest.mark.parametrize("body", [b"\x0a\x7f\x01", b"{}"], ids=repr)
def test_undecodable(body: bytes) -> None:
    """A body that is not an export request is rejected permanently."""
    with pytest.raises(
        Rejected, match=r"^The body is not an OTLP ExportLogsServiceRequest in prot"
    ):
        decode_logs(body)
