"""The spans of runs: ordinary spans of the SDK's to everyone, at a tenth of their price.

A span of the SDK's guards every attribute with two locks and copies itself when it ends. Ours takes
the attributes of a run at once, as they are, and makes the rest only for those who ask. It starts
as the provider's tracer would start it: sampler, ids, resource, processors.

This is the only file that touches private names of OpenTelemetry. Each is read with a way out:
where an SDK keeps something elsewhere, spans are started by its own tracer.
"""

import functools
import logging
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
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
from otel_ml.errors import hand_on, traceback_of
from otel_ml.process import MARKS, renew_in_child
from otel_ml.wire import call_attributes, shorten, within

_logger = logging.getLogger(__name__)

Attributes = Mapping[str, Any]

# What a run without long payloads takes, for the bound of a queue.
BARE_BYTES: Final = 1_024
UNSET: Final = Status(StatusCode.UNSET)
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}
_MOST_OF_CALL: Final = 32  # attributes of a call that nobody adds to are fewer
_STARTED_WITH: Final = 3  # project, kind and name, which are written again
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(getattr(TraceFlags, "RANDOM_TRACE_ID", 0))  # since SDK 1.42
_KNOWN_FLAGS: Final = _SAMPLED | _RANDOM


# The current context.

# The key under which OpenTelemetry keeps the current span, found by setting one.
[SPAN_KEY] = trace.set_span_in_context(trace.INVALID_SPAN, Context())
# Under this key it keeps whether instrumentations are to look away; they know the plain name, too.
SUPPRESS_KEY: Final = getattr(
    context_api, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"
)
# What `reset` raises where the host went on in another context: the token is gone there.
ELSEWHERE: Final = (ValueError, RuntimeError)


def _context_functions() -> tuple[
    Callable[[Context], Token[Context]], Callable[[Token[Context]], None], Callable[[], Context]
]:
    """Return functions that make a context current, restore its predecessor, and read it.

    OpenTelemetry's own functions do this through four calls. Where its context lives in a variable
    of `contextvars`, as it does unless somebody replaced it, the variable is set directly: a stream
    pays for it at each chunk.
    """
    runtime: Any = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable: Any = getattr(runtime, "_current_context", None)
    if type(runtime) is not ContextVarsRuntimeContext or not isinstance(variable, ContextVar):
        return context_api.attach, context_api.detach, context_api.get_current
    return variable.set, variable.reset, variable.get


attach, reset, current_context = _context_functions()


def detach(token: Token[Context]) -> None:
    """Reset the context as `reset` does; quietly also where the token is gone."""
    try:
        reset(token)
    except ELSEWHERE as error:
        hand_on(error)


# The span.


class _Making:
    """Guards the making of a span's late parts; anew in a forked child."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self.renew)

    def renew(self) -> None:
        """Take a lock that nobody holds; a finalizer may come back while this thread holds it."""
        self.lock = threading.RLock()


_MAKING: Final = _Making()
_SERVICE: Final = "service.name"
_MADE_UP: Final = "unknown_service"


def resource_of(project: str) -> Resource:
    """Make the resource of a provider of ours: as the environment says, the project its service.

    A named service stays; the name that the SDK makes up does not count.
    """
    resource = Resource.create({names.PROJECT: project})
    if str(resource.attributes.get(_SERVICE, "")).startswith(_MADE_UP):
        resource = resource.merge(Resource({_SERVICE: project}))
    return resource


class HasResource(Protocol):
    """A provider or tracer of the SDK's; after a fork it has another resource."""

    @property
    def resource(self) -> Resource:
        """The resource that spans are made with."""


@dataclass(frozen=True, slots=True)
class Home:
    """The parts that all spans of a tracer share.

    Attributes:
        origin: The provider that their resource is read from.
        make_scope: Makes `scope`, the same object each time.
        limits: The provider's, for attributes that the host adds to a span of ours.
        processor: Gets every span at its start and end; None when `take` does.
        take: Gets every span at its end, instead of processors.
        defers: Whether attributes of a call fit all limits, however they are described.
    """

    origin: HasResource
    make_scope: Callable[[], InstrumentationScope]
    limits: SpanLimits
    processor: SpanProcessor | None = None
    take: "Callable[[RunSpan], None] | None" = None
    defers: bool = False

    @property
    def scope(self) -> InstrumentationScope:
        """Ours, with the project."""
        return self.make_scope()


