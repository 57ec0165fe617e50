"""Parameters that several API calls share, and the cursors of lists.

A cursor identifies a record, so it stays valid while other records are written.
"""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import orjson
from fastapi import Depends, Path, Query, Request

from otel_ml_collector.access import ADMIN, NEEDS_ALL_PROJECTS, READ, Access, access_of
from otel_ml_collector.errors import BadInput, Missing, NotPermitted
from otel_ml_collector.services import find_service
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.windows import UTC_ZONE, Window, find_last, read_zone

MAX_LIMIT: Final = 1_000
_TEXT_CHARS: Final = 4_000
_EXPECTED: Final = {
    "cursor": "next_cursor from an earlier answer",
    "obj_id": "obj_id from an earlier answer",
}


def needs(scope: str, *others: str) -> Callable[[Request], Awaitable[Access]]:
    """Return a dependency that requires a scope, and access to the project in the route's path.

    A project without access gets the same answer as one that does not exist. If `others` are given,
    any of the scopes is enough.
    """

    async def check(request: Request) -> Access:
        access = access_of(request.scope)
        if not any(map(access.has, others)):
            access.demand(scope)
        project = request.path_params.get("project")
        if project is not None and not access.reaches(project):
            raise Missing(f"There is no project {project[:80]!r}")
        return access

    return check


def reader_for(scope: str, *others: str) -> Callable[..., Awaitable[Reader]]:
    """Return a dependency that provides the store, with the rights of a caller with the scope."""

    async def reader_of(
        request: Request, access: Annotated[Access, Depends(needs(scope, *others))]
    ) -> Reader:
        zone = zone_of(request, request.query_params.get("tz", ""))
        return find_service(request, Reader).narrow(access).in_zone(zone)

    return reader_of


def demand_all(access: Access) -> None:
    """Check that the caller has access to all projects, for requests about the whole store.

    Raises:
        NotPermitted: The caller has access to some projects only.
    """
    if not access.covers(None):
        raise NotPermitted(NEEDS_ALL_PROJECTS)


