"""Loads the OpenTelemetry SDK although a limit variable is wrong.

The SDK reads this variable when it is imported, and raises if its value is wrong.
"""

import os
import sys
from importlib import import_module
from typing import Final

SPAN_ATTRIBUTES: Final = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
_SDK: Final = "opentelemetry.sdk.trace"


def load_sdk() -> None:
    """Load the SDK while the variable is unset, if the import would raise. Else do nothing.

    `otel_ml.limits` logs a warning when the first span starts.
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
    """Return whether the SDK accepts a value. An empty one means that there is no limit."""
    try:
        return not text.strip() or int(text) >= 0
    except ValueError:
        return False
