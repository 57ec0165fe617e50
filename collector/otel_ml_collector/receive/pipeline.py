"""The way of an export request: decode, map, commit, answer. The same for every transport."""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, TypeVar

from otel_ml_collector.access import OPEN, Access
from otel_ml_collector.clock import ClockWatch, Seen
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.requests import (
    PORTION_BYTES,
    Portion,
    cut,
    read_logs,
    read_points,
    read_spans,
)
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import BadField, Rejected, TooLarge, Unavailable
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.mapping.filing import NOT_ALLOWED, Filing
from otel_ml_collector.mapping.logs import LEFT_OUT, NO_TRACE, NO_TRACE_MEANS, map_logs
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.shared_ids import SHARED_ID, SHARED_ID_MEANS, SpanOwners
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.receive.admission import (
    WHOLE_BYTES,
    Admission,
    Budget,
    Held,
    PlaceInLine,
    Pressure,
    Quotas,
)
from otel_ml_collector.receive.answers import ExportAnswer
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Records
from otel_ml_collector.span import Log, Span, service_of
from otel_ml_collector.telemetry.service import Telemetry

BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024
# What a record takes beside its text, which takes what it took in the body; bounded, so that the
# largest request is taken when it is alone.
_RECORD_BYTES: Final = 1024
_RECORDS_BYTES: Final = 12 * 1024 * 1024
# The stock OpenTelemetry collector gives up on a request after 5 s; an answer takes its time on a
# busy loop, and what is told here is within 4 s at the sender.
_ANSWER_S: Final = 3.5
# What is left of it at least once the body is there; of a large one, whose work goes on beyond the
# answer, less: its sender may have ended long before it was read.
_LEAST_S: Final = 1.0
_LEAST_LARGE_S: Final = 0.25
_MAPPERS: Final = 2
# What a portion of a large request waits for the store: its sender comes again meanwhile.
_PORTION_S: Final = 60.0
_LARGE_KNOWN: Final = 256
_DAY_S: Final = 86_400
# Why some are rejected whose reason is no plain word.
_MEANINGS: Final = {NO_TRACE: NO_TRACE_MEANS, SHARED_ID: SHARED_ID_MEANS}
_NO_METRICS: Final = "Metrics are not kept here: send them to a Prometheus-compatible backend"
_SERVICES: Final = 100  # that are told apart in the log
_OTHERS: Final = "(others)"
_logger = logging.getLogger(__name__)


Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Export:
    """An export request as a transport received it.

    Attributes:
        body: OTLP, perhaps compressed.
        encoding: How; an entry of `decode.compression.ENCODINGS`.
        header_project: The project of the request's header, for spans that name no project.
        signal: What the body holds.
        form: How the body is written.
        access: What its key allows.
        passed: Ids of the collectors that forwarded it, with commas between.
        key: Of a large request for which there is no room: what stands for its bytes, which are
            not kept, as those of the same request are held already.
    """

    body: bytes
    encoding: str
    header_project: str | None
    signal: Signal = Signal.TRACES
    form: Form = Form.PROTOBUF
    access: Access = OPEN
    passed: str = ""
    key: bytes = b""


@dataclass(slots=True)
class _Large:
    """How far a large request is, whether or not its sender is there.

    Attributes:
        size: Its bytes.
        stored: Number of its portions that are durable.
        received: Number of the records in them.
        rejected: Those that can never be stored, by reason.
        outcome: How it ended for good.
        trouble: Why it went no further; when it comes again it goes on from there.
        work: What goes on.
    """

    size: int
    stored: int = 0
    received: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    outcome: ExportAnswer | Rejected | None = None
    trouble: Unavailable | None = None
    work: "asyncio.Task[None] | None" = None


