"""Log records as OTLP in protobuf, written with the official messages."""

from collections.abc import Iterable

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2

from otel_ml_collector.span import Log
from tests.support.otel_ml_collector.wire import any_value, instrumentation, pairs, resource_of


def encode_logs(logs: Iterable[Log]) -> bytes:
    """Return log records as one export request, each with its own resource and scope."""
    request = ExportLogsServiceRequest()
    for log in logs:
        resource_logs = request.resource_logs.add(resource=resource_of(log.scope))
        resource_logs.scope_logs.add(scope=instrumentation(log.scope), log_records=[_message(log)])
    return request.SerializeToString()


def _message(log: Log) -> logs_pb2.LogRecord:
    return logs_pb2.LogRecord(
        trace_id=log.trace_id,
        span_id=log.span_id,
        time_unix_nano=log.time_ns,
        observed_time_unix_nano=log.observed_ns,
        severity_number=logs_pb2.SeverityNumber.ValueType(log.severity_number),
        severity_text=log.severity_text,
        event_name=log.event,
        body=any_value(log.body),
        attributes=pairs(log.attributes),
    )
