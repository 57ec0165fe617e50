"""OTLP log requests in protobuf to log records.

Spec: https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

from collections.abc import Iterator, Mapping
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2

from otel_ml_collector.decode.bounds import check_records
from otel_ml_collector.decode.values import attributes_of, parse, scope_of, value_of
from otel_ml_collector.log import Log
from otel_ml_collector.span import Scope, Value

# What event a record is before there was a field for it (OpenTelemetry 1.40 and older).
_EVENT_NAME: Final = "event.name"


def decode_logs(body: bytes) -> list[Log]:
    """Read the records of one OTLP export request in protobuf.

    Args:
        body: The request, uncompressed, already held to the size limit.

    Returns:
        Records in the order of the request, empty for an empty request. Ids are as they came.

    Raises:
        Refused: The body is no export request. Sending it again cannot help.
    """
    request = parse(body, ExportLogsServiceRequest)
    check_records(len(request.resource_logs))
    scopes = [scope for found in request.resource_logs for scope in found.scope_logs]
    check_records(len(scopes))
    check_records(sum(len(scope.log_records) for scope in scopes))
    return list(_logs(request))


def event_of(name: str, attributes: Mapping[str, Value]) -> str:
    """Return what event a record is: its own field, else the attribute of older senders."""
    if name:
        return name
    older = attributes.get(_EVENT_NAME)
    return older if isinstance(older, str) else ""


def _logs(request: ExportLogsServiceRequest) -> Iterator[Log]:
    for resource_logs in request.resource_logs:
        resource = attributes_of(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            scope = scope_of(resource, scope_logs.scope)
            for record in scope_logs.log_records:
                yield _log(record, scope)


def _log(record: logs_pb2.LogRecord, scope: Scope) -> Log:
    attributes = attributes_of(record.attributes)
    # The field came with opentelemetry-proto 1.28; older ones are allowed here.
    name = getattr(record, "event_name", "")
    return Log(
        trace_id=record.trace_id,
        span_id=record.span_id,
        time_ns=record.time_unix_nano,
        observed_ns=record.observed_time_unix_nano,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        event=event_of(name, attributes),
        body=value_of(record.body),
        attributes=attributes,
        scope=scope,
    )
