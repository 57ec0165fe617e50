"""Finds the project of spans and log records, and checks whether they can be stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.access import IMPORT, OPEN, Access
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.shared_ids import SpanOwners
from otel_ml_collector.mapping.values import service_name, to_text
from otel_ml_collector.span import Scope, Span, Value, is_span_id, is_trace_id
from otel_ml_collector.times import AHEAD_NS, LATEST_NS, OLDEST_NS

# Reason to reject a record whose project the key of the sender may not write to.
NOT_ALLOWED: Final = "project_not_allowed"
NOT_ALLOWED_MEANS: Final = "the key may not write to the project that they name"
WRONG_TIME: Final = "outside_time_window"
WRONG_TIME_MEANS: Final = (
    "their time is missing, more than an hour in the future or more than 400 days ago; check the "
    "clock of the sender"
)
# Process of imported runs, in place of the one that sent them. Alert rules leave these runs out.
IMPORTED: Final = "import"
# Spec: https://url.spec.whatwg.org/#double-dot-path-segment, also when it is percent-encoded.
_ADDRESSED: Final = {".": "_.", "..": "_.."}
_OPENINFERENCE_PROJECT: Final = "openinference.project.name"
_MAX_PROJECT_CHARS: Final = 128


@dataclass(frozen=True, slots=True)
class StartWindow:
    """The start times that are accepted: from 400 days ago to one hour in the future.

    Attributes:
        now_ns: Time of the collector's clock, in nanoseconds since the epoch.
        reaches_back: Whether imported history is accepted: everything since 1970.
    """

    now_ns: int
    reaches_back: bool = False

    def __contains__(self, start_ns: int) -> bool:
        """Return whether a start time is accepted."""
        oldest_ns = 1 if self.reaches_back else self.now_ns - OLDEST_NS
        return oldest_ns <= start_ns <= self.now_ns + AHEAD_NS


@dataclass(frozen=True, slots=True)
class Filing:
    """Properties of a request that apply to all of its spans or log records.

    Attributes:
        header_project: Project from the request header, for records that name no project. None if
            there is no header.
        now_ns: Current time, in nanoseconds since the epoch. Records too far from it are rejected.
        access: Access of the sender's key.
        prices: Prices of model calls; None if no cost is computed.
        by_service: Whether ``service.name`` of the resource is the project if nothing else names
            one.
        owners: Kinds and services of recent spans, also of earlier requests, to detect spans that
            have the same ID.
    """

    header_project: str | None
    now_ns: int
    access: Access = OPEN
    prices: Prices | None = None
    by_service: bool = False
    owners: SpanOwners = field(default_factory=SpanOwners)

    def window_of(self, scope: Scope) -> StartWindow:
        """Return the accepted start times. With an import key they reach back to 1970."""
        is_import = bool(scope.resource.get(names.IMPORT)) and self.access.has(IMPORT)
        return StartWindow(self.now_ns, is_import)


def project_of(attributes: Mapping[str, Value], scope: Scope, filing: Filing) -> str | None:
    """Return the project of a span or log record.

    The project is named by the span or log record, its scope, its resource or the request header,
    in this order. If the API key may write to exactly one project, that project is used instead. If
    no project is named, the service name is used if the settings say so and the key may write to
    it. Otherwise the first project of the key is used. ``.`` and ``..`` are stored as ``_.`` and
    ``_..``, because browsers cannot request them.

    Returns:
        The project; None if the key may not write to the named project.
    """
    own = filing.access.projects
    if own is not None and len(own) == 1:
        return own[0]
    named = _named(attributes, scope) or filing.header_project
    service = service_name(scope.resource) if filing.by_service and not named else ""
    project = _ADDRESSED.get(named or service, named or service)
    if project and filing.access.reaches(project):
        return project
    if named:
        return None
    return own[0] if own else names.DEFAULT_PROJECT


def is_project(name: str) -> bool:
    """Return whether a project name is valid: at most 128 characters, all printable."""
    return len(name) <= _MAX_PROJECT_CHARS and name.isprintable()


def reason_to_reject(span: Span, project: str, window: StartWindow) -> str | None:
    """Return why a span can never be stored; None if it can."""
    if not is_trace_id(span.trace_id):
        return "invalid_trace_id"
    if not is_span_id(span.span_id):
        return "invalid_span_id"
    if span.start_ns not in window:
        return WRONG_TIME
    if span.end_ns > LATEST_NS:
        return "invalid_end_time"
    return None if is_project(project) else "invalid_project"


def _named(attributes: Mapping[str, Value], scope: Scope) -> str:
    for part in (attributes, scope.attributes, scope.resource):
        for name in (names.PROJECT, _OPENINFERENCE_PROJECT):
            if part.get(name):
                return to_text(part[name])
    return ""