class RunSpan(ReadableSpan, trace.Span):
    """The span of a run.

    Attributes:
        variables: What this run says, but for what the next fields say.
        constants: What other runs say as well.
        defers: Whether a call may leave its description to whoever reads it: it is sampled, and
            nobody added to it.
        inputs: The whole JSON of the input of a call that nobody asked for; else None.
        outputs: Likewise of its output, once it has ended.
        number: Its sequence number then.
        weight: About what it takes in a queue, in bytes.
    """

    # Slots under the names that ReadableSpan reads: its own properties serve them as well.
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
        self._given: Any = None  # BoundedAttributes of the host's
        self._added_events: Any = None  # BoundedList
        self._added_links: Any = None  # BoundedList; with those it was made with
        self.linked: tuple[Link, ...] = ()
        self._status = UNSET
        self.inputs: str | None = None
        self.outputs: str | None = None
        self.number = 0
        self.weight = BARE_BYTES
        self.is_queued = False  # set by the queue that holds it

    # As a readable span.

    @property
    def context(self) -> SpanContext:
        """Ids, flags and state; made when somebody asks."""
        made = self._made_context
        if made is None:
            made = SpanContext(self.trace_id, self.span_id, False, self.flags, self.trace_state)
            self._made_context = made
        return made

    def get_span_context(self) -> SpanContext:
        """Return ids, flags and state."""
        return self.context

    @property
    def kind(self) -> SpanKind:
        """Internal, always: calls within the run have client spans of their own."""
        return SpanKind.INTERNAL

    @property
    def resource(self) -> Resource:
        """The provider's."""
        return self._home.origin.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """Ours, with the project."""
        return self._home.scope

    @property
    def instrumentation_info(self) -> Any:
        """The scope under its former name; nothing of this package reads it."""
        return None

    @property
    def attributes(self) -> types.Attributes:
        """All attributes: the host's, then our own."""
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
        """How many of the host's attributes the provider's limits cost."""
        return getattr(self._given, "dropped", 0)

    @property
    def dropped_events(self) -> int:
        """How many events the limits cost."""
        return 0 if self._added_events is None else self._added_events.dropped

    @property
    def dropped_links(self) -> int:
        """How many links the limits cost."""
        return 0 if self._added_links is None else self._added_links.dropped

    # Processors of others read what every span of the SDK's has under these names.
    _attributes = attributes
    _context = context
    _events = events
    _instrumentation_info = instrumentation_info
    _instrumentation_scope = instrumentation_scope
    _kind = kind
    _links = links
    _resource = resource

    def to_json(self, indent: int | None = 4) -> str:
        """Write the span as the SDK's console exporter does."""
        return str(self.copy().to_json(indent))

    def copy(self, attributes: Attributes | None = None, end_ns: int | None = None) -> ReadableSpan:
        """Return an independent span; with `attributes` and `end_ns` as if it had ended so."""
        return ReadableSpan(
            name=self._name,
            context=self.context,
            parent=self._parent,
            resource=self.resource,
            attributes=dict(self.attributes or {}) if attributes is None else attributes,
            events=self.events,
            links=self.links,
            status=self._status,
            start_time=self._start_time,
            end_time=self._end_time if end_ns is None else end_ns,
            instrumentation_scope=self.instrumentation_scope,
        )

    # As a span that the host may add to while it is the current one.

    def is_recording(self) -> bool:
        """Tell whether the span has not ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """Keep an attribute of the host's, within the provider's limits."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """Keep attributes of the host's, within the provider's limits."""
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
        """Add an event, at `timestamp` in ns or now."""
        if self._is_ended("add_event"):
            return
        limits = self._home.limits
        with _MAKING.lock:
            if self._added_events is None:
                self._added_events = BoundedList(limits.max_events)
        kept = BoundedAttributes(
            limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length
        )
        self._added_events.append(Event(name, kept, timestamp))

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Add a link to another span; an invalid link is left out."""
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
        """Give a new span the links that others have as well; the same object is encoded once."""
        most = self._home.limits.max_links
        if most is None or len(links) <= most:
            self.linked = links
        else:
            for item in links:
                self.add_link(item.context, item.attributes)

    def take_ids(self, trace_id: int, span_id: int) -> None:
        """Become the root that other processes know by these ids; a new span only."""
        self.trace_id, self.span_id = trace_id, span_id
        self._parent = self._made_context = None

    def update_name(self, name: str) -> None:
        """Rename the span; the model's name stays."""
        if not self._is_ended("update_name"):
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final, UNSET is ignored, as the standard says."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        elif not isinstance(status, Status):
            return  # type: ignore[unreachable]  # the host's may be anything
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
        module: str | None = kind.__module__  # None for a class that is made by hand
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
        """Whether it has only ids, times, a parent, shared links, and the attributes of a run."""
        return (
            self._given is None
            and self._added_events is None
            and self._added_links is None
            and self._status is UNSET
            and not self.trace_state
        )

    def write(self, variables: Attributes, constants: Attributes) -> None:
        """Take the attributes of a run, which are clean.

        Args:
            variables: What this run says. The mapping is kept.
            constants: What other runs say as well, such as a version: the same object each time,
                so that it is encoded once for all of them. The mapping is kept.
        """
        if self._end_time is not None:  # the host ended it
            return
        longest = self._home.limits.max_span_attribute_length
        if longest is not None:
            variables, constants = within(variables, longest), within(constants, longest)
        self.variables = variables
        self.constants = constants

    def describe(self, *, previews: bool = True) -> dict[str, Any]:
        """Return the attributes of this run alone, in a dict of its own."""
        if self.inputs is None:
            return dict(self.variables)
        took_ns = (self._end_time or 0) - (self._start_time or 0)
        ended = took_ns, self.number, self.outputs or ""
        return call_attributes(
            self.variables, self.inputs, ended if self.number else None, previews=previews
        )

    def end(self, end_time: int | None = None) -> None:
        """End the span, at `end_time` in ns or now, and hand it on. A second call does nothing."""
        if self._end_time is not None:
            self._is_ended("end")
            return
        self.inputs = None  # what was written has them; who ends it before that leaves them out
        home = self._home
        limit = home.limits.max_span_attributes
        if limit is not None:
            given = 0 if self._given is None else len(self._given)
            if len(self.variables) + len(self.constants) + given > limit:
                self._shorten(limit)
        self.hand_on(time_ns() if end_time is None else end_time)

    def hand_on(self, end_ns: int) -> None:
        """End the span and hand it on, as it is."""
        self._end_time = end_ns
        home = self._home
        if home.take is not None:
            try:
                home.take(self)
            except BaseException:
                if not self.is_queued:  # a handler of a signal raised before it was
                    home.take(self)
                raise
        elif home.processor is not None:
            _tell_ending(home.processor, self)
            home.processor.on_end(self)

    def _shorten(self, limit: int) -> None:
        """Hold to a limit on the number: our own move together, then the host's oldest go."""
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
        _logger.warning("%s of a span that has ended", what)
        return True


