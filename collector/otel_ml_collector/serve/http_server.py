"""The HTTP server: uvicorn with limits for each client and an orderly shutdown.

Uvicorn does not limit how long a request takes to arrive, how long a client takes to read the
answer, or how large a head is. Its `limit_concurrency` refuses requests, not connections. The gRPC
server has options for these limits.

At shutdown, new requests are refused while those in progress are answered. Then idle connections
are closed, and last those whose request is still arriving.
"""

import asyncio
import contextlib
import logging
import math
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.receive.refusals import REFUSALS, Refusal

HEAD_BYTES: Final = 64 * 1024
HEADERS: Final = 100
KEEP_ALIVE_S: Final = 75
BODY_BYTES_PER_S: Final = 16 * 1024
_RETRY_AFTER_S: Final = 2
_STREAMS: Final = 256
# Minimum number of files that the process may open. With fewer, the store alone may run out.
_FEWEST_FILES: Final = 300
_MOST_FILES: Final = 65_536

# Connections beyond the limit that may still request a health path, and seconds to do so.
_HEALTH_CONNECTIONS: Final = 16
_HEALTH_WAIT_S: Final = 2.0

# Seconds from the signal until answers, and until arriving requests, are cut off. The pipeline
# answers within 4 s.
_ANSWERS_S: Final = 4.5
_ARRIVALS_S: Final = 5.0
# Seconds from the signal until the HTTP server gives up. Service managers kill after 10 s; the
# remaining time is for the forwarding queue and the store.
_GIVE_UP_S: Final = 6.0

