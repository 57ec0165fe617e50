"""Spans a second that are accepted, durable and queryable; disk and memory they take."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import grpc

from tests.bench.payload import SPANS, Template
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.support.collector import CollectorProcess

SECONDS: Final = 8
ROUNDS: Final = 3
IN_FLIGHT: Final = (4, 32)
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(frozen=True, slots=True)
class Ingest:
    """What one round of load gave.

    Attributes:
        spans_per_s: Accepted spans, all of which were found through the API afterwards.
        p50_ms: Time from request to answer, and so is p99_ms.
        refused: Requests that were told to come again.
        bytes_per_run: Data directory after the load, a run.
        raw_bytes_per_run: The same runs on the wire, uncompressed.
        peak_mb: Highest resident memory of the collector.
    """

    spans_per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    bytes_per_run: float
    raw_bytes_per_run: float
    peak_mb: float


def measure(in_flight: int, seconds: int = SECONDS) -> Ingest:
    """Load a fresh collector over gRPC from a process of its own; then count what is there."""
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            with get_context("spawn").Pool(1) as pool:
                accepted, refused, waits_s, took_s, raw = pool.apply(
                    _load, (collector.grpc, in_flight, seconds)
                )
            [project] = collector.get("/projects")["projects"]
            stored = project["runs"]
            # A request that was told to come again may be stored: then there is more.
            assert stored >= accepted, (stored, accepted)
            peak_mb = _peak_mb(collector.pid)
            collector.stop()
            collector = CollectorProcess(Path(folder) / "data")  # parts that were merged away leave
            collector.wait_ready()
            size = _size(Path(folder))
        finally:
            collector.kill()
    centiles = statistics.quantiles(waits_s, n=100)
    return Ingest(
        spans_per_s=accepted / took_s,
        p50_ms=centiles[49] * 1e3,
        p99_ms=centiles[98] * 1e3,
        refused=refused,
        bytes_per_run=size / stored,
        raw_bytes_per_run=raw,
        peak_mb=peak_mb,
    )


def report(rounds: int = ROUNDS) -> None:
    """Measure and print, a column for each number of requests in flight."""
    found = [[measure(in_flight) for _ in range(rounds)] for in_flight in IN_FLIGHT]
    lines: tuple[tuple[str, str, int, Callable[[Ingest], float]], ...] = (
        ("accepted, durable, queryable", " spans/s", 0, lambda one: one.spans_per_s),
        ("answer, p50", " ms", 0, lambda one: one.p50_ms),
        ("answer, p99", " ms", 0, lambda one: one.p99_ms),
        ("told to come again", "", 0, lambda one: one.refused),
        ("memory of the collector, most", " MB", 0, lambda one: one.peak_mb),
        ("disk, a run", " B", 0, lambda one: one.bytes_per_run),
        ("÷ its bytes on the wire", "", 2, lambda one: one.bytes_per_run / one.raw_bytes_per_run),
    )
    rows = [
        [title, *(spread([pick(one) for one in column], unit, digits) for column in found)]
        for title, unit, digits, pick in lines
    ]
    heads = [f"{in_flight} in flight" for in_flight in IN_FLIGHT]
    print_table((f"requests of {SPANS} spans", *heads), rows)


def _load(address: str, in_flight: int, seconds: int) -> tuple[int, int, list[float], float, float]:
    return asyncio.run(_send(address, in_flight, seconds))


async def _send(
    address: str, in_flight: int, seconds: int
) -> tuple[int, int, list[float], float, float]:
    template = Template("bench")
    waits_s: list[float] = []
    refused = 0
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        await export(template.fresh())  # the first request loads what the others use
        started = time.perf_counter()

        async def sender() -> None:
            nonlocal refused
            while time.perf_counter() - started < seconds:
                body = template.fresh()
                sent = time.perf_counter()
                try:
                    await export(body)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    refused += 1
                    await asyncio.sleep(0.5)  # as the answer's delay asks, in short
                else:
                    waits_s.append(time.perf_counter() - sent)

        await asyncio.gather(*(sender() for _ in range(in_flight)))
        took_s = time.perf_counter() - started
    accepted = (len(waits_s) + 1) * SPANS
    return accepted, refused, waits_s, took_s, template.bytes / SPANS


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LookupError("VmHWM")


def _size(folder: Path) -> int:
    done = subprocess.run(["du", "-sb", str(folder)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
