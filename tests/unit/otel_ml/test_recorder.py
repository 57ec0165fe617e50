"""Flushing and closing a client, and the numbers of its runs."""

import gc
import json
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from tests.support.otel_ml.recording import Recording, attributes

WAIT_S = 10


class FailingExporter(SpanExporter):
    """An exporter that fails, by an exception or by its result."""

    def __init__(self, raises: bool) -> None:
        self._raises = raises
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        if self._raises:
            raise RuntimeError("no")
        return SpanExportResult.FAILURE


class SlowExporter(SpanExporter):
    """An exporter that waits until it is opened, and keeps the spans."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        assert self.open.wait(WAIT_S)
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_flush_of_nothing_is_true(client: Client) -> None:
    """A flush succeeds if nothing was recorded."""
    assert client.flush()


def test_flush_tells_what_was_lost_before() -> None:
    """A flush is false if a run was lost in the background since the last flush."""
    exporter = FailingExporter(raises=False)
    client = Client("shop", exporter=exporter)
    client.trace(lambda: 1)()
    assert exporter.asked.wait(WAIT_S)
    assert not client.flush()
    client.close()


def test_flush_tells_what_the_queue_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush is false if the queue was too short for all runs."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    exporter = SlowExporter()
    client = Client("shop", exporter=exporter)
    traced = client.trace(lambda: 1)
    traced()
    assert exporter.entered.wait(WAIT_S)
    for _ in range(10):
        traced()
    exporter.open.set()
    flushed = client.flush()
    client.close()
    assert (flushed.delivered, flushed.lost) == (len(exporter.spans), {"queue full": 8})
    assert not flushed


def test_flush_waits_for_judges(recording: Recording) -> None:
    """A flush waits for judges and delivers their scores."""
    recording.client.assess(Judge("any", "", lambda: 1))(lambda: 1)()
    assert recording.client.flush()
    run, judge = recording.exporter.get_finished_spans()
    assert attributes(run)["otel_ml.score.any"] == 1.0
    assert attributes(judge)["otel_ml.target.kind"] == "judge"


def test_flush_tells_that_a_judge_still_runs() -> None:
    """A flush is false if a judge does not finish in time."""
    done = threading.Event()
    client = Client("shop", exporter=InMemorySpanExporter())
    client.assess(Judge("slow", "", lambda: done.wait(WAIT_S)))(lambda: 1)()
    assert not client.flush(0.01)
    done.set()
    assert client.flush()
    client.close()


def test_close_delivers(recording: Recording) -> None:
    """Closing delivers queued runs, including runs that wait for judges."""
    recording.client.assess(Judge("any", "", lambda: 1))(lambda: 1)()
    recording.client.close()
    names = [span.name for span in recording.exporter.get_finished_spans()]
    assert names == [names[0], "otel_ml.update"]  # the run, and the judge's definition


def test_second_close_does_nothing(recording: Recording) -> None:
    """A client can be closed twice, and before its first call."""
    recording.client.close()
    recording.client.close()
    assert recording.client.flush()


def test_closed_client_changes_no_call(recording: Recording) -> None:
    """After close, calls return as usual, and runs and judges raise nothing."""
    traced = recording.client.assess(Judge("any", "", lambda: 1))(lambda a: a)
    assert traced(1) == 1
    recording.client.close()
    assert traced(2) == 2
    with recording.client.run("training") as run:
        run.log_metrics({"loss": 0.5})


def test_closed_client_does_not_claim_delivery(recording: Recording) -> None:
    """A flush does not report delivery of a run recorded after close."""
    traced = recording.client.trace(lambda a: a)
    traced(1)
    recording.client.close()
    traced(2)
    delivered = len(recording.exporter.get_finished_spans()) == 2
    assert bool(recording.client.flush()) == delivered


def test_flush_from_many_threads(recording: Recording) -> None:
    """Threads that record and flush at the same time lose no run."""
    traced = recording.client.trace(lambda a: a)

    def work() -> None:
        for number in range(50):
            traced(number)
            recording.client.flush()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(recording.runs()) == 200


def test_numbers_of_threads_are_consecutive(recording: Recording) -> None:
    """Runs of eight threads have consecutive numbers without duplicates."""
    traced = recording.client.trace(lambda a: a)
    threads = [
        threading.Thread(target=lambda: [traced(number) for number in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    seqs = sorted(attributes(span)["otel_ml.seq"] for span in recording.runs())
    assert seqs == list(range(seqs[0], seqs[0] + 400))


def test_closed_client_keeps_no_thread() -> None:
    """No thread of a closed client is alive."""
    before = set(threading.enumerate())
    client = Client("shop", exporter=InMemorySpanExporter())
    client.assess(Judge("any", "", lambda: 1))(lambda: 1)()
    client.close()
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_definition_is_told_as_json(recording: Recording) -> None:
    """The definition is recorded as JSON text."""
    recording.client.trace(lambda: 1)()
    assert json.loads(attributes(recording.run())["otel_ml.model.definition"])["source"]
