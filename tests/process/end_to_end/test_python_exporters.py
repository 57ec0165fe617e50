"""The official Python exporters with each protocol and compression, from span to record.

An export that returned SUCCESS is durable and queryable, so the tests need not wait for records.
"""

import json
import os
import subprocess
import sys
import time
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import grpc
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AnyValue

from tests.support.collector import CollectorProcess
from tests.support.plain_run import plain_run, written
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

Protocol = Literal["grpc", "http"]
Compression = Literal["none", "gzip", "deflate"]

on_each_protocol = pytest.mark.parametrize("protocol", ["grpc", "http"])
on_each_compression = pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])

GRPC_COMPRESSIONS: dict[Compression, grpc.Compression] = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
SCOPE = {"name": "shop.assistant", "version": "2.0"}
SHOP: dict[str, AnyValue] = {
    "service.name": "shop",
    "service.version": "1.2.3",
    "deployment.environment.name": "staging",
    "host.cpus": 4,
}
QUESTION: list[AnyValue] = [
    {"role": "user", "parts": [{"type": "text", "content": "Où est mon colis ? 📦"}]}
]
ANSWER: list[AnyValue] = [
    {
        "role": "assistant",
        "parts": [{"type": "text", "content": "It arrives on Friday."}],
        "finish_reason": "stop",
    }
]
# Attributes that no field of a run holds, or holds only in part.
CHAT_ATTRIBUTES: dict[str, AnyValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.25,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 0,
    "gen_ai.conversation.id": "conversation 7",
    "shop.order": 9_007_199_254_740_993,
    "shop.express": False,
    "shop.weights": [0.5, 1.5],
    "shop.note": "",
}
CHAT_CONTENT: dict[str, AnyValue] = {
    "gen_ai.input.messages": json.dumps(QUESTION),
    "gen_ai.output.messages": json.dumps(ANSWER),
}
ASK_ATTRIBUTES: dict[str, AnyValue] = {
    "http.request.method": "POST",
    "http.route": "/ask",
    "http.response.status_code": 200,
    "url.path": "/ask",
}

SCRIPT = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if sys.argv[1] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
with provider.get_tracer("script").start_as_current_span("chat m") as span:
    span.set_attribute("gen_ai.operation.name", "chat")
