"""Inspects the type of a value: its name, and whether the value is a stream."""

import io
import time
from typing import Any, Final

from otel_ml.errors import untrusted

_CLIENTS: Final = frozenset({"anthropic", "openai"})

# If a `repr` takes longer than 20 ms, it is not called again for a minute.
_SLOW_S: Final = 0.02
_SLOW_FOR_S: Final = 60.0
_SLOW_TYPES: Final = 1_000
_SLOW: Final[dict[type, float]] = {}


def words_of(value: Any) -> str | None:
    """Return the ``repr`` of a value. None if ``repr`` of this type was slow in the last minute.

    A ``repr`` that takes more than 20 ms counts as slow. It is not called again for a minute, so
    that recording does not slow down the user's calls. Exceptions of ``repr`` are raised.
    """
    kind = type(value)
    began = time.monotonic()
    if began < _SLOW.get(kind, 0.0):
        return None
    try:
        return repr(value)
    finally:
        now = time.monotonic()
        if now - began > _SLOW_S:
            if len(_SLOW) >= _SLOW_TYPES:
                _SLOW.clear()
            _SLOW[kind] = now + _SLOW_FOR_S


def is_stream(value: object) -> bool:
    """Return whether a value is a stream, such as a generator. Nothing is read from it.

    It also recognizes the stream classes of OpenAI's and Anthropic's clients. Never raises.
    """
    kind = type(value)
    with untrusted:  # a metaclass may raise
        if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            return not issubclass(kind, io.IOBase)
        return kind.__module__.partition(".")[0] in _CLIENTS and "Stream" in kind.__name__
    return False


def is_placeholder(value: object) -> bool:
    """Return whether a value means "argument not given", such as OpenAI's ``NOT_GIVEN``.

    Such values are recognized by the name of their type. Never raises.
    """
    with untrusted:  # a metaclass may raise
        return is_placeholder_type(type(value))
    return False


def is_placeholder_type(kind: type) -> bool:
    """Tell whether the values of a type are placeholders, see `is_placeholder`."""
    return kind.__name__ in {"NotGiven", "Omit"} and (
        kind.__module__.partition(".")[0] in _CLIENTS or kind.__module__.endswith("._types")
    )


def type_name(value: object) -> str:
    """Return the qualified name of a value's type. Never raises."""
    return type_name_of(type(value))


def type_name_of(kind: type) -> str:
    """Return the qualified name of a type. Never raises."""
    with untrusted:  # a metaclass may raise
        return f"{kind.__module__}.{kind.__qualname__}"
    return "unknown"


def text_of(value: object) -> str:
    """Return ``str(value)``, or the name of its type if that fails. Never raises."""
    with untrusted:
        return str(value)
    return type_name(value)
