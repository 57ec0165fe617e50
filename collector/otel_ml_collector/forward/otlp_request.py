"""One export request on its way on: the bytes as they came, and what a target makes of them."""

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Final

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml import attributes as names
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.json import JsonObject, parse
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import Refused

# Where a request has been: the ids of collectors, with commas between.
PASSED_HEADER: Final = "x-otel-ml-passed"
# The way in has held it to a limit of its own.
_ANY_SIZE: Final = 2**31
_MESSAGES: Final[dict[Signal, type[Message]]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})
_LISTS: Final = (
    *("resourceSpans", "scopeSpans", "spans", "links"),
    *("resourceLogs", "scopeLogs", "logRecords"),
    *("resourceMetrics", "scopeMetrics", "metrics", "dataPoints", "exemplars"),
)
# What holds the data points of a metric.
_POINTS: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


class Unreadable(Exception):
    """A request cannot be written in the form that a target takes."""


@dataclass(frozen=True, slots=True)
class OtlpRequest:
    """A request as it came.

    Attributes:
        body: OTLP, perhaps compressed.
        encoding: How; one of `decode.compression.ENCODINGS`.
        signal: Traces, logs or metrics.
        form: How the body is written.
        project: Where what names no project is filed; None when the request does not say it.
        passed: The collectors where it has been, this one included.
    """

    body: bytes
    encoding: str
    signal: Signal
    form: Form
    project: str | None
    passed: str

    @property
    def headers(self) -> dict[str, str]:
        """What travels beside the body."""
        project = self.project or ""
        may_travel = project and project.isascii() and project.isprintable()
        told = {names.PROJECT_HEADER: project} if may_travel else {}
        return {PASSED_HEADER: self.passed, **told}

    def digest(self) -> bytes:
        """Name what is sent: the same request, sent again, has the same one."""
        about = f"{self.signal}|{self.form}|{self.encoding}|{self.project}|"
        named = hashlib.blake2b(about.encode(), digest_size=16)
        named.update(self.body)  # which may be large: it is not copied
        return named.digest()

    def plain(self) -> "OtlpRequest":
        """Decompress the body."""
        body = decompress(self.body, self.encoding, _ANY_SIZE)
        return replace(self, body=body, encoding="identity")

    def as_protobuf(self) -> "OtlpRequest":
        """Write a request that came in JSON as protobuf; another one stays as it is.

        Raises:
            Unreadable: It has no such form.
        """
        if self.form is Form.PROTOBUF:
            return self
        message = _MESSAGES[self.signal]()
        try:
            found = parse(self.plain().body, message.DESCRIPTOR.name)
            _spell_ids(found)
            ParseDict(found, message, ignore_unknown_fields=True)
        except (Refused, ParseError, ValueError) as error:
            raise Unreadable(str(error)) from error
        body = message.SerializeToString()
        return replace(self, body=body, encoding="identity", form=Form.PROTOBUF)


def _spell_ids(found: JsonObject) -> None:
    """Write ids as protobuf's own JSON has them: OTLP has hex there."""
    for key in _IDS & found.keys():
        said = found[key]
        if isinstance(said, str):
            found[key] = base64.b64encode(bytes.fromhex(said)).decode()
    for key in _LISTS:
        within = found.get(key)
        for one in within if isinstance(within, list) else ():
            if isinstance(one, dict):
                _spell_ids(one)
    for key in _POINTS:
        points = found.get(key)
        if isinstance(points, dict):
            _spell_ids(points)
