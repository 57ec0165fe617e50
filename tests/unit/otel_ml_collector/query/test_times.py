"""Tests of converting times between RFC 3339 and nanoseconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.errors import BadInput
from otel_ml_collector.times import from_rfc3339, to_rfc3339
from tests.support.otel_ml_collector.spans import NOW_NS


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (NOW_NS, "2026-11-20T07:00:00.000000000Z"),
        (NOW_NS + 123_456_789, "2026-11-20T07:00:00.123456789Z"),
        (NOW_NS + 999_999_999, "2026-11-20T07:00:00.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_write(time_ns: int, text: str) -> None:
    """A time is written in UTC with all its nanoseconds."""
    assert to_rfc3339(time_ns) == text


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-20T07:00:00Z", NOW_NS),
        ("2026-11-20T07:00:00", NOW_NS),
        ("2026-11-20 07:00", NOW_NS),
        ("2026-11-20", NOW_NS - 7 * 3_600 * 10**9),
        ("2026-11-20T09:00:00+02:00", NOW_NS),
        ("2026-11-20T07:00:00.5Z", NOW_NS + 500_000_000),
        ("2026-11-20T07:00:00.123456Z", NOW_NS + 123_456_000),
        ("2026-11-20T07:00:00.123456789Z", NOW_NS + 123_456_789),
        ("2026-11-20T09:00:00.123456789+02:00", NOW_NS + 123_456_789),
    ],
)
def test_read(text: str, time_ns: int) -> None:
    """A time is read with its offset and all its digits. Without an offset it is in UTC."""
    assert from_rfc3339(text, "start") == time_ns


@given(st.integers(0, 2**63 - 1))
def test_round_trip(time_ns: int) -> None:
    """A time that is written and read back is the same."""
    assert from_rfc3339(to_rfc3339(time_ns), "start") == time_ns


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-13-01", "2026-11-20T25:00:00Z", "1732086000", "2026-11-20T", "\0"],
)
def test_no_time(text: str) -> None:
    """An invalid time is rejected with the name of its parameter."""
    with pytest.raises(BadInput) as caught:
        from_rfc3339(text, "end")
    assert str(caught.value) == (
        f"Invalid time {text!r}: expected RFC 3339 such as 2026-11-20T07:16:40Z"
    )
    assert caught.value.field == "end"


@pytest.mark.parametrize(
    "text",
    [
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00+01:00",
        "2300-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_far_time(text: str) -> None:
    """A time outside 1970 to 2261 is rejected with this range."""
    with pytest.raises(BadInput) as caught:
        from_rfc3339(text, "start")
    assert str(caught.value) == f"Invalid time {text!r}: expected a year from 1970 to 2261"


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Any text is either a valid time or rejected."""
    try:
        assert 0 <= from_rfc3339(text, "start") < 2**63
    except BadInput as error:
        assert error.field == "start"  # noqa: PT017 - both outcomes are correct