"""


class Receiver(typing.Protocol):
    """A receiver of OTLP."""

    @property
    def endpoint(self) -> str: ...

    @property
    def grpc(self) -> str: ...


class WatchedExporter(SpanExporter):
    """Exports spans and keeps the results, which the SDK discards."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.results: list[SpanExportResult] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.results.append(self._exporter.export(spans))
        return self.results[-1]

    def shutdown(self) -> None:
        self._exporter.shutdown()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name unique to the test."""
    name: str = request.node.name
    return name


def grpc_options(
    collector: Receiver, compression: Compression, project: str | None
) -> dict[str, Any]:
    """Return the arguments of the gRPC exporters."""
    return {
        "endpoint": collector.grpc,
        "insecure": True,
        "headers": headers_of(project),
        "compression": GRPC_COMPRESSIONS[compression],
    }


def http_options(
    collector: Receiver, signal: str, compression: Compression, project: str | None
) -> dict[str, Any]:
    """Return the arguments of the HTTP exporters."""
    return {
        "endpoint": f"{collector.endpoint}/v1/{signal}",
        "headers": headers_of(project),
        "compression": HttpCompression(compression),
    }


def headers_of(project: str | None) -> dict[str, str]:
    return {} if project is None else {"x-otel-ml-project": project}


def make_exporter(
    collector: Receiver,
    protocol: Protocol,
    compression: Compression = "none",
    *,
    project: str | None = None,
) -> SpanExporter:
    if protocol == "grpc":
        return GrpcExporter(**grpc_options(collector, compression, project))
    return HttpExporter(**http_options(collector, "traces", compression, project))


def make_log_exporter(
    collector: Receiver,
    protocol: Protocol,
    compression: Compression = "none",
    *,
    project: str | None = None,
) -> LogRecordExporter:
    if protocol == "grpc":
        return GrpcLogs(**grpc_options(collector, compression, project))
    return HttpLogs(**http_options(collector, "logs", compression, project))


def log_about(exporter: LogRecordExporter, chat: Span, start_ns: int) -> None:
    """Send a log record from inside a model call, then an evaluation of the call."""
    provider = LoggerProvider(resource=Resource(SHOP), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("shop.log", "3.0")
    context = set_span_in_context(chat)
    logger.emit(
        LogRecord(
            timestamp=start_ns + 500_250_000,
            context=context,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body={"order": 17, "parcel": "📦", "depots": ["Lyon", None]},
            attributes={"shop.route": {"from": "Lyon", "to": ["Ghent"]}},
        )
    )
    logger.emit(
        LogRecord(
            timestamp=start_ns + 1_600_000_000,
            context=context,
            event_name="gen_ai.evaluation.result",
            attributes={
                "gen_ai.evaluation.name": "helpfulness",
                "gen_ai.evaluation.score.value": 0.75,
                "gen_ai.evaluation.score.label": "pass",
                "gen_ai.evaluation.explanation": "It says when",
            },
        )
    )
    provider.shutdown()


@contextmanager
def tracing(exporter: SpanExporter, resource: Mapping[str, AnyValue] = SHOP) -> Iterator[Tracer]:
    """Yield a tracer that exports each span as it ends; fail unless every export succeeded."""
    watched = WatchedExporter(exporter)
    provider = TracerProvider(resource=Resource(resource), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(watched))
    try:
        yield provider.get_tracer("shop.assistant", "2.0")
        assert set(watched.results) == {SpanExportResult.SUCCESS}
    finally:
        provider.shutdown()


def answer_question(tracer: Tracer, start_ns: int) -> tuple[Span, Span]:
    """Send a server span and the model call inside it; return both."""
    ask = tracer.start_span(
        "POST /ask", kind=SpanKind.SERVER, attributes=ASK_ATTRIBUTES, start_time=start_ns
    )
    chat = tracer.start_span(
        "chat gpt-4o-mini",
        context=set_span_in_context(ask),
        kind=SpanKind.CLIENT,
        attributes=CHAT_ATTRIBUTES | CHAT_CONTENT,
        start_time=start_ns + 250_000,
    )
    chat.end(start_ns + 1_500_250_000)
    ask.end(start_ns + 2_000_000_000)
    return ask, chat


def run_id(span: Span) -> str:
    context = span.get_span_context()
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def expected_run(span: Span, start_ns: int, **fields: object) -> dict[str, object]:
    """Return the whole expected record of a span from `tracing`."""
    told = {
        "environment": "staging",
        "release": "1.2.3",
        "resource": SHOP,
        "scope": SCOPE,
        "otlp": {"flags": 0x100},  # its parent is known not to be remote
    }
    return plain_run(run_id(span), start_ns, **{**told, **fields})


def expected_chat(ask: Span, chat: Span, start_ns: int, project: str) -> dict[str, object]:
    """Return the whole expected record of the model call of `answer_question`."""
    return expected_run(
        chat,
        start_ns + 250_000,
        parent_run_id=run_id(ask),
        project=project,
        kind="model",
        span_kind="client",
        name="chat gpt-4o-mini",
        model="gpt-4o-mini",
        latency_ms=1_500.0,
        inputs=QUESTION,
        outputs=ANSWER,
        session="conversation 7",
        provider="openai",
        provider_model="gpt-4o-mini-2024-07-18",
        tokens={
            "input": 12,
            "output": 0,
            "cached": None,
            "reasoning": None,
            "cache_creation": None,
        },
        cost=12 * 0.15e-6,
        finish_reason="stop",
        params={"temperature": 0.25},
        attributes=CHAT_ATTRIBUTES,
        dialect="gen_ai",
    )


def expected_evaluation(start_ns: int) -> dict[str, object]:
    """Return the fields that the evaluation of `log_about` adds to a record."""
    return {
        "scores": {"helpfulness": 0.75},
        "passed": {"helpfulness": True},
        "evaluations": [
            {
                "judge": "helpfulness",
                "version": None,
                "digest": "",
                "score": 0.75,
                "passed": True,
                "label": "pass",
                "explanation": "It says when",
                "error": "",
                "source": "judge",
                "actual": None,
                "time": written(start_ns + 1_600_000_000),
                "annotator": "",
            }
        ],
    }


def expected_line(start_ns: int) -> dict[str, object]:
    """Return the log line of the log record of `log_about`."""
    return {
        "time_ns": start_ns + 500_250_000,
        "offset_ms": 500.0,
        "severity": "warning",
        "message": '{"order":17,"parcel":"📦","depots":["Lyon",null]}',
        "event": "",
        "attributes": {
            "otel.scope.name": "shop.log",
            "shop.route": {"from": "Lyon", "to": ["Ghent"]},
        },
    }


@sampled(1)
@on_each_protocol
@on_each_compression
def test_chat_span(
    collector: CollectorProcess, project: str, protocol: Protocol, compression: Compression
) -> None:
    """A chat span becomes a model run with each attribute in its field."""
    start_ns = time.time_ns()
    with tracing(make_exporter(collector, protocol, compression, project=project)) as tracer:
        ask, chat = answer_question(tracer, start_ns)
        found = collector.get(f"/runs/{run_id(chat)}")
    assert found == expected_chat(ask, chat, start_ns, project)


@sampled(1)
@on_each_protocol
@on_each_compression
def test_logs(
    collector: CollectorProcess, project: str, protocol: Protocol, compression: Compression
) -> None:
    """A log record inside a model call becomes a log line of its run, an evaluation its score."""
    start_ns = time.time_ns()
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        ask, chat = answer_question(tracer, start_ns)
    exporter = make_log_exporter(collector, protocol, compression, project=project)
    log_about(exporter, chat, start_ns)
    assert collector.get(f"/runs/{run_id(chat)}") == {
        **expected_chat(ask, chat, start_ns, project),
        **expected_evaluation(start_ns),
        "logs": [expected_line(start_ns)],
    }


@sampled(1)
@on_each_protocol
@on_each_compression
def test_server_span(
    collector: CollectorProcess, project: str, protocol: Protocol, compression: Compression
) -> None:
    """A server span around a model call becomes a run of kind span with unchanged attributes."""
    start_ns = time.time_ns()
    with tracing(make_exporter(collector, protocol, compression, project=project)) as tracer:
        ask, _ = answer_question(tracer, start_ns)
        # The session of a trace is resolved after the response.
        wait_until(lambda: bool(collector.get(f"/runs/{run_id(ask)}")["session"]))
        found = collector.get(f"/runs/{run_id(ask)}")
    assert found == expected_run(
        ask,
        start_ns,
        project=project,
        kind="span",
        span_kind="server",
        name="POST /ask",
        latency_ms=2_000.0,
        session="conversation 7",  # from the call below it
        attributes=ASK_ATTRIBUTES,
        dialect="opentelemetry",
    )


@sampled(1)
@on_each_protocol
def test_list_of_runs(collector: CollectorProcess, project: str, protocol: Protocol) -> None:
    """The list of runs shows the model call, but not the server span around it."""
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        _, chat = answer_question(tracer, time.time_ns())
        runs = collector.runs(project)
    assert [(run["run_id"], run["inputs"], run["outputs"]) for run in runs] == [
        (run_id(chat), "Où est mon colis ? 📦", "It arrives on Friday.")
    ]


@sampled(1)
@on_each_protocol
def test_trace(collector: CollectorProcess, project: str, protocol: Protocol) -> None:
    """The trace has the server span first, then the model call below it."""
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        ask, chat = answer_question(tracer, time.time_ns())
        trace = collector.get(f"/traces/{run_id(ask)[:32]}")
    assert [(run["run_id"], run["parent_run_id"]) for run in trace["runs"]] == [
        (run_id(ask), None),
        (run_id(chat), run_id(ask)),
    ]


@sampled(1)
@on_each_protocol
def test_session(collector: CollectorProcess, project: str, protocol: Protocol) -> None:
    """A model call without session and user inherits those of its trace's root."""
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        about = {"session.id": "visit 3", "user.id": "ada"}
        with (
            tracer.start_as_current_span("POST /ask", attributes=about),
            tracer.start_as_current_span("chat m", attributes=CHAT_CONTENT) as chat,
        ):
            pass
        wait_until(lambda: bool(collector.get(f"/runs/{run_id(chat)}")["session"]))
        found = collector.get(f"/runs/{run_id(chat)}")
    assert (found["session"], found["user"]) == ("visit 3", "ada")