class Intake:
    """Takes requests on the event loop; decodes and maps them on threads.

    Args:
        commit: Stores the records.
        telemetry: Counts spans.
        quotas: Bound what each key sends.
        forward: Takes what is stored; None when nothing is forwarded.
        prices: What calls of models cost; None where no cost is worked out.
        by_service: Whether the service names the project of what names none.
        refuses_metrics: Whether metrics that go nowhere are refused; else they are left out.
        clocks: Knows whether this machine's clock may be wrong.

    Attributes:
        pressure: Tells whether requests take all that there is; asked on the event loop.
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
        refuses_metrics: bool = False,
        clocks: ClockWatch | None = None,
    ) -> None:
        self._by_service = by_service
        self._refuses_metrics = refuses_metrics
        self._left_out: dict[str, int] = {}  # day in which it was logged, by service
        self._commit = commit
        self._telemetry = telemetry
        self._quotas = quotas or Quotas()
        self._forward = forward
        self._prices = prices
        self._clocks = clocks or ClockWatch()
        self._budget = Budget(telemetry)
        self._admission = Admission()
        self.pressure = Pressure()
        self._owners = SpanOwners()
        self._large: dict[bytes, _Large] = {}
        self._one_large = asyncio.Lock()
        self._mappers = ThreadPoolExecutor(_MAPPERS, thread_name_prefix="otel-ml-map")
        self._under_way = 0
        self._is_ending = False
        self._idle = asyncio.Event()

    def passes_on(self, signal: str) -> bool:
        """Tell whether stored data of a signal is forwarded anywhere."""
        return self._forward is not None and self._forward.has_targets(signal)

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Take part in the line and the budget of bytes until the request is answered.

        Raises:
            Unavailable: No more requests are taken.
        """
        if self._is_ending:
            raise Unavailable("The collector is shutting down")
        held = Held(self._admission, self._budget)
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

    async def accept(self, export: Export, held: Held) -> ExportAnswer:
        """Store the spans of a request.

        A large request is worked off in portions, also beyond the time of an answer: who sends it
        again waits for the same work, and is answered when all of it is stored.

        Args:
            export: The request.
            held: Its part of the budget, in which its body is counted already.

        Raises:
            Rejected: The request is wrong for good.
            OverQuota: Its key has sent more than it may.
            Unavailable: It is not known to be stored; the sender should send it again. Raised
                within 4 s.
        """
        self._quotas.check(export.access)
        self._quotas.take(export.access, size=len(export.body))
        is_compressed = export.encoding != "identity"
        is_large = bool(export.key) or len(export.body) > WHOLE_BYTES
        if not export.key:
            held.begin(len(export.body))
        left_s = max(_ANSWER_S - held.age_s, _LEAST_LARGE_S if is_large else _LEAST_S)
        deadline = time.monotonic() + left_s
        try:
            async with asyncio.timeout(left_s):
                if export.key:
                    return await self._end_large(self._find_large(export.key))
                with self.pressure.work():
                    onward = _onward(export, self._forward) if self._forward else None
                    body: Records | bytes = export.body  # of a large one nothing is made yet
                    if not WHOLE_BYTES < len(body) <= BODY_LIMIT_BYTES or is_compressed:
                        body = await self._on_thread(self._read, export, held, deadline)
                    export = replace(export, body=b"")  # its bytes are records by now
                    answer = await self._store(export, body, onward, held, deadline)
        except TimeoutError as error:
            held.leave(is_measured=True)
            raise Unavailable("The store is busy") from error
        held.leave(is_measured=True)
        return replace(answer, service=held.service) if answer.rejected else answer

    def has_large(self, size: int) -> bool:
        """Tell whether a large request of a size is worked on, or was stored lately."""
        return any(
            item.size == size and (item.outcome is not None or (item.work and not item.work.done()))
            for item in self._large.values()
        )

    def _find_large(self, key: bytes) -> _Large:
        """Find the large request that has the same bytes and is held already.

        Raises:
            Unavailable: There is none, and no room for it.
        """
        large = self._large.get(key)
        if large is None or (large.outcome is None and (not large.work or large.work.done())):
            raise Unavailable("Too many bytes wait for the store")
        return large

    def close(self) -> None:
        """Let requests under way finish decoding."""
        self._mappers.shutdown(wait=True)

    def _note_idle(self) -> None:
        if self._is_ending and not self._under_way:
            self._idle.set()

    async def _store(
        self,
        export: Export,
        records: Records | bytes,
        onward: OtlpRequest | None,
        held: Held,
        deadline: float,
    ) -> ExportAnswer:
        """Store the content of a request: its records, or the body of a large request."""
        if isinstance(records, bytes):
            held.begin(len(records))
            beginning = self._begin_large(export, records, onward, held.hand_over())
            return await self._end_large(await asyncio.shield(asyncio.create_task(beginning)))
        if len(records) or records.trace_keys:
            await asyncio.wrap_future(self._commit.submit(records, deadline))
        if export.signal is Signal.METRICS:
            return await self._leave_metrics(records.received, onward, held.service, deadline)
        return await self._conclude(export, records.received, records.rejected, onward, deadline)

    async def _leave_metrics(
        self, points: int, onward: OtlpRequest | None, service: str, deadline: float
    ) -> ExportAnswer:
        """Pass metrics on, where they go anywhere; none is kept here."""
        if self._forward and onward:
            if points:
                await self._forward.pass_on(onward, deadline)
            return ExportAnswer(0, "")
        if self._refuses_metrics:
            return ExportAnswer(points, _NO_METRICS if points else "")
        self._telemetry.count_left_points(points)
        name = service if service in self._left_out or len(self._left_out) < _SERVICES else _OTHERS
        today = int(time.time()) // _DAY_S
        if points and self._left_out.get(name) != today:
            self._left_out[name] = today
            _logger.info(
                "OTLP metrics of %s are left out: forward them, or stop sending them here; said "
                "once a day",
                name or "a service without a name",
            )
        return ExportAnswer(0, "")

    async def _conclude(
        self,
        export: Export,
        received: int,
        rejected: Counter[str],
        onward: OtlpRequest | None,
        deadline: float,
    ) -> ExportAnswer:
        """Forward and count the stored records of a request."""
        if export.signal is Signal.METRICS:
            return await self._leave_metrics(received, onward, "", deadline)
        accepted = received - rejected.total()
        if self._forward and onward and accepted:
            if NOT_ALLOWED in rejected:  # bytes with data that the sender may not write
                self._forward.hold_back(onward)
            else:
                await self._forward.pass_on(onward, deadline)
        if export.signal is Signal.LOGS:
            self._telemetry.count_log_records(accepted, rejected)
            refused = Counter({why: rejected[why] for why in rejected.keys() - LEFT_OUT})
            return _answer(refused, "Log records")
        self._telemetry.count_spans(accepted, rejected)
        return _answer(rejected, "Spans")

    async def _begin_large(
        self, export: Export, body: bytes, onward: OtlpRequest | None, held: Held
    ) -> _Large:
        try:
            key = await self._on_thread(_digest, export, body)
        except BaseException:
            held.release()
            raise
        large = self._large.setdefault(key, _Large(len(body)))
        if large.outcome is None and (large.work is None or large.work.done()):
            large.trouble = None
            large.work = asyncio.create_task(self._work_off(large, export, body, onward, held))
        else:
            held.release()
        return large

    async def _end_large(self, large: _Large) -> ExportAnswer:
        """Wait for the end of the work on a large request."""
        if large.outcome is None and large.work is not None:
            await asyncio.shield(large.work)
        self._forget_large()
        if isinstance(large.outcome, ExportAnswer):
            return large.outcome
        raise large.outcome or large.trouble or Unavailable("The collector is busy")

    def _forget_large(self) -> None:
        ended = [key for key, value in self._large.items() if value.work and value.work.done()]
        for key in ended[: max(len(ended) - _LARGE_KNOWN, 0)]:
            del self._large[key]

    async def _work_off(
        self, large: _Large, export: Export, body: bytes, onward: OtlpRequest | None, held: Held
    ) -> None:
        """Store the portions that are not stored yet, by large request in their order."""
        try:
            async with self._one_large:
                portions = await self._on_thread(cut, body, export.signal, export.form)
                await self._store_portions(
                    large, export, islice(portions, large.stored, None), held
                )
            deadline = time.monotonic() + _ANSWER_S
            large.outcome = await self._conclude(
                export, large.received, large.rejected, onward, deadline
            )
        except Rejected as error:
            large.outcome = error
        except Unavailable as error:
            large.trouble = error
        finally:
            held.release()

    async def _store_portions(
        self, large: _Large, export: Export, portions: Iterator[Portion], held: Held
    ) -> None:
        """Store portions in their order; while a portion is stored, the next is mapped."""
        storing: asyncio.Task[None] | None = None
        while True:
            place = self._admission.enter(held.sender, PORTION_BYTES)
            try:
                records = await self._on_thread(self._read_portion, export, portions)
            except BaseException:
                self._admission.leave(place)
                raise
            finally:
                if storing is not None:
                    await storing
            if records is None:
                self._admission.leave(place)
                return
            storing = asyncio.create_task(self._store_portion(large, records, place))

    async def _store_portion(self, large: _Large, records: Records, place: PlaceInLine) -> None:
        try:
            if len(records) or records.trace_keys:
                until = time.monotonic() + _PORTION_S
                await asyncio.wrap_future(self._commit.submit(records, until))
        finally:
            self._admission.leave(place, is_measured=True)
        large.stored += 1
        large.received += records.received
        large.rejected += records.rejected

    def _on_thread(self, call: Callable[..., Made], *arguments: Any) -> "asyncio.Future[Made]":
        return asyncio.get_running_loop().run_in_executor(self._mappers, call, *arguments)

    def _read(self, export: Export, held: Held, deadline: float) -> Records | bytes:
        """Decode and map, on a thread; return the body of a large request."""
        body = _body(export, held, deadline)
        if len(body) > WHOLE_BYTES:
            return body
        records = self._map(export, body, held)
        held.count(min(records.received * _RECORD_BYTES, _RECORDS_BYTES))
        return records

    def _read_portion(self, export: Export, portions: Iterator[Portion]) -> Records | None:
        """Decode and map the next portion, on a thread."""
        portion = next(portions, None)
        if portion is None:
            return None
        try:
            return self._map(export, portion.body)
        except BadField as error:
            raise portion.place(error) from error

    def _map(self, export: Export, body: bytes, held: Held | None = None) -> Records:
        if export.signal is Signal.METRICS:
            points, service = read_points(body, export.form)
            if held is not None:
                held.service = service
            return Records(received=points)
        now_ns, by_service = time.time_ns(), self._by_service
        filing = Filing(
            export.header_project, now_ns, export.access, self._prices, by_service, self._owners
        )
        if export.signal is Signal.LOGS:
            logs = read_logs(body, export.form)
            self._note_received(export, len(logs))
            _note_service(logs, held)
            followed_logs = self._clocks.follow(logs, _times_of_log)
            return replace(map_logs(followed_logs, filing), received=len(logs))
        spans = read_spans(body, export.form)
        self._note_received(export, len(spans))
        _note_service(spans, held)
        followed = self._clocks.follow(spans, _times_of_span)
        return replace(map_spans(followed, filing), received=len(spans))

    def _note_received(self, export: Export, number: int) -> None:
        self._quotas.take(export.access, spans=number)
        self._telemetry.count_received(export.signal, number)


