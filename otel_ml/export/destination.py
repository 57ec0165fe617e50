"""Where spans go: over HTTP by our own encoder, or to any exporter of OpenTelemetry's."""

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
    """Sends batches as OTLP over HTTP."""

    _previews = True  # the receiver's last wish

    def send(self, batch: SpanBatch | SpooledBatch, timeout_s: float) -> Answer:
        """Send a batch, once."""
        encoded = batch.encode(previews=self._previews)
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
    """Stores documents at the artifact endpoint of a collector.

    Args:
        settings: Of the endpoint that spans go to.
        below: The path of the artifacts below the collector's address, to which a hash is added.
        note: Called with the hash of each document that was taken.
    """

    def __init__(self, settings: ExportSettings, below: str, note: Callable[[str], None]) -> None:
        super().__init__(settings)
        parts = urlsplit(settings.url)
        base = parts.path.rstrip("/").removesuffix(TRACES_PATH).rstrip("/")
        self._url = urlunsplit(parts._replace(path=base + below, query="", fragment=""))
        self._query = f"?{parts.query}" if parts.query else ""
        self._note = note

    def send(self, document: HashedText, timeout_s: float) -> Answer:
        """Upload a document, once."""
        url = self._url + document.sha256 + self._query
        answer = self.put(url, document.body, timeout_s)
        if answer.delivered:
            self._note(document.sha256)
        return answer


class NoDestination:
    """Refuses every batch, because the exporter's package is not installed."""

    is_out_of_reach = False

    def __init__(self, message: str, page: str) -> None:
        self.page = page
        self._message = message

    def send(self, batch: object, timeout_s: float) -> Answer:
        """Refuse the batch."""
        return Answer(delivered=False, message=self._message)

    def close(self) -> None:
        """Nothing to do."""

    def after_fork(self) -> None:
        """Nothing to do."""


class ExporterDestination:
    """Hands batches to an exporter, which has retries of its own."""

    is_out_of_reach = False

    def __init__(self, exporter: SpanExporter, page: str) -> None:
        self.page = page
        self._exporter = exporter

    def send(self, batch: SpanBatch, timeout_s: float) -> Answer:
        """Hand over a batch; the exporter keeps to its own timeout."""
        try:
            result = self._exporter.export(batch.spans)
        except Exception as error:  # noqa: BLE001 - any exporter of the user's
            report("export", error)
            return Answer(delivered=False, message=type(error).__name__)
        if result is SpanExportResult.SUCCESS:
            return Answer(delivered=True)
        return Answer(delivered=False, message="the exporter failed")

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def after_fork(self) -> None:
        """Nothing to do: exporters see to their own forks."""
