"""Request bodies of the JSON API: JSON only, of limited size."""

from collections.abc import Callable, Coroutine, Set
from typing import Any, Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message

from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.decode.signals import Form, media_type_of
from otel_ml_collector.errors import TooLarge, UnknownMediaType

LIMIT_BYTES: Final = 4 * 1024 * 1024
_TOO_LARGE: Final = f"The body has more than {LIMIT_BYTES} bytes"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class JsonRoute(DeferredRoute):
    """A route that accepts uncompressed JSON bodies of at most 4 MiB."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler. It refuses bodies of other types before it reads them."""
        answer = super().get_route_handler()

        async def answer_bounded(request: Request) -> Response:
            if request.method in _WITH_BODY:
                check_body(request, LIMIT_BYTES, _TOO_LARGE)
                request = Request(request.scope, _Bounded(request).receive)
            return await answer(request)

        return answer_bounded


def check_body(
    request: Request,
    limit_bytes: int,
    too_large: str,
    media_types: Set[str] = frozenset({Form.JSON}),
) -> None:
    """Refuse a body of another type or that is too large, by its headers, without reading it.

    Raises:
        UnknownMediaType: The body has none of the media types, or is compressed.
        TooLarge: The body is too large.
    """
    media_type = media_type_of(request.headers.get("content-type", ""))
    if media_type not in media_types:
        expected = " or ".join(sorted(media_types))
        raise UnknownMediaType(f"Invalid content type {media_type[:80]!r}: expected {expected}")
    encoding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding != "identity":
        raise UnknownMediaType(f"Invalid content encoding {encoding[:80]!r}: expected none")
    size = request.headers.get("content-length", "")
    if size.isdecimal() and int(size) > limit_bytes:
        raise TooLarge(too_large)


class _Bounded:
    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._size = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > LIMIT_BYTES:  # FastAPI passes on this type unchanged
            raise HTTPException(413, _TOO_LARGE)
        return message
