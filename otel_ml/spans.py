"""The span of a run: an ordinary span of the SDK's to everyone, at a tenth of its price.

A span of the SDK's guards every attribute with two locks and copies itself when it ends. Ours takes
the attributes of a run at once, as they are, and makes the rest only for who asks for it.
"""

import logging
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time_ns
from types import MappingProxyType
from typing import Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util import types

from otel_ml.process import renew_in_child
from otel_ml.wire import shorten, within

_logger = logging.getLogger(__name__)

Attributes = Mapping[str, Any]

# What a run without long payloads takes, for the bound of a queue.
BARE_BYTES: Final = 1_024
_NOTHING: Final[Mapping[str, Any]] = {}
_STARTED_WITH: Final = 3  # project, kind and name, which are written again
UNSET: Final = Status(StatusCode.UNSET)


class _Making:
    """Guards the making of what a span has none of at first; anew in a forked child."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self.renew)

    def renew(self) -> None:
        """Take a lock that nobody holds; a finalizer may come back while this thread holds it."""
        self.lock = threading.RLock()


_MAKING: Final = _Making()


class HasResource(Protocol):
    """A provider or tracer of the SDK's; after a fork it has another resource."""

    @property
    def resource(self) -> Resource:
        """What it makes spans with."""


@dataclass(frozen=True, slots=True)
class Home:
    """What all spans of one tracer share.

    Attributes:
        origin: Whose resource they have.
        limits: The provider's, for what the host adds to a span of ours.
        processor: Gets every span at its start and end; None when `take` does.
        take: Gets every span at its end, instead of processors.
    """

    origin: HasResource
    scope: InstrumentationScope
    limits: SpanLimits
    processor: SpanProcessor | None
    take: "Callable[[RunSpan], None] | None"


class RunSpan(ReadableSpan, trace.Span):
    """One span of ours, made by `otel_ml.tracer`."""

    # Slots under the names that ReadableSpan reads: its own properties serve them as well.
    __slots__ = (
        "_added_events",
        "_added_links",
        "_cut",
        "_end_time",
        "_given",
        "_home",
        "_made_context",
        "_name",
        "_parent",
        "_start_time",
        "_status",
        "constants",
        "flags",
        "is_queued",
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
        self._name = name
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self._parent = parent
        self.trace_state = trace_state
        self._start_time = start_ns
        self.constants = attributes
        self.variables: Attributes = _NOTHING
        self._end_time: int | None = None
        self._made_context: SpanContext | None = None
        self._given: Any = None  # BoundedAttributes of the host's
        self._added_events: Any = None  # BoundedList
        self._added_links: Any = None  # BoundedList
        self._status = UNSET
        self._cut = 0
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
        """A run is internal: what it calls has client spans of its own."""
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
        """What scopes were called before; nothing of ours reads it."""
        return None

    @property
    def attributes(self) -> types.Attributes:
        """All attributes: the host's, then ours."""
        return MappingProxyType({**(self._given or _NOTHING), **self.variables, **self.constants})

    @property
    def events(self) -> Sequence[Event]:
        """Events in the order in which they were added."""
        return () if self._added_events is None else tuple(self._added_events)

    @property
    def links(self) -> Sequence[Link]:
        """Links in the order in which they were added."""
        return () if self._added_links is None else tuple(self._added_links)

    @property
    def dropped_attributes(self) -> int:
        """How many of the host's attributes the provider's limits cost."""
        return self._cut + getattr(self._given, "dropped", 0)

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
        """Add a link to another span; one that says nothing is left out."""
        if context is None or self._is_ended("add_link"):
            return
        if not (context.is_valid or attributes or context.trace_state):
            return
        limits = self._home.limits
        with _MAKING.lock:
            if self._added_links is None:
                self._added_links = BoundedList(limits.max_links)
        kept = BoundedAttributes(
            limits.max_link_attributes, attributes, max_value_len=limits.max_attribute_length
        )
        self._added_links.append(Link(context, kept))

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
        found: dict[str, types.AttributeValue] = {
            "exception.type": f"{module}{kind.__qualname__}",
            "exception.message": str(exception),
            "exception.stacktrace": "".join(
                traceback.format_exception(kind, exception, exception.__traceback__)
            ),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**found, **(attributes or {})}, timestamp)

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but ids, times, a parent, and the attributes of a run."""
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

    def end(self, end_time: int | None = None) -> None:
        """End the span, at `end_time` in ns or now, and hand it on. A second call does nothing."""
        if self._is_ended("end"):
            return
        home = self._home
        limit = home.limits.max_span_attributes
        if limit is not None:
            given = 0 if self._given is None else len(self._given)
            if len(self.variables) + len(self.constants) + given > limit:
                self._shorten(limit)
        self._end_time = time_ns() if end_time is None else end_time
        if home.take is not None:
            try:
                home.take(self)
            except BaseException:
                if not self.is_queued:  # a handler of a signal raised before it was
                    home.take(self)
                raise
        elif home.processor is not None:
            on_ending = getattr(home.processor, "_on_ending", None)  # since SDK 1.40
            if on_ending is not None:
                on_ending(self)
            home.processor.on_end(self)

    def _shorten(self, limit: int) -> None:
        """Hold to a limit on the number: ours move together, then the host's oldest go."""
        given = list((self._given or _NOTHING).items())
        ours = {**self.variables, **self.constants}
        longest = self._home.limits.max_span_attribute_length
        self.variables, self.constants = shorten(ours, limit - len(given), longest), _NOTHING
        room = max(limit - len(self.variables), 0)
        cut = max(len(given) - room, 0)
        self._cut = cut + getattr(self._given, "dropped", 0)
        self._given = dict(given[cut:])

    def announce(self, context: Context) -> None:
        """Tell the processors that the span has started."""
        if self._home.processor is not None:
            self._home.processor.on_start(self, context)  # type: ignore[arg-type]

    def _is_ended(self, what: str) -> bool:
        if self._end_time is None:
            return False
        _logger.warning("%s of a span that has ended", what)
        return True


def is_sampled(span: trace.Span) -> bool:
    """Tell whether a span is to be exported; of ours without making its context."""
    if type(span) is RunSpan:
        return bool(span.flags & TraceFlags.SAMPLED)
    return span.is_recording() and span.get_span_context().trace_flags.sampled


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
