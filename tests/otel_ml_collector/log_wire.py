"""Log records as OTLP in protobuf, written with the official messages."""

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ml_collector.log import Log
from otel_ml_collector.span import Value
from tests.otel_ml_collector.wire import any_value


def encode_logs(logs: Iterable[Log]) -> bytes:
    """Write log records as one export request; each brings resource and scope of its own."""
    request = ExportLogsServiceRequest()
    for log in logs:
        scope = log.scope
        resource_logs = request.resource_logs.add(
            resource=Resource(attributes=_pairs(scope.resource))
        )
        resource_logs.scope_logs.add(
            scope=InstrumentationScope(
                name=scope.name, version=scope.version, attributes=_pairs(scope.attributes)
            ),
            log_records=[_message(log)],
        )
    return request.SerializeToString()


def _pairs(attributes: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


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
        attributes=_pairs(log.attributes),
    )
