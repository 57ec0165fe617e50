"""Where a client wants its spans to go, and where they go once that is chosen."""

import time
from collections.abc import Callable, Mapping
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
    """Where a client wants its spans to go, see `otel_ml.client.Client`."""

    project: str
    api_key: str | None = None
    endpoint: str | None = None
    exporter: "SpanExporter | None" = None
    tracer_provider: trace.TracerProvider | None = None
    join: Join = "auto"
    spool: str | None = None


@dataclass(frozen=True, slots=True)
class Outlet:
    """The destination of a client's spans.

    Attributes:
        start: Starts a span.
        pipeline: Our own; None when only the joined provider sends.
        joined: The provider, when it is not ours.
        configuration: The configuration in force, for `Client.stats`.
        uploads: Send documents too long for an event; None where spans go to no OTLP/HTTP address.
    """

    start: Start
    pipeline: "Pipeline[Any] | None" = None
    joined: trace.TracerProvider | None = None
    configuration: Mapping[str, object] = field(default_factory=dict)
    uploads: "DocumentUploads | None" = None

    @property
    def wants_previews(self) -> bool:
        """Whether previews are to stand beside payloads that are whole in their span.

        Not where a single collector gets them that makes its own. Spans on disk may get to another
        collector, and processors of a joined provider send anywhere.
        """
        pipeline = self.pipeline
        if pipeline is None or self.joined is not None or pipeline.is_durable:
            return True
        return pipeline.wants_previews

    def flush(self, timeout_s: float, *, is_hasty: bool = False) -> Delivery:
        """Deliver the queue; see `Pipeline.flush`."""
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
        return Delivery(reason="the joined provider did not flush in time")

    def settle(self, timeout_s: float) -> None:
        """Wait until the queue is delivered or lost; the next `flush` returns the outcome."""
        if self.pipeline is not None:
            self.pipeline.settle(timeout_s)

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""
        for part in (self.pipeline, self.uploads):
            if part is not None:
                part.hasten()

    def close(self, timeout_s: float) -> None:
        """Deliver the queue and stop; a joined provider goes on."""
        if self.pipeline is not None:
            deadline = time.monotonic() + timeout_s
            self.pipeline.close(timeout_s)
            if self.uploads is not None:
                self.uploads.close(self._time_left(deadline))

    def count(self) -> dict[str, Any]:
        """Read the counters, by their names in `Stats`."""
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
        """Count the seconds for uploads: few where spans, too, get nowhere."""
        left_s = max(deadline - time.monotonic(), 0.0)
        is_stalled = self.pipeline is not None and self.pipeline.is_stalled
        return min(left_s, _STALLED_UPLOADS_S) if is_stalled else left_s


def _start_nowhere(
    name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
) -> trace.Span:
    raise RuntimeError("Called before a provider was chosen")


# Before the first span of a client.
NOWHERE: Final = Outlet(_start_nowhere)
