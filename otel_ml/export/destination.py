"""Where spans go: over HTTP by our own encoder, or to any exporter of OpenTelemetry's."""

from collections.abc import Sequence
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ml.errors import report
from otel_ml.export.answer import Answer
from otel_ml.export.encoder import EncodedRequest
from otel_ml.export.http import HttpSender


class Encodable(Protocol):
    """A batch that can be written as one OTLP request."""

    @property
    def count(self) -> int:
        """How many spans."""

    def encode(self) -> EncodedRequest:
        """Write it."""


class Listed(Protocol):
    """A batch of spans in memory."""

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans."""


class OtlpDestination(HttpSender):
    """Sends batches as OTLP over HTTP."""

    def send(self, batch: Encodable, timeout_s: float) -> Answer:
        """Send one batch, once."""
        encoded = batch.encode()
        if encoded.failed == batch.count:
            return Answer(delivered=False, message="not encodable")
        answer = self.post(encoded.body, min(timeout_s, self._settings.timeout_s))
        if not answer.delivered or not encoded.failed:
            return answer
        message = answer.message or "not encodable"
        return Answer(True, rejected=answer.rejected + encoded.failed, message=message)


class NoDestination:
    """Refuses every batch, because what sends them is not installed."""

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

    def send(self, batch: Listed, timeout_s: float) -> Answer:
        """Hand over one batch; the exporter keeps to its own timeout."""
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
