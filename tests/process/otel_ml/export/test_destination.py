"""Destinations of batches: HTTP, a custom exporter, or none."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ml import Client
from otel_ml.errors import trouble
from otel_ml.export.answer import Answer
from otel_ml.export.delivery import Delivery
from otel_ml.export.destination import ExporterDestination, NoDestination, OtlpDestination
from otel_ml.export.queue import SpanBatch
from otel_ml.export.settings import ExportSettings
from tests.support.otel_ml.otlp_sink import Reply, Sink, closed_address
from tests.support.otel_ml.scripts import ask_script

LONG_S = 20.0
BAD = ReadableSpan(name="no context", context=None)
TRACER = TracerProvider(resource=Resource({}), shutdown_on_exit=False).get_tracer("any")


def make_span(name: str) -> ReadableSpan:
    span = TRACER.start_span(name)
    assert isinstance(span, ReadableSpan)
    return span


@contextmanager
def open_destination(address: str, timeout_s: float = LONG_S) -> Iterator[OtlpDestination]:
    settings = ExportSettings(url=f"{address}/v1/traces", page=address, timeout_s=timeout_s)
    destination = OtlpDestination(settings)
    try:
        yield destination
    finally:
        destination.close()


class Exporter(SpanExporter):
    """Returns one result for every batch, and keeps the spans it received."""

    def __init__(self, answer: object = SpanExportResult.SUCCESS) -> None:
        self._answer = answer
        self.batches: list[list[str]] = []
        self.shutdowns = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append([span.name for span in spans])
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer  # type: ignore[return-value]  # exporters of users answer anything

    def shutdown(self) -> None:
        self.shutdowns += 1


def test_batch_is_delivered(sink: Sink) -> None:
    """A batch is sent as one request with all its spans."""
    batch = SpanBatch([make_span("a"), make_span("b")])
    with open_destination(sink.address) as destination:
        assert destination.send(batch, LONG_S) == Answer(delivered=True)
    assert [[span["name"] for span in request.spans] for request in sink.requests] == [["a", "b"]]


def test_unreachable_receiver_may_be_tried_again() -> None:
    """A batch that reached no receiver can be sent again."""
    with open_destination(closed_address()) as destination:
        answer = destination.send(SpanBatch([make_span("a")]), LONG_S)
    assert answer == Answer(delivered=False, retry=True, message="connection refused")


@pytest.mark.parametrize(("own_s", "given_s"), [(0.2, LONG_S), (LONG_S, 0.2)])
def test_shorter_time_counts(sink: Sink, own_s: float, given_s: float) -> None:
    """A request takes at most the destination's timeout and at most the given time."""
    over = threading.Event()
    sink.reply = lambda _: Reply(200 if over.wait(LONG_S) else 500)
    with open_destination(sink.address, own_s) as destination:
        answer = destination.send(SpanBatch([make_span("a")]), given_s)
    over.set()
    assert answer == Answer(delivered=False, retry=True, message="timed out")


def test_unencodable_batch_is_not_sent(sink: Sink) -> None:
    """A batch without any encodable span is refused permanently and not sent."""
    with open_destination(sink.address) as destination:
        answer = destination.send(SpanBatch([BAD, BAD]), LONG_S)
    assert answer == Answer(delivered=False, message="not encodable")
    assert sink.requests == []


def test_unencodable_span_is_rejected(sink: Sink) -> None:
    """A span that cannot be encoded counts as rejected, and the other spans are sent."""
    with open_destination(sink.address) as destination:
        answer = destination.send(SpanBatch([make_span("a"), BAD]), LONG_S)
    assert answer == Answer(delivered=True, rejected=1, message="not encodable")
    assert [span["name"] for span in sink.spans] == ["a"]


def test_unencodable_span_adds_to_the_rejected(sink: Sink) -> None:
    """Unencodable spans are added to those that the receiver rejects, with its message."""
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    sink.reply = lambda _: Reply(200, {"content-type": "application/x-protobuf"}, body)
    with open_destination(sink.address) as destination:
        answer = destination.send(SpanBatch([make_span("a"), make_span("b"), BAD]), LONG_S)
    assert answer == Answer(delivered=True, rejected=2, message="too old")