@on_each_protocol
def test_exception(collector: CollectorProcess, project: str, protocol: Protocol) -> None:
    """A model call that raised has outcome error with the exception's type, message and event."""
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        with (
            pytest.raises(TimeoutError),
            tracer.start_as_current_span("chat m", attributes=CHAT_ATTRIBUTES) as chat,
        ):
            raise TimeoutError("No answer within 30 s")
        found = collector.get(f"/runs/{run_id(chat)}")
    [event] = found["events"]
    assert event["attributes"].pop("exception.stacktrace").startswith("Traceback (most recent")
    assert found["start_ns"] <= event.pop("time_ns") <= time.time_ns()
    assert event == {
        "name": "exception",
        "attributes": {
            "exception.type": "TimeoutError",
            "exception.message": "No answer within 30 s",
            "exception.escaped": "False",
        },
    }
    assert (found["outcome"], found["error_type"], found["error_message"]) == (
        "error",
        "TimeoutError",
        "No answer within 30 s",
    )


@on_each_protocol
def test_status(collector: CollectorProcess, project: str, protocol: Protocol) -> None:
    """A model call with only the status ERROR has outcome error with the status message."""
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        with tracer.start_as_current_span("chat m", attributes=CHAT_ATTRIBUTES) as chat:
            chat.set_status(Status(StatusCode.ERROR, "rate limit"))
        found = collector.get(f"/runs/{run_id(chat)}")
    assert (found["outcome"], found["error_type"], found["error_message"]) == (
        "error",
        "",
        "rate limit",
    )


