"""Send thousands of broken export requests; check the responses and the good runs in between."""

import asyncio
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import grpc

from tests.bench.pace import pace_async
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.load import make_request, run_ids
from tests.support.mutations import PROJECT, PROTOBUF, Mutator, Payload

REQUESTS: Final = 20_000
MEMORY_MB: Final = 1_200
_HTTP_SENDERS: Final = 192
_GRPC_SENDERS: Final = 32
_GOOD_EVERY: Final = 50
_GOOD: Final = "good"
_ANSWER_S: Final = 20.0
_PAUSE_S: Final = 0.2
_READ: Final = 15
_TABLE: Final = frozenset(
    {
        *(f"http {status}" for status in (200, 400, 413, 415, 429, 503)),
        *(f"grpc {code}" for code in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")),
        "grpc UNAVAILABLE",
    }
)
_TAKEN: Final = frozenset({"http 200", "grpc OK"})
_REFUSED: Final = frozenset({"http 400", "grpc INVALID_ARGUMENT"})
_LATER: Final = frozenset({"http 503", "grpc UNAVAILABLE"})
_METHODS: Final = {
    signal: f"/opentelemetry.proto.collector.{package}.v1.{service}/Export"
    for signal, package, service in (
        ("traces", "trace", "TraceService"),
        ("logs", "logs", "LogsService"),
    )
}


@dataclass(slots=True)
class Mutated:
    """The outcome of all requests.

    Attributes:
        seed: Seed of the mutations.
        requests: How many requests were sent.
        readable: Requests that the official messages can read.
        answers: Number of responses of each kind; ``hung`` and ``closed`` mean that there was none.
        refused_readable: Protobuf requests that are readable but were refused.
        good: Runs of good requests that were sent in between.
        lost: Good runs that the list does not have exactly once.
        unread: Failing addresses of the API and pages that show stored data.
        peak_mb: Peak resident memory of the collector.
        slowest_s: The longest wait for a response.
    """

    seed: int
    requests: int
    readable: int = 0
    answers: "Counter[str]" = field(default_factory=Counter)
    refused_readable: int = 0
    good: list[str] = field(default_factory=list)
    lost: int = 0
    unread: Sequence[str] = ()
    peak_mb: float = 0.0
    slowest_s: float = 0.0

    @property
    def odd(self) -> Sequence[str]:
        """Responses that are not in the table."""
        return sorted(self.answers.keys() - _TABLE)

    @property
    def is_right(self) -> bool:
        """Whether every response is in the table, and everything stored can be read."""
        return not (self.odd or self.lost or self.unread or self.refused_readable)


def measure(requests: int = REQUESTS, seed: int | None = None) -> Mutated:
    """Send broken requests over HTTP and gRPC, many in flight, with good ones in between."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    found = Mutated(seed, requests)
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            asyncio.run(_send(collector, Mutator(seed), found))
            found.peak_mb = collector.peak_mb
            listed = Counter(run["run_id"] for run in collector.runs(_GOOD))
            found.lost = sum(listed[run_id] != 1 for run_id in found.good)
            found.unread = _unread(collector)
        finally:
            collector.kill()
    return found


def report(requests: int = REQUESTS) -> None:
    """Measure; print the result and the count of every response."""
    found = measure(requests)
    heads = ("mutated requests", "readable", "odd answers", "good runs", "lost", "memory, MB", "")
    row = (
        *(f"{found.requests:,}", f"{found.readable:,}", ", ".join(found.odd) or "0"),
        *(f"{len(found.good):,}", f"{found.lost}", f"{found.peak_mb:.0f}"),
        verdict(found.is_right and found.peak_mb < MEMORY_MB),
    )
    print_table(heads, [row])
    print_table(
        ("answer", "requests"),
        [(name, f"{number:,}") for name, number in found.answers.most_common()],
    )
    print(f"seed {found.seed}\n", flush=True)


class _Http:
    """One keep-alive connection."""

    def __init__(self, endpoint: str) -> None:
        self._place = urlsplit(endpoint)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, payload: Payload) -> str:
        """Send a request; return the kind of its response."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                status, body = await self._ask(payload)
        except TimeoutError:
            return "hung"
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return "closed"
        return f"http {status}{_trouble(body)}"

    async def _ask(self, payload: Payload) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._place.hostname, self._place.port)
        reader, writer = self._streams
        writer.write(
            f"POST /v1/{payload.signal} HTTP/1.1\r\nHost: {self._place.netloc}\r\n"
            f"Content-Type: {payload.media_type}\r\nContent-Encoding: {payload.encoding}\r\n"
            f"Content-Length: {len(payload.body)}\r\n\r\n".encode()
            + payload.body
        )
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            self.close()
        return int(head.split(" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _Grpc:
    """One channel that many requests share."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._export: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {
            signal: channel.unary_unary(method) for signal, method in _METHODS.items()
        }

    async def ask(self, payload: Payload) -> str:
        """Send a request; return the kind of its response."""
        try:
            await self._export[payload.signal](payload.body, timeout=_ANSWER_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return "hung"
            return f"grpc {error.code().name}{_trouble((error.details() or '').encode())}"
        return "grpc OK"


def _trouble(body: bytes) -> str:
    """Return the collector's internal error, if any: unlike a busy store, it recurs forever."""
    found = re.search(rb"has trouble: (\w+)", body)
    return f" {found[1].decode()}" if found else ""


async def _send(collector: CollectorProcess, mutator: Mutator, found: Mutated) -> None:
    left = iter(range(found.requests))
    connections = [_Http(collector.endpoint) for _ in range(_HTTP_SENDERS)]
    async with grpc.aio.insecure_channel(collector.grpc) as channel:
        senders: list[_Http | _Grpc] = [*connections, *[_Grpc(channel)] * _GRPC_SENDERS]
        try:
            await asyncio.gather(*(_work(sender, mutator, left, found) for sender in senders))
        finally:
            for connection in connections:
                connection.close()


async def _work(
    sender: _Http | _Grpc, mutator: Mutator, left: Iterator[int], found: Mutated
) -> None:
    for number in left:
        if number % _GOOD_EVERY == 0:
            await _send_good(sender, found)
        payload = mutator.next(over_http=isinstance(sender, _Http))
        started = time.monotonic()
        answer = await sender.ask(payload)
        found.slowest_s = max(found.slowest_s, time.monotonic() - started)
        found.answers[answer] += 1
        found.readable += payload.is_readable
        if answer in _REFUSED and payload.is_readable and payload.media_type == PROTOBUF:
            found.refused_readable += 1


async def _send_good(sender: _Http | _Grpc, found: Mutated) -> None:
    request = make_request(_GOOD, 2)
    good = Payload("traces", PROTOBUF, request.SerializeToString(), True)
    while (answer := await sender.ask(good)) in _LATER:
        await pace_async(_PAUSE_S)
    assert answer in _TAKEN, answer
    found.good += run_ids(request)


def _unread(collector: CollectorProcess) -> list[str]:
    """Read everything the broken requests stored, in every way; return the failing addresses."""
    everything = collector.runs(PROJECT, where='kind != "none"')
    project = f"/projects/{PROJECT}"
    models = collector.get(f"{project}/models")["models"]
    models = [model for model in models if model["versions"]]
    shown = [f"{project}/runs/{run['run_id']}" for run in everything[:_READ]]
    shown += [f"{project}/models/{quote(model['model'], safe='')}" for model in models[:_READ]]
    asked = [
        *("/projects", f"{project}/metrics", f"{project}/objects"),
        *(f"{project}/runs/{run['run_id']}" for run in everything[:_READ]),
        *(
            f"{project}/models/{quote(model['model'], safe='')}/versions"
            for model in models[:_READ]
        ),
    ]
    paths = ["/", "/metrics", *shown, *(f"/api/v1{path}" for path in asked)]
    return [path for path in paths if collector.status(path) != 200]
