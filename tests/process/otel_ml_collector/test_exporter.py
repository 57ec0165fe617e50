"""Tests of the exporter inside an application: few imports, right results, no exceptions."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_ml
from examples.backend import Backend
from otel_ml_collector._proto import records_pb2 as pb
from otel_ml_collector.exporter import RecordExporter
from tests.support.backend import run_ids_in, serving

SUCCESS: Final = SpanExportResult.SUCCESS
FAILURE: Final = SpanExportResult.FAILURE
LOADED: Final = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otel_ml_collector.exporter import RecordExporter
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(RecordExporter(sys.argv[1])))
provider.get_tracer("t").start_span("call").end()
provider.shutdown()
heavy = {"chdb", "fastapi", "starlette", "uvicorn", "clickhouse_connect", "pyarrow", "jinja2",
         "prometheus_client"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


class Failing(Backend):
    """A backend that fails a number of times before it stores."""

    def __init__(self, path: str, failures: int) -> None:
        super().__init__(path, "")
        self.failures = failures

    def PutRecords(  # noqa: N802 - the service's name of it
        self, request: pb.PutRecordsRequest, context: grpc.ServicerContext
    ) -> pb.PutRecordsResponse:
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "come again")
        return super().PutRecords(request, context)


@contextmanager
def target_of(backend: Backend) -> Iterator[str]:
    """Serve a backend; yield its address in the exporter's format."""
    with serving(backend) as port:
        yield f"grpc://127.0.0.1:{port}"


def make_spans(number: int = 1, **attributes: Any) -> Sequence[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for count in range(number):
        provider.get_tracer("t").start_span(f"call {count}", attributes=attributes).end()
    return kept.get_finished_spans()


def ids_of(spans: Sequence[ReadableSpan]) -> set[str]:
    contexts = [span.get_span_context() for span in spans]
    return {f"{one.trace_id:032x}-{one.span_id:016x}" for one in contexts if one}


def test_loads_neither_store_nor_web_server(tmp_path: Path) -> None:
    """An application that exports imports no part of the store or of the web server."""
    with target_of(Backend(str(tmp_path / "r.db"), "")) as target:
        done = subprocess.run(
            [sys.executable, "-c", LOADED, target],
            capture_output=True,
            text=True,
            check=True,
            timeout=180,
        )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert len(run_ids_in(tmp_path / "r.db")) == 1


def test_service_that_fails_for_a_while(tmp_path: Path) -> None:
    """If a service is unavailable for a while, records are sent again and the export succeeds."""
    with target_of(Failing(str(tmp_path / "r.db"), 2)) as target:
        spans = make_spans(3)
        assert RecordExporter(target).export(spans) is SUCCESS
    assert run_ids_in(tmp_path / "r.db") == ids_of(spans)


def test_many_spans(tmp_path: Path) -> None:
    """An export larger than one request succeeds only after all its records are acknowledged."""
    with target_of(Backend(str(tmp_path / "r.db"), "")) as target:
        spans = make_spans(40, **{"otel_ml.inputs": f'"{"x" * 200_000}"'})
        assert RecordExporter(target, timeout_s=30).export(spans) is SUCCESS
    assert run_ids_in(tmp_path / "r.db") == ids_of(spans)


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    """Without a service an export fails within its timeout, with one warning a minute."""
    exporter = RecordExporter("grpc://127.0.0.1:1", timeout_s=0.5)
    started = time.monotonic()
    assert [exporter.export(make_spans()), exporter.export(make_spans())] == [FAILURE, FAILURE]
    assert time.monotonic() - started < 5
    ours = [record for record in caplog.records if record.name == "otel_ml_collector.exporter"]
    assert [record.levelname for record in ours] == ["WARNING"]


def test_shutdown_ends_a_retry() -> None:
    """A shutdown ends an export that waits for a service; later exports fail."""
    exporter = RecordExporter("grpc://127.0.0.1:1", timeout_s=300)
    answers: list[SpanExportResult] = []
    thread = threading.Thread(target=lambda: answers.append(exporter.export(make_spans())))
    thread.start()
    exporter.shutdown()
    exporter.shutdown()
    thread.join(30)
    answers.append(exporter.export(make_spans()))
    assert (answers, exporter.force_flush()) == ([FAILURE, FAILURE], False)


@pytest.mark.parametrize(
    ("attributes", "answer"),
    [
        ({"text": "a lone \ud800 half"}, SUCCESS),
        ({"big": 2**80}, SUCCESS),
        ({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 2**80}, SUCCESS),
        ({"otel_ml.record": "update", "otel_ml.target.run": "no run"}, FAILURE),
        ({"otel_ml.record": "of another time"}, FAILURE),
    ],
    ids=["surrogate", "large number", "large count", "update about nothing", "unknown record"],
)
def test_odd_spans(tmp_path: Path, attributes: dict[str, Any], answer: SpanExportResult) -> None:
    """A span that cannot be sent fails the export, but the other spans are still stored."""
    good = make_spans(2)
    with target_of(Backend(str(tmp_path / "r.db"), "")) as target:
        odd = make_spans(**attributes)
        assert RecordExporter(target).export([good[0], *odd, good[1]]) is answer
    wanted = ids_of([*good, *odd]) if answer is SUCCESS else ids_of(good)
    assert run_ids_in(tmp_path / "r.db") == wanted


def test_what_is_no_span(caplog: pytest.LogCaptureFixture) -> None:
    """An object that is no span fails the export, and no exception is raised."""
    exporter = RecordExporter("grpc://127.0.0.1:1", timeout_s=0.1)
    assert exporter.export([object()]) is FAILURE  # type: ignore[list-item] # what is tried
    assert exporter.export([]) is SUCCESS
    assert len(caplog.records) == 1


def test_runs_of_the_sdk(tmp_path: Path) -> None:
    """Runs of this SDK go to a service directly, without a collector."""
    with target_of(Backend(str(tmp_path / "r.db"), "")) as target:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(RecordExporter(target)))
        client = otel_ml.Client("shop", tracer_provider=provider)

        @client.trace
        def answer(question: str) -> str:
            return question[::-1]

        answer("why")
        assert client.flush()
        provider.shutdown()
    assert len(run_ids_in(tmp_path / "r.db")) == 1


@pytest.mark.parametrize(
    "target",
    [
        *("", "127.0.0.1:4319", "http://h:1", "grpc://h", "grpc://h:0", "grpc://h:70000"),
        *("grpc://user@h:1", "grpc://h:1/path", "grpc://h:1?ca=/etc/hosts", "grpcs://h:1?key=x"),
    ],
)
def test_invalid_target(target: str) -> None:
    """For an invalid target the constructor raises an error with the expected form."""
    with pytest.raises(ValueError, match=r"expected grpc://HOST:PORT"):
        RecordExporter(target)


def test_missing_certificates(tmp_path: Path) -> None:
    """If the certificates are missing, the constructor raises an error."""
    with pytest.raises(ValueError, match="expected a file of certificates"):
        RecordExporter(f"grpcs://h:1?ca={tmp_path / 'none.pem'}")
    with pytest.raises(ValueError, match="cannot be read"):
        RecordExporter("grpcs://h:1", ca=tmp_path / "none.pem")