def _note_service(spans: Iterable[Span | Log], held: Held | None) -> None:
    first = next(iter(spans), None) if held else None
    if held and first:
        held.service = service_of(first.scope.resource)


def _times_of_span(span: Span) -> Seen:
    return span.scope.resource, span.start_ns, span.end_ns


def _times_of_log(log: Log) -> Seen:
    at_ns = log.time_ns or log.observed_ns
    return log.scope.resource, at_ns, at_ns


def _onward(export: Export, forward: OtlpForward) -> OtlpRequest | None:
    """Make the forwarded form of a request, with the project under which it is filed here."""
    passed = forward.add_self(export.passed)
    if not forward.has_targets(export.signal):
        return None
    own = export.access.projects
    project = export.header_project
    if own and (len(own) == 1 or not project):
        project = own[0]
    return OtlpRequest(export.body, export.encoding, export.signal, export.form, project, passed)


def begin_digest(export: Export) -> "hashlib.blake2b":
    """Begin the digest that identifies a large request and the project it is filed under."""
    parts = (export.signal, export.form, export.header_project, export.access.key_id)
    person = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    return hashlib.blake2b(digest_size=24, person=person)


def _digest(export: Export, body: bytes) -> bytes:
    digest = begin_digest(export)
    digest.update(body)
    return digest.digest()


def _body(export: Export, held: Held, deadline: float) -> bytes:
    """Decompress a body; a request that nobody waits for any more is left alone."""
    if time.monotonic() >= deadline:
        raise Unavailable("The collector is busy")
    body = decompress(export.body, export.encoding, BODY_LIMIT_BYTES)
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"The body has more than {BODY_LIMIT_BYTES} bytes uncompressed")
    if body is not export.body:
        held.grow(len(body))
        held.resize(len(body))
    return body


def _answer(rejected: Counter[str], what: str) -> ExportAnswer:
    if not rejected:
        return ExportAnswer(0, "")
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(rejected.items()))
    meanings = [f": {meaning}" for reason, meaning in _MEANINGS.items() if reason in rejected]
    text = f"{what} rejected for good: {reasons}{''.join(meanings)}"
    return ExportAnswer(rejected.total(), text)
