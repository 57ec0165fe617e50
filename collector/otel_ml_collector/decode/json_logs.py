"""OTLP log requests in JSON to log records.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Final

from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber

from otel_ml_collector.decode.json_values import (
    JsonObject,
    attributes_of,
    check_size,
    each,
    enum,
    hex_bytes,
    parse,
    scope_of,
    text,
    uint64,
    value,
    within,
)
from otel_ml_collector.decode.logs import event_of
from otel_ml_collector.log import Log
from otel_ml_collector.span import Scope, Value

_SEVERITIES: Final = dict(SeverityNumber.items())


def decode_json_logs(body: bytes) -> list[Log]:
    """Read the records of one OTLP export request in JSON, as `decode_logs` does of protobuf.

    Raises:
        Refused: The body is no export request; where a field is wrong, a `BadField`.
    """
    request = parse(body, "ExportLogsServiceRequest")
    check_size(request, "resourceLogs", "scopeLogs", "logRecords")
    return list(chain.from_iterable(each(request, "resourceLogs", _resource_logs)))


def _resource_logs(found: JsonObject) -> list[Log]:
    resource = within(found, "resource", attributes_of)
    return list(chain.from_iterable(each(found, "scopeLogs", partial(_scope_logs, resource))))


def _scope_logs(resource: Mapping[str, Value], found: JsonObject) -> list[Log]:
    return each(found, "logRecords", partial(_log, scope_of(resource, found)))


def _log(scope: Scope, found: JsonObject) -> Log:
    attributes = attributes_of(found)
    return Log(
        trace_id=hex_bytes(found, "traceId"),
        span_id=hex_bytes(found, "spanId"),
        time_ns=uint64(found, "timeUnixNano"),
        observed_ns=uint64(found, "observedTimeUnixNano"),
        severity_number=enum(found, "severityNumber", _SEVERITIES),
        severity_text=text(found, "severityText"),
        event=event_of(text(found, "eventName"), attributes),
        body=value(found, "body"),
        attributes=attributes,
        scope=scope,
    )
