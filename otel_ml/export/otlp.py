"""The official OTLP exporter (extra ``otlp``), set up from argument and environment.

Spec: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

from otel_ml import attributes as names
from otel_ml.errors import report

DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_OWN_ENDPOINT: Final = "OTEL_ML_ENDPOINT"
_STANDARD_ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
# The exporter spends this on all its retries: a script must not hang at its end for longer.
_TIMEOUT_S: Final = 5

_logger = logging.getLogger(__name__)


def is_endpoint_named(endpoint: str | None) -> bool:
    """Tell whether an endpoint was named anywhere, as opposed to the default."""
    return bool(
        endpoint
        or os.environ.get(_OWN_ENDPOINT)
        or any(os.environ.get(variable) for variable in _STANDARD_ENDPOINTS)
    )


def make_exporter(
    given: SpanExporter | None, endpoint: str | None, *, project: str, api_key: str | None
) -> "CountingExporter | None":
    """Make the exporter for a client.

    Args:
        given: The user's own, instead of the official one.
        endpoint: Base address such as ``http://localhost:4318``; None reads
            ``OTEL_ML_ENDPOINT``, then the standard variables, then the default.
        project: Goes into the header ``x-otel-ml-project``.
        api_key: Goes into ``authorization``, when given.

    Returns:
        The exporter, or None after one warning when the extra ``otlp`` is not installed.
    """
    if given is not None:
        return CountingExporter(given, page=type(given).__name__)
    base = endpoint or os.environ.get(_OWN_ENDPOINT)
    protocol = _setting("PROTOCOL") or "http/protobuf"
    try:
        exporter = _official(protocol, base, _headers(project, api_key, protocol))
    except ImportError:
        _logger.warning(
            "Nothing is sent: install a sender with pip install 'otel-ml[otlp]', "
            "or pass Client(exporter=...)"
        )
        return None
    return CountingExporter(exporter, page=base or _setting("ENDPOINT") or DEFAULT_ENDPOINT)


def _official(protocol: str, base: str | None, headers: Mapping[str, str]) -> SpanExporter:
    timeout_s = None if _setting("TIMEOUT") else _TIMEOUT_S
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(endpoint=base, headers=dict(headers), timeout=timeout_s)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter as HttpExporter,
    )

    address = None if base is None else traces_address(base)
    return HttpExporter(endpoint=address, headers=dict(headers), timeout=timeout_s)


def traces_address(base: str) -> str:
    """Add ``/v1/traces`` to a base address, unless it is there."""
    parts = urlsplit(base if "//" in base else f"http://{base}")
    path = parts.path.rstrip("/")
    if not path.endswith("/v1/traces"):
        path += "/v1/traces"
    return urlunsplit(parts._replace(path=path))


def _headers(project: str, api_key: str | None, protocol: str) -> dict[str, str]:
    """Join our headers with those of the environment, which a given dict would displace."""
    headers = dict(parse_env_headers(_setting("HEADERS") or "", liberal=True))
    if project.isascii() and project.isprintable():
        headers[names.PROJECT_HEADER] = project
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    return headers if protocol != "grpc" else {key.lower(): text for key, text in headers.items()}


def _setting(name: str) -> str | None:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(
        f"OTEL_EXPORTER_OTLP_{name}"
    )


class CountingExporter(SpanExporter):
    """Says once where the page is, says once that sending fails, and counts what is lost.

    Attributes:
        lost: Spans that the exporter gave up on.
    """

    def __init__(self, exporter: SpanExporter, page: str) -> None:
        self.lost = 0
        self.delivered = 0
        self._give_up_at = math.inf
        self._exporter = exporter
        self._page = page
        self._told: set[bool] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; the batch is gone when the exporter gives up."""
        result = SpanExportResult.FAILURE
        try:
            if time.monotonic() < self._give_up_at:
                result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - any exporter of the user's
            report("export", error)
        delivered = result is SpanExportResult.SUCCESS
        if delivered:
            self.delivered += len(spans)
        else:
            self.lost += len(spans)
        if delivered not in self._told:
            self._told.add(delivered)
            if delivered:
                _logger.info("First spans delivered to %s", self._page)
            else:
                _logger.warning("Spans could not be delivered to %s and are lost", self._page)
        return result

    def give_up_after(self, timeout_s: float) -> None:
        """Send nothing after this time: the process wants to end."""
        self._give_up_at = time.monotonic() + timeout_s

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for a request under way."""
        return self._exporter.force_flush(timeout_millis)
