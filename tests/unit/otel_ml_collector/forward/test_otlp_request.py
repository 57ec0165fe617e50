"""Tests of forwarded requests: the conversion from JSON to protobuf, headers and digest."""

import gzip
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.decode.protobuf import decode_logs, decode_traces
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.forward.otlp_request import OtlpRequest, Unreadable
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.json_wire import encode_json, encode_json_logs
from tests.support.otel_ml_collector.logs import make_log
from tests.support.otel_ml_collector.spans import make_call


def make(body: bytes, signal: Signal = Signal.TRACES, form: Form = Form.JSON) -> OtlpRequest:
    return OtlpRequest(body, "identity", signal, form, None, "here")


@given(seed=st.integers(0, 2**32))
def test_spans(seed: int) -> None:
    """Spans in any JSON spelling are converted to the same spans in protobuf."""
    random = Random(seed)  # noqa: S311 - chooses JSON spellings
    attributes: dict[str, Value] = {
        "text": "ä",
        "number": 2**53 + 1,
        "list": [1, 2.5, True],
        "raw": b"\xff",
    }
    body = encode_json([make_call("one", attributes), make_call("two")], random)
    told = make(body).as_protobuf()
    assert told.form is Form.PROTOBUF
    assert list(decode_traces(told.body)) == decode_json_traces(body)


@given(seed=st.integers(0, 2**32))
def test_logs(seed: int) -> None:
    """Log records in JSON are converted to the same log records in protobuf."""
    random = Random(seed)  # noqa: S311 - chooses JSON spellings
    log = make_log({"a": ["text", 1]}, {"number": 1}, of=make_call("one"), event="an.event")
    body = encode_json_logs([log], random)
    told = make(body, Signal.LOGS).as_protobuf()
    assert decode_logs(told.body) == decode_json_logs(body)


def test_compressed() -> None:
    """A compressed request that is converted is no longer compressed."""
    body = encode_json([make_call("one")], Random(1))  # noqa: S311 - chooses JSON spellings
    packed = replace(make(gzip.compress(body)), encoding="gzip").as_protobuf()
    assert (packed.encoding, packed.body) == ("identity", make(body).as_protobuf().body)


def test_protobuf() -> None:
    """A protobuf request is forwarded unchanged, whatever it contains."""
    request = make(b"whatever", form=Form.PROTOBUF)
    assert request.as_protobuf() is request


@pytest.mark.parametrize(
    "body", [b"[]", b"nonsense", b'{"resourceSpans": 1}', b'{"resourceSpans": [{"resource": 7}]}']
)
def test_unreadable(body: bytes) -> None:
    """A body that is not a request cannot be converted to protobuf."""
    with pytest.raises(Unreadable):
        make(body).as_protobuf()


@pytest.mark.parametrize(
    ("project", "told"), [(None, None), ("", None), ("shop", "shop"), ("a\tb", None), ("ä", None)]
)
def test_project(project: str | None, told: str | None) -> None:
    """The project is sent in a header if it is a valid header value."""
    headers = replace(make(b"{}"), project=project).headers
    assert headers == {"x-otel-ml-passed": "here", **({"x-otel-ml-project": told} if told else {})}


def test_digest() -> None:
    """The digest depends on content, project, signal and encoding, but not on the path taken."""
    request = make(b"{}")
    assert request.digest() == replace(request, passed="elsewhere").digest()
    others = [
        replace(request, body=b"{ }"),
        replace(request, project="shop"),
        replace(request, signal=Signal.LOGS),
        replace(request, encoding="gzip"),
    ]
    assert len({request.digest(), *(other.digest() for other in others)}) == 5
