"""The spans of runs. They look like spans of the OpenTelemetry SDK and cost a tenth.

An SDK span protects each attribute with two locks and copies itself when it ends. A `RunSpan` takes
all attributes of a run at once and creates everything else only on demand. It starts like a span of
the provider's tracer: with its sampler, IDs, resource and processors.

Only this file uses private names of OpenTelemetry. Each use has a fallback: if a version of the SDK
differs, its own tracer starts the spans.
"""

import functools
import logging
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from random import Random
from time import time_ns
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    Event,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    Tracer,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util import types

from otel_ml import attributes as names
from otel_ml.deferred_attributes import DeferredAttributes
from otel_ml.errors import reraise_host_error, traceback_of
from otel_ml.limits import read_limits
from otel_ml.process import MARKS, renew_in_child
from otel_ml.redaction import CapturedPayload
from otel_ml.wire import call_attributes, encode_payloads, has_payloads, shorten, within

_logger = logging.getLogger(__name__)

Attributes = Mapping[str, Any]

# size of a run without long payloads, counted against the limit of the send queue
BARE_BYTES: Final = 1_024
UNSET: Final = Status(StatusCode.UNSET)
_RECORDED: Final = "recorded"  # source of runs whose times the program set
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}
_MOST_OF_CALL: Final = 32  # a call itself sets fewer attributes
_STARTED_WITH: Final = 3  # project, kind and name: set at the start and again at the end
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(getattr(TraceFlags, "RANDOM_TRACE_ID", 0))  # since SDK 1.42
_KNOWN_FLAGS: Final = _SAMPLED | _RANDOM


# The current context.

# key of the current span in OpenTelemetry's context: set a span to find it
[SPAN_KEY] = trace.set_span_in_context(trace.INVALID_SPAN, Context())
# raised by `reset` if the user's code continued in another context, where the token is invalid
ELSEWHERE: Final = (ValueError, RuntimeError)


def _context_functions() -> tuple[
    Callable[[Context], Token[Context]], Callable[[Token[Context]], None], Callable[[], Context]
]:
    """Return functions that set the current context, restore the previous one, and read it.

    OpenTelemetry's own functions take four calls for this. If its context is stored in a context
    variable, which is the default, use the variable directly. A stream does this for each chunk.
    """
    runtime: Any = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable: Any = getattr(runtime, "_current_context", None)
    if type(runtime) is not ContextVarsRuntimeContext or not isinstance(variable, ContextVar):
        return context_api.attach, context_api.detach, context_api.get_current
    return variable.set, variable.reset, variable.get


attach, reset, current_context = _context_functions()


def detach(token: Token[Context]) -> None:
    """Leave an OpenTelemetry context that was entered earlier.

    Do nothing if the token is no longer valid.
    """
    try:
        reset(token)
    except ELSEWHERE as error:
        reraise_host_error(error)


# The span.


