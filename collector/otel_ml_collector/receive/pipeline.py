"""The ingest pipeline of an export request: decode, map, commit, answer. Used by all transports."""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from otel_ml_collector.access import OPEN, Access
from otel_ml_collector.clock import ClockTracker, Seen
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.requests import read_logs, read_points, read_spans
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.decode.utf8 import Replaced, describe
from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.mapping.filing import (
    NOT_ALLOWED,
    NOT_ALLOWED_MEANS,
    WRONG_TIME,
    WRONG_TIME_MEANS,
    Filing,
)
from otel_ml_collector.mapping.logs import LEFT_OUT, NO_TRACE, NO_TRACE_MEANS, map_logs
from otel_ml_collector.mapping.points import (
    INVALID_BUCKETS,
    INVALID_BUCKETS_MEANS,
    INVALID_VALUE,
    INVALID_VALUE_MEANS,
    map_points,
)
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.shared_ids import SHARED_ID, SHARED_ID_MEANS, SpanOwners
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.receive.admission import (
    LARGE_BYTES,
    Admission,
    Budget,
    Pressure,
    Quotas,
    Reservation,
)
from otel_ml_collector.receive.answers import ExportAnswer
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Records
from otel_ml_collector.span import Log, Span, service_of
from otel_ml_collector.store.tombstones import DELETED, MODEL, PROJECT, RUN, SESSION, USER
from otel_ml_collector.telemetry.service import Telemetry

