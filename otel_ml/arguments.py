"""Checks for the arguments of public functions.

Each check returns the value, or raises a ValueError that shows the value and the expected form.
Checks look only at types and never call the object's own code, which may be hostile.
"""

import os
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from otel_ml import attributes as names
from otel_ml.capture.description import type_name

T = TypeVar("T")

NAME_CHARS: Final = 1_024

_MAX_FLOAT: Final = sys.float_info.max
_MAX_PROJECT_CHARS: Final = 128
_SHOWN_CHARS: Final = 80
_SHOWN_ITEMS: Final = 4
_SUGGESTED: Final = 20  # names
# browsers treat a path segment with this name as "parent folder", even if it is escaped
_WAYS_UP: Final = frozenset({".", ".."})
_SCHEMES: Final = ("http://", "https://")
_SHOWN_TYPES: Final = frozenset({str, int, float, complex, bool, bytes, type(None)})
_BRACKETS: Final[Mapping[type, str]] = {list: "[]", tuple: "()", set: "{}"}


class InvalidArgumentError(ValueError):
    """Raised if an argument of a public function is invalid. The call then has no effect."""


def invalid(argument: str, value: object, expected: str) -> InvalidArgumentError:
    """Return the error that names the argument, its value and the expected form."""
    return InvalidArgumentError(f"Invalid {argument} {show(value)}: expected {expected}")


def find_similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to a wrong one, or None if none is similar."""
    from difflib import get_close_matches  # slow to import, and needed only for errors

    return next(iter(get_close_matches(name, [*dict.fromkeys(known)], n=1)), None)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the hint for an error about an unknown name: a similar name, or the known names."""
    names = [*dict.fromkeys(known)]
    near = find_similar(name, names)
    if near is not None:
        return f"did you mean {near}?"
    listed = ", ".join(names[:_SUGGESTED])
    return (
        f"expected one of {listed}{' …' * (len(names) > _SUGGESTED)}" if names else "there is none"
    )


def show(value: object, depth: int = 2) -> str:
    """Return a value as short text for a message.

    No methods of the user's own classes are called.
    """
    kind = type(value)
    if kind in _SHOWN_TYPES:
        text = repr(value[: _SHOWN_CHARS + 1] if isinstance(value, str | bytes) else value)
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    if depth and kind is dict:
        pairs: dict[object, object] = value  # type: ignore[assignment]  # just checked
        head = islice(pairs.items(), _SHOWN_ITEMS)
        shown = [f"{show(key, depth - 1)}: {show(item, depth - 1)}" for key, item in head]
        return _within("{}", shown, len(pairs))
    if depth and kind in _BRACKETS:
        items: Collection[object] = value  # type: ignore[assignment]  # just checked
        shown = [show(item, depth - 1) for item in islice(items, _SHOWN_ITEMS)]
        return _within(_BRACKETS[kind], shown, len(items))
    return f"of type {type_name(value).removeprefix('builtins.')}"


def _within(brackets: str, shown: list[str], length: int) -> str:
    more = ["…"] if length > len(shown) else []
    return f"{brackets[0]}{', '.join([*shown, *more])}{brackets[1]}"


def check_text(
    argument: str, value: object, most: int = NAME_CHARS, *, may_be_empty: bool = False
) -> str:
    """Return a string as a plain `str`. Raise if it is empty or longer than `most` characters."""
    if issubclass(type(value), str):
        text = str.__str__(value)
        if (text or may_be_empty) and len(text) <= most:
            return text
    least = 0 if may_be_empty else 1
    raise invalid(argument, value, f"a text of {least} to {most:,} characters")


def check_optional_text(argument: str, value: object, most: int = NAME_CHARS) -> str | None:
    """Return a string of at most `most` characters, or None. Raise for any other value."""
    return None if value is None else check_text(argument, value, most, may_be_empty=True)


def check_key(value: object) -> str | None:
    """Return an API key, or None. Messages never show the key."""
    if type(value) is str and value.strip().lower().startswith(("http://", "https://")):
        raise InvalidArgumentError(
            "Invalid api_key: expected a key, got an address; the second argument of Client is the "
            "API key, so pass the address as endpoint="
        )
    if value is None or issubclass(type(value), str):
        return value  # type: ignore[return-value]  # just checked
    raise InvalidArgumentError(
        f"Invalid api_key of type {type_name(value)}: expected a text, or None"
    )


