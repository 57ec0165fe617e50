"""Exporter for all spans of a process. Enable it with ``OTEL_TRACES_EXPORTER=otel_ml``."""

import os
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ml import attributes as names
from otel_ml.export.destination import OtlpDestination
from otel_ml.export.pipeline import Pace, Pipeline
from otel_ml.export.queue import SpanBatch, SpanQueue
from otel_ml.export.settings import resolve

_SHUTDOWN_S: Final = 10.0


class Exporter(SpanExporter):
    """OpenTelemetry span exporter that sends all spans of a process to the collector over HTTP.

    Enable it with ``OTEL_TRACES_EXPORTER=otel_ml``. Configure it with ``OTEL_ML_ENDPOINT``,
    ``OTEL_ML_API_KEY`` and ``OTEL_ML_PROJECT``. A span that has a project attribute is stored in
    that project instead.

    If the collector cannot be reached, the exporter retries for 5 minutes. Creating the exporter
    opens no connection and never raises.
    """

    def __init__(self) -> None:
        project = os.environ.get("OTEL_ML_PROJECT") or names.DEFAULT_PROJECT
        key = os.environ.get("OTEL_ML_API_KEY")
        # Ignore OTEL_EXPORTER_OTLP_PROTOCOL: opentelemetry-distro sets it to grpc.
        settings = resolve(None, project, key, "http/protobuf")
        destination = OtlpDestination(settings)
        destination.open()
        self._pipeline: Pipeline[SpanBatch] = Pipeline(SpanQueue(), destination, Pace())

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Queue ended spans. The exporter's own thread sends them."""
        for span in spans:
            self._pipeline.put(span)
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send the queued spans now. Return False if some of them could not be sent in time."""
        return bool(self._pipeline.flush(timeout_millis / 1e3))

    def shutdown(self) -> None:
        """Send the queued spans within 10 s, and stop."""
        self._pipeline.close(_SHUTDOWN_S)
