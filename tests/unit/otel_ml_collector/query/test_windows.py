"""Tests of time windows: days in time zones, and buckets from the start of the window."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.errors import BadInput
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.windows import (
    UTC_ZONE,
    Window,
    find_last,
    read_last_ns,
    read_zone,
    write_local,
)

BERLIN = read_zone("Europe/Berlin")
KOLKATA = read_zone("Asia/Kolkata")
ZONES = (UTC_ZONE, BERLIN, KOLKATA, read_zone("America/New_York"), read_zone("Pacific/Apia"))


def at(text: str) -> int:
    return from_rfc3339(text, "start", BERLIN)


def starts_of(window: Window, step_ns: int | None) -> list[str]:
    """Return the starts of a window's buckets as local times of its zone."""
    return [write_local(time_ns, window.zone)[5:16] for time_ns in window.cut(step_ns).starts_ns]


@pytest.mark.parametrize(
    ("last", "start", "end"),
    [
        ("today", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("yesterday", "2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00"),
        ("90m", "2026-03-29T10:30:00.000000007+02:00", "2026-03-29T12:00:00.000000007+02:00"),
        ("1d", "2026-03-28T11:00:00.000000007+01:00", "2026-03-29T12:00:00.000000007+02:00"),
    ],
)
def test_last(last: str, start: str, end: str) -> None:
    """A window of a given length ends now, to the nanosecond. Days are days of the time zone."""
    window = find_last(last, at("2026-03-29T12:00:00.000000007+02:00"), BERLIN)
    assert window == Window(at(start), at(end), BERLIN)


def test_yesterday_before_midnight_in_utc() -> None:
    """At half past midnight in Berlin, "yesterday" is one day later than in UTC."""
    now_ns = at("2026-11-20T00:30:00")
    berlin, utc = (find_last("yesterday", now_ns, zone) for zone in (BERLIN, UTC_ZONE))
    assert to_rfc3339(berlin.start_ns) == "2026-11-18T23:00:00.000000000Z"
    assert to_rfc3339(utc.start_ns) == "2026-11-18T00:00:00.000000000Z"


@pytest.mark.parametrize("last", ["", "0h", "24", "24 h", "tomorrow", "9999999h", "999999w", "-1d"])
def test_bad_last(last: str) -> None:
    """A text that is neither a length nor a day is rejected with the expected form."""
    with pytest.raises(BadInput) as caught:
        find_last(last, at("2026-11-20"), BERLIN)
    expected = "expected a number of s, m, h, d or w such as 24h, today or yesterday"
    assert str(caught.value) == f"Invalid last {last!r}: {expected}"
    assert caught.value.field == "last"
    assert read_last_ns(last) is None


@pytest.mark.parametrize(
    "name", ["", "Mars", "Europe", "europe/berlin", "/etc/localtime", "../UTC", "+01:00", "a\0"]
)
def test_bad_zone(name: str) -> None:
    """An unknown time zone is rejected with its parameter and the expected form."""
    with pytest.raises(BadInput) as caught:
        read_zone(name)
    assert str(caught.value) == (
        f"Invalid time zone {name!r}: expected an IANA name such as Europe/Berlin or UTC"
    )
    assert caught.value.field == "tz"


def test_date_of_a_zone() -> None:
    """A time without an offset is in the zone. A time with an offset keeps it."""
    assert to_rfc3339(at("2026-07-01")) == "2026-06-30T22:00:00.000000000Z"
    assert to_rfc3339(at("2026-07-01T00:00:00Z")) == "2026-07-01T00:00:00.000000000Z"


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)]
)
def test_days_with_a_change_of_the_clocks(day: str, hours: int) -> None:
    """A day with a clock change has as many hourly buckets as hours, and one daily bucket."""
    window = find_last("today", at(f"{day}T13:00:00"), BERLIN)
    assert window.end_ns - window.start_ns == hours * HOUR_NS
    assert len(window.cut(HOUR_NS).starts_ns) == hours
    assert window.cut(DAY_NS).starts_ns == (window.start_ns,)
    assert window.cut(DAY_NS).is_even == (hours <= 24)


