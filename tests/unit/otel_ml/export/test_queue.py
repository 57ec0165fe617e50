"""The queue in memory: its bounds, its order, and its count of pending spans."""

import sys
import threading
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from otel_ml.export.queue import SpanBatch, SpanQueue

MIB = 1 << 20
ANY_BYTES = 1 << 40
ANY_SPANS = 1 << 40
TRACER = TracerProvider(resource=Resource({}), shutdown_on_exit=False).get_tracer("any")


def make_spans(number: int) -> list[ReadableSpan]:
    spans = [TRACER.start_span(str(index)) for index in range(number)]
    assert all(isinstance(span, ReadableSpan) for span in spans)
    return [span for span in spans if isinstance(span, ReadableSpan)]


def make_run(size: int) -> ReadableSpan:
    """Return one of our runs, with an input of `size` characters."""
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, join=False)
    client.trace(name="model")(lambda text: None)("x" * size)
    client.close()
    [span] = exporter.get_finished_spans()
    return span


def names(batch: SpanBatch | None) -> list[str]:
    assert batch is not None
    return [span.name for span in batch.spans]


def count_fitting(queue: SpanQueue, span: ReadableSpan) -> int:
    """Put a span until there is no room; return how often the queue accepted it."""
    return next(number for number in count() if not queue.put(span))


def test_first_in_is_first_out() -> None:
    """Spans are taken in the order in which they were put."""
    queue = SpanQueue()
    assert all(queue.put(span) for span in make_spans(5))
    assert names(queue.take(3, ANY_BYTES)) == ["0", "1", "2"]
    assert names(queue.take(3, ANY_BYTES)) == ["3", "4"]


def test_nothing_is_no_batch() -> None:
    """An empty queue returns no batch."""
    assert SpanQueue().take(10, ANY_BYTES) is None


@pytest.mark.parametrize("most", [1, 2, 1_000])
def test_number_is_bounded(most: int) -> None:
    """A queue accepts `max_spans` spans and no more."""
    [span] = make_spans(1)
    assert count_fitting(SpanQueue(max_spans=most), span) == most


@pytest.mark.parametrize("size", [10_000, 60_000])
def test_bytes_are_bounded(size: int) -> None:
    """A queue accepts runs up to `max_bytes`; the run that reaches the limit is the last."""
    queue = SpanQueue(max_bytes=1_000_000)
    assert abs(count_fitting(queue, make_run(size)) - 1_000_000 / size) <= 100_000 / size + 1


def test_spans_of_others_have_a_weight() -> None:
    """Spans that do not report their size are limited by bytes, too."""
    [span] = make_spans(1)
    assert count_fitting(SpanQueue(max_bytes=1_000_000), span) < 1_000


def test_span_beyond_all_bytes_is_taken_alone() -> None:
    """A run that is larger than the limit is accepted while the queue is empty."""
    assert count_fitting(SpanQueue(max_bytes=1_000), make_run(50_000)) == 1


def test_taking_makes_room() -> None:
    """Taking spans makes room for the same number of spans."""
    queue = SpanQueue(max_spans=10)
    [span] = make_spans(1)
    count_fitting(queue, span)
    queue.take(4, ANY_BYTES)
    assert count_fitting(queue, span) == 4


@settings(deadline=None)  # the first example creates a client, which loads code
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), max_size=20))
def test_emptied_queue_is_as_large_as_a_new_one(steps: list[tuple[int, int]]) -> None:
    """After any puts and takes, an emptied queue accepts as much as a new one."""
    queue, run = SpanQueue(max_bytes=100_000), make_run(5_000)
    for puts, takes in steps:
        for _ in range(puts):
            queue.put(run)
        for _ in range(takes):
            queue.take(2, ANY_BYTES)
    queue.take(ANY_SPANS, ANY_BYTES)
    assert count_fitting(queue, run) == count_fitting(SpanQueue(max_bytes=100_000), run)


def test_batch_is_bounded_by_bytes() -> None:
    """A batch ends with the span that reaches the byte limit, and contains at least one span."""
    queue = SpanQueue()
    for _ in range(10):
        queue.put(make_run(50_000))
    sizes = []
    while (batch := queue.take(ANY_SPANS, 160_000)) is not None:
        sizes.append(batch.count)
    assert sizes == [4, 4, 2]


def test_pending_until_settled() -> None:
    """Taken spans are pending until their batch is removed."""
    queue = SpanQueue()
    for span in make_spans(5):
        queue.put(span)
    batch = queue.take(3, ANY_BYTES)
    assert batch is not None
    assert queue.pending == 5
    queue.remove(batch)
    assert queue.pending == 2


