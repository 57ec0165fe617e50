"""Converts times: nanoseconds since the epoch inside, RFC 3339 in UTC outside."""

import re
import time
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeAlias

from otel_ml_collector.errors import BadInput

CurrentNs: TypeAlias = int
"""The current time, in nanoseconds since 1970.

An unfinished run counts as crashed if its process has sent nothing for some minutes before it.
"""

SECOND_NS: Final = 10**9
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
# Units in durations such as 90s.
UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": SECOND_NS,
    "m": MINUTE_NS,
    "h": HOUR_NS,
    "d": DAY_NS,
    "w": 7 * DAY_NS,
}
# How far in the future a span may start, because of clock differences.
AHEAD_NS: Final = HOUR_NS
# How far in the past a span may start, unless it is imported.
OLDEST_NS: Final = 400 * DAY_NS
# Latest time that the store can hold.
LATEST_NS: Final = 2**63 - 1
_STEPS: Final = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"))
_LENGTH: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ns|us|ms|[smhdw])", re.ASCII)
_FRACTION: Final = re.compile(r"(?<=\d)[.,](\d+)", re.ASCII)


def read_length(text: str) -> int | None:
    """Return a duration such as ``90s`` or ``1.5h`` in nanoseconds; None if the text is invalid."""
    match = _LENGTH.fullmatch(text)
    return round(float(match[1]) * UNITS_NS[match[2]]) if match else None


def to_rfc3339(time_ns: int) -> str:
    """Return a time as RFC 3339 with nanoseconds."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def from_rfc3339(text: str, field: str, zone: tzinfo = UTC) -> int:
    """Convert an RFC 3339 time to nanoseconds since 1970.

    A time without an offset, such as `2026-11-20T07:16:40`, is a time in the zone `zone`.

    Raises:
        BadInput: The text is not a time. The error names the parameter `field`.
    """
    try:
        match = _FRACTION.search(text)
        moment = datetime.fromisoformat(_FRACTION.sub("", text, 1) if match else text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        whole = int(moment.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"Invalid time {text!r}: expected RFC 3339 such as 2026-11-20T07:16:40Z", field
        ) from error
    time_ns = whole * SECOND_NS + int(match[1].ljust(9, "0")[:9] if match else 0)
    if not 0 <= time_ns <= LATEST_NS:
        raise BadInput(f"Invalid time {text!r}: expected a year from 1970 to 2261", field)
    return time_ns


def format_time(time_ns: int) -> str:
    """Return a time to the minute, in UTC, for messages."""
    return f"{datetime.fromtimestamp(time_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M}"


def ago(start_ns: int, now_ns: int | None = None) -> str:
    """Return how long ago a time was, in the largest whole unit, such as ``5 min``."""
    seconds = max(((now_ns or time.time_ns()) - start_ns) // SECOND_NS, 0)
    for below, unit, name in _STEPS:
        if seconds < below:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} d"