@sampled(1)
@on_each_protocol
@pytest.mark.parametrize(
    ("header", "resource", "expected"),
    [
        (None, {}, "default"),
        ("team", {}, "team"),
        (None, {"otel_ml.project": "shop/prod"}, "shop/prod"),
        ("team", {"otel_ml.project": "shop/prod"}, "shop/prod"),
    ],
    ids=["nobody", "header", "resource", "both"],
)
def test_project(
    collector: CollectorProcess,
    protocol: Protocol,
    header: str | None,
    resource: dict[str, str],
    expected: str,
) -> None:
    """A run belongs to the project of its resource, or else of the header, or else to default."""
    with tracing(make_exporter(collector, protocol, project=header), SHOP | resource) as tracer:
        _, chat = answer_question(tracer, time.time_ns())
        listed = {run["run_id"] for run in collector.runs(expected)}
    assert run_id(chat) in listed


@on_each_protocol
def test_structured_messages(collector: CollectorProcess, project: str, protocol: Protocol) -> None:
    """Messages in structured attributes are read like messages in JSON."""
    content = {"gen_ai.input.messages": QUESTION, "gen_ai.output.messages": ANSWER}
    with tracing(make_exporter(collector, protocol, project=project)) as tracer:
        with tracer.start_as_current_span("chat m", attributes=CHAT_ATTRIBUTES | content) as chat:
            pass
        found = collector.get(f"/runs/{run_id(chat)}")
    assert (found["inputs"], found["outputs"]) == (QUESTION, ANSWER)


@sampled(1)
@on_each_protocol
@on_each_compression
def test_batches(
    collector: CollectorProcess, project: str, protocol: Protocol, compression: Compression
) -> None:
    """Every span of a batch processor is listed once its flush returns."""
    watched = WatchedExporter(make_exporter(collector, protocol, compression, project=project))
    provider = TracerProvider(resource=Resource(SHOP), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(watched))
    tracer = provider.get_tracer("shop.assistant")
    chats = [tracer.start_span("chat m", attributes=CHAT_ATTRIBUTES) for _ in range(1_200)]
    for chat in chats:
        chat.end()
    assert provider.force_flush()
    listed = [run["run_id"] for run in collector.runs(project)]
    provider.shutdown()
    assert set(watched.results) == {SpanExportResult.SUCCESS}
    assert sorted(listed) == sorted(run_id(chat) for chat in chats)


@sampled(1)
@on_each_protocol
def test_standard_variables(
    collector: CollectorProcess, project: str, tmp_path: Path, protocol: Protocol
) -> None:
    """A script that uses only OpenTelemetry's variables delivers its run when it ends."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    endpoints = {"grpc": f"http://{collector.grpc}", "http": collector.endpoint}
    subprocess.run(
        [sys.executable, str(script), protocol],
        check=True,
        timeout=180,
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints[protocol],
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-otel-ml-project={quote(project)}",
            "OTEL_SERVICE_NAME": "script",
        },
    )
    [run] = collector.runs(project)
    assert (run["kind"], run["name"]) == ("model", "chat m")