BODY_LIMIT_BYTES: Final = 20 * 1024 * 1024
# Estimated memory of a record without its text. The sum over a request is limited to
# `_RECORDS_BYTES`, so that the largest allowed request is accepted if it is the only one.
_RECORD_BYTES: Final = 1024
_RECORDS_BYTES: Final = 12 * 1024 * 1024
# The OpenTelemetry Collector gives up on a request after 5 s. Sending the answer takes time on a
# busy event loop; with 3.5 s here, senders get the answer within 4 s.
_ANSWER_S: Final = 3.5
# Minimum time for storing, in seconds, after the body was received.
_LEAST_S: Final = 1.0
_MAPPERS: Final = 2
# Processing of a larger request continues after its answer timed out. On a busy machine it would
# otherwise time out at each retry.
_GOES_ON_BYTES: Final = 256 * 1024
_GOES_ON_S: Final = 60.0
_KNOWN_REQUESTS: Final = 256
_DAY_S: Final = 86_400
# Names of metrics in a log line, and characters of each.
_SHOWN_NAMES: Final = 3
_NAME_CHARS: Final = 100
# Maximum number of replaced texts that are kept for the answer, which names fewer of them.
_MOST_REPLACED: Final = 20
# Explanations of reasons that are not clear from their name.
_MEANINGS: Final = {
    NOT_ALLOWED: NOT_ALLOWED_MEANS,
    NO_TRACE: NO_TRACE_MEANS,
    WRONG_TIME: WRONG_TIME_MEANS,
    SHARED_ID: SHARED_ID_MEANS,
    INVALID_VALUE: INVALID_VALUE_MEANS,
    INVALID_BUCKETS: INVALID_BUCKETS_MEANS,
    **{
        f"{DELETED}{kind}": f"the {kind} was deleted after they started"
        for kind in (RUN, SESSION, USER, MODEL)
    },
    f"{DELETED}{PROJECT}": "the project was deleted after they started; to store them, use "
    "a different project",
}
_NO_METRICS: Final = (
    "Metrics are not kept here, except those about calls of models: send them to a "
    "Prometheus-compatible backend"
)
_SERVICES: Final = 100  # maximum number of services with their own log lines
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
        is_urgent: Whether a person waits for the answer, so that the request is stored at once.
    """

    body: bytes
    encoding: str
    header_project: str | None
    signal: Signal = Signal.TRACES
    form: Form = Form.PROTOBUF
    access: Access = OPEN
    passed: str = ""
    is_urgent: bool = False


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
        clocks: ClockTracker | None = None,
    ) -> None:
        self._by_service = by_service
        self._refuses_metrics = refuses_metrics
        self._left_out: dict[str, int] = {}  # day of the last log line, by service
        self._commit = commit
        self._telemetry = telemetry
        self._quotas = quotas or Quotas()
        self._forward = forward
        self._prices = prices
        self._clocks = clocks or ClockTracker()
        self._budget = Budget(telemetry)
        self._admission = Admission()
        self.pressure = Pressure(is_collecting=lambda: commit.is_collecting)
        self._owners = SpanOwners()
        self._one_large = asyncio.Lock()
        # Requests that continue, or were stored, after their answer timed out; by digest.
        self._going_on: dict[bytes, asyncio.Task[ExportAnswer]] = {}
        self._mappers = ThreadPoolExecutor(_MAPPERS, thread_name_prefix="otel-ml-map")
        self._under_way = 0
        self._is_ending = False
        self._idle = asyncio.Event()

    def passes_on(self, signal: str) -> bool:
        """Return whether any destination receives this signal (traces, logs or metrics)."""
        return self._forward is not None and self._forward.has_targets(signal)

    @contextmanager
    def hold(self) -> Iterator[Reservation]:
        """Reserve room for one request until the block ends.

        Raises:
            Unavailable: The collector is shutting down.
        """
        if self._is_ending:
            raise Unavailable("The collector is shutting down")
        reservation = Reservation(self._admission, self._budget)
        self._under_way += 1
        try:
            yield reservation
        finally:
            reservation.release()
            self._under_way -= 1
            self._note_idle()

    def send_away(self) -> None:
        """Refuse new requests from now on."""
        self._is_ending = True
        self._note_idle()

    async def until_idle(self) -> None:
        """Wait until every request in progress is answered. Call `send_away` first."""
        await self._idle.wait()

    async def accept(self, export: Export, reservation: Reservation) -> ExportAnswer:
        """Store the records of a request and return the answer.

        If the request cannot be stored in time, the sender gets `Unavailable` and should retry. A
        request of up to 256 KiB is then dropped, unless the store has begun to write it. A larger
        one is stored in the background; when the sender sends it again, the new request waits for
        this work.

        Args:
            export: The request.
            reservation: The place in the queue and the memory that the request has reserved. The
                bytes of its body must be included already.

        Raises:
            Rejected: The request is invalid; sending it again cannot help.
            OverQuota: The key is over its quota.
            Unavailable: It is not certain that the request was stored, so the sender should retry.
                Raised within 4 s.
        """
        self._quotas.check(export.access)
        self._quotas.take(export.access, size=len(export.body))
        reservation.begin(len(export.body))
        left_s = max(_ANSWER_S - reservation.age_s, _LEAST_S)
        if len(export.body) > _GOES_ON_BYTES:
            work = self._go_on(export, reservation)
        else:
            work = self._work(export, reservation, time.monotonic() + left_s)
        del export  # so that `work` frees the body as soon as it is decoded
        try:
            async with asyncio.timeout(left_s):
                answer = await work
        except TimeoutError as error:
            reservation.leave(is_measured=True)
            raise Unavailable("The store is busy") from error
        reservation.leave(is_measured=True)
        return answer

    def store_own(self, project: str, body: bytes) -> None:
        """Store spans that this collector made itself; durable on return.

        It blocks, so do not call it on the event loop.

        Args:
            project: The project to store them in.
            body: An OTLP request in JSON.

        Raises:
            Rejected: The spans are invalid.
            Unavailable: It is not certain that they were stored.
        """
        filing = Filing(
            None,
            time.time_ns(),
            replace(OPEN, projects=(project,)),
            self._prices,
            False,
            self._owners,
        )
        spans = read_spans(body, Form.JSON, [])
        records = replace(map_spans(spans, filing), received=len(spans), size=len(body))
        self._commit.submit(records, time.monotonic() + _GOES_ON_S).result()

    def close(self) -> None:
        """Wait until requests in progress are decoded and mapped."""
        self._mappers.shutdown(wait=True)

    def _note_idle(self) -> None:
        if self._is_ending and not self._under_way:
            self._idle.set()

    async def _go_on(self, export: Export, reservation: Reservation) -> ExportAnswer:
        """Process a request in its own task, or wait for an earlier task with the same bytes."""
        key = await self._on_thread(_digest, export)
        task = self._going_on.get(key)
        if task is None:
            own = reservation.transfer()
            work = self._work(export, own, time.monotonic() + _GOES_ON_S)
            task = self._going_on[key] = asyncio.create_task(self._finish(key, work, own))
        del export
        reservation.leave()  # waiting for another call's work does not show the speed
        try:
            answer = await asyncio.shield(task)
        except Rejected:
            self._going_on.pop(key, None)
            raise
        self._going_on.pop(key, None)
        return answer

    async def _finish(
        self, key: bytes, work: Coroutine[None, None, ExportAnswer], own: Reservation
    ) -> ExportAnswer:
        """Finish the work of a request. Forget it if sending it again can help."""
        try:
            answer = await work
            own.leave(is_measured=True)
        except Rejected:  # so that the sender gets this answer when it sends the request again
            self._forget_ended()
            raise
        except BaseException:
            self._going_on.pop(key, None)
            raise
        finally:
            own.release()
        self._forget_ended()
        return answer

    def _forget_ended(self) -> None:
        ended = [key for key, task in self._going_on.items() if task.done()]
        for key in ended[: max(len(ended) - _KNOWN_REQUESTS, 0)]:
            del self._going_on[key]

    async def _work(
        self, export: Export, reservation: Reservation, deadline: float
    ) -> ExportAnswer:
        with self.pressure.work():
            onward = _onward(export, self._forward) if self._forward else None
            records = await self._read(export, reservation, deadline)
            export = replace(export, body=b"")  # decoded: free the memory of the body
            answer = await self._store(export, records, onward, reservation, deadline)
        return replace(answer, service=reservation.service) if answer.message else answer

    async def _read(self, export: Export, reservation: Reservation, deadline: float) -> Records:
        """Decode and map a request on a thread. Only one large body is decoded at a time.

        A large body would otherwise take both threads from the other requests, and the memory of
        decoded bodies would add up.
        """
        if export.encoding != "identity":
            body = await self._on_thread(_decompress, export, reservation, deadline)
            export = replace(export, body=body, encoding="identity")
        if len(export.body) <= LARGE_BYTES:
            return await self._on_thread(self._map, export, reservation, deadline)
        async with self._one_large:
            return await self._on_thread(self._map, export, reservation, deadline)

    async def _store(
        self,
        export: Export,
        records: Records,
        onward: OtlpRequest | None,
        reservation: Reservation,
        deadline: float,
    ) -> ExportAnswer:
        """Store the records of a request."""
        if len(records) or records.trace_keys:
            stored = self._commit.submit(records, deadline, is_urgent=export.is_urgent)
            left = await asyncio.wrap_future(stored)
            records.rejected.update(left)
        return await self._conclude(export, records, onward, reservation, deadline)

    async def _conclude_metrics(
        self,
        stored: Records,
        onward: OtlpRequest | None,
        reservation: Reservation,
        deadline: float,
    ) -> ExportAnswer:
        """Forward metrics if there is a destination. Otherwise drop those that are not stored."""
        rejected = stored.rejected
        self._telemetry.count_rejected_points(rejected)
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
        service = reservation.service
        name = service if service in self._left_out or len(self._left_out) < _SERVICES else _OTHERS
        today = int(time.time()) // _DAY_S
        if left and self._left_out.get(name) != today:
            self._left_out[name] = today
            _logger.info(
                "These OTLP metrics of %s are not stored: %s. Forward them, or stop sending them "
                "here (logged once a day)",
                name or "a service without a name",
                _list_names(reservation.unstored_metrics),
            )
        return _answer(rejected, "Data points", ())

    async def _conclude(
        self,
        export: Export,
        stored: Records,
        onward: OtlpRequest | None,
        reservation: Reservation,
        deadline: float,
    ) -> ExportAnswer:
        """Forward and count the stored records of a request."""
        if export.signal is Signal.METRICS:
            return await self._conclude_metrics(stored, onward, reservation, deadline)
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

    def _on_thread(self, call: Callable[..., Made], *arguments: Any) -> "asyncio.Future[Made]":
        return asyncio.get_running_loop().run_in_executor(self._mappers, call, *arguments)

    def _map(self, export: Export, reservation: Reservation, deadline: float) -> Records:
        """Decode and map a request, on a thread.

        Raises:
            Unavailable: The deadline has passed, so nobody waits for the answer.
        """
        if time.monotonic() >= deadline:
            raise Unavailable("The collector is busy")
        records = self._map_body(export, reservation)
        reservation.count(min(records.received * _RECORD_BYTES, _RECORDS_BYTES))
        return records

    def _map_body(self, export: Export, reservation: Reservation) -> Records:
        now_ns, by_service = time.time_ns(), self._by_service
        filing = Filing(
            export.header_project, now_ns, export.access, self._prices, by_service, self._owners
        )
        body, form = export.body, export.form
        if export.signal is Signal.METRICS:
            metrics = read_points(body, form)
            reservation.service = metrics.service
            mapped = map_points(metrics.points, filing)
            stored = {point.metric for point in mapped.points}
            reservation.unstored_metrics = [name for name in metrics.names if name not in stored]
            return replace(mapped, received=metrics.number)
        replaced: list[Replaced] = []
        if export.signal is Signal.LOGS:
            logs = read_logs(body, form, replaced)
            self._note_received(export, len(logs))
            _note_service(logs, reservation)
            followed_logs = self._clocks.follow(logs, _times_of_log)
            records = replace(map_logs(followed_logs, filing), received=len(logs), size=len(body))
            return _with_places(records, replaced)
        spans = read_spans(body, form, replaced)
        self._note_received(export, len(spans))
        _note_service(spans, reservation)
        followed = self._clocks.follow(spans, _times_of_span, are_spans=True)
        records = replace(map_spans(followed, filing), received=len(spans), size=len(body))
        return _with_places(records, replaced)

    def _note_received(self, export: Export, number: int) -> None:
        self._quotas.take(export.access, spans=number)
        self._telemetry.count_received(export.signal, number)


def _with_places(records: Records, replaced: Sequence[Replaced]) -> Records:
    """Add the places where invalid UTF-8 was replaced to the records of a request."""
    if not replaced:
        return records
    return replace(records, replaced=tuple(map(str, replaced[:_MOST_REPLACED])))


def _note_service(spans: Iterable[Span | Log], reservation: Reservation) -> None:
    first = next(iter(spans), None)
    if first:
        reservation.service = service_of(first.scope.resource)


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


def _digest(export: Export) -> bytes:
    """Return a digest of a body, its sender's key and the project."""
    parts = (export.signal, export.form, export.encoding, export.header_project)
    person = hashlib.blake2b(repr((*parts, export.access.key_id)).encode(), digest_size=16).digest()
    return hashlib.blake2b(export.body, digest_size=24, person=person).digest()


def _decompress(export: Export, reservation: Reservation, deadline: float) -> bytes:
    """Decompress a body.

    Raises:
        Unavailable: The deadline has passed, so nobody waits for the answer.
        TooLarge: The uncompressed body is over the size limit.
    """
    if time.monotonic() >= deadline:
        raise Unavailable("The collector is busy")
    body = decompress(export.body, export.encoding, BODY_LIMIT_BYTES)
    reservation.grow(len(body))
    reservation.resize(len(body))
    return body


def _list_names(names: Sequence[str]) -> str:
    """List the first names for a log line, and the number of further ones."""
    shown = ", ".join(name[:_NAME_CHARS] or "(no name)" for name in names[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES} more" if names[_SHOWN_NAMES:] else shown


def _answer(rejected: Counter[str], what: str, replaced: Sequence[str]) -> ExportAnswer:
    texts = []
    if rejected:
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(rejected.items()))
        meanings = [f": {meaning}" for reason, meaning in _MEANINGS.items() if reason in rejected]
        texts.append(f"{what} rejected for good: {reasons}{''.join(meanings)}")
    if replaced:
        texts.append(describe(replaced))
    return ExportAnswer(rejected.total(), ". ".join(texts))
