"""How samplers and id generators decide on runs of ours, and on spans of the SDK's."""

import sys
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

from tests.support.interop.programs.describe import Facts, answer, describe, describe_context
from tests.support.interop.programs.services import Service

LOW: Final = 0x0123456789ABCDEF_0123456789ABCDEF
HIGH: Final = 0xFEDCBA9876543210_FEDCBA9876543210
STATE: Final = TraceState([("vendor", "1")])


class Ids(IdGenerator):
    """Gives the ids that it is told, then counts on."""

    def __init__(self, trace_id: int = LOW) -> None:
        self._trace_ids = count(trace_id)
        self._span_ids = count(1)

    def generate_trace_id(self) -> int:
        return next(self._trace_ids)

    def generate_span_id(self) -> int:
        return next(self._span_ids)


class Own(Sampler):
    """Somebody's own sampler, which notes what it is asked."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self.asked: list[Facts] = []

    def should_sample(  # noqa: PLR0917 - the arguments are the SDK's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        above = trace.get_current_span(parent_context).get_span_context()
        self.asked.append(
            {
                "above": describe_context(above),
                "trace_id": f"{trace_id:032x}",
                "name": name,
                "kind": None if kind is None else kind.name,
                "attributes": dict(attributes or {}),
                "links": len(links or ()),
                "trace_state": trace_state,
            }
        )
        said = {**(attributes or {}), "sampler.rate": 0.5}
        return SamplingResult(self._decision, said, TraceState([("sampler", "1")]))

    def get_description(self) -> str:
        return "Own"


class OwnParentBased(ParentBased):
    """Decides otherwise than the class that it extends."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.DROP)


SAMPLERS: dict[str, Callable[[], Sampler | None]] = {
    "default": lambda: None,
    "always on": lambda: ALWAYS_ON,
    "always off": lambda: ALWAYS_OFF,
    "parent, on": lambda: DEFAULT_ON,
    "parent, off": lambda: DEFAULT_OFF,
    "ratio 0": lambda: TraceIdRatioBased(0),
    "ratio 0.5": lambda: TraceIdRatioBased(0.5),
    "ratio 1": lambda: TraceIdRatioBased(1),
    "parent, ratio 0.5": lambda: ParentBasedTraceIdRatio(0.5),
    "parent, each": lambda: ParentBased(
        ALWAYS_OFF,
        remote_parent_sampled=ALWAYS_OFF,
        remote_parent_not_sampled=ALWAYS_ON,
        local_parent_sampled=TraceIdRatioBased(0.5),
        local_parent_not_sampled=Own(Decision.RECORD_AND_SAMPLE),
    ),
    "record only": lambda: StaticSampler(Decision.RECORD_ONLY),
    "own": lambda: Own(Decision.RECORD_AND_SAMPLE),
    "own, record only": lambda: Own(Decision.RECORD_ONLY),
    "own, drop": lambda: Own(Decision.DROP),
    "own class": lambda: OwnParentBased(ALWAYS_ON),
}
PARENTS: dict[str, SpanContext | None] = {
    "none": None,
    "invalid": trace.INVALID_SPAN_CONTEXT,
    "local, sampled": SpanContext(HIGH, 0xB2, False, TraceFlags(1), STATE),
    "local, dropped": SpanContext(HIGH, 0xB2, False, TraceFlags(0), STATE),
    "remote, sampled": SpanContext(HIGH, 0xB2, True, TraceFlags(1), STATE),
    "remote, dropped": SpanContext(LOW, 0xB2, True, TraceFlags(0), STATE),
    "remote, random": SpanContext(LOW, 0xB2, True, TraceFlags(2)),
    "remote, sampled, random": SpanContext(LOW, 0xB2, True, TraceFlags(3)),
    "remote, unknown flags": SpanContext(LOW, 0xB2, True, TraceFlags(0xFD)),
}


def decisions() -> dict[str, list[Facts]]:
    """For each sampler, parent and id: the current span of a run, and of a span of the SDK's."""
    return {
        f"{sampler} | {parent} | {trace_id:x}": [
            _current(SAMPLERS[sampler](), PARENTS[parent], trace_id, _in_run),
            _current(SAMPLERS[sampler](), PARENTS[parent], trace_id, _in_stock),
        ]
        for sampler in SAMPLERS
        for parent in PARENTS
        for trace_id in (LOW, HIGH)
    }


Within = Callable[[Service, Callable[[], None]], None]


def _current(
    sampler: Sampler | None, parent: SpanContext | None, trace_id: int, within: Within
) -> Facts:
    found: Facts = {}

    def look() -> None:
        span = trace.get_current_span()
        found.update(describe_context(span.get_span_context()), recording=span.is_recording())

    service = Service(sampler=sampler, id_generator=Ids(trace_id))
    if parent is None:
        within(service, look)
    else:
        with trace.use_span(trace.NonRecordingSpan(parent)):
            within(service, look)
    spans = [describe(span) for span in service.spans()]
    return {**found, "exported": [[span["span_id"], span["parent"]] for span in spans]}


def _in_run(service: Service, body: Callable[[], None]) -> None:
    service.run(body)


def _in_stock(service: Service, body: Callable[[], None]) -> None:
    with service.tracer.start_as_current_span("model"):
        body()


def asked() -> list[Facts]:
    """What a sampler is asked for a run, and for a span of the SDK's with its attributes."""
    sampler = Own(Decision.RECORD_AND_SAMPLE)
    service = Service(sampler=sampler, id_generator=Ids())
    first = {"otel_ml.project": "shop", "otel_ml.kind": "model", "otel_ml.model.name": "model"}
    above = SpanContext(HIGH, 0xB2, True, TraceFlags(1), STATE)
    with trace.use_span(trace.NonRecordingSpan(above)):
        service.run(lambda: None)
        service.tracer.start_span("model", attributes=first).end()
    return sampler.asked


def said() -> list[Facts]:
    """What a sampler said, on a run and on a span of the SDK's."""
    service = Service(sampler=Own(Decision.RECORD_AND_SAMPLE))
    return [describe(span) for span in service.pair(lambda: None)]


def ids() -> list[list[str]]:
    """The ids of a run with a child of the SDK's, then of a span with a run as its child."""
    service = Service(id_generator=Ids())
    service.run(lambda: service.tracer.start_span("child").end())
    with service.tracer.start_as_current_span("request"):
        service.run(lambda: None)
    return [[span["trace_id"], span["span_id"]] for span in map(describe, service.spans())]


def children_of_dropped() -> int:
    """How many spans are exported of a run that was dropped, and of those in it."""
    service = Service(sampler=DEFAULT_OFF)

    def inner() -> None:
        with service.tracer.start_as_current_span("query"):
            service.run(lambda: None, "inner")

    service.run(inner)
    return len(service.spans())


def from_environment() -> list[str]:
    """The environment's sampler, and the names of what it lets through."""
    provider = TracerProvider(shutdown_on_exit=False)
    service = Service(provider)
    service.run(lambda: None)
    service.tracer.start_span("request").end()
    return [provider.sampler.get_description(), *(span.name for span in service.spans())]


if __name__ == "__main__":
    if len(sys.argv) > 1:  # only what the environment decides
        answer(from_environment)
    else:
        answer(decisions, asked, said, ids, children_of_dropped)
