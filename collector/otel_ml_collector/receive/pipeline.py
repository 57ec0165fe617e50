"""The ingest pipeline of an export request: decode, map, commit, answer. Used by all transports."""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from otel_ml_collector.decode.utf8 import Replaced, describe
from otel_ml_collector.errors import BadField, Rejected, TooLarge, Unavailable
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.mapping.filing import NOT_ALLOWED, Filing
from otel_ml_collector.mapping.logs import LEFT_OUT, NO_TRACE, NO_TRACE_MEANS, map_logs
from otel_ml_collector.mapping.points import map_points
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
from otel_ml_collector.store.tombstones import DELETED, MODEL, PROJECT, RUN, SESSION, USER
from otel_ml_collector.telemetry.service import Telemetry

BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024
# Memory of a record in addition to its text. The sum is limited to `_RECORDS_BYTES`, so that the
# largest allowed request is accepted if it is the only one.
_RECORD_BYTES: Final = 1024
_RECORDS_BYTES: Final = 12 * 1024 * 1024
# The OpenTelemetry Collector gives up on a request after 5 s. Sending the answer takes time on a
# busy event loop; with 3.5 s here, senders get the answer within 4 s.
_ANSWER_S: Final = 3.5
# Least time left for storing after the body was received. It is shorter for a large request,
# because its work goes on after the answer and its sender may have given up long ago.
_LEAST_S: Final = 1.0
_LEAST_LARGE_S: Final = 0.25
_MAPPERS: Final = 2
# How long a portion of a large request may wait for the store. Its sender retries meanwhile.
_PORTION_S: Final = 60.0
_LARGE_KNOWN: Final = 256
_DAY_S: Final = 86_400
# Number of replaced texts that are remembered until the answer, which names fewer of them.
_MOST_REPLACED: Final = 20
# Explanations of reasons that are not clear from their name.
_MEANINGS: Final = {
    NO_TRACE: NO_TRACE_MEANS,
    SHARED_ID: SHARED_ID_MEANS,
    **{
        f"{DELETED}{kind}": f"the {kind} was deleted after they began"
        for kind in (RUN, SESSION, USER, MODEL)
    },
    f"{DELETED}{PROJECT}": "the project was deleted after they began; to store them, send them to "
    "another project",
}
_NO_METRICS: Final = (
    "Metrics are not kept here, except those about calls of models: send them to a "
    "Prometheus-compatible backend"
)
_SERVICES: Final = 100  # services with log lines of their own
_OTHERS: Final = "(others)"
_logger = logging.getLogger(__name__)


Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Export:
    """An export request as a transport received it.

    Attributes:
        body: OTLP bytes, possibly compressed.
        encoding: Compression; an entry of `decode.compression.ENCODINGS`.
        header_project: Project from the request header, for spans that name no project.
        signal: Traces, logs or metrics.
        form: Protobuf or JSON.
        access: What the key of the sender allows.
        passed: Ids of the collectors that forwarded the request, separated by commas.
        key: Digest of a large request that has no room in memory. Set instead of `body` if the same
            request is already in progress; else empty.
        is_urgent: Whether a person waits for the answer, so that the request is stored at once.
    """

    body: bytes
    encoding: str
    header_project: str | None
    signal: Signal = Signal.TRACES
    form: Form = Form.PROTOBUF
    access: Access = OPEN
    passed: str = ""
    key: bytes = b""
    is_urgent: bool = False


@dataclass(slots=True)
class _Large:
    """Progress of a large request. Storing goes on even if its sender disconnects.

    Attributes:
        size: Bytes of the body.
        stored: Number of portions that are durable.
        received: Number of records in these portions.
        kept: Number of stored data points of metrics.
        rejected: Number of records that can never be stored, by reason.
        replaced: Places of the first texts in which invalid UTF-8 was replaced.
        outcome: Final answer or error; None before that.
        trouble: Why storing stopped. It continues from there when the request is sent again.
        work: Task that stores the portions.
    """

    size: int
    stored: int = 0
    received: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    replaced: tuple[str, ...] = ()
    outcome: ExportAnswer | Rejected | None = None
    trouble: Unavailable | None = None
    work: "asyncio.Task[None] | None" = None


