"""The HTTP route for assistants: checks access and body size, then calls `assistants.protocol`."""

import time
from codecs import BOM_UTF8
from importlib import import_module
from typing import Final

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_ml_collector.access import READ, access_of
from otel_ml_collector.api.bodies import check_body
from otel_ml_collector.assistants.definitions import ARRIVED, BODY_BYTES, LIMIT_S, PATH
from otel_ml_collector.assistants.writer import Writing
from otel_ml_collector.errors import TooLarge
from otel_ml_collector.receive.admission import Pressure
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.telemetry.service import Telemetry

_TOO_LARGE: Final = f"The body has more than {BODY_BYTES} bytes"


class _Endpoint:
    """Checks a request and passes it to `assistants.protocol`, imported at the first request."""

    def __init__(
        self,
        reader: Reader,
        telemetry: Telemetry,
        pressure: Pressure,
        writing: Writing | None,
        limit_s: float,
    ) -> None:
        self._reader = reader
        self._telemetry = telemetry
        self._pressure = pressure
        self._writing = writing
        self._limit_s = limit_s
        self._assistants: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request.

        Raises:
            CollectorError: The key may not read, or the body is not JSON or too large.
        """
        scope[ARRIVED] = time.monotonic()
        access_of(scope).demand(READ)
        request = Request(scope, receive)
        check_body(request, BODY_BYTES, _TOO_LARGE)
        body = await _read_body(request)

        async def receive_again() -> Message:
            nonlocal body
            if body is not None:
                message, body = {"type": "http.request", "body": body, "more_body": False}, None
                return message
            return await receive()

        assistants = await self._load()
        await assistants(scope, receive_again, send)

    async def _load(self) -> ASGIApp:
        """Import the protocol once, on a thread: it takes 26 MB and a third of a second."""
        if self._assistants is None:
            module = await run_sync(import_module, "otel_ml_collector.assistants.protocol")
            if self._assistants is None:
                count = self._telemetry.count_tool
                self._assistants = module.Assistants(
                    self._reader, count, self._pressure, self._writing, limit_s=self._limit_s
                )
        return self._assistants


async def _read_body(request: Request) -> bytes | None:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > BODY_BYTES:
            raise TooLarge(_TOO_LARGE)
    return bytes(parts.removeprefix(BOM_UTF8))


def make_route(
    reader: Reader,
    telemetry: Telemetry,
    pressure: Pressure,
    writing: Writing | None = None,
    *,
    limit_s: float = LIMIT_S,
) -> Route:
    """Return the route at which AI assistants call tools (MCP). It accepts POST only.

    Args:
        reader: The store's reader.
        telemetry: Counts tool calls.
        pressure: Tells whether ingest is under pressure; ingest has priority.
        writing: Stores the records that tools write. If it is None, tools that write are not
            offered.
        limit_s: Time limit of an answer in seconds.
    """
    return Route(PATH, _Endpoint(reader, telemetry, pressure, writing, limit_s), methods=["POST"])