def is_sampled(span: trace.Span) -> bool:
    """Tell whether a span is to be exported; of our own without making its context."""
    if type(span) is RunSpan:
        return bool(span.flags & _SAMPLED)
    return span.is_recording() and span.get_span_context().trace_flags.sampled


def run_id_of(context: SpanContext | RunSpan) -> str:
    """Write the id of a run as the API has it: ``<32 hex>-<16 hex>``.

    Args:
        context: That of its span; of a `RunSpan` the span itself, without making its context.
    """
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def link(span: trace.Span, links: tuple[Link, ...]) -> None:
    """Give a new span links that others have as well, of whichever kind it is."""
    if type(span) is RunSpan:
        span.link(links)
        return
    for item in links:
        span.add_link(item.context, item.attributes)


def write(span: trace.Span, variables: Attributes, constants: Attributes) -> None:
    """Write the attributes of a run on its span, of whichever kind that is."""
    if type(span) is RunSpan:
        span.write(variables, constants)
        return
    attributes = {**variables, **constants}
    limits: SpanLimits | None = getattr(span, "_limits", None)  # as spans of the SDK's have them
    if limits is not None:
        attributes = _hold_to(limits, span, attributes)
    # Core ones last: a full span of the SDK's drops its first ones.
    span.set_attributes(attributes)


def _hold_to(limits: SpanLimits, span: trace.Span, attributes: Attributes) -> dict[str, Any]:
    longest = limits.max_span_attribute_length
    if longest is not None:
        attributes = within(attributes, longest)
    if limits.max_span_attributes is None:
        return dict(attributes)
    given = len(getattr(span, "attributes", None) or ()) - _STARTED_WITH
    return shorten(attributes, limits.max_span_attributes - max(given, 0), longest)


# Processors of a joined provider.


