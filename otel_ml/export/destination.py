"""Destinations for spans: OTLP over HTTP with our own encoder, or any OpenTelemetry exporter."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ml.errors import report
from otel_ml.export.answer import Answer
from otel_ml.export.documents import HashedText
from otel_ml.export.http import HttpSender
from otel_ml.export.queue import SpanBatch, SpooledBatch
from otel_ml.export.settings import TRACES_PATH, ExportSettings


class OtlpDestination(HttpSender):
    """Sends batches of spans to a collector as OTLP over HTTP. Used unless you pass an exporter."""

    _previews = True  # whether the last response asked for previews

    def send(self, batch: SpanBatch | SpooledBatch, timeout_s: float) -> Answer:
        """Send a batch, without retries."""
        encoded = batch.encode(previews=self._previews)
        if encoded.is_too_large:
            return Answer(delivered=False, too_large=True)
        if encoded.failed == batch.count:
            return Answer(delivered=False, message="not encodable")
        answer = self.post(encoded.body, min(timeout_s, self._settings.timeout_s))
        if answer.delivered:
            self._previews = answer.wants_previews
        if not answer.delivered or not encoded.failed:
            return answer
        message = answer.message or "not encodable"
        return replace(answer, rejected=answer.rejected + encoded.failed, message=message)


class ArtifactDestination(HttpSender):
    """Uploads values that are too large for a span to the collector, one request per value.

    Args:
        settings: Export settings, the same as for spans.
        below: URL path of the uploads. A value is uploaded to the collector's base URL, followed by
            this path and the value's SHA-256.
        note: Function that is called with the SHA-256 of each value that the collector accepted.
    """

    def __init__(self, settings: ExportSettings, below: str, note: Callable[[str], None]) -> None:
        super().__init__(settings)
        parts = urlsplit(settings.url)
        base = parts.path.rstrip("/").removesuffix(TRACES_PATH).rstrip("/")
        self._url = urlunsplit(parts._replace(path=base + below, query="", fragment=""))
        self._query = f"?{parts.query}" if parts.query else ""
        self._note = note

    def send(self, document: HashedText, timeout_s: float) -> Answer:
        """Upload a value, without retries."""
        url = self._url + document.sha256 + self._query
        answer = self.put(url, document.body, timeout_s)
        if answer.delivered:
            self._note(document.sha256)
        return answer


class NoDestination:
    """Stands in for an OTLP exporter whose package is not installed. It rejects every batch."""

    is_out_of_reach = False

    def __init__(self, message: str, page: str) -> None:
        self.page = page
        self._message = message

    def send(self, batch: object, timeout_s: float) -> Answer:
        """Reject the batch."""
        return Answer(delivered=False, message=self._message)

    def close(self) -> None:
        """Do nothing."""

    def after_fork(self) -> None:
        """Do nothing."""


class ExporterDestination:
    """Passes batches to the OpenTelemetry exporter that the user chose. Retries are left to it."""

    is_out_of_reach = False

    def __init__(self, exporter: SpanExporter, page: str) -> None:
        self.page = page
        self._exporter = exporter

    def send(self, batch: SpanBatch, timeout_s: float) -> Answer:
        """Pass a batch to the exporter, which applies its own timeout."""
        try:
            result = self._exporter.export(batch.spans)
        except Exception as error:  # noqa: BLE001 - any exporter of the user
            report("export", error)
            return Answer(delivered=False, message=type(error).__name__)
        if result is SpanExportResult.SUCCESS:
            return Answer(delivered=True)
        return Answer(delivered=False, message="the exporter failed")

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def after_fork(self) -> None:
        """Do nothing. Exporters handle forks themselves."""
