"""Measure requests of an asyncio service under steady load while its collector hangs.

The services run at the same time under the same load, so other load on the machine affects all.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from otel_ml import Client
from tests.bench.pace import pace_async
from tests.bench.process import start_module
from tests.bench.sink import find_process, open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict

ROUNDS: Final = 3
SECONDS: Final = 10
FLOOR_MS: Final = 5.0
WAYS: Final = ("untraced", "traced", "traced, collector stopped")
_WARM_S: Final = 1
_CONNECTIONS: Final = 10
_INTERVAL_S: Final = 0.05  # per connection: 200 requests/s in total
_QUEUE_SPANS: Final = "200"  # fills soon, to test calls with a full queue
_MODEL_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Stopped:
    """The requests of one round.

    Attributes:
        p99_ms: 99th percentile from the due time of a request to its response.
        p50_ms: The median.
        lost: Spans that were dropped because the queue was full.
    """

    p99_ms: float
    p50_ms: float
    lost: int


def measure(seconds: float = SECONDS) -> dict[str, Stopped]:
    """Load one service per way, all at once."""
    with ExitStack() as stack:
        live, stopped = (stack.enter_context(open_sink()) for _ in range(2))
        ports = {}
        for way, endpoint in zip(WAYS, (live, live, stopped), strict=True):
            service = stack.enter_context(
                start_module("stopped", way, endpoint, OTEL_BSP_MAX_QUEUE_SIZE=_QUEUE_SPANS)
            )
            stack.callback(service.kill)
            assert service.stdout is not None
            ports[way] = int(service.stdout.readline())
        asyncio.run(_load_all(ports, _WARM_S))
        os.kill(find_process(stopped), signal.SIGSTOP)
        waits_s = asyncio.run(_load_all(ports, seconds))
        lost = {way: int(asyncio.run(_ask(port, b"lost\n"))) for way, port in ports.items()}
    centiles = {way: statistics.quantiles(waits_s[way], n=100) for way in WAYS}
    return {
        way: Stopped(centiles[way][98] * 1e3, centiles[way][49] * 1e3, lost[way]) for way in WAYS
    }


def report(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    measured = [measure() for _ in range(rounds)]
    found = {way: [one[way] for one in measured] for way in WAYS}
    rows = [
        [
            way,
            spread([one.p50_ms for one in found[way]], digits=1),
            spread([one.p99_ms for one in found[way]], digits=1),
            f"{sum(one.lost for one in found[way]):,}",
        ]
        for way in WAYS
    ]
    print_table(("asyncio service, 200 requests/s", "p50, ms", "p99, ms", "no room for"), rows)
    untraced, _, stopped = (found[way] for way in WAYS)
    more = [b.p99_ms - a.p99_ms for a, b in zip(untraced, stopped, strict=True)]
    reached = verdict(statistics.median(more) <= FLOOR_MS)
    print(f"p99, stopped − untraced: {spread(more, ' ms', 1)}, floor {FLOOR_MS:g} ms: {reached}\n")


async def _load_all(ports: Mapping[str, int], seconds: float) -> dict[str, list[float]]:
    waits_s = await asyncio.gather(*(_load(port, seconds) for port in ports.values()))
    return dict(zip(ports, waits_s, strict=True))


async def _load(port: int, seconds: float) -> list[float]:
    """Send at a steady rate regardless of responses; return the duration of each in seconds."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    waits_s: list[float] = []

    async def connection(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due_s = began_s + number * _INTERVAL_S / _CONNECTIONS
        while due_s < began_s + seconds:
            await pace_async(due_s - loop.time())
            writer.write(b"question\n")
            await reader.readline()
            waits_s.append(loop.time() - due_s)
            due_s += _INTERVAL_S
        writer.close()

    await asyncio.gather(*map(connection, range(_CONNECTIONS)))
    return waits_s


async def _ask(port: int, line: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    return answer


async def _answer(question: str) -> dict[str, object]:
    await pace_async(_MODEL_S)
    return {"answer": question, "confidence": 0.9}


async def _serve(way: str, endpoint: str) -> None:
    client = Client("bench", endpoint=endpoint)
    model: Callable[[str], Awaitable[object]]
    model = _answer if way == "untraced" else client.trace(_answer)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"lost\n":
                answer: object = sum(client.stats().lost.values())
            else:
                answer = await model(line.decode())
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
