"""Where spans and log records are filed, and which of them can be stored at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.access import IMPORT, OPEN, Access
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.shared_ids import SpanOwners
from otel_ml_collector.mapping.values import service_name, to_text
from otel_ml_collector.span import Scope, Span, Value, is_span_id, is_trace_id
from otel_ml_collector.times import AHEAD_NS, DAY_NS, LATEST_NS

# Why a span or log record is rejected whose project is none of its key's.
NOT_ALLOWED: Final = "project_not_allowed"
# Spec: https://url.spec.whatwg.org/#double-dot-path-segment, also when it is percent-encoded.
_ADDRESSED: Final = {".": "_.", "..": "_.."}
_OPENINFERENCE_PROJECT: Final = "openinference.project.name"
_OLDEST_NS: Final = 400 * DAY_NS
_MAX_PROJECT_CHARS: Final = 128


@dataclass(frozen=True, slots=True)
class StartWindow:
    """The starts that are taken: 400 days back, one hour ahead of the collector's clock.

    Attributes:
        now_ns: That clock.
        reaches_back: Whether history is taken: all since 1970.
    """

    now_ns: int
    reaches_back: bool = False

    def __contains__(self, start_ns: int) -> bool:
        """Whether a span may start then."""
        oldest_ns = 1 if self.reaches_back else self.now_ns - _OLDEST_NS
        return oldest_ns <= start_ns <= self.now_ns + AHEAD_NS


@dataclass(frozen=True, slots=True)
class Filing:
    """Facts of a request that hold for all of its spans or log records.

    Attributes:
        header_project: The project of those that name none; None when the request has no say.
        now_ns: Those that are from long before or after this are rejected.
        access: What the request's key allows.
        prices: What calls of models cost; None where no cost is worked out.
        by_service: Whether the resource's ``service.name`` names the project where nothing else
            does.
        owners: Senders of recent spans, of this request and those before it.
    """

    header_project: str | None
    now_ns: int
    access: Access = OPEN
    prices: Prices | None = None
    by_service: bool = False
    owners: SpanOwners = field(default_factory=SpanOwners)

    def window_of(self, scope: Scope) -> StartWindow:
        """Return the window of starts that are accepted: an import key may reach back to 1970."""
        is_import = bool(scope.resource.get(names.IMPORT)) and self.access.has(IMPORT)
        return StartWindow(self.now_ns, is_import)


def project_of(attributes: Mapping[str, Value], scope: Scope, filing: Filing) -> str | None:
    """Name the project: of the span or log record, its scope, its resource, its request.

    A key of one project has the first word, and a key of several the last: its first one. Before
    that, where the settings say so, comes the service; a service beyond the key is ignored. ``.``
    and ``..``, which no browser can ask for, are filed as ``_.`` and ``_..``.

    Returns:
        The project; None when the key does not reach the named project.
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
    """Tell a name that a project may have: at most 128 characters, all of them visible."""
    return len(name) <= _MAX_PROJECT_CHARS and name.isprintable()


def reason_to_reject(span: Span, project: str, window: StartWindow) -> str | None:
    """Say why a span can never be stored; None when it can."""
    if not is_trace_id(span.trace_id):
        return "invalid_trace_id"
    if not is_span_id(span.span_id):
        return "invalid_span_id"
    if span.start_ns not in window:
        return "outside_time_window"
    if span.end_ns > LATEST_NS:
        return "invalid_end_time"
    return None if is_project(project) else "invalid_project"


def _named(attributes: Mapping[str, Value], scope: Scope) -> str:
    for part in (attributes, scope.attributes, scope.resource):
        for name in (names.PROJECT, _OPENINFERENCE_PROJECT):
            if part.get(name):
                return to_text(part[name])
    return ""
