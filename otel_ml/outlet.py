"""Where the spans of a client go: the requested destination and the chosen one."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context

from otel_ml.export.delivery import Delivery, join
from otel_ml.spans import Attributes, Start

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_ml.export.documents import DocumentUploads
    from otel_ml.export.pipeline import Pipeline

Join = Literal["auto", False]

_STALLED_UPLOADS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Route:
    """The user's settings for where a client sends its spans. Nothing is connected yet.

    The fields are arguments of `otel_ml.client.Client`.
    """

    project: str
    api_key: str | None = None
    endpoint: str | None = None
    exporter: "SpanExporter | None" = None
    tracer_provider: trace.TracerProvider | None = None
    join: Join = "auto"
    spool: str | None = None


@dataclass(frozen=True, slots=True)
class Outlet:
    """The connection through which a client sends its spans.

    Attributes:
        start: Function that starts a span.
        pipeline: The client's own queue and background thread. None if the service's tracer
            provider sends the spans instead.
        joined: The service's tracer provider, if it sends the spans. Else None.
        configuration: Settings in effect, as shown by `Client.stats`.
        uploads: Uploads values that are too large for a span. None unless spans go to an OTLP/HTTP
            endpoint.
    """

    start: Start
    pipeline: "Pipeline[Any] | None" = None
    joined: trace.TracerProvider | None = None
    configuration: dict[str, object] = field(default_factory=dict)
    uploads: "DocumentUploads | None" = None

    @property
    def wants_previews(self) -> bool:
        """Whether to add a short preview to each long input and output.

        It is False only if all spans go directly to a collector that creates previews itself. It is
        True if spans are stored on disk first or go through the service's own tracer provider. In
        these cases it is not known who receives them.
        """
        pipeline = self.pipeline
        if pipeline is None or self.joined is not None or pipeline.is_durable:
            return True
        return pipeline.wants_previews

    def flush(self, timeout_s: float, *, is_hasty: bool = False) -> Delivery:
        """Wait until the queued spans are sent, see `Pipeline.flush`."""
        if self.pipeline is not None:
            deadline = time.monotonic() + timeout_s
            delivery = self.pipeline.flush(timeout_s, is_hasty=is_hasty)
            if self.uploads is None:
                return delivery
            left_s = self._time_left(deadline)
            return join(delivery, self.uploads.flush(left_s, is_hasty=is_hasty))
        flush: Callable[[int], bool] | None = getattr(self.joined, "force_flush", None)
        if flush is None or flush(int(timeout_s * 1e3)):
            return Delivery()
        return Delivery(reason="the service's tracer provider did not flush in time")

    def drain(self, timeout_s: float) -> None:
        """Wait until every queued span is delivered or lost.

        The outcome is not returned here. The next `flush` includes it.
        """
        if self.pipeline is not None:
            self.pipeline.drain(timeout_s)

    def hasten(self) -> None:
        """Send queued spans immediately instead of in batches.

        Called when the process is ending.
        """
        for part in (self.pipeline, self.uploads):
            if part is not None:
                part.hasten()

    def close(self, timeout_s: float, *, is_patient: bool = True) -> None:
        """Send the queued spans, then stop. The service's own tracer provider keeps running.

        See `Pipeline.close`.
        """
        if self.pipeline is not None:
            deadline = time.monotonic() + timeout_s
            self.pipeline.close(timeout_s, is_patient=is_patient)
            if self.uploads is not None:
                self.uploads.close(self._time_left(deadline))

    def count(self) -> dict[str, Any]:
        """Return the numbers of delivered, lost and queued spans, by their names in `Stats`."""
        senders = [part for part in (self.pipeline, self.uploads) if part is not None]
        counters = [sender.counters for sender in senders]
        lost = {} if self.pipeline is None else self.pipeline.counters.lost
        return {
            "configuration": self.configuration,
            "delivered": sum(item.delivered for item in counters),
            "lost": lost if self.uploads is None else {**lost, **self.uploads.lost},
            "retries": sum(item.retries for item in counters),
            "blocked_ms": sum(item.blocked_s for item in counters) * 1e3,
            "queued": sum(sender.pending for sender in senders),
        }

    def _time_left(self, deadline: float) -> float:
        """Return the seconds left for uploads; at most 1 s if spans do not get through either."""
        left_s = max(deadline - time.monotonic(), 0.0)
        is_stalled = self.pipeline is not None and self.pipeline.is_stalled
        return min(left_s, _STALLED_UPLOADS_S) if is_stalled else left_s


def _start_nowhere(
    name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
) -> trace.Span:
    raise RuntimeError("A span was started before its tracer provider was chosen")


# the state before the first span of a client
NOWHERE: Final = Outlet(_start_nowhere)