class _Making:
    """The lock for creating a span's optional parts. A forked child gets a new one."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self.renew)

    def renew(self) -> None:
        """Create a new lock.

        It is reentrant, because a finalizer may run while this thread holds it.
        """
        self.lock = threading.RLock()


_MAKING: Final = _Making()
_SERVICE: Final = "service.name"
_MADE_UP: Final = "unknown_service"


def resource_of(project: str) -> Resource:
    """Return the OpenTelemetry resource for a client's own tracer provider.

    The resource says which service the spans come from. If the user has not set a service name, the
    name of the project is used.
    """
    resource = Resource.create({names.PROJECT: project})
    if str(resource.attributes.get(_SERVICE, "")).startswith(_MADE_UP):
        resource = resource.merge(Resource({_SERVICE: project}))
    return resource


class HasResource(Protocol):
    """A provider or tracer of the SDK.

    Read its resource each time, instead of keeping it: a fork can replace the resource.
    """

    @property
    def resource(self) -> Resource:
        """The resource of its spans."""


class HistoryOrigin:
    """A resource for imported spans: a copy of a resource, with the attribute ``otel_ml.import``.

    The collector accepts spans with this attribute even if they are old.

    Args:
        origin: Tracer provider or tracer whose resource is copied.
        source: Value of the attribute: what the spans were imported from.
    """

    def __init__(self, origin: HasResource, source: str) -> None:
        self._origin = origin
        self._mark = Resource({names.IMPORT: source})
        self._marked: tuple[Resource, Resource] | None = None

    @property
    def resource(self) -> Resource:
        """The marked resource. It stays the same object, so that it is encoded only once."""
        plain = self._origin.resource
        if self._marked is None or self._marked[0] is not plain:
            self._marked = plain, plain.merge(self._mark)
        return self._marked[1]


class Home(NamedTuple):
    """Settings that all spans of one tracer share.

    Attributes:
        origin: The OpenTelemetry tracer provider or tracer. The spans have its resource.
        make_scope: Function that returns the spans' instrumentation scope, always the same object.
        limits: Limits for attributes that the user adds.
        processor: Span processor that receives each span at its start and end. None if `take` is
            used instead.
        take: Function that receives each span at its end.
        defers: Whether a span builds its attributes only when it is exported, which keeps calls
            fast.
    """

    origin: HasResource
    make_scope: Callable[[], InstrumentationScope]
    limits: SpanLimits
    processor: SpanProcessor | None = None
    take: "Callable[[RunSpan], None] | None" = None
    defers: bool = False

    @property
    def scope(self) -> InstrumentationScope:
        """The instrumentation scope, which contains the project."""
        return self.make_scope()


@functools.lru_cache(maxsize=64)
def _as_history(home: Home) -> Home:
    return home._replace(origin=HistoryOrigin(home.origin, _RECORDED))


class RunSpan(ReadableSpan, trace.Span):
    """The OpenTelemetry span of a recorded run. It acts like a span of the SDK, but is faster.

    It builds its attributes only when it is exported, from `inputs`, `outputs` and `number`.

    Attributes:
        variables: Further attributes of this run.
        constants: Attributes that many runs share, such as the model version.
        defers: True until the attributes are built. False from the start if nobody exports the
            span.
        inputs: The inputs, as JSON or as a copy that is encoded later. None once the attributes are
            built.
        outputs: The output, in the same form.
        number: Sequence number of the run.
        weight: Approximate size in bytes. It counts toward the size limit of the send queue.
    """

    # ReadableSpan's properties read slots with these names
    __slots__ = (
        "_added_events",
        "_added_links",
        "_end_time",
        "_given",
        "_home",
        "_made_context",
        "_name",
        "_parent",
        "_start_time",
        "_status",
        "constants",
        "defers",
        "flags",
        "inputs",
        "is_queued",
        "linked",
        "number",
        "outputs",
        "span_id",
        "trace_id",
        "trace_state",
        "variables",
        "weight",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - called once a run, where keywords cost a tenth of it
        self,
        home: Home,
        name: str,
        trace_id: int,
        span_id: int,
        flags: TraceFlags,
        parent: SpanContext | None,
        trace_state: TraceState | None,
        start_ns: int,
        attributes: Attributes,
    ) -> None:
        self._home = home
        self.defers = home.defers
        self._name = name
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self._parent = parent
        self.trace_state = trace_state
        self._start_time = start_ns
        self.constants = attributes
        self.variables: Attributes = _NO_ATTRIBUTES
        self._end_time: int | None = None
        self._made_context: SpanContext | None = None
        self._given: Any = None  # BoundedAttributes: those added by the user
        self._added_events: Any = None  # BoundedList
        self._added_links: Any = None  # BoundedList; includes links from the start
        self.linked: tuple[Link, ...] = ()
        self._status = UNSET
        self.inputs: str | CapturedPayload | None = None
        self.outputs: str | CapturedPayload | None = None
        self.number = 0
        self.weight = BARE_BYTES
        self.is_queued = False  # set by the queue when it takes the span

    @property
    def is_history(self) -> bool:
        """Whether the span is marked as history, see `mark_history`."""
        return type(self._home.origin) is HistoryOrigin

    def mark_history(self) -> None:
        """Mark the span as imported, because its times were given by the user.

        The collector then accepts it even if it is older than 400 days.
        """
        if not self.is_history:
            self._home = _as_history(self._home)

    # Interface of a readable span.

    @property
    def context(self) -> SpanContext:
        """The span context, created on first access."""
        made = self._made_context
        if made is None:
            made = SpanContext(self.trace_id, self.span_id, False, self.flags, self.trace_state)
            self._made_context = made
        return made

    def get_span_context(self) -> SpanContext:
        """Return the span context."""
        return self.context

    @property
    def kind(self) -> SpanKind:
        """Always ``INTERNAL``.

        A request to an LLM provider inside the run has its own client span.
        """
        return SpanKind.INTERNAL

    @property
    def resource(self) -> Resource:
        """The provider's resource."""
        return self._home.origin.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """The instrumentation scope, which contains the project."""
        return self._home.scope

    @property
    def instrumentation_info(self) -> Any:
        """Deprecated name of the scope; always None."""
        return None

    @property
    def attributes(self) -> types.Attributes:
        """All attributes: those added by the user, then those of the run."""
        return MappingProxyType(
            {**(self._given or _NO_ATTRIBUTES), **self.describe(), **self.constants}
        )

    @property
    def events(self) -> Sequence[Event]:
        """Events in the order in which they were added."""
        return () if self._added_events is None else tuple(self._added_events)

    @property
    def links(self) -> Sequence[Link]:
        """Links in the order in which they were added."""
        return self.linked if self._added_links is None else tuple(self._added_links)

    @property
    def dropped_attributes(self) -> int:
        """Number of attributes that were left out because the provider's limit was reached."""
        return getattr(self._given, "dropped", 0)

    @property
    def dropped_events(self) -> int:
        """Number of events that were left out because the provider's limit was reached."""
        return 0 if self._added_events is None else self._added_events.dropped

    @property
    def dropped_links(self) -> int:
        """Number of links that were left out because the provider's limit was reached."""
        return 0 if self._added_links is None else self._added_links.dropped

    # other span processors read these private names of SDK spans
    _attributes = attributes
    _context = context
    _events = events
    _instrumentation_info = instrumentation_info
    _instrumentation_scope = instrumentation_scope
    _kind = kind
    _links = links
    _resource = resource

    def to_json(self, indent: int | None = 4) -> str:
        """Return the span as JSON, in the format of the SDK's console exporter."""
        return str(self.copy().to_json(indent))

    def copy(self, attributes: Attributes | None = None, end_ns: int | None = None) -> ReadableSpan:
        """Return an independent copy of the span.

        Args:
            attributes: Attributes of the copy. Default: those of this span.
            end_ns: End time of the copy, in ns since the epoch. Default: that of this span.
        """
        return ReadableSpan(
            name=self._name,
            context=self.context,
            parent=self._parent,
            resource=self.resource,
            attributes=dict(self.attributes or {})
            if attributes is None
            else encode_payloads(attributes, previews=True),
            events=self.events,
            links=self.links,
            status=self._status,
            start_time=self._start_time,
            end_time=self._end_time if end_ns is None else end_ns,
            instrumentation_scope=self.instrumentation_scope,
        )

    # Interface of a writable span.

    def is_recording(self) -> bool:
        """Return True until the span has ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """Add an attribute, within the provider's limits."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """Add attributes, within the provider's limits."""
        if self._is_ended("set_attributes"):
            return
        self.defers = False
        with _MAKING.lock:
            if self._given is None:
                limits = self._home.limits
                self._given = BoundedAttributes(
                    limits.max_span_attributes,
                    immutable=False,
                    max_value_len=limits.max_span_attribute_length,
                )
        for key, value in attributes.items():
            self._given[key] = value

    def add_event(
        self, name: str, attributes: types.Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event. `timestamp` is in ns; default: now."""
        if self._is_ended("add_event"):
            return
        limits = self._home.limits
        with _MAKING.lock:
            if self._added_events is None:
                self._added_events = BoundedList(limits.max_events)

        def limit(given: types.Attributes) -> BoundedAttributes:
            return BoundedAttributes(
                limits.max_event_attributes, given, max_value_len=limits.max_attribute_length
            )

        kept: Mapping[str, Any]
        if type(attributes) is DeferredAttributes:
            attributes.convert(limit)
            kept = attributes
        else:
            kept = limit(attributes)
        self._added_events.append(Event(name, kept, timestamp))

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Add a link to another span. Invalid links are ignored."""
        if context is None or self._is_ended("add_link"):
            return
        if not (context.is_valid or attributes or context.trace_state):
            return
        limits = self._home.limits
        with _MAKING.lock:
            if self._added_links is None:
                self._added_links = BoundedList.from_seq(limits.max_links, self.linked)
        kept = BoundedAttributes(
            limits.max_link_attributes, attributes, max_value_len=limits.max_attribute_length
        )
        self._added_links.append(Link(context, kept))

    def link(self, links: tuple[Link, ...]) -> None:
        """Link the span to other spans, such as to an experiment.

        If several spans have the same links, pass the same tuple object, so that it is encoded only
        once.
        """
        most = self._home.limits.max_links
        if most is None or len(links) <= most:
            self.linked = links
        else:
            for item in links:
                self.add_link(item.context, item.attributes)

    def take_ids(self, trace_id: int, span_id: int) -> None:
        """Give a new outermost span the trace ID and span ID that several processes share."""
        self.trace_id, self.span_id = trace_id, span_id
        self._parent = self._made_context = None

    def update_name(self, name: str) -> None:
        """Rename the span. The model's name does not change."""
        if not self._is_ended("update_name"):
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status. As OpenTelemetry requires, OK is final and UNSET is ignored."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        elif not isinstance(status, Status):
            return  # type: ignore[unreachable]
        if self._is_ended("set_status") or status.status_code is StatusCode.UNSET:
            return
        if self._status.status_code is not StatusCode.OK:
            self._status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an exception as an event."""
        kind = type(exception)
        module: str | None = kind.__module__  # None for a class that was created by hand
        module = "" if module in {None, "", "builtins"} else f"{module}."
        attribute_values: dict[str, types.AttributeValue] = {
            "exception.type": f"{module}{kind.__qualname__}",
            "exception.message": str(exception),
            "exception.stacktrace": "".join(
                traceback.format_exception(kind, exception, traceback_of(exception))
            ),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**attribute_values, **(attributes or {})}, timestamp)

    @property
    def is_plain(self) -> bool:
        """Whether the fast encoder can handle the span.

        It can if the span has no attributes, events, links or status other than those that otel-ml
        sets.
        """
        return (
            self._given is None
            and self._added_events is None
            and self._added_links is None
            and self._status is UNSET
            and not self.trace_state
        )

    @property
    def is_described(self) -> bool:
        """Whether inputs or outputs must still be converted to JSON, which takes long."""
        return (
            type(self.inputs) is CapturedPayload
            or type(self.outputs) is CapturedPayload
            or (self.inputs is None and has_payloads(self.variables))
        )

    def write(self, variables: Attributes, constants: Attributes) -> None:
        """Set the attributes of the run, replacing earlier ones.

        Args:
            variables: Attributes of this run only. Do not change the dict later, because it is not
                copied.
            constants: Attributes that many runs share, such as the version. Always pass the same
                object, so that it is encoded only once. It is not copied either.
        """
        if self._end_time is not None:  # the user has ended the span
            return
        longest = self._home.limits.max_span_attribute_length
        if longest is not None:
            variables = within(encode_payloads(variables, previews=True), longest)
            constants = within(constants, longest)
        self.variables = variables
        self.constants = constants

    def describe(self, *, previews: bool = True) -> dict[str, Any]:
        """Return the attributes of this run as a new dict, without those in `constants`.

        This converts inputs and outputs to JSON, so it may take long.

        Args:
            previews: Whether to add a short preview to each long input and output.
        """
        facts = self.collect(previews=previews)
        return encode_payloads(facts, previews=previews) if has_payloads(facts) else facts

    def collect(self, *, previews: bool) -> dict[str, Any]:
        """Return the attributes like `describe`, but leave payloads as they are."""
        if self.inputs is None:
            return dict(self.variables)
        took_ns = (self._end_time or 0) - (self._start_time or 0)
        ended = took_ns, self.number, self.outputs or ""
        return call_attributes(
            self.variables, self.inputs, ended if self.number else None, previews=previews
        )

    def encode_early(self) -> None:
        """Convert inputs and outputs to JSON now, on the calling thread.

        Call it if the thread that sends is too slow. It slows down the program, but no spans are
        lost because of a full queue.
        """
        parts = (names.INPUTS, names.OUTPUTS, names.OUTPUTS_CHUNKS)
        for payload in (self.inputs, self.outputs, *map(self.variables.get, parts)):
            if type(payload) is CapturedPayload:
                payload.encode()
        for event in self.events:
            len(event.attributes or ())  # reading deferred attributes computes them

    def end(self, end_time: int | None = None) -> None:
        """End the span and pass it on for export. A second call does nothing.

        Args:
            end_time: End time in ns. Default: now.
        """
        if self._end_time is not None:
            self._is_ended("end")
            return
        # Inputs are part of the written attributes. If the user ends the span before, they are
        # dropped.
        self.inputs = None
        home = self._home
        limit = home.limits.max_span_attributes
        if limit is not None:
            given = 0 if self._given is None else len(self._given)
            if len(self.variables) + len(self.constants) + given > limit:
                self._shorten(limit)
        self.end_and_queue(time_ns() if end_time is None else end_time)

    def end_and_queue(self, end_ns: int) -> None:
        """End the span and pass it on for export, without building its attributes."""
        self._end_time = end_ns
        home = self._home
        if home.take is not None:
            try:
                home.take(self)
            except BaseException:
                if not self.is_queued:  # a signal handler raised before it was queued: try again
                    home.take(self)
                raise
        elif home.processor is not None:
            _call_on_ending(home.processor, self)
            home.processor.on_end(self)

    def _shorten(self, limit: int) -> None:
        """Limit the number of attributes: combine our own, then drop the user's oldest."""
        given = self._given or _NO_ATTRIBUTES
        variables = {**self.variables, **self.constants}
        longest = self._home.limits.max_span_attribute_length
        self.variables, self.constants = (
            shorten(variables, limit - len(given), longest),
            _NO_ATTRIBUTES,
        )
        kept = BoundedAttributes(max(limit - len(self.variables), 0), given, immutable=False)
        kept.dropped += getattr(given, "dropped", 0)
        self._given = kept

    def _is_ended(self, what: str) -> bool:
        if self._end_time is None:
            return False
        _logger.warning("%s was ignored: the span has ended", what)
        return True


