"""Time zones as JSON: a zone by its name, any other by its offset."""

import datetime
import zoneinfo
from typing import Any, Final

_MICROSECOND: Final = datetime.timedelta(microseconds=1)


def write(zone: Any, at: datetime.datetime | None = None) -> dict[str, Any]:
    """Write a time zone.

    Args:
        zone: One of zoneinfo, pytz, the standard library or of any other make.
        at: The time whose offset is kept of a zone that has no name that can be looked up.

    Raises:
        ValueError: It has neither a name nor an offset.
    """
    package = type(zone).__module__.partition(".")[0]
    if package == "zoneinfo" and isinstance(zone.key, str):
        return {"zone": zone.key}
    if package == "pytz" and isinstance(zone.zone, str):
        return {"zone": zone.zone, "by": "pytz"}
    offset = zone.utcoffset(at)
    if offset is None:
        raise ValueError("Invalid time zone: expected one with a name or an offset")
    form: dict[str, Any] = {"offset_us": offset // _MICROSECOND}
    if isinstance(zone, datetime.timezone):
        name = zone.tzname(None)
        if name != datetime.timezone(offset).tzname(None):
            form["name"] = name
    return form


def read(form: Any) -> datetime.tzinfo:
    """Read a time zone; one of pytz is of zoneinfo where pytz is not installed."""
    if "zone" in form:
        return _named(form["zone"], form.get("by"))
    offset = form["offset_us"] * _MICROSECOND
    if "name" in form:
        return datetime.timezone(offset, form["name"])
    return datetime.timezone(offset) if offset else datetime.timezone.utc


def _named(name: str, by: str | None) -> datetime.tzinfo:
    if by == "pytz":
        try:
            import pytz  # type: ignore[import-untyped]  # optional, and only for zones of its own
        except ImportError:
            pass
        else:
            zone: datetime.tzinfo = pytz.timezone(name)
            return zone
    return zoneinfo.ZoneInfo(name)
