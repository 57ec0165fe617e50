"""Tests of the path of a request: decode, map, commit, answer."""

import asyncio
import gzip
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_ml_collector.decode.signals import Signal
from otel_ml_collector.errors import Rejected, TooLarge, Unavailable
from otel_ml_collector.receive.answers import ExportAnswer
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.receive.pipeline import Export, Intake
from otel_ml_collector.records import Records
from otel_ml_collector.span import Span
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import async_wait_until, elapsed, run_other_tasks

MIB: Final = 2**20
LIMIT_BYTES: Final = 20 * MIB
WAIT_S: Final = 10


@dataclass
class Way:
    """A pipeline before a store that keeps records and can be blocked."""

    telemetry: Telemetry = field(default_factory=Telemetry)
    stored: Records = field(default_factory=Records)
    may_write: threading.Event = field(default_factory=threading.Event)
    is_writing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_write.set()
        self._commit = Commit(self._write, self.telemetry, collect_s=0)
        self._pipeline = Intake(self._commit, self.telemetry)

    def _write(self, records: Records) -> None:
        self.is_writing.set()
        self.may_write.wait(WAIT_S)
        self.stored.extend(records)

    async def accept(
        self, body: bytes, encoding: str = "identity", project: str | None = None
    ) -> ExportAnswer:
        with self._pipeline.hold() as reservation:
            reservation.grow(len(body))
            return await self._pipeline.accept(Export(body, encoding, project), reservation)

    async def accept_last(self, exports: list[Export]) -> ExportAnswer:
        """Accept the last export, keeping no other reference to it."""
        with self._pipeline.hold() as reservation:
            return await self._pipeline.accept(exports.pop(), reservation)

    def stop(self) -> None:
        """Store the queued requests, and nothing after them."""
        self.may_write.set()
        self._commit.close(WAIT_S)

    def close(self) -> None:
        self.stop()
        self._pipeline.close()

    @property
    def queue_bytes(self) -> float:
        """Return the number of bytes reserved by requests in progress."""
        return float(next(line for line in self.numbers if "queue_bytes" in line).split()[1])

    @property
    def numbers(self) -> list[str]:
        """Return the metric lines that count spans and bytes, sorted by name."""
        return sorted(
            line
            for line in self.telemetry.render().decode().splitlines()
            if line.startswith(("otel_ml_spans", "otel_ml_queue")) and "_created" not in line
        )


@pytest.fixture
def way() -> Iterator[Way]:
    opened = Way()
    yield opened
    opened.close()


def make_now(name: str = "answer", **fields: Any) -> Span:
    """Make a span that starts now, because the pipeline uses the real clock."""
    return make_call(name, **{"start_ns": time.time_ns(), **fields})


def padded(body: bytes, size_bytes: int) -> bytes:
    """Enlarge a request by an unknown field, which is ignored."""
    length = bytearray()
    left = size_bytes
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    return body + b"\xfa\x07" + bytes([*length, left]) + bytes(size_bytes)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("identity", bytes), ("gzip", gzip.compress)], ids=["plain", "gzip"]
)
def test_success(way: Way, encoding: str, compress: type[bytes]) -> None:
    """The spans of a request are stored before it is answered."""
    body = compress(encode([make_now("one"), make_now("two")]))
    assert asyncio.run(way.accept(body, encoding, "shop")) == ExportAnswer(0, "")
    assert [(run.project, run.name) for run in way.stored.runs] == [
        ("shop", "one"),
        ("shop", "two"),
    ]


class Body(bytes):
    """Bytes that set an event when they are no longer referenced."""

    gone: threading.Event

    def __del__(self) -> None:
        self.gone.set()


def test_body_while_it_is_stored(way: Way) -> None:
    """The body of a request is freed before its spans are stored."""

    async def send() -> None:
        body = Body(encode([make_now()]))
        gone = body.gone = threading.Event()
        exports = [Export(body, "identity", None)]
        del body
        way.may_write.clear()
        sending = asyncio.create_task(way.accept_last(exports))
        await asyncio.to_thread(way.is_writing.wait, WAIT_S)
        assert gone.is_set()
        way.may_write.set()
        await sending

    asyncio.run(send())


def test_numbers(way: Way) -> None:
    """Spans are counted by their result: received, accepted, duplicate and rejected."""

    async def send() -> None:
        await way.accept(encode([make_now(), make_now(span_id=bytes(8))]))
        await way.accept(encode([make_now()]))
        with pytest.raises(Rejected):
            await way.accept(b"\xff")

    asyncio.run(send())
    assert way.numbers == [
        "otel_ml_queue_bytes 0.0",
        "otel_ml_spans_accepted_total 2.0",
        "otel_ml_spans_duplicate_total 0.0",
        "otel_ml_spans_received_total 3.0",
        'otel_ml_spans_rejected_total{reason="invalid_span_id"} 1.0',
    ]