_TICK_S: Final = 1.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for the clients of a server.

    Attributes:
        connections: Maximum number of open connections.
        request_timeout_s: Seconds in which a request must arrive. Each `BODY_BYTES_PER_S` bytes of
            its body add a second.
        unread_s: Seconds for which a client may leave its answer unread.
    """

    connections: int = 2_000
    request_timeout_s: float = 30.0
    unread_s: float = 60.0


class _WrongHead(Exception):
    """The head or trailer of a request is refused. `_wrong` contains the reason."""


class BoundedProtocol(HttpToolsProtocol):
    """One HTTP connection, within `Limits`.

    It answers 408 to a request that arrives too slowly, 431 to a head that is too large, and 503
    above the limit of connections, and closes the connection. The first connections above the limit
    may still request a health path, so that a busy collector is not restarted. A client that sends
    nothing, or does not read its answer, is disconnected.
    """

    limits = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arrival: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._begun_s = 0.0
        self._body_bytes = 0
        self._head_bytes = 0
        self._unparsed_bytes = 0
        self._in_head = False
        self._wrong: tuple[int, str] | None = None
        self._is_beyond_limit = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        beyond = len(self.connections) - self.limits.connections
        self._is_beyond_limit = beyond > 0
        if beyond > _HEALTH_CONNECTIONS:
            self._answer_and_close(*self._too_many())
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._end_arrival()
        self._end_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and limit those outside bodies."""
        if self.transport.is_closing():
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unparsed_bytes > HEAD_BYTES:
            self._refuse(431, f"The head of the request has more than {HEAD_BYTES} bytes")
        elif self._arrival is None and self._is_idle():  # only line breaks arrived
            self._await_request()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for a client that sent a whole request and now only reads."""
        is_whole = not self._is_idle() and not self.cycle.more_body
        if self.scheme != "http" or not is_whole:
            return False
        self.cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Start the time limit of a request."""
        super().on_message_begin()
        self._await_request()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or a trailer after the last chunk."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if len(self.headers) > HEADERS or self._head_bytes > HEAD_BYTES:
            text = (
                f"The head is too large: expected at most {HEADERS} headers and {HEAD_BYTES} bytes"
            )
            self._wrong = 431, text
            raise _WrongHead

    def on_headers_complete(self) -> None:
        """Start to answer, unless another server could interpret the request differently.

        Spec: https://www.rfc-editor.org/rfc/rfc9112#section-3.2 and #section-6.1
        """
        hosts = [value for name, value in self.headers if name == b"host"]
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if len(hosts) > 1:
            self._wrong = 400, f"The request has {len(hosts)} Host headers: expected one"
        elif codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            self._wrong = 400, "Invalid Transfer-Encoding: expected chunked"
        elif self._is_beyond_limit and self.url.partition(b"?")[0] not in {b"/healthz", b"/readyz"}:
            self._wrong = self._too_many()
        if self._wrong:
            raise _WrongHead
        self._in_head = False
        self._unparsed_bytes = 0
        super().on_headers_complete()
        if self._is_beyond_limit:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body. It extends the time limit."""
        self._unparsed_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the time limit of a request."""
        self._end_arrival()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read the last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reading()

    def pause_writing(self) -> None:
        """Limit how long the client may not read."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Continue writing to a client that reads again."""
        super().resume_writing()
        self._end_reading()

    def cut_off(self) -> None:
        """At shutdown, refuse a request that is still arriving, or abort a closing connection."""
        if self.transport.is_closing():
            self.transport.abort()
        elif self._arrival is not None:
            self._refuse(503, "The collector is shutting down")

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed."""
        self._refuse(*(self._wrong or (400, msg)))

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _too_many(self) -> tuple[int, str]:
        return 503, f"All {self.limits.connections} connections are in use: try again later"

    def _await_request(self) -> None:
        self._end_arrival()
        self._begun_s = self.loop.time()
        self._body_bytes = self._head_bytes = self._unparsed_bytes = 0
        self._in_head = False
        if self._is_beyond_limit:
            wait_s = min(_HEALTH_WAIT_S, self.limits.request_timeout_s)
            self._arrival = self.loop.call_later(wait_s, self._refuse_beyond_limit)
        else:
            self._arrival = self.loop.call_later(self.limits.request_timeout_s, self._check_arrival)

    def _refuse_beyond_limit(self) -> None:
        """Close a connection above the limit that has not requested anything."""
        if self._in_head or self._is_idle():
            self._answer_and_close(*self._too_many())

    def _check_arrival(self) -> None:
        now_s = self.loop.time()
        if self.flow.read_paused:  # reading is paused, so the client is not at fault
            self._begun_s = now_s
        allowed_s = self.limits.request_timeout_s + self._body_bytes / BODY_BYTES_PER_S
        left_s = self._begun_s + allowed_s - now_s
        if left_s > 0:
            self._arrival = self.loop.call_later(left_s, self._check_arrival)
        elif self._in_head or not self._is_idle():
            self._refuse(408, f"The request did not arrive within {allowed_s:.0f} s")
        else:
            self._close()

    def _end_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _await_reading(self) -> None:
        self._end_reading()
        self._reading = self.loop.call_later(self.limits.unread_s, self.transport.abort)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer the arriving request and close; only close if another answer is due or begun."""
        is_first = self._is_idle() if self._in_head else not self._is_idle()
        has_begun = not self._in_head and self.cycle is not None and self.cycle.response_started
        if self.pipeline or not is_first or has_begun:
            self._close()
        else:
            self._answer_and_close(status, message)

    def _answer_and_close(self, status: int, message: str) -> None:
        peer = f"{self.client[0]}:{self.client[1]}" if self.client else ""
        is_full = status == HTTPStatus.SERVICE_UNAVAILABLE
        answer = "unavailable" if is_full else "refused"
        REFUSALS.note(Refusal("http", peer, f"{status} {message}", answer))
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: text/plain; charset=utf-8",
            f"content-length: {len(message)}",
            "connection: close",
            *([f"retry-after: {_RETRY_AFTER_S}"] if is_full else []),
        ]
        self.transport.write("\r\n".join([*head, "", message]).encode("ascii"))
        self._close()

    def _close(self) -> None:
        self._end_arrival()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # tells the application that the client is gone
            self.cycle.message_event.set()
        self.transport.close()
        self._await_reading()


