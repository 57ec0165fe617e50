"""Times passed by users."""

import time
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest

from otel_ml.times import check_past, check_time, find_time

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
MOMENT_NS = 1_767_323_045_678_901_000


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        MOMENT.astimezone(ZoneInfo("Asia/Tokyo")),
        "2026-01-02T03:04:05.678901Z",
        "2026-01-02T04:04:05.678901+01:00",
        MOMENT_NS,
    ],
)
def test_one_moment_in_any_form(value: object) -> None:
    """A datetime, an ISO text and nanoseconds give the same time."""
    assert check_time("start", value) == MOMENT_NS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2), "Invalid start '2026-01-02 00:00:00': expected a time zone"),  # noqa: DTZ001
        ("2026-01-02T03:04:05", "expected a time zone"),
        ("yesterday", "Invalid start 'yesterday': expected a datetime with a time zone"),
        (1_767_323_045, "nanoseconds since the epoch, not seconds"),
        (True, "Invalid start True: expected a datetime"),
        ("1969-12-31T23:59:59Z", "expected a time since 1970"),
        (datetime.now(timezone.utc) + timedelta(hours=2), "expected a time that is not in the"),
    ],
)
def test_a_value_that_is_no_time(value: object, expected: str) -> None:
    """An error names the invalid time and the expected form."""
    with pytest.raises(ValueError, match=expected):
        check_time("start", value)


def test_start_and_end_of_the_past() -> None:
    """A run cannot end before it starts, and needs a start."""
    now_ns = time.time_ns()
    assert check_past(None, None) is None
    assert check_past(now_ns, None) == (now_ns, None)
    assert check_past(now_ns, now_ns) == (now_ns, now_ns)
    with pytest.raises(ValueError, match="expected a time that is not before start"):
        check_past(now_ns, now_ns - 1)
    with pytest.raises(ValueError, match="expected the start of the run"):
        check_past(None, now_ns)


@pytest.mark.parametrize(
    ("value", "expected_ns"),
    [
        (1_767_323_045, 1_767_323_045 * 10**9),
        (1_767_323_045.5, 1_767_323_045_500_000_000),
        (1_767_323_045_678, 1_767_323_045_678_000_000),
        (1_767_323_045_678_901, MOMENT_NS),
        (MOMENT_NS, MOMENT_NS),
        (date(2026, 1, 2), 1_767_312_000 * 10**9),
        ("2026-01-02", 1_767_312_000 * 10**9),
        (" 2026-01-02 03:04:05.678901 ", MOMENT_NS),
        (pd.Timestamp("2026-01-02T03:04:05.678901234Z"), MOMENT_NS + 234),
        ("soon", None),
        (None, None),
        (True, None),
        (float("inf"), None),
    ],
)
def test_times_in_the_cells_of_a_table(value: object, expected_ns: int | None) -> None:
    """A cell may hold a time in any usual form; the size of a number shows its unit."""
    assert find_time(value) == expected_ns


def test_time_zone_of_a_table() -> None:
    """The table's time zone applies only to times without one."""
    berlin = ZoneInfo("Europe/Berlin")
    hour_ns = 3_600 * 10**9
    assert find_time("2026-01-02 03:04:05.678901", berlin) == MOMENT_NS - hour_ns
    assert find_time("2026-01-02T03:04:05.678901Z", berlin) == MOMENT_NS
