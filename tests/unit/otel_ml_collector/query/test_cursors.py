"""Tests of cursors, which mark the next page of a list."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.errors import BadInput
from otel_ml_collector.runs.find import read_cursor, write_cursor
from otel_ml_collector.store.runs import Key

TRACE_ID = "ab" * 16
SPAN_ID = "cd" * 8
hexes = st.sampled_from("0123456789abcdef")
keys = st.builds(
    Key,
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.lists(hexes, min_size=32, max_size=32).map("".join),
    st.lists(hexes, min_size=16, max_size=16).map("".join),
)


@given(keys)
def test_round_trip(key: Key) -> None:
    """A cursor that is written and read back is the same position."""
    assert read_cursor(write_cursor(key)) == key


@given(keys)
def test_in_an_address(key: Key) -> None:
    """A cursor needs no escaping in a URL, and fits the API's length limit."""
    cursor = write_cursor(key)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert len(cursor) <= 400


def encode(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "nonsense",
        "ü",
        "\0",
        "=" * 10,
        encode(None),
        encode(1),
        encode([]),
        encode([1, TRACE_ID]),
        encode([1, TRACE_ID, SPAN_ID, 0]),
        encode(["1", TRACE_ID, SPAN_ID]),
        encode([1.5, TRACE_ID, SPAN_ID]),
        encode([2**63, TRACE_ID, SPAN_ID]),
        encode([1, TRACE_ID.upper(), SPAN_ID]),
        encode([1, TRACE_ID + "\n", SPAN_ID]),
        encode([1, TRACE_ID, SPAN_ID[1:]]),
        encode([1, TRACE_ID, "' OR 1=1; --____"]),
        encode([1, None, SPAN_ID]),
        encode([1, 5, SPAN_ID]),
        encode({"a": 1, "b": 2, "c": 3}),
        base64.urlsafe_b64encode(b"[" * 5_000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_garbage(text: str) -> None:
    """A text that is not a cursor is rejected, with the text shortened in the error."""
    with pytest.raises(BadInput) as caught:
        read_cursor(text)
    assert str(caught.value) == (
        f"Invalid cursor {text[:80]!r}: expected a next_cursor from an earlier answer"
    )
    assert caught.value.field == "cursor"


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """Any text is either a cursor or a rejected one."""
    try:
        read_cursor(text)
    except BadInput as error:
        assert error.field == "cursor"  # noqa: PT017 - both outcomes are correct