def make_protocol(limits: Limits) -> type[BoundedProtocol]:
    """Return a protocol class with these limits."""
    return type("LimitedProtocol", (BoundedProtocol,), {"limits": limits})


def grpc_options(limits: Limits) -> list[tuple[str, int]]:
    """Return gRPC options for `Limits`, and those that detect dead connections.

    Spec: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
    """
    return [
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_metadata_size", HEAD_BYTES),
        ("grpc.absolute_max_metadata_size", HEAD_BYTES),
        ("grpc.max_connection_idle_ms", 600_000),
        # A call that never ends is ended with its connection after an hour; clients reconnect.
        ("grpc.max_connection_age_ms", 3_600_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Some exporters are configured to ping more often than the gRPC default (5 min) allows.
        # Without this, the server would close their connections.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]


def fit_limits(limits: Limits) -> Limits:
    """Raise the limit of open files of this process, and adapt the number of connections to it.

    `Limits.connections` applies to HTTP and to gRPC separately. The connections of both together
    may use at most half of the files that the process may open. The other half is for the store.

    Returns:
        The limits. If the process may open too few files, with fewer connections.

    Raises:
        BadSetting: The process may open fewer than 300 files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * limits.connections
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else hard
    files = soft
    if soft < min(wanted, most):
        files = min(max(wanted, _MOST_FILES), most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    if files < _FEWEST_FILES:
        raise BadSetting(
            f"The process may open {files} files: expected at least {_FEWEST_FILES}; raise "
            "`ulimit -n`, or LimitNOFILE of the unit"
        )
    if wanted <= files:
        return limits
    _logger.warning(
        "The process may open %d files, so --max-connections is lowered from %d to %d: for more "
        "connections raise `ulimit -n` to %d",
        files,
        limits.connections,
        files // 4,
        wanted,
    )
    return replace(limits, connections=files // 4)


async def _nothing_under_way() -> None:
    pass


def _do_nothing() -> None:
    pass


class HttpServer(uvicorn.Server):
    """An HTTP server that runs until `stop` is called.

    Args:
        config: Uvicorn's configuration, with a protocol of `make_protocol`.
        when_ready: Called once the server answers.
        send_away: Called when the server starts to stop. It makes the application refuse new
            requests.
        until_idle: Waits until the requests in progress are answered.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        when_ready: Callable[[], None] = _do_nothing,
        send_away: Callable[[], None] = _do_nothing,
        until_idle: Callable[[], Awaitable[None]] = _nothing_under_way,
    ) -> None:
        super().__init__(config)
        self._when_ready = when_ready
        self._send_away = send_away
        self._until_idle = until_idle
        self._ending: asyncio.Task[None] | None = None
        self._is_ended = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then call `when_ready`."""
        await super().startup(sockets)
        self._when_ready()

    async def main_loop(self) -> None:
        """Set the header `date` once a second until `stop`.

        Uvicorn's own loop wakes ten times as often, which costs 0.1 % of a core.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._is_ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ignore signals: uvicorn would raise them again, and the exit status would not be 0."""
        yield

    def stop(self) -> None:
        """Finish the requests in progress, then end. On a second call, end at once."""
        if self._ending is not None:
            self.force_exit = self.should_exit = True
            self._is_ended.set()
            return
        self._send_away()
        self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWERS_S):
                await self._until_idle()
        waited_s = loop.time() - asked_s
        self.config.timeout_graceful_shutdown = math.ceil(_GIVE_UP_S - waited_s)
        self.should_exit = True
        self._is_ended.set()
        await asyncio.sleep(_ARRIVALS_S - waited_s)
        for connection in list(self.server_state.connections):
            connection.cut_off()  # type: ignore[union-attr]  # they are ours
