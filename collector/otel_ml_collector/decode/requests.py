"""One OTLP request of either form, by what it holds."""

from otel_ml_collector.decode.bounds import check_values
from otel_ml_collector.decode.json import (
    count_json_points,
    decode_json_logs,
    decode_json_traces,
)
from otel_ml_collector.decode.protobuf import Spans, count_points, decode_logs, decode_traces
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.span import Log, Span


def read_spans(body: bytes, form: Form) -> Spans | list[Span]:
    """Read the spans of a request.

    Raises:
        Refused: The body is no such request. Sending it again cannot help.
    """
    check_values(body, form)
    return decode_json_traces(body) if form is Form.JSON else decode_traces(body)


def read_logs(body: bytes, form: Form) -> list[Log]:
    """Read the log records of a request.

    Raises:
        Refused: The body is no such request. Sending it again cannot help.
    """
    check_values(body, form)
    return decode_json_logs(body) if form is Form.JSON else decode_logs(body)


def count_data_points(body: bytes, form: Form) -> int:
    """Count the data points of a request of metrics.

    Raises:
        Refused: The body is no such request. Sending it again cannot help.
    """
    check_values(body, form)
    return count_json_points(body) if form is Form.JSON else count_points(body)
