"""Reads what nobody wants of a body before the answer, where the connection ends with the answer.

A connection that is closed on unread data is reset, and a client would send the body again instead
of reading why it is refused. One that stays open is read on by the server.
"""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST_BYTES: Final = 256 * 1024 * 1024
_MOST_S: Final = 10.0


class Drain:
    """Lets an application answer before it has read the body.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _will_close(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
            await send(message)

        await self._app(scope, body.receive, send_after_body)


class _Body:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_read = self._is_read or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on for a while, and keep nothing."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOST_S):
                while not self._is_read and size <= _MOST_BYTES:
                    size += len((await self.receive()).get("body", b""))


def _will_close(scope: Scope) -> bool:
    """Tell whether the connection ends with the answer."""
    said = Headers(scope=scope).get("connection", "").lower()
    return "close" in said or scope["http_version"] == "1.0"
