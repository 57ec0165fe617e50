"""Reading the number of spans that a receiver rejected from its response."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ml.export.answer import read_partial_success
from tests.support.examples import examples
from tests.support.otel_ml.export.http.servers import partial

TEXTS = st.text(st.characters(codec="utf-8"))


@given(rejected=st.integers(0, 2**63 - 1), message=TEXTS)
def test_partial_success_is_read_as_written(rejected: int, message: str) -> None:
    """Any number and text that the official library writes is read correctly."""
    assert read_partial_success(partial(rejected, message)) == (rejected, message)


UNKNOWN = st.sampled_from(
    [b"", b"\x18\x07", b"\x19" + b"x" * 8, b"\x1d" + b"x" * 4, b"\x1a\x02xy", b"\xf8\xff\x01\x01"]
)


@given(before=UNKNOWN, after=UNKNOWN, inner=UNKNOWN)
def test_unknown_fields_are_skipped(before: bytes, after: bytes, inner: bytes) -> None:
    """Fields of a later version of the standard are ignored."""
    written = ExportTracePartialSuccess(rejected_spans=2, error_message="a").SerializeToString()
    field = inner + written + inner
    body = before + b"\x0a" + bytes([len(field)]) + field + after
    assert read_partial_success(body) == (2, "a")


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05\x08",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x08" + b"\xff" * 11,
        b"\x0b\x0c",
        b"\x19xxxx",
        b"<html>no</html>",
        b'{"partialSuccess":{"rejectedSpans":1}}',
        partial(7, "cut")[:-1],
        partial(-1, ""),
    ],
)
def test_garbage_rejects_nothing(body: bytes) -> None:
    """A truncated or invalid body counts as no rejected spans."""
    assert read_partial_success(body) == (0, "")


@given(body=st.binary(max_size=60))
@settings(max_examples=examples(500))
def test_garbage_is_read_as_the_library_does(body: bytes) -> None:
    """Any bytes are read like the official library reads them, or as no rejected spans."""
    rejected, message = read_partial_success(body)
    assert rejected >= 0
    with suppress(Exception):
        theirs = ExportTraceServiceResponse.FromString(body).partial_success
        if (rejected, message) != (0, ""):  # we treat groups, which nobody writes, as garbage
            assert (rejected, message) == (max(theirs.rejected_spans, 0), theirs.error_message)