def test_days_of_a_month() -> None:
    """Daily buckets start at midnight in the zone, even after a clock change."""
    window = Window(at("2026-10-23T15:00:00"), at("2026-10-27T01:00:00"), BERLIN)
    assert starts_of(window, DAY_NS) == [
        "10-23 15:00",
        "10-24 00:00",
        "10-25 00:00",
        "10-26 00:00",
        "10-27 00:00",
    ]
    assert not window.cut(DAY_NS).is_even


@pytest.mark.parametrize(
    ("day", "starts"),
    [
        ("2026-03-29", ["00:00", "06:00", "12:00", "18:00"]),
        ("2026-10-25", ["00:00", "06:00", "12:00", "18:00"]),
    ],
)
def test_quarters_of_a_day(day: str, starts: list[str]) -> None:
    """Steps of several hours follow the local time of the zone."""
    window = find_last("today", at(f"{day}T13:00:00"), BERLIN)
    assert [text[6:] for text in starts_of(window, 6 * HOUR_NS)] == starts


def test_cut_first_bucket() -> None:
    """The first bucket starts with the window, and the others at full hours."""
    window = Window(at("2026-11-20T07:30:00") + 1, at("2026-11-20T09:00:00") + 1, BERLIN)
    hour_ns = at("2026-11-20T08:00:00")
    buckets = window.cut(HOUR_NS)
    assert buckets.starts_ns == (window.start_ns, hour_ns, hour_ns + HOUR_NS)
    assert buckets.edges_ns[-1] == window.end_ns
    assert [buckets.place_of(time_ns) for time_ns in buckets.starts_ns] == [0, 1, 2]
    assert buckets.is_even


def test_half_hours() -> None:
    """In a zone with a half-hour offset, buckets start at its own full hours."""
    start_ns = at("2026-11-20T07:00:00Z")
    starts = starts_of(Window(start_ns, start_ns + 2 * HOUR_NS, KOLKATA), HOUR_NS)
    assert starts == ["11-20 12:30", "11-20 13:00", "11-20 14:00"]


def test_one_bucket() -> None:
    """Without a step, the whole window is one bucket."""
    buckets = Window(3, 10, BERLIN).cut(None)
    assert (buckets.starts_ns, buckets.step_ns, buckets.is_even) == ((3,), 7, True)


@given(
    start_ns=st.integers(0, 2**62),
    length_ns=st.integers(1, 40 * DAY_NS),
    step_ns=st.sampled_from(
        [MINUTE_NS * 7 * 60, HOUR_NS, 3 * HOUR_NS, 7 * HOUR_NS, 12 * HOUR_NS, DAY_NS, 3 * DAY_NS]
    ),
    zone=st.sampled_from(ZONES),
)
def test_buckets_cover_a_window(start_ns: int, length_ns: int, step_ns: int, zone: object) -> None:
    """Buckets cover a window without gaps, and none is more than an hour too long."""
    window = Window(start_ns, start_ns + length_ns, zone)  # type: ignore[arg-type] # a zone
    buckets = window.cut(step_ns)
    assert (buckets.edges_ns[0], buckets.edges_ns[-1]) == (window.start_ns, window.end_ns)
    lengths_ns = [after_ns - edge_ns for edge_ns, after_ns in pairwise(buckets.edges_ns)]
    assert all(0 < one_ns <= step_ns + HOUR_NS for one_ns in lengths_ns)
    assert len(lengths_ns) <= length_ns // step_ns + 4


def test_skipped_day() -> None:
    """A day that a zone skipped, as Samoa did in 2011, has no bucket."""
    start_ns = at("2011-12-29T00:00:00Z")
    starts = starts_of(Window(start_ns, start_ns + 3 * DAY_NS, read_zone("Pacific/Apia")), DAY_NS)
    assert starts == ["12-28 14:00", "12-29 00:00", "12-31 00:00", "01-01 00:00"]


def test_seconds() -> None:
    """Buckets of a second start at full seconds."""
    start_ns = at("2026-11-20T07:00:00") + SECOND_NS // 2
    buckets = Window(start_ns, start_ns + 2 * SECOND_NS, BERLIN).cut(SECOND_NS)
    assert [time_ns - start_ns for time_ns in buckets.starts_ns] == [
        0,
        SECOND_NS // 2,
        3 * SECOND_NS // 2,
    ]
