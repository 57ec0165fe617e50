"""The way of one export request: decode, map, commit, answer. The same for every transport."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from otel_ml_collector.access import OPEN, Access
from otel_ml_collector.clock_watch import ClockWatch
from otel_ml_collector.commit import Commit
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.requests import count_data_points, read_logs, read_spans
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import TooLarge, Unavailable
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.mapping import (
    NO_TRACE,
    NO_TRACE_MEANS,
    NOT_ALLOWED,
    Filing,
    Prices,
    map_logs,
    map_spans,
)
from otel_ml_collector.quotas import Quotas
from otel_ml_collector.records import Records
from otel_ml_collector.telemetry import Telemetry

BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024
_IN_FLIGHT_BYTES: Final = 96 * 1024 * 1024
# What a record takes beside its text, which takes what it took in the body; bounded, so that the
# largest request is taken when it is alone.
_RECORD_BYTES: Final = 1024
_RECORDS_BYTES: Final = 12 * 1024 * 1024
# The stock OpenTelemetry collector gives up on a request after 5 s; an answer takes its time on a
# busy loop, and what is told here is within 4 s at the sender.
_ANSWER_S: Final = 3.5
_MAPPERS: Final = 2
_NO_METRICS: Final = (
    "Metrics are not kept here: send OTLP metrics to a Prometheus-compatible backend; the metrics "
    "of runs are made here of spans and log records, see /metrics"
)


@dataclass(frozen=True, slots=True)
class Export:
    """One export request as a transport received it.

    Attributes:
        body: OTLP, perhaps compressed.
        encoding: How; one of `decode.compression.ENCODINGS`.
        header_project: What the request's header says, for spans that name no project.
        signal: What the body holds.
        form: How the body is written.
        access: What its key allows.
        passed: Ids of the collectors that forwarded it, with commas between.
    """

    body: bytes
    encoding: str
    header_project: str | None
    signal: Signal = Signal.TRACES
    form: Form = Form.PROTOBUF
    access: Access = OPEN
    passed: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: everything but the rejected spans is durable.

    Attributes:
        rejected: Number of spans, log records or data points that can never be stored.
        message: Why, in English; empty when none was rejected.
    """

    rejected: int
    message: str


