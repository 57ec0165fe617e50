"""OTLP log requests in JSON to log records.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from typing import Final

from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber

from otel_ml_collector.decode.json_request import records_of
from otel_ml_collector.decode.json_values import (
    JsonObject,
    attributes_of,
    enum,
    hex_bytes,
    text,
    uint64,
    value,
)
from otel_ml_collector.decode.logs import event_of
from otel_ml_collector.log import Log
from otel_ml_collector.span import Scope

_SEVERITIES: Final = dict(SeverityNumber.items())


def decode_json_logs(body: bytes) -> list[Log]:
    """Read the records of one OTLP export request in JSON, as `decode_logs` does of protobuf.

    Raises:
        Refused: The body is no export request; where a field is wrong, a `BadField`.
    """
    levels = ("resourceLogs", "scopeLogs", "logRecords")
    return records_of(body, "ExportLogsServiceRequest", levels, _log)


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
