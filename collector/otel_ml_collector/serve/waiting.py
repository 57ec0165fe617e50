"""Waits at the start for a store that does not answer yet.

Meanwhile ``/healthz`` answers 200, and everything else 503 with ``Retry-After``. Senders of spans
keep their data and try again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from otel_ml_collector.errors import StoreUnreachable
from otel_ml_collector.receive.health import alive
from otel_ml_collector.serve.http_server import HttpServer
from otel_ml_collector.serve.service_manager import notify_waiting

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_WAITING: Final = "The store cannot be reached; the collector waits for it"

T = TypeVar("T")

_logger = logging.getLogger(__name__)


async def wait_for_store(
    open_store: Callable[[], T],
    server: HttpServer,
    listener: socket.socket,
    wait_s: float,
) -> T | None:
    """Try to open the store until it succeeds. Meanwhile, answer HTTP requests with 503.

    Args:
        open_store: Opens the store, or raises `StoreUnreachable`.
        server: The server that answers during the wait, with the application of `make_waiting_app`.
            If the server is stopped, the wait ends.
        listener: Listening socket of the collector. It stays open after the wait.
        wait_s: Seconds to wait before giving up.

    Returns:
        The result of `open_store`. None if the server was stopped before the store was open.

    Raises:
        StoreUnreachable: The store did not answer in time.
    """
    serving = asyncio.create_task(server.serve(sockets=[listener.dup()]))
    try:
        return await _open_or_stop(open_store, serving, wait_s)
    finally:
        server.stop()
        await serving


async def _open_or_stop(
    open_store: Callable[[], T], serving: "asyncio.Task[None]", wait_s: float
) -> T | None:
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + wait_s
    pause_s = _FIRST_PAUSE_S
    while True:
        await asyncio.wait([serving], timeout=pause_s)
        if serving.done():
            return None
        try:
            return await asyncio.to_thread(open_store)
        except StoreUnreachable as error:
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if loop.time() + pause_s > ends_s:
                raise
            _logger.debug("%s", error)


def report_wait(error: StoreUnreachable, wait_s: float) -> None:
    """Write once to log and service manager that the collector waits, and for how long."""
    _logger.warning("%s: waiting up to %g s", error, wait_s)
    notify_waiting(_WAITING)


def make_waiting_app() -> Router:
    """Make the HTTP application that answers while the store cannot be reached."""

    async def unavailable(request: Request) -> Response:
        problem = {"error": {"code": "unavailable", "message": _WAITING}}
        return JSONResponse(problem, 503, {"Retry-After": "5"})

    return Router(
        [
            Route("/healthz", alive),
            Route(
                "/{path:path}",
                unavailable,
                methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
            ),
        ]
    )