def test_left_spans_are_lost() -> None:
    """Spans of a batch that is given up are lost, because memory ends with its process."""
    queue = SpanQueue()
    for span in make_spans(5):
        queue.put(span)
    batch = queue.take(3, ANY_BYTES)
    assert batch is not None
    assert (queue.leave(batch), queue.pending) == (3, 2)


def test_close_loses_what_waits() -> None:
    """Closing loses waiting spans and taken spans."""
    queue = SpanQueue()
    for span in make_spans(5):
        queue.put(span)
    queue.take(3, ANY_BYTES)
    assert queue.close() == 5
    assert queue.take(10, ANY_BYTES) is None


def test_cleared_queue_is_new() -> None:
    """A cleared queue is empty, has nothing pending, and has all its room."""
    queue = SpanQueue(max_spans=10)
    [span] = make_spans(1)
    count_fitting(queue, span)
    queue.take(5, ANY_BYTES)
    queue.clear()
    assert queue.pending == 0
    assert queue.take(1, ANY_BYTES) is None
    assert count_fitting(queue, span) == 10


def test_halves_are_the_whole() -> None:
    """The halves of a batch contain its spans once each, in order."""
    first, second = SpanBatch(make_spans(5)).halves()
    assert names(first) + names(second) == ["0", "1", "2", "3", "4"]
    assert abs(first.count - second.count) <= 1


def make_large(name: str, size: int) -> ReadableSpan:
    span = TRACER.start_span(name, attributes={"text": "x" * size})
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def test_batch_above_16_mib_is_too_large() -> None:
    """A batch above 16 MiB must be split; a single span is encoded whatever its size."""
    batch = SpanBatch([make_large("0", 9 * MIB), make_large("1", 17 * MIB)])
    assert batch.encode().is_too_large
    written = [half.encode() for half in batch.halves()]
    assert [(one.spans, one.is_too_large) for one in written] == [(1, False)] * 2
    assert len(written[1].body) > 17 * MIB


def test_batch_is_written_once() -> None:
    """A batch that is sent again is the same request object."""
    batch = SpanBatch(make_spans(3))
    assert batch.encode() is batch.encode()


def test_batch_counts_what_cannot_be_written() -> None:
    """A batch encodes valid spans and counts invalid ones."""
    bad = ReadableSpan(name="no context", context=None)
    encoded = SpanBatch([bad, *make_spans(2)]).encode()
    request = ExportTraceServiceRequest.FromString(encoded.body)
    written = [span.name for span in request.resource_spans[0].scope_spans[0].spans]
    assert (written, encoded.failed) == (["0", "1"], 1)


def test_threads_lose_nothing() -> None:
    """Spans that four threads put while a fifth takes are each taken once."""
    queue, done, taken = SpanQueue(), threading.Event(), list[ReadableSpan]()
    spans = make_spans(2_000)

    def take() -> None:
        while not done.is_set() or queue.pending:
            batch = queue.take(7, ANY_BYTES)
            if batch is not None:
                taken.extend(batch.spans)
                queue.remove(batch)

    taker = threading.Thread(target=take)
    taker.start()
    putters = [
        threading.Thread(target=lambda part: [queue.put(one) for one in part], args=(spans[n::4],))
        for n in range(4)
    ]
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join()
    done.set()
    taker.join()
    assert sorted(map(id, taken)) == sorted(map(id, spans))


def test_taking_hides_nothing() -> None:
    """Spans stay pending while a batch is being taken."""
    queue, done, seen = SpanQueue(), threading.Event(), set[int]()
    for span in make_spans(20_000):
        queue.put(span)

    def look() -> None:
        while not done.is_set():
            seen.add(queue.pending)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        looker = threading.Thread(target=look)
        looker.start()
        while queue.take(2_000, ANY_BYTES) is not None:
            pass
        done.set()
        looker.join()
    finally:
        sys.setswitchinterval(before)
    assert seen == {20_000}


def test_caller_encodes_if_the_sender_is_behind() -> None:
    """If the queue is over half full, the calling thread describes its values itself."""
    shown: list[str] = []

    def hide(text: str) -> str:
        shown.append(text)
        return text

    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, join=False, redact=hide)
    traced = client.trace(name="model")(lambda array: None)
    for _ in range(8):
        traced(np.zeros(3))
    client.close()
    before = len(shown)  # for the model's definition
    queue = SpanQueue(max_spans=10)
    queue.report_batch(1, ANY_BYTES, bool)
    encoded = []
    for span in exporter.get_finished_spans():
        assert queue.put(span)
        encoded.append(len(shown) > before)
    assert encoded == [False] * 6 + [True] * 2