def processors_of(provider: object) -> Sequence[SpanProcessor]:
    """Return the processors of a provider of the SDK's, or of a processor that calls several."""
    active = getattr(provider, "_active_span_processor", provider)
    span_processors: Sequence[SpanProcessor] = getattr(active, "_span_processors", ())
    return span_processors


def all_processors_of(provider: object) -> SynchronousMultiSpanProcessor | None:
    """Return the multi-processor of a provider of the SDK's; None of another provider."""
    all_processors: SynchronousMultiSpanProcessor | None = getattr(
        provider, "_active_span_processor", None
    )
    return all_processors


class ChosenProcessors(SpanProcessor):
    """Those processors of a provider that get our spans, also those that are added later.

    Args:
        every: Holds all of the provider's.
        is_wanted: Tells which of them.
    """

    def __init__(
        self, every: SynchronousMultiSpanProcessor, is_wanted: Callable[[SpanProcessor], bool]
    ) -> None:
        self._every = every
        self._is_wanted = is_wanted
        self._seen: Sequence[SpanProcessor] | None = None
        self._chosen: Sequence[SpanProcessor] = ()

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Tell each that the span has started."""
        for processor in self._processors():
            processor.on_start(span, parent_context)

    def _on_ending(self, span: Any) -> None:
        for processor in self._processors():
            _tell_ending(processor, span)

    def on_end(self, span: ReadableSpan) -> None:
        """Give each the ended span."""
        for processor in self._processors():
            processor.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Let each processor deliver its queue."""
        return bool(self._every.force_flush(timeout_millis))

    def _processors(self) -> Sequence[SpanProcessor]:
        every = processors_of(self._every)
        if every is not self._seen:  # it is another tuple when one was added
            self._chosen = [item for item in every if self._is_wanted(item)]
            self._seen = every
        return self._chosen


class MarkedCalls(SpanProcessor):
    """Marks the calls of instrumented clients within judges and experiments; our spans say it."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Mark the span of a call that begins within a judge or a run over an item."""
        mark = MARKS.get()
        scope = None if mark is None else span.instrumentation_scope
        if mark is not None and scope is not None and scope.name != names.SCOPE_NAME:
            span.set_attributes(mark)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Say that nothing waits here; without it older SDKs take it for a failure."""
        return True


def _tell_ending(processor: SpanProcessor, span: "RunSpan") -> None:
    on_ending = getattr(processor, "_on_ending", None)  # since SDK 1.40
    if on_ending is not None:
        on_ending(span)


# Ids.


class OwnRandomIds(RandomIdGenerator):
    """Makes ids as the SDK's generator does, from random numbers of our own.

    The SDK draws ids from the generator of Python's `random` module. A program that seeds it, as
    nearly every training does, gets the same ids in every process, and runs that take each other's
    place; and each id moves the numbers that the host draws afterwards.
    """

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311 - seeded by the system; ids are no secrets
        self.draw = self._random.getrandbits
        renew_in_child(self._random.seed)

    def generate_span_id(self) -> int:
        """Make the id of a span."""
        made = self._random.getrandbits(64)
        while made == trace.INVALID_SPAN_ID:
            made = self._random.getrandbits(64)
        return made

    def generate_trace_id(self) -> int:
        """Make the id of a trace."""
        made = self._random.getrandbits(128)
        while made == trace.INVALID_TRACE_ID:
            made = self._random.getrandbits(128)
        return made


_OWN_IDS: Final = OwnRandomIds()
_ID_BITS: Final = 192  # of a trace and a span
_SPAN_ID: Final = 2**64 - 1


# Sampling. To ask a sampler costs 2 µs a call, more than all else that starts a run. Those of the
# standard answer by the parent's flag, by a constant or by the trace id alone.

Rule = Callable[[int], bool]


class Rules(NamedTuple):
    """The answers of a known sampler to a trace id, by the state of the parent."""

    root: Rule
    local_sampled: Rule
    local_dropped: Rule
    remote_sampled: Rule
    remote_dropped: Rule

    def choose(self, parent: SpanContext | None) -> Rule:
        """Choose the rule for a span under `parent`, None for a root."""
        if parent is None:
            return self.root
        if parent.is_remote:
            return self.remote_sampled if parent.trace_flags.sampled else self.remote_dropped
        return self.local_sampled if parent.trace_flags.sampled else self.local_dropped


def known_rules(sampler: Sampler) -> Rules | None:
    """Read the rules of a sampler of the SDK's own; None for any other, which is to be asked."""
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
    except AttributeError:  # an SDK that keeps them elsewhere
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


# The start of a span.