def test_unencodable_span_is_not_delivered_by_a_refusal(sink: Sink) -> None:
    """If the receiver refuses a batch, the whole batch counts as refused."""
    sink.reply = lambda _: Reply(400)
    with open_destination(sink.address) as destination:
        answer = destination.send(SpanBatch([make_span("a"), BAD]), LONG_S)
    assert answer == Answer(delivered=False, message="400 Bad Request", invalid=True)


def test_closed_destination_opens_again(sink: Sink) -> None:
    """A closed destination can send again, and can be closed twice."""
    with open_destination(sink.address) as destination:
        destination.close()
        destination.close()
        assert destination.send(SpanBatch([make_span("a")]), LONG_S).delivered


def test_exporter_gets_the_spans() -> None:
    """An exporter receives the spans of the batch in their order."""
    exporter = Exporter()
    destination = ExporterDestination(exporter, "mine")
    answer = destination.send(SpanBatch([make_span("a"), make_span("b")]), LONG_S)
    assert (answer, exporter.batches) == (Answer(delivered=True), [["a", "b"]])


@pytest.mark.parametrize("said", [SpanExportResult.FAILURE, None, True, "ok"])
def test_exporter_that_says_anything_else_failed(said: object) -> None:
    """Any result of an exporter except success is a permanent failure: it retries itself."""
    answer = ExporterDestination(Exporter(said), "mine").send(SpanBatch([make_span("a")]), LONG_S)
    assert answer == Answer(delivered=False, message="the exporter failed")


def test_exporter_that_raises_failed() -> None:
    """An exporter that raises has failed permanently, and the error is counted."""
    before = trouble().get("export", 0)
    exporter = Exporter(KeyError("secret"))
    answer = ExporterDestination(exporter, "mine").send(SpanBatch([make_span("a")]), LONG_S)
    assert answer == Answer(delivered=False, message="KeyError")
    assert trouble()["export"] == before + 1


def test_closing_shuts_the_exporter_down() -> None:
    """Closing a client shuts its exporter down once."""
    exporter = Exporter()
    client = Client("shop", exporter=exporter)
    client.trace(lambda: 1)()
    client.close()
    client.close()
    assert exporter.shutdowns == 1


def test_exporter_that_raises_at_the_end_raises_nothing() -> None:
    """Closing a client does not raise if its exporter raises at shutdown."""

    class Raising(Exporter):
        def shutdown(self) -> None:
            raise RuntimeError("no")

    client = Client("shop", exporter=Raising())
    client.trace(lambda: 1)()
    client.close()


def test_nowhere_refuses() -> None:
    """If the exporter package is missing, every batch is refused with the package to install."""
    destination = NoDestination("install it", "http://localhost:4317")
    answer = destination.send(SpanBatch([make_span("a")]), LONG_S)
    destination.after_fork()
    destination.close()
    assert (answer, destination.page) == (
        Answer(delivered=False, message="install it"),
        "http://localhost:4317",
    )


def test_missing_grpc_exporter_is_said(tmp_path: Path) -> None:
    """Without the gRPC extra, calls work, and the loss reason is what to install."""
    script = """
        import json, sys
        sys.modules["opentelemetry.exporter.otlp.proto.grpc.trace_exporter"] = None  # not there
        from otel_ml import Client

        client = Client("shop")
        result = client.trace(lambda: 1)()
        print(json.dumps([result, client.flush().lost]))
    """
    assert ask_script(tmp_path, script, OTEL_EXPORTER_OTLP_PROTOCOL="grpc") == [
        1,
        {"gRPC needs pip install opentelemetry-exporter-otlp": 1},
    ]


def test_grpc_delivers_nothing_without_a_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over gRPC, a run without a receiver is lost: the official exporter does the retries."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    client = Client("shop", endpoint=closed_address(), join=False)
    client.trace(lambda: 1)()
    assert client.flush() == Delivery(lost={"the exporter failed": 1})
    client.close()
