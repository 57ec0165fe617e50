"""The way of one export request: decode, map, commit, answer. The same for every transport."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.commit import Commit
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.traces import decode_traces
from otel_ml_collector.errors import TooLarge, Unavailable
from otel_ml_collector.mapping import Filing, map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.telemetry import Telemetry

BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024
_IN_FLIGHT_BYTES: Final = 96 * 1024 * 1024
# The stock OpenTelemetry collector gives up on a request after 5 s.
_ANSWER_S: Final = 4.0
_MAPPERS: Final = 2


@dataclass(frozen=True, slots=True)
class Export:
    """One export request as a transport received it.

    Attributes:
        body: OTLP in protobuf, perhaps compressed.
        encoding: gzip, deflate or identity.
        header_project: What the request's header says, for spans that name no project.
    """

    body: bytes
    encoding: str
    header_project: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: everything but the rejected spans is durable.

    Attributes:
        rejected: Number of spans that can never be stored.
        message: Why, in English; empty when none was rejected.
    """

    rejected: int
    message: str


class Pipeline:
    """Takes requests on the event loop; decodes and maps them on threads.

    Args:
        commit: Stores the records.
        telemetry: Counts spans.
    """

    def __init__(self, commit: Commit, telemetry: Telemetry) -> None:
        self._commit = commit
        self._telemetry = telemetry
        self._budget = _Budget(telemetry)
        self._mappers = ThreadPoolExecutor(_MAPPERS, thread_name_prefix="otel-ml-map")

    @contextmanager
    def hold(self) -> "Iterator[Held]":
        """Take part in the budget of bytes until the request is answered."""
        held = Held(self._budget)
        try:
            yield held
        finally:
            held.release()

    async def accept(self, export: Export, held: "Held") -> Answer:
        """Store the spans of a request.

        Args:
            export: The request.
            held: Its part of the budget, in which its body is counted already.

        Raises:
            Refused: The request is wrong for good.
            Unavailable: It is not known to be stored; the sender should send it again. Raised
                within 4 s.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._store(export, held)
        except TimeoutError as error:
            raise Unavailable("The store is busy") from error

    def close(self) -> None:
        """Let requests under way finish decoding."""
        self._mappers.shutdown(wait=True)

    async def _store(self, export: Export, held: "Held") -> Answer:
        deadline = time.monotonic() + _ANSWER_S
        records = await asyncio.get_running_loop().run_in_executor(
            self._mappers, _read, export, held, deadline
        )
        if len(records) or records.trace_keys:
            await asyncio.wrap_future(self._commit.submit(records, deadline))
        self._telemetry.count_spans(len(records.runs), records.rejected)
        return _answer(records.rejected)


class _Budget:
    """Bounds the bytes of all requests that wait for an answer."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._bytes = 0

    def move(self, number: int) -> None:
        with self._lock:
            if number > 0 and self._bytes + number > _IN_FLIGHT_BYTES:
                raise Unavailable("Too many bytes wait for the store")
            self._bytes += number
            self._telemetry.set_queue_bytes(self._bytes)


class Held:
    """What one request holds of the budget; it grows as the body is read and decompressed."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self._bytes = 0
        self._lock = threading.Lock()
        self._released = False

    def grow(self, number: int) -> None:
        """Count more bytes.

        Raises:
            Unavailable: Too many bytes wait already, or the sender has its answer.
        """
        with self._lock:
            if self._released:  # the sender has its answer: nobody waits for this body
                raise Unavailable("The collector is busy")
            self._budget.move(number)
            self._bytes += number

    def release(self) -> None:
        """Give everything back."""
        with self._lock:
            self._released = True
            self._budget.move(-self._bytes)


def _read(export: Export, held: Held, deadline: float) -> Records:
    """Decode and map, on a thread; a request that nobody waits for any more is left alone."""
    if time.monotonic() >= deadline:
        raise Unavailable("The collector is busy")
    body = decompress(export.body, export.encoding, BODY_LIMIT_BYTES)
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"The body has more than {BODY_LIMIT_BYTES} bytes uncompressed")
    if body is not export.body:
        held.grow(len(body))
    return map_spans(decode_traces(body), Filing(export.header_project, time.time_ns()))


def _answer(rejected: Counter[str]) -> Answer:
    if not rejected:
        return Answer(0, "")
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(rejected.items()))
    return Answer(rejected.total(), f"Spans rejected for good: {reasons}")
