"""Fields of values whose classes are other packages': dicts, models, objects; read, never trusted.

A value may answer anything under any name, as a mock does, or raise. So each reader asks for one
type and gives None for every other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml.errors import untrusted

MAX_COUNT: Final = 10**12
_NAME_CHARS: Final = 256


def read(value: object, name: str) -> Any:
    """Return a key of a mapping or an attribute of an object; None when there is none."""
    with untrusted:
        if isinstance(value, Mapping):
            return value.get(name)
        return getattr(value, name, None)
    return None


def read_text(value: object, *names: str) -> str | None:
    """Return the first of some fields that is text with something in it."""
    for name in names:
        found = read(value, name)
        if isinstance(found, str) and found:
            return found
    return None


def read_name(value: object, *names: str) -> str | None:
    """Return a short text, such as an id; a longer one is no name."""
    found = read_text(value, *names)
    return found if found is not None and len(found) <= _NAME_CHARS else None


def read_items(value: object, *names: str) -> Sequence[Any]:
    """Return the first of some fields that is a list or tuple, else an empty one."""
    for name in names:
        found = read(value, name)
        if isinstance(found, list | tuple):
            return found
    return ()


def read_count(value: object, *names: str) -> int | None:
    """Return the first of some fields that is a number of things: a whole one, no bool."""
    for name in names:
        found = read(value, name)
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= MAX_COUNT:
            return int(found)
    return None