FromReader = Annotated[Reader, Depends(reader_for(READ))]
Admin = Annotated[Access, Depends(needs(ADMIN))]
Where = Annotated[
    str,
    Query(
        max_length=_TEXT_CHARS,
        description='A filter such as `model == "answer" and latency_ms > 200`',
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
# The name of a saved document, such as an alert rule, as a part of a path.
DocumentName = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Cursor = Annotated[str | None, Query(max_length=800, description="`next_cursor` of a page")]
Time = Annotated[
    str | None,
    Query(max_length=64, description="RFC 3339, or a date. Without an offset, it is in `tz`"),
]
Last = Annotated[
    str,
    Query(
        max_length=16,
        description="Length of time up to now, such as `24h` (a number of s, m, h, d or w), or "
        "a day in `tz`: `today`, `yesterday`. Ignored if `start` or `end` is given",
    ),
]
ZoneName = Annotated[
    str,
    Query(
        alias="tz",
        max_length=64,
        description="The time zone of days, and of dates and times without an offset, also in "
        "`where`: an IANA name such as `Europe/Berlin`; without it UTC",
    ),
]
# The cookie has the browser's time zone. The header has the zone of the page, for parts of it that
# load later. API requests use neither.
_ZONE_COOKIE: Final = "otel_ml_tz"
_ZONE_HEADER: Final = "otel-ml-tz"


@dataclass(frozen=True, slots=True)
class AskedTime:
    """The time range of a request, in nanoseconds since 1970; None for no bound."""

    start_ns: int | None
    end_ns: int | None
    zone: ZoneInfo

    def bound(self, length_ns: int, now_ns: int) -> Window:
        """Return the range as a window. Default end: now. Default start: `length_ns` earlier."""
        end_ns = now_ns if self.end_ns is None else self.end_ns
        start_ns = max(end_ns - length_ns, 0) if self.start_ns is None else self.start_ns
        return Window(start_ns, end_ns, self.zone)


def zone_of(request: Request, name: str) -> ZoneInfo:
    """Return the time zone of a request.

    If `name` is given, the zone with this name is returned. Otherwise, an API request gets UTC, and
    a request for a page gets the time zone of the browser, or UTC if the browser sent no valid
    zone. A part of a page that loads later gets the same zone as the page.

    Args:
        request: The request.
        name: The time zone that the request asks for, such as ``Europe/Berlin``. Empty if it asks
            for none.

    Raises:
        BadInput: No time zone is called `name`.
    """
    if name:
        return read_zone(name)
    if request.url.path.startswith("/api/"):
        return UTC_ZONE
    known = request.headers.get(_ZONE_HEADER) or request.cookies.get(_ZONE_COOKIE)
    if not known:
        return UTC_ZONE
    try:
        return read_zone(known)
    except BadInput:  # no user typed this name, so do not report it
        return UTC_ZONE


def page_zone_of(request: Request) -> ZoneInfo:
    """Return the time zone of a page; UTC if the requested name is invalid.

    The page that reports the invalid name needs a time zone too.
    """
    with suppress(BadInput):
        return zone_of(request, request.query_params.get("tz", ""))
    return UTC_ZONE


def read_asked_time(
    request: Request, start: Time = None, end: Time = None, last: Last = "", zone: ZoneName = ""
) -> AskedTime:
    """Read the time range of a request.

    Raises:
        BadInput: A parameter is invalid.
    """
    own = zone_of(request, zone)
    if last and not start and not end:
        window = find_last(last, time.time_ns(), own)
        return AskedTime(window.start_ns, window.end_ns, own)
    start_ns = from_rfc3339(start, "start", own) if start else None
    end_ns = from_rfc3339(end, "end", own) if end else None
    if start_ns is not None and end_ns is not None and end_ns < start_ns:
        raise BadInput(f"Invalid end {end!r}: expected a time after start {start!r}", "end")
    return AskedTime(start_ns, end_ns, own)


FromTime = Annotated[AskedTime, Depends(read_asked_time)]


def _read_start(asked: FromTime) -> int | None:
    return asked.start_ns


def _read_since(asked: FromTime) -> int:
    return asked.start_ns or 0


def _read_end(asked: FromTime) -> int | None:
    return asked.end_ns


# Bounds of the requested time, in nanoseconds since 1970; None for no bound.
Start = Annotated[int | None, Depends(_read_start)]
Since = Annotated[int, Depends(_read_since)]  # 0 for no bound
End = Annotated[int | None, Depends(_read_end)]


_ANY_PLACE: Final = range(2**31)
# Valid numbers in cursors with nanoseconds since 1970: the range of the store's Int64.
TIMES: Final = range(1 - 2**63, 2**63)


def write_place(parts: Sequence[str | int | float]) -> str:
    """Encode the parts that identify a record as a single word."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def read_place(text: str, field: str) -> list[Any]:
    """Decode the values that identify a record, from a text that `write_place` encoded.

    For example, the cursor of a list encodes the time and ID of the last record on a page. Users
    can change such a text, so the caller must check the types and ranges of the values.

    Args:
        text: The encoded values.
        field: Name of the request's parameter that contains the text, for the error.

    Raises:
        BadInput: `write_place` did not make this text.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        parts = orjson.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, binascii.Error):
        parts = None
    if not isinstance(parts, list):
        raise BadInput(f"Invalid {field} {text[:80]!r}: expected a {_EXPECTED[field]}", field)
    return parts


def bad_cursor(text: str) -> BadInput:
    """Return the error for a text that is not a cursor."""
    return BadInput(
        f"Invalid cursor {text[:80]!r}: expected a next_cursor from an earlier answer", "cursor"
    )


def read_cursor(text: str, *kinds: type, numbers: range = _ANY_PLACE) -> list[Any]:
    """Decode the cursor of a list, and return the parts that identify a position in the list.

    Args:
        text: The cursor: `next_cursor` from an earlier answer.
        kinds: Expected type of each part, such as ``int, str`` for a time and an ID.
        numbers: Range of valid integers. Default: 0 to 2**31 - 1. Pass `TIMES` if a part is a time
            in nanoseconds since 1970.

    Raises:
        BadInput: The cursor is not from an earlier answer.
    """
    parts = read_place(text, "cursor")
    if [type(part) for part in parts] == [*kinds] and all(
        isinstance(part, str | float) or part in numbers for part in parts
    ):
        return parts
    raise bad_cursor(text)
