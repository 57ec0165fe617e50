"""Times as the API takes them: RFC 3339 in UTC."""

from datetime import datetime, timezone
from typing import Final

Moment = str | datetime | None

_SECOND_NS: Final = 10**9


def write_moment(moment: Moment) -> str | None:
    """Write a time; a datetime without a zone is UTC, a text goes as it is."""
    if not isinstance(moment, datetime):
        return moment or None
    known = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return known.isoformat()


def write_ns(time_ns: int) -> str:
    """Write nanoseconds since the epoch, all of them."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
