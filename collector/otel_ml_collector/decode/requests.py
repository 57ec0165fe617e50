"""Reads OTLP requests of any signal, in protobuf or JSON.

Spec: https://opentelemetry.io/docs/specs/otlp/
"""

from otel_ml_collector.decode.bounds import check_values
from otel_ml_collector.decode.json import (
    decode_json_logs,
    decode_json_traces,
)
from otel_ml_collector.decode.metrics import READERS, Metrics
from otel_ml_collector.decode.protobuf import Spans, decode_logs, decode_traces
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.decode.utf8 import Replaced
from otel_ml_collector.span import Log, Span


def read_spans(
    body: bytes, form: Form, replaced: list[Replaced] | None = None
) -> Spans | list[Span]:
    """Read the spans of a request.

    Args:
        body: The request.
        form: Its content type.
        replaced: A list that receives the fields whose text had invalid UTF-8. If it is None, a
            request with invalid UTF-8 is rejected.

    Raises:
        Rejected: The body is not a valid trace request. Sending it again cannot help.
    """
    check_values(body, form)
    decode = decode_json_traces if form is Form.JSON else decode_traces
    return decode(body, replaced)


def read_logs(body: bytes, form: Form, replaced: list[Replaced] | None = None) -> list[Log]:
    """Read the log records of a request.

    Args:
        body: The request.
        form: Its content type.
        replaced: A list that receives the fields whose text had invalid UTF-8. If it is None, a
            request with invalid UTF-8 is rejected.

    Raises:
        Rejected: The body is not a valid log request. Sending it again cannot help.
    """
    check_values(body, form)
    decode = decode_json_logs if form is Form.JSON else decode_logs
    return decode(body, replaced)


def read_points(body: bytes, form: Form) -> Metrics:
    """Count the data points of a metrics request, and read those about calls of models.

    Raises:
        Rejected: The body is not a valid metrics request. Sending it again cannot help.
    """
    check_values(body, form)
    return READERS[form](body)