def is_sampled(span: trace.Span) -> bool:
    """Tell whether a span will be exported."""
    if type(span) is RunSpan:
        return bool(span.flags & _SAMPLED)
    return span.is_recording() and span.get_span_context().trace_flags.sampled


def run_id_of(context: SpanContext | RunSpan) -> str:
    """Return the ID of a run: trace ID and span ID in hex, with a hyphen between them.

    Args:
        context: The span context of the run. A `RunSpan` is accepted too, and is faster.
    """
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def link(span: trace.Span, links: tuple[Link, ...]) -> None:
    """Add links to a new span of any type, see `RunSpan.link`."""
    if type(span) is RunSpan:
        span.link(links)
        return
    for item in links:
        span.add_link(item.context, item.attributes)


def write(span: trace.Span, variables: Attributes, constants: Attributes) -> None:
    """Set the attributes of a run on a span of any type, see `RunSpan.write`."""
    if type(span) is RunSpan:
        span.write(variables, constants)
        return
    attributes = encode_payloads({**variables, **constants}, previews=True)
    limits: SpanLimits | None = getattr(span, "_limits", None)  # private field of SDK spans
    if limits is not None:
        attributes = _hold_to(limits, span, attributes)
    # core attributes last, because a full SDK span drops the first ones
    span.set_attributes(attributes)


