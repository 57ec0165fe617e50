"""The exporter of every span of a process, set up by the environment: ``OTEL_TRACES_EXPORTER``."""

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
    """Sends spans of any make to the collector, over HTTP.

    ``OTEL_TRACES_EXPORTER=otel_ml`` names it. ``OTEL_ML_ENDPOINT``, ``OTEL_ML_API_KEY`` and
    ``OTEL_ML_PROJECT`` set it up, where spans that name a project of their own keep it. What
    cannot be delivered is sent again for 5 minutes. Making it opens no connection and never
    raises: an exporter that raises would leave the process untraced.
    """

    def __init__(self) -> None:
        project = os.environ.get("OTEL_ML_PROJECT") or names.DEFAULT_PROJECT
        key = os.environ.get("OTEL_ML_API_KEY")
        # Not what OTEL_EXPORTER_OTLP_PROTOCOL says: opentelemetry-distro sets that to grpc.
        settings = resolve(None, project, key, "http/protobuf")
        destination = OtlpDestination(settings)
        destination.open()
        self._pipeline: Pipeline[SpanBatch] = Pipeline(SpanQueue(), destination, Pace())

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take ended spans; a thread of the exporter's own delivers them."""
        for span in spans:
            self._pipeline.put(span)
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver the queued spans; False when some are not delivered."""
        return bool(self._pipeline.flush(timeout_millis / 1e3))

    def shutdown(self) -> None:
        """Deliver the queued spans, for at most 10 s, and stop."""
        self._pipeline.close(_SHUTDOWN_S)
