"""Loads the OpenTelemetry SDK even if the variable for its attribute limit is invalid.

The SDK reads this variable when it is imported, and raises if the value is invalid.
"""

import os
import sys
from importlib import import_module
from typing import Final

SPAN_ATTRIBUTES: Final = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
_SDK: Final = "opentelemetry.sdk.trace"


def load_sdk() -> None:
    """Import the OpenTelemetry SDK even if ``OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`` is invalid.

    With an invalid value, a normal import raises an error. So the variable is removed during the
    import and then restored. If the value is valid, the SDK is not imported here, because a later
    import succeeds.

    `otel_ml.limits` logs a warning about the invalid value when the first span starts.
    """
    text = os.environ.get(SPAN_ATTRIBUTES, "")
    if is_limit(text) or _SDK in sys.modules:
        return
    del os.environ[SPAN_ATTRIBUTES]
    try:
        import_module(_SDK)
    finally:
        os.environ[SPAN_ATTRIBUTES] = text


def is_limit(text: str) -> bool:
    """Return whether the SDK accepts a value of the variable. An empty value is valid: no limit."""
    try:
        return not text.strip() or int(text) >= 0
    except ValueError:
        return False
