"""Which spans the sampler may leave out: calls; not opened runs, nor what is said of a run."""

from collections.abc import Sequence
from typing import Final

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

_KEEP_KEY: Final = context_api.create_key("otel_ml-keep")


def keep(context: Context | None) -> Context:
    """Return the context, or the current one, marked: a span started in it is never left out."""
    return context_api.set_value(_KEEP_KEY, True, context)


class KeepingSampler(Sampler):
    """Keeps what is marked and asks another sampler for the rest."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide as the other sampler does, unless the span is marked."""
        found = self._inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if found.decision is Decision.RECORD_AND_SAMPLE:
            return found
        if context_api.get_value(_KEEP_KEY, parent_context) is None:
            return found
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, found.trace_state)

    def get_description(self) -> str:
        """Name the other sampler."""
        return self._inner.get_description()