def test_invalid_point(way: Way) -> None:
    """A data point that is not a number is rejected and counted, and the others are stored."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name = "gen_ai.client.operation.duration"
    for total in (float("nan"), 2.0):
        metric.histogram.data_points.add(time_unix_nano=time.time_ns(), count=1, sum=total)
    export = Export(request.SerializeToString(), "identity", "p", Signal.METRICS)
    assert asyncio.run(way.accept_last([export])) == ExportAnswer(
        1,
        "Data points rejected for good: invalid_value 1: a sum or count is negative, too large or "
        "not a number",
    )
    assert [point.total for point in way.stored.points] == [2.0]
    counted = 'otel_ml_data_points_rejected_total{reason="invalid_value"} 1.0'
    assert counted in way.telemetry.render().decode()


def test_empty_request(way: Way) -> None:
    """A request without spans succeeds and writes nothing."""
    assert asyncio.run(way.accept(b"")) == ExportAnswer(0, "")
    assert not way.is_writing.is_set()


def test_partial(way: Way) -> None:
    """The answer has the number of rejected spans and the reasons, and the others are stored."""
    body = encode(
        [
            make_now("one"),
            make_now(span_id=bytes(8)),
            make_now(trace_id=b"short"),
            make_now(span_id=b""),
        ]
    )
    assert asyncio.run(way.accept(body)) == ExportAnswer(
        3, "Spans rejected for good: invalid_span_id 2, invalid_trace_id 1"
    )
    assert [run.name for run in way.stored.runs] == ["one"]


def test_all_rejected(way: Way) -> None:
    """A request of only invalid spans is answered, and the reason is stored for the project."""
    answer = asyncio.run(way.accept(encode([make_now(span_id=b"")])))
    assert answer == ExportAnswer(1, "Spans rejected for good: invalid_span_id 1")
    assert [(one.reason, one.unnumbered) for one in way.stored.refusals] == [("invalid_span_id", 1)]


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"\xff", "identity", "The body is not an OTLP ExportTraceServiceRequest in protobuf"),
        (gzip.compress(b"{}"), "gzip", "The body is not an OTLP ExportTraceServiceRequest"),
        (b"plain", "gzip", "The body is not gzip data: "),
        (gzip.compress(b"plain")[:-1], "gzip", "The body is not gzip data: it ends too early"),
    ],
    ids=["garbage", "json", "not gzip", "truncated"],
)
def test_refused(way: Way, body: bytes, encoding: str, message: str) -> None:
    """A body that cannot be decoded is rejected permanently."""
    with pytest.raises(Rejected, match=f"^{message}"):
        asyncio.run(way.accept(body, encoding))
    assert "otel_ml_queue_bytes 0.0" in way.numbers


def test_large_that_came_slowly(way: Way) -> None:
    """A large body that arrives slowly is answered soon, and its processing continues."""
    body = padded(encode([make_now("slow")]), 3 * MIB)
    way.may_write.clear()

    async def send_slowly() -> float:
        with way._pipeline.hold() as reservation:
            reservation.grow(len(body))
            await async_wait_until(elapsed(3.6))  # its arrival takes longer than an answer may take
            ended_s = time.monotonic()
            with pytest.raises(Unavailable):
                await way._pipeline.accept(Export(body, "identity", "p"), reservation)
            waited_s = time.monotonic() - ended_s
        assert way.queue_bytes >= len(body)  # processing continues, and its bytes still count
        way.may_write.set()
        assert (await way.accept(body, project="p")).rejected == 0
        return waited_s

    assert asyncio.run(send_slowly()) < 1.5
    assert [run.name for run in way.stored.runs] == ["slow"]
    assert way.numbers == [
        "otel_ml_queue_bytes 0.0",
        "otel_ml_spans_accepted_total 1.0",
        "otel_ml_spans_duplicate_total 0.0",
        "otel_ml_spans_received_total 1.0",
    ]


def test_large_at_once(way: Way) -> None:
    """Several large bodies sent at once are stored, and so is a small one among them."""
    large = [padded(encode([make_now(f"large {number}")]), 3 * MIB) for number in range(3)]

    async def send() -> None:
        answers = await asyncio.gather(*map(way.accept, [*large, encode([make_now("small")])]))
        assert answers == [ExportAnswer(0, "")] * 4

    asyncio.run(send())
    assert sorted(run.name for run in way.stored.runs) == [
        *(f"large {number}" for number in range(3)),
        "small",
    ]


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "zstd", "snappy"])
def test_largest(way: Way, encoding: str) -> None:
    """A body of exactly 20 MiB uncompressed is stored. One byte more is too large."""
    request = encode([make_now("largest")])
    left = LIMIT_BYTES - len(padded(request, LIMIT_BYTES)) + LIMIT_BYTES
    whole = padded(request, left)
    assert len(whole) == LIMIT_BYTES
    assert asyncio.run(way.accept(compressed(whole, encoding), encoding)) == ExportAnswer(0, "")
    assert [run.name for run in way.stored.runs] == ["largest"]
    with pytest.raises(TooLarge, match=r"^The body has .*20971520.*: send smaller batches$"):
        asyncio.run(way.accept(compressed(padded(request, left + 1), encoding), encoding))
    assert "otel_ml_queue_bytes 0.0" in way.numbers


def compressed(body: bytes, encoding: str) -> bytes:
    """Compress a body as a sender would."""
    if encoding == "gzip":
        return gzip.compress(body, 1)
    if encoding == "zlib":
        return zlib.compress(body, 1)
    written: bytes = pa.Codec(encoding).compress(body, asbytes=True)
    return written


def test_rejected_after_the_answer(way: Way) -> None:
    """A body that is rejected after its answer timed out is rejected when it is sent again."""
    body = b"\xff" * 3 * MIB

    async def send_late() -> None:
        with way._pipeline.hold() as reservation:
            reservation.grow(len(body))
            reservation._since_s -= 4  # as if the body arrived more slowly than an answer may take
            async with way._pipeline._one_large:  # as if another large body were being decoded
                await way._pipeline.accept(Export(body, "identity", "p"), reservation)

    async def send() -> None:
        with pytest.raises(Unavailable):
            await send_late()
        await async_wait_until(lambda: way.queue_bytes == 0)  # processing continues and ends
        with pytest.raises(Rejected):
            await send_late()

    asyncio.run(send())


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_budget(way: Way, encoding: str) -> None:
    """Large bodies reserve at most 64 MiB, compressed or not, and leave room for a small one."""
    body = padded(encode([make_now("large")]), 19 * MIB)
    sent = body if encoding == "identity" else gzip.compress(body, 1)

    async def send() -> None:
        way.may_write.clear()
        first = [asyncio.create_task(way.accept(sent, encoding)) for _ in range(3)]
        await async_wait_until(lambda: way.queue_bytes > 57 * MIB)
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"^Too much data is waiting to be stored$"):
            await way.accept(sent, encoding)
        assert time.monotonic() - started < 3.4  # at the deadline it is another error
        small = asyncio.create_task(way.accept(encode([make_now("small")])))
        await run_other_tasks()
        way.may_write.set()
        assert await small == ExportAnswer(0, "")
        await asyncio.gather(*first, return_exceptions=True)  # some may have timed out

    asyncio.run(send())
    assert "otel_ml_queue_bytes 0.0" in way.numbers


def test_budget_is_given_back(way: Way) -> None:
    """The bytes of an answered or rejected request are released for the next one."""
    body = padded(encode([make_now()]), 19 * MIB)

    async def send() -> None:
        for _ in range(3):
            assert await way.accept(body) == ExportAnswer(0, "")
            with pytest.raises(Rejected):
                await way.accept(b"\xff" * 19 * MIB)

    asyncio.run(send())
    assert "otel_ml_queue_bytes 0.0" in way.numbers


def test_budget_of_records(way: Way) -> None:
    """While records wait, their memory beyond their text counts as reserved."""
    body = encode([make_now() for _ in range(20)])

    async def send() -> list[str]:
        way.may_write.clear()
        answer = asyncio.create_task(way.accept(body))
        assert await asyncio.to_thread(way.is_writing.wait, WAIT_S)
        numbers = way.numbers
        way.may_write.set()
        assert await answer == ExportAnswer(0, "")
        return numbers

    assert f"otel_ml_queue_bytes {len(body) + 20 * 1024:.1f}" in asyncio.run(send())


def test_deadline(way: Way) -> None:
    """If the store does not respond, the sender is asked after 3.5 s to send again."""
    way.may_write.clear()
    alarms_s: list[float] = []

    async def send() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(3.5, lambda: alarms_s.append(loop.time()))
        with pytest.raises(Unavailable, match=r"^The store is busy$"):
            await way.accept(encode([make_now()]))
        answered_s = loop.time()
        await async_wait_until(lambda: alarms_s)
        return answered_s

    # A busy machine delays the alarm as well.
    assert asyncio.run(send()) == pytest.approx(alarms_s[0], abs=0.4)
    assert way.numbers == [
        "otel_ml_queue_bytes 0.0",
        "otel_ml_spans_accepted_total 0.0",
        "otel_ml_spans_duplicate_total 0.0",
        "otel_ml_spans_received_total 1.0",
    ]


def test_deep_payload(way: Way) -> None:
    """A very deeply nested payload is stored with its request, so it is not retried forever."""
    deep = '{"a":' * 1_000 + "1" + "}" * 1_000
    body = encode([make_now("one"), make_now("two", attributes={"otel_ml.inputs": deep})])
    assert asyncio.run(way.accept(body)) == ExportAnswer(0, "")
    assert [run.name for run in way.stored.runs] == ["one", "two"]


def test_shutting_down(way: Way) -> None:
    """After shutdown, a request is rejected as unavailable, so that another collector gets it."""
    way.stop()
    with pytest.raises(Unavailable, match=r"^The collector is shutting down$"):
        asyncio.run(way.accept(encode([make_now()])))
    assert "otel_ml_queue_bytes 0.0" in way.numbers