class Pipeline:
    """Takes requests on the event loop; decodes and maps them on threads.

    Args:
        commit: Stores the records.
        telemetry: Counts spans.
        quotas: Bound what each key sends.
        forward: Takes what is stored; None when nothing is forwarded.
        prices: What calls of models cost; None where no cost is worked out.
        by_service: Whether the service names the project of what names none.
        clocks: Knows whether this machine's clock may be wrong.
    """

    def __init__(
        self,
        commit: Commit,
        telemetry: Telemetry,
        quotas: Quotas | None = None,
        forward: OtlpForward | None = None,
        prices: Prices | None = None,
        *,
        by_service: bool = False,
        clocks: ClockWatch | None = None,
    ) -> None:
        self._by_service = by_service
        self._commit = commit
        self._telemetry = telemetry
        self._quotas = quotas or Quotas()
        self._forward = forward
        self._prices = prices
        self._clocks = clocks or ClockWatch()
        self._budget = _Budget(telemetry)
        self._mappers = ThreadPoolExecutor(_MAPPERS, thread_name_prefix="otel-ml-map")
        self._under_way = 0
        self._is_ending = False
        self._idle = asyncio.Event()

    @contextmanager
    def hold(self) -> "Iterator[Held]":
        """Take part in the budget of bytes until the request is answered.

        Raises:
            Unavailable: No more requests are taken.
        """
        if self._is_ending:
            raise Unavailable("The collector is shutting down")
        held = Held(self._budget)
        self._under_way += 1
        try:
            yield held
        finally:
            held.release()
            self._under_way -= 1
            self._note_idle()

    def send_away(self) -> None:
        """Take no more requests."""
        self._is_ending = True
        self._note_idle()

    async def until_idle(self) -> None:
        """Wait, after `send_away`, until each request has its answer."""
        await self._idle.wait()

    async def accept(self, export: Export, held: "Held") -> Answer:
        """Store the spans of a request.

        Args:
            export: The request.
            held: Its part of the budget, in which its body is counted already.

        Raises:
            Refused: The request is wrong for good.
            OverQuota: Its key has sent more than it may.
            Unavailable: It is not known to be stored; the sender should send it again. Raised
                within 4 s.
        """
        self._quotas.check(export.access)
        self._quotas.take(export.access, size=len(export.body))
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._store(export, held)
        except TimeoutError as error:
            raise Unavailable("The store is busy") from error

    def close(self) -> None:
        """Let requests under way finish decoding."""
        self._mappers.shutdown(wait=True)

    def _note_idle(self) -> None:
        if self._is_ending and not self._under_way:
            self._idle.set()

    async def _store(self, export: Export, held: "Held") -> Answer:
        deadline = time.monotonic() + _ANSWER_S
        loop = asyncio.get_running_loop()
        if export.signal is Signal.METRICS:
            number = await loop.run_in_executor(self._mappers, _count, export, held, deadline)
            return Answer(number, _NO_METRICS if number else "")
        onward = _onward(export, self._forward) if self._forward else None
        records = await loop.run_in_executor(self._mappers, self._read, export, held, deadline)
        if len(records) or records.trace_keys:
            await asyncio.wrap_future(self._commit.submit(records, deadline))
        accepted = records.received - records.rejected.total()
        if self._forward and onward and accepted:
            await _pass_on(self._forward, onward, records, deadline)
        if export.signal is Signal.LOGS:
            self._telemetry.count_log_records(accepted, records.rejected)
            return _answer(records.rejected, "Log records")
        self._telemetry.count_spans(accepted, records.rejected)
        return _answer(records.rejected, "Spans")

    def _read(self, export: Export, held: "Held", deadline: float) -> Records:
        """Decode and map, on a thread."""
        body = _body(export, held, deadline)
        now_ns, by_service = time.time_ns(), self._by_service
        filing = Filing(export.header_project, now_ns, export.access, self._prices, by_service)
        if export.signal is Signal.LOGS:
            logs = read_logs(body, export.form)
            held.grow(min(len(logs) * _RECORD_BYTES, _RECORDS_BYTES))
            self._note_received(export, len(logs))
            times = ((log, log.time_ns or log.observed_ns) for log in logs)
            self._clocks.check((log.scope.resource, at_ns, at_ns) for log, at_ns in times)
            return replace(map_logs(logs, filing), received=len(logs))
        spans = read_spans(body, export.form)
        held.grow(min(len(spans) * _RECORD_BYTES, _RECORDS_BYTES))
        self._note_received(export, len(spans))
        self._clocks.check((span.scope.resource, span.start_ns, span.end_ns) for span in spans)
        return replace(map_spans(spans, filing), received=len(spans))

    def _note_received(self, export: Export, number: int) -> None:
        self._quotas.take(export.access, spans=number)
        self._telemetry.count_received(export.signal, number)


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


def _onward(export: Export, forward: OtlpForward) -> OtlpRequest | None:
    """Make of a request what is forwarded, with the project that is filed under here."""
    passed = forward.add_self(export.passed)
    if not forward.has_targets(export.signal):
        return None
    own = export.access.projects
    project = export.header_project
    if own and (len(own) == 1 or not project):
        project = own[0]
    return OtlpRequest(export.body, export.encoding, export.signal, export.form, project, passed)


async def _pass_on(
    forward: OtlpForward, onward: OtlpRequest, records: Records, deadline: float
) -> None:
    """Forward what is stored; bytes that hold what the sender may not write stay here."""
    if NOT_ALLOWED in records.rejected:
        forward.hold_back(onward)
    else:
        await forward.pass_on(onward, deadline)


def _count(export: Export, held: Held, deadline: float) -> int:
    """Count the data points of a request, on a thread."""
    return count_data_points(_body(export, held, deadline), export.form)


def _body(export: Export, held: Held, deadline: float) -> bytes:
    """Decompress a body; a request that nobody waits for any more is left alone."""
    if time.monotonic() >= deadline:
        raise Unavailable("The collector is busy")
    body = decompress(export.body, export.encoding, BODY_LIMIT_BYTES)
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"The body has more than {BODY_LIMIT_BYTES} bytes uncompressed")
    if body is not export.body:
        held.grow(len(body))
    return body


def _answer(rejected: Counter[str], what: str) -> Answer:
    if not rejected:
        return Answer(0, "")
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(rejected.items()))
    meaning = f"; {NO_TRACE_MEANS}" if NO_TRACE in rejected else ""
    return Answer(rejected.total(), f"{what} rejected for good: {reasons}{meaning}")