class Start(Protocol):
    """Starts a span under the current span of `context`; the sampler may not drop `kept` spans."""

    def __call__(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        """Start a span."""


def start_of_own(
    provider: TracerProvider,
    make_scope: Callable[[], InstrumentationScope],
    take: Callable[[RunSpan], None],
) -> Start:
    """Start spans under a provider of this client alone: they go only to `take`."""
    limits = SpanLimits()
    home = Home(provider, make_scope, limits, take=take, defers=_fit_calls(limits))
    return _RunTracer(home, provider.sampler, provider.id_generator, keeps=True).start


def _fit_calls(limits: SpanLimits) -> bool:
    """Tell whether the attributes of a call that nobody adds to are always within limits."""
    most = limits.max_span_attributes
    return limits.max_span_attribute_length is None and (most is None or most >= _MOST_OF_CALL)


def start_of(
    provider: trace.TracerProvider,
    tracer: Any,
    is_wanted: Callable[[SpanProcessor], bool] | None = None,
) -> Start:
    """Start spans with a provider's own tracer.

    They are `RunSpan` where provider and tracer are exactly the SDK's and have its fields, else
    the tracer's own spans.

    Args:
        provider: The provider.
        tracer: A tracer of it, made for this package.
        is_wanted: Chooses the processors of the provider that get our spans; None for all.
    """
    if type(provider) is not TracerProvider or type(tracer) is not Tracer:
        return _start_stock(tracer)
    # The SDK counts its own live spans when it is told to: only its own spans can be counted.
    counted = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").lower() == "true"
    is_enabled = getattr(tracer, "_is_enabled", None)  # since SDK 1.40
    if counted or (is_enabled is not None and not is_enabled()):
        return _start_stock(tracer)
    try:
        sampler, ids, processor = tracer.sampler, tracer.id_generator, tracer.span_processor
        scope = tracer._instrumentation_scope
        limits = tracer._span_limits
        home = Home(tracer, lambda: scope, limits, processor, defers=_fit_calls(limits))
    except AttributeError:  # an SDK that keeps them elsewhere
        return _start_stock(tracer)
    if is_wanted is not None and type(processor) is SynchronousMultiSpanProcessor:
        home = replace(home, processor=ChosenProcessors(processor, is_wanted))
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
    """Tell whether spans traced here belong to an experiment, of which no run is left out."""
    return mark is not None and not _EXPERIMENT_NAMES.isdisjoint(mark)


class _LeftOut(NonRecordingSpan):
    """A span that a sampler left out here; nothing more is logged below it."""


def _leave_out(above: Any, context: SpanContext) -> trace.Span:
    """Make a span that is not recorded; log once that the begin of its trace decided so."""
    if above is not None and not isinstance(above, _LeftOut):
        parent = above.get_span_context()
        if parent.is_valid and not parent.trace_flags & _SAMPLED:
            _tell_left_out()
    return _LeftOut(context)


@functools.cache
def _tell_left_out() -> None:
    """Log once that unsampled traces of others keep runs from being recorded."""
    _logger.warning(
        "A run below a span that its own tracer does not sample is not recorded, nor is any other "
        "such run: raise the sample rate of what began the trace, or call client.run(), which is "
        "always recorded"
    )


class _RunTracer:
    """Starts `RunSpan`s.

    Args:
        keeps: Whether kept spans pass the sampler, which a joined provider's do not.
    """

    def __init__(self, home: Home, sampler: Sampler, ids: IdGenerator, *, keeps: bool) -> None:
        self._home = home
        self._sampler = sampler
        self._rules = known_rules(sampler)
        self._keeps = keeps
        if type(ids) is RandomIdGenerator:  # one of another make stays
            ids = _OWN_IDS
        self._trace_id = ids.generate_trace_id
        self._span_id = ids.generate_span_id
        is_random: Callable[[], bool] | None = getattr(ids, "is_trace_id_random", None)
        random = _RANDOM if is_random is not None and is_random() else 0
        # The usual rules: a root and a child of a sampled parent are sampled.
        usual = self._rules[:2] + self._rules[3:4] if self._rules is not None else ()
        self._follows = usual == (_always,) * 3
        self._root_flags = TraceFlags(random | (_SAMPLED if self._follows else 0))
        self._is_usual = self._follows and home.processor is None and ids is _OWN_IDS
        self._draw = _OWN_IDS.draw

    def start(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        """Start a span; a span that is not recorded costs no more than its ids."""
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
