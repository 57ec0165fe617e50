"""Log records sent with OpenTelemetry's handler and exporters are stored with their runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.process.test_docs import run_blocks
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT

PAGE: Final = ROOT / "docs/how-to/log-records.md"
HEADER: Final = "x-otel-ml-project"


@contextmanager
def traced(collector: CollectorProcess, project: str) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    exporter = OTLPSpanExporter(f"{collector.endpoint}/v1/traces", headers={HEADER: project})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@contextmanager
def logged(collector: CollectorProcess, project: str, protocol: str) -> Iterator[LoggerProvider]:
    provider = LoggerProvider()
    exporter = (
        GrpcLogs(collector.grpc, insecure=True, headers={HEADER: project})
        if protocol == "grpc"
        else HttpLogs(f"{collector.endpoint}/v1/logs", headers={HEADER: project})
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    yield provider
    provider.shutdown()


def test_page(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """After following docs/how-to/log-records.md, the run has the log line."""
    run_blocks(PAGE, own_collector, tmp_path)
    [run] = own_collector.runs("shop")
    [line] = own_collector.get(f"/projects/shop/runs/{run['run_id']}")["logs"]
    assert (line["severity"], line["message"]) == ("warning", "No price in 'a red bicycle'")
    assert line["attributes"]["shop.retry"] == 2
    assert line["attributes"]["otel.scope.name"] == "root"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_instrumented_call(collector: CollectorProcess, protocol: str) -> None:
    """A run gets its content from events, and its log lines include those of its child spans."""
    project = f"instrumented {protocol}"
    logger = logging.getLogger(f"shop.{protocol}")
    with traced(collector, project) as spans, logged(collector, project, protocol) as logs:
        with pytest.deprecated_call():
            handler = LoggingHandler(logger_provider=logs)
        logger.addHandler(handler)
        tracer, events = spans.get_tracer("client"), logs.get_logger("client")
        with tracer.start_as_current_span("chat m") as span:
            span.set_attribute("gen_ai.operation.name", "chat")
            asked, answer = {"content": "Where?"}, {"role": "assistant", "content": "Here."}
            events.emit(LogRecord(event_name="gen_ai.user.message", body=asked))
            with tracer.start_as_current_span("POST"):
                logger.error("Again: %s", 503)
            events.emit(LogRecord(event_name="gen_ai.choice", body={"index": 0, "message": answer}))
        logger.removeHandler(handler)
    [run] = collector.runs(project)
    found = collector.get(f"/runs/{run['run_id']}")
    assert (found["inputs"], found["outputs"]) == (
        [{"role": "user", "content": "Where?"}],
        [answer],
    )
    assert [(line["event"], line["severity"]) for line in found["logs"]] == [
        ("gen_ai.user.message", "info"),
        ("", "error"),
        ("gen_ai.choice", "info"),
    ]
    assert found["logs"][1]["message"] == "Again: 503"
