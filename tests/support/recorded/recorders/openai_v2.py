"""Calls of OpenAI's client under OpenTelemetry's instrumentation, content on spans and in logs."""

import os

import openai
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import call_all


def main() -> None:
    """Make the calls with content on spans and in events."""
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_and_event"
    provider, logs = make_provider(), LoggerProvider()
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(logs)
    OpenAIInstrumentor().instrument(tracer_provider=provider, logger_provider=logs)
    call_all(openai.OpenAI())
    provider.shutdown()
    logs.shutdown()


if __name__ == "__main__":
    main()
