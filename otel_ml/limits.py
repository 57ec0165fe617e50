"""Reads OpenTelemetry's span limits from the environment. An invalid value has no effect."""

import os
from typing import Any, Final

from opentelemetry.sdk.trace import SpanLimits

from otel_ml.errors import warn_once
from otel_ml.sdk_import import SPAN_ATTRIBUTES, is_limit

_DEFAULT_COUNT: Final = 128  # OpenTelemetry's default for all count limits
# For each argument of `SpanLimits`: its environment variable, and the argument it defaults to.
_VARIABLES: Final = {
    "max_attributes": ("OTEL_ATTRIBUTE_COUNT_LIMIT", ""),
    "max_events": ("OTEL_SPAN_EVENT_COUNT_LIMIT", ""),
    "max_links": ("OTEL_SPAN_LINK_COUNT_LIMIT", ""),
    "max_span_attributes": (SPAN_ATTRIBUTES, "max_attributes"),
    "max_event_attributes": ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "max_attributes"),
    "max_link_attributes": ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "max_attributes"),
    "max_attribute_length": ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", ""),
    "max_span_attribute_length": (
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "max_attribute_length",
    ),
}


def read_limits() -> SpanLimits:
    """Read the limits of spans, such as the number of attributes, from the environment variables.

    For an invalid value a warning is logged once, and the default is used.

    Spec: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    defaults: dict[str, Any] = {}
    for argument, (variable, general) in _VARIABLES.items():
        text = os.environ.get(variable, "")
        if is_limit(text):
            continue
        default = SpanLimits.UNSET if argument.endswith("length") else _DEFAULT_COUNT
        if general:
            default = _read(os.environ.get(_VARIABLES[general][0]), default)
        defaults[argument] = default
        warn_once(
            "Invalid %s %r: expected a whole number from 0, using the default, %s",
            variable,
            text,
            "no limit" if default == SpanLimits.UNSET else f"{default}",
        )
    return SpanLimits(**defaults)


def _read(text: str | None, default: int) -> int:
    """Return the value of a general limit; the default if it is not set or invalid."""
    if text is None or not is_limit(text):
        return default
    return int(text) if text.strip() else SpanLimits.UNSET
