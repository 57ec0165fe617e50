"""What every OpenTelemetry span says: status, exceptions, session, user, environment."""

from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.dialects.events import EXCEPTION
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import to_text
from otel_ml_collector.span import Event, Span

_STATUS_ERROR: Final = 2
_FORMER_ENVIRONMENT: Final = "deployment.environment"
_EXCEPTIONS: Final = ("exception", EXCEPTION)
# Names that fill a field of a run, whatever their values.
HELD: Final = frozenset({names.SESSION_ID, names.USER_ID})


def read_run(span: Span, found: Found) -> None:
    """Fill the fields that the general conventions name and nobody named before."""
    attributes, resource = span.attributes, span.scope.resource
    found.setdefault("dialect", "opentelemetry")
    found.setdefault("kind", "span")
    failed = span.status_code == _STATUS_ERROR or names.ERROR_TYPE in attributes
    found.setdefault("outcome", "error" if failed else "ok")
    if found["outcome"] != "ok":
        _read_error(span, found)
    if names.SESSION_ID in attributes:
        found.setdefault("session", to_text(attributes[names.SESSION_ID]))
    if names.USER_ID in attributes:
        found.setdefault("user", to_text(attributes[names.USER_ID]))
    environment = resource.get(names.ENVIRONMENT, resource.get(_FORMER_ENVIRONMENT))
    if environment is not None:
        found.setdefault("environment", to_text(environment))
    if names.SERVICE_VERSION in resource:
        found.setdefault("release", to_text(resource[names.SERVICE_VERSION]))


def _read_error(span: Span, found: Found) -> None:
    exception = _last_exception(span)
    if names.ERROR_TYPE in span.attributes:
        found["used"].add(names.ERROR_TYPE)
        found.setdefault("error_type", to_text(span.attributes[names.ERROR_TYPE]))
    if exception is not None:
        found.setdefault("error_type", to_text(exception.attributes.get("exception.type")))
        message = to_text(exception.attributes.get("exception.message"))
        if message:
            found.setdefault("error_message", message)
    found.setdefault("error_message", span.status_message)


def _last_exception(span: Span) -> Event | None:
    exceptions = [event for event in span.events if event.name in _EXCEPTIONS]
    return max(exceptions, key=lambda event: event.time_ns, default=None)
