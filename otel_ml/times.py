"""Converts the times that users pass to nanoseconds since the epoch (UTC)."""

import math
import time
from datetime import date, datetime, timezone, tzinfo
from typing import Any, Final

from otel_ml.arguments import invalid

# Types that the arguments start, end and time accept.
Time = datetime | str | int

SECOND_NS: Final = 1_000_000_000
# Maximum time ahead of this machine's clock. The collector has the same limit.
AHEAD_NS: Final = 3_600 * SECOND_NS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY_S: Final = 86_400
# Upper bounds for seconds, milliseconds and microseconds since the epoch. A time after 1973 in the
# next smaller unit is above the bound.
_UNITS: Final = ((10**11, SECOND_NS), (10**14, 1_000_000), (10**17, 1_000))
_TIME_FORMS: Final = (
    "a datetime with a time zone, an ISO text with one such as 2026-11-26T10:00:00Z, or "
    "nanoseconds since the epoch"
)


def check_time(argument: str, value: object) -> int:
    """Check a time from the user, and return it in nanoseconds since the epoch.

    Args:
        argument: Name of the argument, for the error message.
        value: A datetime with a time zone, an ISO 8601 text with a time zone, or an integer number
            of nanoseconds since the epoch.

    Raises:
        ValueError: The value is none of these, has no time zone, is before 1970, or is more than
            an hour in the future.
    """
    at_ns = None
    if type(value) is int:
        if value < _UNITS[-1][0]:
            raise invalid(argument, value, "nanoseconds since the epoch, not seconds")
        at_ns = value
    else:
        moment: Any = parse_iso(value) if type(value) is str else value
        if issubclass(type(moment), datetime):
            if moment.tzinfo is None:
                raise invalid(argument, str(moment), "a time zone, such as datetime.timezone.utc")
            at_ns = datetime_ns(moment)
    if at_ns is None:
        raise invalid(argument, value, _TIME_FORMS)
    if at_ns < 1:
        raise invalid(argument, str(value), "a time since 1970")
    if at_ns > time.time_ns() + AHEAD_NS:
        raise invalid(argument, str(value), "a time that is not in the future")
    return at_ns


def check_past(start: object, end: object) -> tuple[int, int | None] | None:
    """Convert start and end of a run, as `check_time` does, and check their order.

    Returns:
        Start and end. The end is None if only the start was given. If neither was given, None.

    Raises:
        ValueError: A time is invalid, the end is before the start, or there is no start.
    """
    if start is None:
        if end is not None:
            raise invalid("start", None, "the start of the run, because end is given")
        return None
    start_ns = check_time("start", start)
    if end is None:
        return start_ns, None
    end_ns = check_time("end", end)
    if end_ns < start_ns:
        raise invalid("end", str(end), f"a time that is not before start, {start}")
    return start_ns, end_ns


def datetime_ns(moment: datetime, naive_zone: tzinfo = timezone.utc) -> int:
    """Convert a datetime to nanoseconds since the epoch, without rounding.

    Args:
        moment: The datetime.
        naive_zone: Time zone of a datetime that has none.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=naive_zone)
    passed = moment - _EPOCH
    whole_ns = (passed.days * _DAY_S + passed.seconds) * SECOND_NS + passed.microseconds * 1_000
    return whole_ns + int(getattr(moment, "nanosecond", 0))  # a Timestamp of pandas has these


def parse_iso(text: str) -> datetime | None:
    """Parse an ISO 8601 date or time; return None for any other text."""
    try:
        # Python 3.10 does not know "Z"
        return datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in "Zz" else text)
    except ValueError:
        return None


def find_time(value: Any, naive_zone: tzinfo = timezone.utc) -> int | None:
    """Convert the time in a cell of a table to nanoseconds since the epoch.

    Args:
        value: A datetime, a date (its midnight), an ISO 8601 text, or a number since the epoch. For
            a number, the unit (seconds, milliseconds, microseconds or nanoseconds) is derived from
            its size.
        naive_zone: Time zone of times that have none.

    Returns:
        The time. None if the value is not a time.
    """
    if type(value) is str:
        value = parse_iso(value.strip())
    if isinstance(value, datetime):
        return datetime_ns(value, naive_zone)
    if isinstance(value, date):
        midnight = datetime(value.year, value.month, value.day, tzinfo=naive_zone)
        return datetime_ns(midnight)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    unit_ns = next((unit for most, unit in _UNITS if abs(value) < most), 1)
    return value * unit_ns if isinstance(value, int) else round(value * unit_ns)
