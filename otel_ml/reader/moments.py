"""Converts times to the form that the API expects: RFC 3339 in UTC."""

from datetime import datetime, timezone
from typing import Any, Final

from otel_ml.arguments import invalid

Moment = str | datetime | None

_SECOND_NS: Final = 10**9
_MOST_CHARS: Final = 65_536


def write_moment(moment: Moment) -> str | None:
    """Convert a time to RFC 3339 text. Text is returned unchanged.

    A datetime without a time zone is UTC.
    """
    if not isinstance(moment, datetime):
        return moment or None
    known = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return known.isoformat()


def check_moment(argument: str, moment: Any) -> str | None:
    """Check a time that the user passed, and return it as RFC 3339 text.

    Args:
        argument: Name of the user's argument, for the error message.
        moment: RFC 3339 text, a datetime (UTC if it has no time zone), or None.

    Returns:
        The text. None if `moment` is None.

    Raises:
        ValueError: The value is not a time.
    """
    kind = type(moment)
    is_moment = issubclass(kind, datetime) or (issubclass(kind, str) and len(moment) <= _MOST_CHARS)
    if moment is None or is_moment:
        return write_moment(moment)
    raise invalid(argument, moment, "a time as text (RFC 3339), a datetime, or None")


def write_ns(time_ns: int) -> str:
    """Return nanoseconds since the epoch as RFC 3339 text with nine decimals."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