class Intake:
    """Stores export requests. Runs on the event loop; decodes and maps on threads.

    Args:
        commit: Stores the records.
        telemetry: Counts spans.
        quotas: Limits what each key may send.
        forward: Forwards stored requests; None if nothing is forwarded.
        prices: Prices of model calls; None if no cost is computed.
        by_service: Whether data without a project is filed under the name of its service.
        refuses_metrics: Whether to reject metrics that are not forwarded. Otherwise they are
            accepted and discarded.
        clocks: Detects a wrong clock of this machine.

    Attributes:
        pressure: Measures whether requests use all capacity. Read it on the event loop.
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
        self._left_out: dict[str, int] = {}  # day of the last log line, by service
        self._commit = commit
        self._telemetry = telemetry
        self._quotas = quotas or Quotas()
        self._forward = forward
        self._prices = prices
        self._clocks = clocks or ClockWatch()
        self._budget = Budget(telemetry)
        self._admission = Admission()
        self.pressure = Pressure(is_collecting=lambda: commit.is_collecting)
        self._owners = SpanOwners()
        self._large: dict[bytes, _Large] = {}
        self._one_large = asyncio.Lock()
        self._mappers = ThreadPoolExecutor(_MAPPERS, thread_name_prefix="otel-ml-map")
        self._under_way = 0
        self._is_ending = False
        self._idle = asyncio.Event()

    def passes_on(self, signal: str) -> bool:
        """Return whether any destination receives this signal (traces, logs or metrics)."""
        return self._forward is not None and self._forward.has_targets(signal)

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Reserve room for one request until the block ends.

        Raises:
            Unavailable: The collector is shutting down.
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
        """Refuse new requests from now on."""
        self._is_ending = True
        self._note_idle()

    async def until_idle(self) -> None:
        """Wait until every request in progress is answered. Call `send_away` first."""
        await self._idle.wait()

    async def accept(self, export: Export, held: Held) -> ExportAnswer:
        """Store the records of a request and return the answer.

        A large request is stored in portions, even after the answer deadline. If its sender sends
        it again, that call waits for the same work and returns when everything is stored.

        Args:
            export: The request.
            held: Its reservation. The body must already be counted in it.

        Raises:
            Rejected: The request is invalid; sending it again cannot help.
            OverQuota: The key is over its quota.
            Unavailable: It is not certain that the request was stored, so the sender should retry.
                Raised within 4 s.
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
                    body: Records | bytes = export.body  # decoded later if large
                    if not WHOLE_BYTES < len(body) <= BODY_LIMIT_BYTES or is_compressed:
                        body = await self._on_thread(self._read, export, held, deadline)
                    export = replace(export, body=b"")  # decoded: free the memory of the body
                    answer = await self._store(export, body, onward, held, deadline)
        except TimeoutError as error:
            held.leave(is_measured=True)
            raise Unavailable("The store is busy") from error
        held.leave(is_measured=True)
        return replace(answer, service=held.service) if answer.message else answer

    def has_large(self, size: int) -> bool:
        """Return whether a large request of this size is in progress or was stored recently.

        If so, a new request of this size may be the same one, sent again.
        """
        return any(
            item.size == size and (item.outcome is not None or (item.work and not item.work.done()))
            for item in self._large.values()
        )

    def _find_large(self, key: bytes) -> _Large:
        """Return the large request with this digest, which must be in progress or stored.

        Raises:
            Unavailable: There is no such request.
        """
        large = self._large.get(key)
        if large is None or (large.outcome is None and (not large.work or large.work.done())):
            raise Unavailable("Too many bytes wait for the store")
        return large

    def close(self) -> None:
        """Wait until requests in progress are decoded and mapped."""
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
        """Store the records of a request, or start storing the body of a large request."""
        if isinstance(records, bytes):
            held.begin(len(records))
            beginning = self._begin_large(export, records, onward, held.hand_over())
            return await self._end_large(await asyncio.shield(asyncio.create_task(beginning)))
        if len(records) or records.trace_keys:
            stored = self._commit.submit(records, deadline, is_urgent=export.is_urgent)
            left = await asyncio.wrap_future(stored)
            records.rejected.update(left)
        return await self._conclude(export, records, onward, deadline, held.service)

    async def _conclude_metrics(
        self, stored: "Records | _Large", onward: OtlpRequest | None, service: str, deadline: float
    ) -> ExportAnswer:
        """Forward metrics if there is a destination. Else leave out those that are not stored."""
        rejected = stored.rejected
        if self._forward and onward:
            if NOT_ALLOWED in rejected:
                self._forward.hold_back(onward)
            elif stored.received:
                await self._forward.pass_on(onward, deadline)
            return _answer(rejected, "Data points", ())
        left = stored.received - stored.kept - rejected.total()
        if self._refuses_metrics and left:
            return ExportAnswer(left + rejected.total(), _NO_METRICS)
        self._telemetry.count_left_points(left)
        name = service if service in self._left_out or len(self._left_out) < _SERVICES else _OTHERS
        today = int(time.time()) // _DAY_S
        if left and self._left_out.get(name) != today:
            self._left_out[name] = today
            _logger.info(
                "OTLP metrics of %s are left out: forward them, or stop sending them here; said "
                "once a day",
                name or "a service without a name",
            )
        return _answer(rejected, "Data points", ())

    async def _conclude(
        self,
        export: Export,
        stored: "Records | _Large",
        onward: OtlpRequest | None,
        deadline: float,
        service: str = "",
    ) -> ExportAnswer:
        """Forward and count the stored records of a request."""
        if export.signal is Signal.METRICS:
            return await self._conclude_metrics(stored, onward, service, deadline)
        rejected = stored.rejected
        accepted = stored.received - rejected.total()
        if self._forward and onward and accepted:
            if NOT_ALLOWED in rejected:  # the body contains data that the sender may not write
                self._forward.hold_back(onward)
            else:
                await self._forward.pass_on(onward, deadline)
        if export.signal is Signal.LOGS:
            self._telemetry.count_log_records(accepted, rejected)
            refused = Counter({why: rejected[why] for why in rejected.keys() - LEFT_OUT})
            return _answer(refused, "Log records", stored.replaced)
        self._telemetry.count_spans(accepted, rejected)
        return _answer(rejected, "Spans", stored.replaced)

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
        """Wait until a large request is stored, and return its answer."""
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
        """Store the remaining portions of a large request. Only one such request runs at a time."""
        try:
            async with self._one_large:
                portions = await self._on_thread(cut, body, export.signal, export.form)
                await self._store_portions(
                    large, export, islice(portions, large.stored, None), held
                )
            deadline = time.monotonic() + _ANSWER_S
            large.outcome = await self._conclude(export, large, onward, deadline)
        except Rejected as error:
            large.outcome = error
        except Unavailable as error:
            large.trouble = error
        finally:
            held.release()

    async def _store_portions(
        self, large: _Large, export: Export, portions: Iterator[Portion], held: Held
    ) -> None:
        """Store portions in order. The next one is mapped while one is being stored."""
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
                left = await asyncio.wrap_future(self._commit.submit(records, until))
                records.rejected.update(left)
        finally:
            self._admission.leave(place, is_measured=True)
        large.stored += 1
        large.received += records.received
        large.kept += records.kept
        large.rejected += records.rejected
        large.replaced = (large.replaced + records.replaced)[:_MOST_REPLACED]

    def _on_thread(self, call: Callable[..., Made], *arguments: Any) -> "asyncio.Future[Made]":
        return asyncio.get_running_loop().run_in_executor(self._mappers, call, *arguments)

    def _read(self, export: Export, held: Held, deadline: float) -> Records | bytes:
        """Decode and map a request on a thread. For a large request, return its body undecoded."""
        body = _body(export, held, deadline)
        if len(body) > WHOLE_BYTES:
            return body
        records = self._map(export, Portion(body), held)
        held.count(min(records.received * _RECORD_BYTES, _RECORDS_BYTES))
        return records

    def _read_portion(self, export: Export, portions: Iterator[Portion]) -> Records | None:
        """Decode and map the next portion, on a thread. Return None after the last one."""
        portion = next(portions, None)
        if portion is None:
            return None
        try:
            return self._map(export, portion)
        except BadField as error:
            raise BadField(portion.place(error.field), error.description) from error

    def _map(self, export: Export, portion: Portion, held: Held | None = None) -> Records:
        now_ns, by_service = time.time_ns(), self._by_service
        filing = Filing(
            export.header_project, now_ns, export.access, self._prices, by_service, self._owners
        )
        if export.signal is Signal.METRICS:
            number, service, points = read_points(portion.body, export.form)
            if held is not None:
                held.service = service
            return replace(map_points(points, filing), received=number)
        replaced: list[Replaced] = []
        if export.signal is Signal.LOGS:
            logs = read_logs(portion.body, export.form, replaced)
            self._note_received(export, len(logs))
            _note_service(logs, held)
            followed_logs = self._clocks.follow(logs, _times_of_log)
            records = replace(
                map_logs(followed_logs, filing), received=len(logs), size=len(portion.body)
            )
            return _with_places(records, replaced, portion)
        spans = read_spans(portion.body, export.form, replaced)
        self._note_received(export, len(spans))
        _note_service(spans, held)
        followed = self._clocks.follow(spans, _times_of_span, are_spans=True)
        records = replace(map_spans(followed, filing), received=len(spans), size=len(portion.body))
        return _with_places(records, replaced, portion)

    def _note_received(self, export: Export, number: int) -> None:
        self._quotas.take(export.access, spans=number)
        self._telemetry.count_received(export.signal, number)


