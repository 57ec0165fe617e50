"""Keeps a number of export requests in flight, over gRPC or HTTP, from a separate process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final
from urllib.parse import urlsplit

import grpc
import uvloop
from google.rpc.error_details_pb2 import RetryInfo

from tests.bench.pace import pace_async
from tests.bench.payload import ScoredTemplate, Template
from tests.bench.payload_full import FullTemplate
from tests.support.load import make_request

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_AGAIN_S: Final = 2.0
_UNAVAILABLE: Final = 503

# Sends a body; returns the retry delay in seconds, 0 when it is stored.
Send = Callable[[bytes], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Load:
    """The requests to send.

    Attributes:
        address: ``host:port`` for gRPC, the base address for HTTP.
        project: The project of the spans.
        in_flight: How many requests wait for responses at any time.
        spans: Spans per request.
        seconds: How long to send.
        requests: The maximum for each request in flight.
        is_full: Whether requests have several scopes and dialects, and traces come in parts.
        is_scored: Whether every fourth run gets a score with a later request.
        every_s: Seconds between two requests of each sender, if it has its response by then; the
            senders take turns. 0 sends the next request at once.
        is_short: Whether to send short model calls with a score, as `make_request` makes them.
    """

    address: str
    project: str
    in_flight: int
    spans: int
    seconds: float
    requests: int = 10**9
    is_full: bool = False
    is_scored: bool = False
    every_s: float = 0.0
    is_short: bool = False


@dataclass(slots=True)
class Sent:
    """The outcome of a load.

    Attributes:
        accepted: Spans of requests with a success response.
        refused: Requests with a response to retry later.
        waits_s: From request to success.
        refusals_s: From request to the response to retry later.
        longest_s: The longest time to any response.
        took_s: From the first request to the last response.
        bytes: Size of a request.
    """

    accepted: int = 0
    refused: int = 0
    waits_s: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    longest_s: float = 0.0
    took_s: float = 0.0
    bytes: int = 0


def send_load(load: Load) -> Sent:
    """Send from a separate process, so that only the machine is shared."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (load,))


def _run(load: Load) -> Sent:
    return uvloop.run(_send(load))


class _ShortTemplate:
    """Requests of short model calls."""

    def __init__(self, project: str, spans: int) -> None:
        self._made = project, spans
        self.bytes = len(self.fresh())

    def fresh(self) -> bytes:
        """Return a request with new ids."""
        return make_request(*self._made).SerializeToString()


_Template = Template | FullTemplate | ScoredTemplate | _ShortTemplate


def _template(load: Load) -> _Template:
    if load.is_short:
        return _ShortTemplate(load.project, load.spans)
    if load.is_scored:
        return ScoredTemplate(load.project, load.spans, delay=load.in_flight)
    return (FullTemplate if load.is_full else Template)(load.project, load.spans)


async def _send(load: Load) -> Sent:
    template = _template(load)
    sent = Sent(bytes=template.bytes)
    is_http = load.address.startswith("http")
    async with (_http if is_http else _grpc)(load.address) as connect:
        started = time.perf_counter()
        until = started + load.seconds
        senders = [await connect() for _ in range(load.in_flight)]
        begins = [started + load.every_s * turn / load.in_flight for turn in range(load.in_flight)]
        work = [
            _keep_sending(send, template, load, (began, until), sent)
            for send, began in zip(senders, begins, strict=True)
        ]
        await asyncio.gather(*work)
        sent.took_s = time.perf_counter() - started
    return sent


async def _keep_sending(
    send: Send, template: _Template, load: Load, between: tuple[float, float], sent: Sent
) -> None:
    due, until = between
    for _ in range(load.requests):
        if (early_s := due - time.perf_counter()) > 0:
            await pace_async(early_s)
        due += load.every_s
        started = time.perf_counter()
        if started >= until:
            return
        again_s = await send(template.fresh())
        wait_s = time.perf_counter() - started
        sent.longest_s = max(sent.longest_s, wait_s)
        if not again_s:
            sent.waits_s.append(wait_s)
            sent.accepted += load.spans
        else:
            sent.refused += 1
            sent.refusals_s.append(wait_s)
            left_s = until - time.perf_counter()
            await pace_async(max(min(again_s, left_s), 0))


@asynccontextmanager
async def _grpc(address: str) -> AsyncIterator[Callable[[], Awaitable[Send]]]:
    async with grpc.aio.insecure_channel(
        address, [("grpc.max_send_message_length", -1)]
    ) as channel:
        export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)

        async def send(body: bytes) -> float:
            try:
                await export(body)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                told = dict(error.trailing_metadata() or ()).get("google.rpc.retryinfo-bin", b"")
                delay = RetryInfo.FromString(told).retry_delay
                return delay.ToMilliseconds() / 1e3 or _AGAIN_S
            return 0.0

        async def connect() -> Send:
            return send

        yield connect


@asynccontextmanager
async def _http(address: str) -> AsyncIterator[Callable[[], Awaitable[Send]]]:
    opened: list[_Connection] = []

    async def connect() -> Send:
        connection = _Connection(address)
        await connection.open()
        opened.append(connection)
        return connection.send

    yield connect
    for connection in opened:
        connection.close()


class _Connection:
    """One keep-alive HTTP/1.1 connection; written by hand, because the generator must be cheap."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def send(self, body: bytes) -> float:
        head = (
            f"POST /v1/traces HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            self._writer.write(head.encode())
            self._writer.write(body)  # a response may arrive before all is sent
            answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            _, _, size = answer.partition("content-length: ")
            await self._reader.readexactly(int(size.partition("\r\n")[0] or 0))
        except (ConnectionError, asyncio.IncompleteReadError):  # it responded before reading all
            self.close()
            await self.open()
            return _AGAIN_S
        status = int(answer.split(" ", 2)[1])
        assert status in {200, _UNAVAILABLE}, answer
        if "connection: close" in answer:
            self.close()
            await self.open()
        _, _, again = answer.partition("retry-after: ")
        return float(again.partition("\r\n")[0] or _AGAIN_S) if status == _UNAVAILABLE else 0.0

    def close(self) -> None:
        self._writer.close()
