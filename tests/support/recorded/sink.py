"""OTLP export requests in any encoding, kept as one OTLP/JSON request."""

import gzip
import json
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.otlp_json import to_otlp_json
from tests.support.recorded.words import Words

_Request = type[ExportTraceServiceRequest] | type[ExportLogsServiceRequest]
_REQUESTS: Final[dict[str, tuple[_Request, str]]] = {
    "/v1/traces": (ExportTraceServiceRequest, "resourceSpans"),
    "/v1/logs": (ExportLogsServiceRequest, "resourceLogs"),
}


class Sink:
    """The exports of one recorder; metrics are accepted and dropped."""

    def __init__(self) -> None:
        self._told: dict[str, list[Any]] = {"resourceSpans": [], "resourceLogs": []}
        self.scenarios: list[dict[str, Any]] = []
        self.words = Words()

    def begin(self, name: str) -> None:
        """Start a scenario; all later requests belong to it."""
        begun = {signal: len(told) for signal, told in self._told.items()}
        self.scenarios.append({"name": name, **begun, "calls": []})

    def note(self, status: int, usage: object) -> None:
        """Note the provider's response to one call of the scenario."""
        if self.scenarios:
            self.scenarios[-1]["calls"].append({"status": status, "usage": usage})

    def take(self, path: str, media_type: str, encoding: str, body: bytes) -> bool:
        """Keep one request; return False for a path that is not OTLP."""
        if path.endswith("/v1/metrics"):
            return True
        for signal, (message, key) in _REQUESTS.items():
            if path.endswith(signal):
                raw = gzip.decompress(body) if encoding == "gzip" else body
                request = (
                    json.loads(raw)
                    if media_type.startswith("application/json")
                    else to_otlp_json(message.FromString(raw))
                )
                self._told[key] += request.get(key, [])
                return True
        return False

    @property
    def spans(self) -> list[Any]:
        """The ``resourceSpans`` of all requests, in order of arrival."""
        return self._told["resourceSpans"]

    @property
    def logs(self) -> list[Any]:
        """The ``resourceLogs`` of all requests, in order of arrival."""
        return self._told["resourceLogs"]