def _hold_to(limits: SpanLimits, span: trace.Span, attributes: Attributes) -> dict[str, Any]:
    longest = limits.max_span_attribute_length
    if longest is not None:
        attributes = within(attributes, longest)
    if limits.max_span_attributes is None:
        return dict(attributes)
    given = len(getattr(span, "attributes", None) or ()) - _STARTED_WITH
    return shorten(attributes, limits.max_span_attributes - max(given, 0), longest)


# Processors of the service's provider.


def processors_of(provider: object) -> Sequence[SpanProcessor]:
    """Return the span processors of an SDK provider or multi-processor."""
    active = getattr(provider, "_active_span_processor", provider)
    span_processors: Sequence[SpanProcessor] = getattr(active, "_span_processors", ())
    return span_processors


def all_processors_of(provider: object) -> SynchronousMultiSpanProcessor | None:
    """Return the object that contains all span processors of an SDK provider.

    None for other providers.
    """
    all_processors: SynchronousMultiSpanProcessor | None = getattr(
        provider, "_active_span_processor", None
    )
    return all_processors


class ChosenProcessors(SpanProcessor):
    """A span processor that passes otel-ml's spans to only some of a tracer provider's processors.

    For example, processors of other vendors' SDKs can be left out. If the service adds a processor
    later, it can receive the spans too.

    Args:
        every: The processor that contains all processors of the provider.
        is_wanted: Function that returns whether a processor should receive the spans.
    """

    def __init__(
        self, every: SynchronousMultiSpanProcessor, is_wanted: Callable[[SpanProcessor], bool]
    ) -> None:
        self._every = every
        self._is_wanted = is_wanted
        self._seen: Sequence[SpanProcessor] | None = None
        self._chosen: Sequence[SpanProcessor] = ()

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Notify each processor that the span has started."""
        for processor in self._processors():
            processor.on_start(span, parent_context)

    def _on_ending(self, span: Any) -> None:
        for processor in self._processors():
            _call_on_ending(processor, span)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the ended span to each processor."""
        for processor in self._processors():
            processor.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Ask each processor to deliver its queue."""
        return bool(self._every.force_flush(timeout_millis))

    def _processors(self) -> Sequence[SpanProcessor]:
        every = processors_of(self._every)
        if every is not self._seen:  # the SDK creates a new tuple when a processor is added
            self._chosen = [item for item in every if self._is_wanted(item)]
            self._seen = every
        return self._chosen


class MarkedCalls(SpanProcessor):
    """A span processor that marks spans of other libraries inside a judge or an experiment.

    For example, an LLM call of a judge is marked, so that it does not count as a call of your
    service.
    """

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Mark the span if it starts inside a judge or an experiment."""
        mark = MARKS.get()
        scope = None if mark is None else span.instrumentation_scope
        if mark is not None and scope is not None and scope.name != names.SCOPE_NAME:
            span.set_attributes(mark)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True, because nothing is queued. Older SDKs treat None as a failure."""
        return True


def _call_on_ending(processor: SpanProcessor, span: "RunSpan") -> None:
    on_ending = getattr(processor, "_on_ending", None)  # since SDK 1.40
    if on_ending is not None:
        on_ending(span)


# IDs.


class OwnRandomIds(RandomIdGenerator):
    """Generates trace and span IDs that do not depend on the program's random seed.

    The SDK uses Python's global `random` generator. If a training script seeds it, every process
    would create the same IDs, and its runs would overwrite each other. The script's own random
    numbers would change too.
    """

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311 - seeded by the operating system; IDs are not secrets
        self.draw = self._random.getrandbits
        renew_in_child(self._random.seed)

    def generate_span_id(self) -> int:
        """Return a random span ID."""
        made = self._random.getrandbits(64)
        while made == trace.INVALID_SPAN_ID:
            made = self._random.getrandbits(64)
        return made

    def generate_trace_id(self) -> int:
        """Return a random trace ID."""
        made = self._random.getrandbits(128)
        while made == trace.INVALID_TRACE_ID:
            made = self._random.getrandbits(128)
        return made


_OWN_IDS: Final = OwnRandomIds()
_ID_BITS: Final = 192  # bits of a trace ID plus a span ID
_SPAN_ID: Final = 2**64 - 1


# Sampling. Calling a sampler takes 2 µs, more than all other work at the start of a run. The
# standard samplers depend only on the parent's flag, a constant or the trace ID, so their rules are
# read once.

Rule = Callable[[int], bool]


class Rules(NamedTuple):
    """The decisions of a standard OpenTelemetry sampler, as functions.

    They are faster than calling the sampler. Each function takes a trace ID and returns whether to
    record the span. Which function applies depends on the span's parent:

    * `root`: the span has no parent.
    * `local_sampled`, `local_dropped`: the parent is in this process, and was recorded or dropped.
    * `remote_sampled`, `remote_dropped`: the parent is in another process.
    """

    root: Rule
    local_sampled: Rule
    local_dropped: Rule
    remote_sampled: Rule
    remote_dropped: Rule

    def choose(self, parent: SpanContext | None) -> Rule:
        """Return the function that decides for a span with this parent. None means a root span."""
        if parent is None:
            return self.root
        if parent.is_remote:
            return self.remote_sampled if parent.trace_flags.sampled else self.remote_dropped
        return self.local_sampled if parent.trace_flags.sampled else self.local_dropped


def known_rules(sampler: Sampler) -> Rules | None:
    """Return the decisions of a standard OpenTelemetry sampler; None for any other sampler."""
    samplers = [sampler] * len(Rules._fields)
    try:
        if isinstance(sampler, ParentBased):
            if type(sampler).should_sample is not ParentBased.should_sample:
                return None
            samplers = [
                sampler._root,
                sampler._local_parent_sampled,
                sampler._local_parent_not_sampled,
                sampler._remote_parent_sampled,
                sampler._remote_parent_not_sampled,
            ]
        rules = [_rule(sampler) for sampler in samplers]
    except AttributeError:  # an SDK version with different private fields
        return None
    items = [rule for rule in rules if rule is not None]
    return Rules(*items) if len(items) == len(rules) else None


def _rule(sampler: Sampler) -> Rule | None:
    asked = type(sampler).should_sample
    if asked is StaticSampler.should_sample:
        return _CONSTANT.get(sampler._decision)  # type: ignore[attr-defined]
    if asked is TraceIdRatioBased.should_sample:
        ratio: Any = sampler
        low_bits = TraceIdRatioBased.TRACE_ID_LIMIT
        return lambda trace_id: trace_id & low_bits < int(ratio.bound)
    return None


def _always(_: int) -> bool:
    return True


_CONSTANT: Final[Mapping[Decision, Rule]] = {
    Decision.RECORD_AND_SAMPLE: _always,
    Decision.DROP: lambda _: False,
}


# Starting spans.


class Start(Protocol):
    """The signature of a function that starts a span.

    The span becomes a child of the current span in `context`. With `kept`, the span is recorded
    even if the sampler would drop it. That works only with the client's own provider.
    """

    def __call__(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        """Start a span."""


def start_of_own(
    provider: TracerProvider,
    make_scope: Callable[[], InstrumentationScope],
    take: Callable[[RunSpan], None],
) -> Start:
    """Return a function that starts spans of the client's own tracer provider.

    Args:
        provider: The client's provider. Its sampler and ID generator are used.
        make_scope: Returns the instrumentation scope of the spans.
        take: Called with each span that has ended.
    """
    limits = read_limits()
    home = Home(provider, make_scope, limits, take=take, defers=_fit_calls(limits))
    return _RunTracer(home, provider.sampler, provider.id_generator, keeps=True).start


def _fit_calls(limits: SpanLimits) -> bool:
    """Tell whether the attributes that a call has by itself are always within the limits."""
    most = limits.max_span_attributes
    return limits.max_span_attribute_length is None and (most is None or most >= _MOST_OF_CALL)


def start_of(
    provider: trace.TracerProvider,
    tracer: Any,
    is_wanted: Callable[[SpanProcessor], bool] | None = None,
) -> Start:
    """Return a function that starts spans of the service's own tracer provider.

    The spans are usually `RunSpan` objects, which are fast. They are ordinary spans if the provider
    or the tracer is not of the SDK's own class.

    Args:
        provider: The service's provider.
        tracer: Tracer of that provider, created for this package.
        is_wanted: Function that returns whether a span processor of the provider should receive the
            spans. None if all span processors should.
    """
    if type(provider) is not TracerProvider or type(tracer) is not Tracer:
        return _start_stock(tracer)
    # The SDK's option to count live spans counts only spans of its own classes.
    counted = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").lower() == "true"
    is_enabled = getattr(tracer, "_is_enabled", None)  # since SDK 1.40
    if counted or (is_enabled is not None and not is_enabled()):
        return _start_stock(tracer)
    try:
        sampler, ids, processor = tracer.sampler, tracer.id_generator, tracer.span_processor
        scope = tracer._instrumentation_scope
        limits = tracer._span_limits
        home = Home(tracer, lambda: scope, limits, processor, defers=_fit_calls(limits))
    except AttributeError:  # an SDK version with different private fields
        return _start_stock(tracer)
    if is_wanted is not None and type(processor) is SynchronousMultiSpanProcessor:
        home = home._replace(processor=ChosenProcessors(processor, is_wanted))
    return _RunTracer(home, sampler, ids, keeps=False).start


def _start_stock(tracer: trace.Tracer) -> Start:
    def start(
        name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        return tracer.start_span(
            name,
            context=context,
            attributes=attributes,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    return start


_EXPERIMENT_NAMES: Final = frozenset({names.EXPERIMENT, names.EXPERIMENT_NAME})


def _is_of_experiment(mark: Mapping[str, str] | None) -> bool:
    """Tell whether spans with this mark belong to an experiment, whose runs are always recorded."""
    return mark is not None and not _EXPERIMENT_NAMES.isdisjoint(mark)


class _LeftOut(NonRecordingSpan):
    """A span that was sampled out. Nothing more is logged for its children."""


def _leave_out(above: Any, context: SpanContext) -> trace.Span:
    """Return a span that is not recorded. Warn once if another tracer dropped its trace."""
    if above is not None and not isinstance(above, _LeftOut):
        parent = above.get_span_context()
        if parent.is_valid and not parent.trace_flags & _SAMPLED:
            _warn_left_out()
    return _LeftOut(context)


@functools.cache
def _warn_left_out() -> None:
    """Warn once that runs in unsampled traces of other tracers are not recorded."""
    _logger.warning(
        "A run is not recorded, because its trace is not sampled (logged only once): raise the "
        "sample rate where the trace starts, or use client.run(), which is always recorded"
    )


class _RunTracer:
    """Starts `RunSpan` objects.

    Args:
        keeps: Whether spans that are started with `kept` are recorded although the sampler drops
            them. False with the service's provider.
    """

    def __init__(self, home: Home, sampler: Sampler, ids: IdGenerator, *, keeps: bool) -> None:
        self._home = home
        self._sampler = sampler
        self._rules = known_rules(sampler)
        self._keeps = keeps
        if type(ids) is RandomIdGenerator:  # a custom ID generator is kept
            ids = _OWN_IDS
        self._trace_id = ids.generate_trace_id
        self._span_id = ids.generate_span_id
        is_random: Callable[[], bool] | None = getattr(ids, "is_trace_id_random", None)
        random = _RANDOM if is_random is not None and is_random() else 0
        # the default rules: roots and children of sampled parents are sampled
        usual = self._rules[:2] + self._rules[3:4] if self._rules is not None else ()
        self._follows = usual == (_always,) * 3
        self._root_flags = TraceFlags(random | (_SAMPLED if self._follows else 0))
        self._is_usual = self._follows and home.processor is None and ids is _OWN_IDS
        self._draw = _OWN_IDS.draw

    def start(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        """Start a span. A span that is not recorded costs only its IDs."""
        ids = self._draw(_ID_BITS) if self._is_usual and SPAN_KEY not in context else 0
        trace_id, span_id = ids >> 64, ids & _SPAN_ID
        if not (trace_id and span_id):
            return self._start_any(name, context, start_ns, attributes, kept)
        flags = self._root_flags
        return RunSpan(self._home, name, trace_id, span_id, flags, None, None, start_ns, attributes)

    def _start_any(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        above: Any = context.get(SPAN_KEY)
        parent: SpanContext | None = None if above is None else above.get_span_context()
        if parent is None or not parent.is_valid:
            parent = state = None
            trace_id = self._trace_id()
            flags = self._root_flags
        else:
            trace_id = parent.trace_id
            state = parent.trace_state
            flags = parent.trace_flags
            if flags > _KNOWN_FLAGS:
                flags = TraceFlags(flags & _KNOWN_FLAGS)
        span_id = self._span_id()
        recorded = sampled = True
        facts = None
        if not (kept and self._keeps) and not (self._follows and flags & _SAMPLED):
            if self._rules is not None:
                recorded = sampled = self._rules.choose(parent)(trace_id)
            else:
                decision = self._sampler.should_sample(
                    context, trace_id, name, SpanKind.INTERNAL, attributes, ()
                )
                sampled = decision.decision is Decision.RECORD_AND_SAMPLE
                recorded = decision.decision is not Decision.DROP
                facts = {
                    key: value
                    for key, value in (decision.attributes or {}).items()
                    if key not in attributes
                }
                state = decision.trace_state
            if not sampled and _is_of_experiment(MARKS.get()):
                recorded = sampled = True
            flags = TraceFlags(flags | _SAMPLED if sampled else flags & ~_SAMPLED)
        elif not flags & _SAMPLED:
            flags = TraceFlags(flags | _SAMPLED)
        if not recorded:
            return _leave_out(above, SpanContext(trace_id, span_id, False, flags, state))
        span = RunSpan(
            self._home, name, trace_id, span_id, flags, parent, state, start_ns, attributes
        )
        span.defers = span.defers and sampled
        if facts:
            span.set_attributes(facts)
        if self._home.processor is not None:
            self._home.processor.on_start(span, context)  # type: ignore[arg-type]
        return span
