"""Answers to OTLP requests, written in the form of the request.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from typing import Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.receive.pipeline import Answer
from otel_ml_collector.receive.status import shorten

_EMPTY: Final = {Form.PROTOBUF: b"", Form.JSON: b"{}"}


def write_answer(answer: Answer, signal: Signal, form: Form) -> bytes:
    """Write what became of a request; nothing to tell is the empty message."""
    if not answer.message:
        return _EMPTY[form]
    return write(_response(answer, signal), form)


def write(message: Message, form: Form) -> bytes:
    """Write a message in either form."""
    if form is Form.JSON:
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _response(answer: Answer, signal: Signal) -> Message:
    number, text = answer.rejected, shorten(answer.message)
    if signal is Signal.LOGS:
        return ExportLogsServiceResponse(
            partial_success=ExportLogsPartialSuccess(
                rejected_log_records=number, error_message=text
            )
        )
    if signal is Signal.METRICS:
        return ExportMetricsServiceResponse(
            partial_success=ExportMetricsPartialSuccess(
                rejected_data_points=number, error_message=text
            )
        )
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=number, error_message=text)
    )
