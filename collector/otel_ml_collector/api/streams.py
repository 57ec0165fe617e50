"""Responses of any size, written as they are made. A reader can tell if one is incomplete."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Final

from anyio.to_thread import run_sync
from fastapi import Depends
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from otel_ml_collector.access import access_of, has_still
from otel_ml_collector.errors import CollectorError, Unauthenticated, Unavailable
from otel_ml_collector.services import service_of

_STREAMS_AT_ONCE: Final = 2
_logger = logging.getLogger(__name__)


class Places:
    """Limits how many long responses are written at the same time."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(_STREAMS_AT_ONCE)

    def take(self) -> Callable[[], None]:
        """Take a place; returns the function that releases it.

        Raises:
            Unavailable: No place is free.
        """
        if not self._free.acquire(blocking=False):
            raise Unavailable("Too many exports are running: try again later")
        return self._free.release


FromPlaces = Annotated[Places, Depends(service_of(Places))]


class Stream(StreamingResponse):
    """A response that makes each part on a thread, after the previous part was sent.

    The first part is made before the response begins, so that an invalid request gets an error. A
    later failure closes the connection without the end of the body, so that the reader sees that
    the body is incomplete. Once the reader is gone, no more parts are made.

    Args:
        parts: The body. It is closed at the end, even after a failure.
        media_type: Media type of the body.
        filename: Name under which a browser saves the body.
        release: Called at the end.
    """

    def __init__(
        self, parts: Iterator[bytes], media_type: str, filename: str, release: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._release = release
        try:
            self._first = next(parts, b"")
        except BaseException:
            release()
            raise
        headers = {
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Cache-Control": "no-store",
        }
        super().__init__(iter(()), headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until it ends, the reader disconnects, or its key is revoked."""
        self._scope = scope
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()

    async def stream_response(self, send: Send) -> None:
        """Send the parts as they are made."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(head)
            part: bytes | None = self._first
            while part is not None:
                if part:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await run_sync(next, self._parts, None)
                if not has_still(self._scope, access_of(self._scope)):
                    raise Unauthenticated("The reader's key was revoked")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except CollectorError as error:
            # Send no last chunk: the server then closes the connection, and the reader sees that
            # the body is incomplete.
            _logger.warning("A response ended before it was complete: %s", error)

    def _end(self) -> None:
        close = getattr(self._parts, "close", None)
        with suppress(ValueError):  # a thread still makes a part, which nobody will read
            if close is not None:
                close()
        self._release()