def _with_places(records: Records, replaced: Sequence[Replaced], portion: Portion) -> Records:
    """Add the places where invalid UTF-8 was replaced to the records of a portion."""
    if not replaced:
        return records
    found = [replace(text, place=portion.place(text.place)) for text in replaced[:_MOST_REPLACED]]
    return replace(records, replaced=tuple(map(str, found)))


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
    """Return the request to forward, with its project; None if no destination wants its signal."""
    passed = forward.add_self(export.passed)
    if not forward.has_targets(export.signal):
        return None
    own = export.access.projects
    project = export.header_project
    if own and (len(own) == 1 or not project):
        project = own[0]
    return OtlpRequest(export.body, export.encoding, export.signal, export.form, project, passed)


def begin_digest(export: Export) -> "hashlib.blake2b":
    """Start the digest of a large request. It also covers the sender's key and the project."""
    parts = (export.signal, export.form, export.header_project, export.access.key_id)
    person = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    return hashlib.blake2b(digest_size=24, person=person)


def _digest(export: Export, body: bytes) -> bytes:
    digest = begin_digest(export)
    digest.update(body)
    return digest.digest()


def _body(export: Export, held: Held, deadline: float) -> bytes:
    """Decompress a body.

    Raises:
        Unavailable: The deadline has passed, so nobody waits for the answer.
        TooLarge: The uncompressed body is over the size limit.
    """
    if time.monotonic() >= deadline:
        raise Unavailable("The collector is busy")
    body = decompress(export.body, export.encoding, BODY_LIMIT_BYTES)
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"The body has more than {BODY_LIMIT_BYTES} bytes uncompressed")
    if body is not export.body:
        held.grow(len(body))
        held.resize(len(body))
    return body


def _answer(rejected: Counter[str], what: str, replaced: Sequence[str]) -> ExportAnswer:
    texts = []
    if rejected:
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(rejected.items()))
        meanings = [f": {meaning}" for reason, meaning in _MEANINGS.items() if reason in rejected]
        texts.append(f"{what} rejected for good: {reasons}{''.join(meanings)}")
    if replaced:
        texts.append(describe(replaced))
    return ExportAnswer(rejected.total(), ". ".join(texts))