def check_flag(argument: str, value: object) -> bool:
    """Return the value if it is True or False. Raise for any other value, including 0 and 1."""
    if value is True or value is False:
        return value
    raise invalid(argument, value, "True or False")


def check_number(
    argument: str, value: object, least: float = -_MAX_FLOAT, most: float = _MAX_FLOAT
) -> float:
    """Return a finite number from `least` to `most`, or raise."""
    if type(value) is int or issubclass(type(value), float):
        number: float = value  # type: ignore[assignment]  # just checked
        if least <= number <= most:
            return number
    is_any = most == _MAX_FLOAT
    raise invalid(
        argument, value, "a finite number" if is_any else f"a number from {least:g} to {most:g}"
    )


def check_integer(argument: str, value: object, least: int, most: int) -> int:
    """Return an integer from `least` to `most`, or raise."""
    if type(value) is int and least <= value <= most:
        return value
    raise invalid(argument, value, f"an integer from {least} to {most:,}")


def check_seconds(argument: str, value: object, *, may_be_zero: bool = False) -> float:
    """Return the value if it is a number of seconds that a thread can wait. Raise otherwise."""
    kind = type(value)
    if kind is int or issubclass(kind, float):
        seconds: float = value  # type: ignore[assignment]  # just checked
        if 0 < seconds <= threading.TIMEOUT_MAX or (may_be_zero and seconds == 0):
            return seconds
    least = "a number of seconds, 0 or more" if may_be_zero else "a positive number of seconds"
    raise invalid(argument, value, least)


def check_mapping(argument: str, value: object, expected: str) -> Mapping[Any, Any]:
    """Return the value if it is a mapping, such as a dict. Raise otherwise."""
    if issubclass(type(value), Mapping):
        return value  # type: ignore[return-value]  # just checked
    raise invalid(argument, value, expected)


def check_path(argument: str, value: object) -> Path:
    """Convert a string or path object to a `Path`. Raise for any other value."""
    if issubclass(type(value), str | os.PathLike):
        text = os.fspath(value)  # type: ignore[call-overload]  # just checked
        if issubclass(type(text), str) and text:
            return Path(str.__str__(text))
    raise invalid(argument, value, "a path")


def check_callable(argument: str, value: T, expected: str) -> T:
    """Return the value if it can be called. Raise otherwise."""
    if callable(value):
        return value
    raise invalid(argument, value, expected)


def check_one_of(argument: str, value: object, known: Collection[str]) -> str:
    """Return the value if it is one of the strings in `known`. Raise otherwise."""
    if issubclass(type(value), str) and value in known:
        return str.__str__(value)
    raise invalid(argument, value, f"one of {sorted(known)}")


def choose_project(given: object, most: int = _MAX_PROJECT_CHARS) -> str:
    """Return the name of the project that a client or reader uses.

    The name is the argument that the user passed. Without one, it is the value of the environment
    variable ``OTEL_ML_PROJECT``. Without that too, it is ``default``.

    Args:
        given: Name that the user passed. None or an empty string if the user passed none.
        most: Maximum number of characters. Readers allow more than the usual 128, because other
            tools may have recorded projects with longer names.

    Raises:
        ValueError: The name is too long, ``.``, ``..`` or a URL, or has unprintable characters.
    """
    chosen = given
    if given is None or (type(given) is str and not given):
        chosen = os.environ.get("OTEL_ML_PROJECT") or names.DEFAULT_PROJECT
    if issubclass(type(chosen), str):
        name = str.__str__(chosen)
        if name.startswith(_SCHEMES):
            raise invalid("project", name, "a name; pass an address as endpoint")
        is_ours = name.isprintable() or most > _MAX_PROJECT_CHARS
        if 0 < len(name) <= most and is_ours and name not in _WAYS_UP:
            return name
    raise invalid("project", chosen, f"1 to {most} printable characters, not '.' or '..'")
