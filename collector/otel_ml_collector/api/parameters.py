"""Parameters that several calls of the API take, checked and bounded, and where lists go on.

A cursor names a record, so it stays true while others are written.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Query, Request

from otel_ml_collector.access import ADMIN, READ, Access, access_of
from otel_ml_collector.errors import BadInput, Missing, NotPermitted
from otel_ml_collector.services import find_service
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import from_rfc3339

MAX_LIMIT: Final = 1_000
_TEXT_CHARS: Final = 4_000
_EXPECTED: Final = {"cursor": "next_cursor of an answer", "obj_id": "obj_id of an answer"}


def needs(scope: str, *others: str) -> Callable[[Request], Awaitable[Access]]:
    """Make the dependency of a route on a scope, over the project of its path when it has one.

    A project of others is answered as if it did not exist. With `others` any of the scopes does.
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
    """Make the dependency of a route on the store's reader, narrowed to the access with a scope."""

    async def reader_of(
        request: Request, access: Annotated[Access, Depends(needs(scope, *others))]
    ) -> Reader:
        return find_service(request, Reader).narrow(access)

    return reader_of


def demand_all(access: Access) -> None:
    """Refuse access to questions about the whole store, unless it covers all projects.

    Raises:
        NotPermitted: Their access is to certain projects only.
    """
    if not access.covers(None):
        raise NotPermitted("The key is for some projects only, and this is about all of them")


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
Cursor = Annotated[str | None, Query(max_length=800, description="`next_cursor` of a page")]
Time = Annotated[str | None, Query(max_length=64, description="RFC 3339, UTC without offset")]


def _read_start(start: Time = None) -> int | None:
    return from_rfc3339(start, "start") if start else None


def _read_since(start: Time = None) -> int:
    return _read_start(start) or 0


def _read_end(end: Time = None) -> int | None:
    return from_rfc3339(end, "end") if end else None


# The bounds of a question, nanoseconds since the epoch; None when none is told.
Start = Annotated[int | None, Depends(_read_start)]
Since = Annotated[int, Depends(_read_since)]  # 0 when none is told
End = Annotated[int | None, Depends(_read_end)]


_ANY_PLACE: Final = range(2**31)
# Of cursors that hold nanoseconds since the epoch: the store's Int64.
TIMES: Final = range(1 - 2**63, 2**63)


def write_place(parts: Sequence[str | int | float]) -> str:
    """Write the parts that identify a record as a single word."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def read_place(text: str, field: str) -> list[Any]:
    """Read a word of `write_place`; its parts are to be checked.

    Raises:
        BadInput: The text is no such word; `field` names the parameter.
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
    """Say that a text is no cursor."""
    return BadInput(f"Invalid cursor {text[:80]!r}: expected a next_cursor of an answer", "cursor")


def read_cursor(text: str, *kinds: type, numbers: range = _ANY_PLACE) -> list[Any]:
    """Read where a list goes on: parts of these types.

    Args:
        text: What an answer gave as `next_cursor`.
        kinds: Of each part.
        numbers: Which are possible: those of places, or `TIMES`.

    Raises:
        BadInput: It is none that an answer gave.
    """
    parts = read_place(text, "cursor")
    if [type(part) for part in parts] == [*kinds] and all(
        isinstance(part, str | float) or part in numbers for part in parts
    ):
        return parts
    raise bad_cursor(text)
