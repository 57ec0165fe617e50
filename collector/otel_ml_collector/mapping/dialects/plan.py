"""How a span is read: what the names of its attributes decide, and then the fields of its run.

A sender names the attributes of its spans alike: looking for every name of every dialect on each
span cost more than reading what is there, so it is done once for each set of names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from otel_ml import attributes as names
from otel_ml.records import TOKENS
from otel_ml_collector.mapping.dialects import own
from otel_ml_collector.mapping.dialects.evaluator import SpanValues, read_dialect
from otel_ml_collector.mapping.dialects.gen_ai_events import EXCEPTION, read_span_events
from otel_ml_collector.mapping.dialects.table import CALLS, Present, find_present
from otel_ml_collector.mapping.dialects.tables import DIALECTS, GEN_AI
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import to_text
from otel_ml_collector.span import Event, Span, Value

_PLANS: Final = 1_000
_MAX_NAMES: Final = 128
_MAX_CHARS: Final = 8_192
_STATUS_ERROR: Final = 2
# Fields that the resource names, and the attributes that do, the preferred one first.
_OF_RESOURCE: Final = {
    "environment": (names.ENVIRONMENT, "deployment.environment"),
    "release": (names.SERVICE_VERSION,),
}
_EXCEPTIONS: Final = ("exception", EXCEPTION)
# Names of the general conventions that fill a field of a run, whatever their values.
_HELD: Final = frozenset({names.SESSION_ID, names.USER_ID})


@dataclass(frozen=True, slots=True)
class Plan:
    """How spans with the same attribute names are read.

    Attributes:
        own: Names of our own, None when there are none.
        dialects: What is there of the others, by precedence.
        rest: Names that stay attributes unless their value fills a field, sorted.
    """

    own: own.OwnNames | None
    dialects: tuple[Present, ...]
    rest: tuple[str, ...]


class Plans:
    """The plans of the last sets of names; any thread may ask."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], Plan] = {}

    def __len__(self) -> int:
        """Count the plans that are kept."""
        return len(self._plans)

    def find(self, attributes: Mapping[str, Value]) -> Plan:
        """Find the plan of a span, or make it; of names that are many or long none is kept."""
        keys = tuple(attributes)
        plan = self._plans.get(keys)
        if plan is None:
            plan = _make_plan(keys)
            if len(keys) <= _MAX_NAMES and sum(map(len, keys)) <= _MAX_CHARS:
                if len(self._plans) >= _PLANS:
                    self._plans.clear()
                self._plans[keys] = plan
        return plan


def read_fields(span: Span, plan: Plan, *, is_open: bool = False) -> Found:
    """Read the fields of a run: ours first, then each dialect, then the general conventions."""
    found: Found = {"used": set()}
    if is_open:
        found["outcome"] = "running"
    if plan.own is not None:
        own.read_run(span, plan.own, found)
    values = SpanValues(span.attributes, found["used"])
    for present in plan.dialects:
        read_dialect(span, present, values, found)
        if span.events and present.dialect is GEN_AI:
            read_span_events(span.events, found)
    _read_general(span, found)
    _keep_own_usage(found)
    return found


def _make_plan(keys: tuple[str, ...]) -> Plan:
    held = own.held_names(keys) | _HELD
    dialects = (find_present(dialect, keys) for dialect in DIALECTS)
    return Plan(
        own.find_names(keys),
        tuple(present for present in dialects if present is not None),
        tuple(sorted(key for key in keys if key not in held)),
    )


def _read_general(span: Span, found: Found) -> None:
    """Fill the fields that every OpenTelemetry span names: status, exception, session, user."""
    attributes, resource = span.attributes, span.scope.resource
    found.setdefault("dialect", "opentelemetry")
    found.setdefault("kind", "span")
    failed = span.status_code == _STATUS_ERROR or names.ERROR_TYPE in attributes
    if found.setdefault("outcome", "error" if failed else "ok") != "ok":
        _read_error(span, found)
    if names.SESSION_ID in attributes:
        found.setdefault("session", to_text(attributes[names.SESSION_ID]))
    if names.USER_ID in attributes:
        found.setdefault("user", to_text(attributes[names.USER_ID]))
    fields = cast("dict[str, object]", found)
    for field, sources in _OF_RESOURCE.items():
        told = next((resource[name] for name in sources if resource.get(name) is not None), None)
        if told is not None:
            fields.setdefault(field, to_text(told))


def _read_error(span: Span, found: Found) -> None:
    if names.ERROR_TYPE in span.attributes:
        found["used"].add(names.ERROR_TYPE)
        found.setdefault("error_type", to_text(span.attributes[names.ERROR_TYPE]))
    exception = _last_exception(span)
    if exception is not None:
        found.setdefault("error_type", to_text(exception.attributes.get("exception.type")))
        message = to_text(exception.attributes.get("exception.message"))
        if message:
            found.setdefault("error_message", message)
    found.setdefault("error_message", span.status_message)


def _last_exception(span: Span) -> Event | None:
    exceptions = [event for event in span.events if event.name in _EXCEPTIONS]
    return max(exceptions, key=lambda event: event.time_ns, default=None)


def _keep_own_usage(found: Found) -> None:
    """Take tokens and cost from a run that is no call of a model; its attributes keep them.

    Spans around a call repeat the sum of what is inside them, and it is counted once. Which one is
    the call is told by the span alone, so that it does not depend on what else arrived, or when.
    What our own SDK writes it counted itself.
    """
    if found["kind"] not in CALLS and found["dialect"] != "otel_ml":
        for name in ("cost", *TOKENS):
            cast("dict[str, object]", found).pop(name, None)
