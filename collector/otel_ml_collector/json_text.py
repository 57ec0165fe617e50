"""Reads JSON that standard parsers refuse: NaN, infinite numbers and unpaired surrogates.

Python's ``json.dumps`` writes the first two, and JavaScript writes the last where it cuts a text.
"""

import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable
from json import JSONDecoder
from typing import Final

import orjson

# orjson holds the interpreter lock until all is parsed, up to 20 ms per MB. Longer JSON is parsed
# by the standard library, which takes about 1.5 times as long but calls a function of ours for
# each object and number, so that other threads get their turn.
_LARGE_TEXT: Final = 2 * 1024 * 1024
# First characters of lists, objects and texts. If orjson fails, only these are parsed again, so a
# bare NaN is not read as JSON.
_STARTS: Final = ("[", "{", '"')
# Matches each escape. Group 1 is half a surrogate pair.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_INT64: Final = -(2**63)
_UINT64: Final = 2**64


def read_json(text: str) -> object:
    """Parse JSON that may contain values that JSON does not allow, such as NaN.

    NaN becomes None, an infinite number becomes the text ``Infinity`` or ``-Infinity``, and an
    unpaired surrogate becomes a replacement character. otel-ml's SDK writes such values in the same
    way.

    Raises:
        ValueError: The text is not JSON.
    """
    if len(text) > _LARGE_TEXT and text.lstrip()[:1].startswith(_STARTS):
        return _read_long(text.encode("utf-8", "replace"), _PAYLOADS)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not text.lstrip()[:1].startswith(_STARTS):
            raise
        return _read_odd(text.encode("utf-8", "replace"), error, _PAYLOADS)


def read_json_body(body: bytes) -> object:
    """Parse the JSON of a request.

    NaN and infinite numbers become the texts ``NaN``, ``Infinity`` and ``-Infinity``, as in OTLP.
    An unpaired surrogate becomes a replacement character. A byte order mark at the start is
    ignored.

    Raises:
        ValueError: The body is not JSON.
    """
    body = body.removeprefix(BOM_UTF8)
    if len(body) > _LARGE_TEXT:
        return _read_long(body, _BODIES)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _read_odd(body, error, _BODIES)


def read_invalid_body(body: bytes) -> object:
    """Parse the JSON of a request that contains invalid UTF-8.

    Each invalid byte is kept as Python's error handler ``surrogateescape`` keeps it: the byte
    ``0xff`` becomes the character ``U+DCFF``. Everything else is parsed as by `read_json_body`.

    Raises:
        ValueError: The body is not JSON.
    """
    body = body.removeprefix(BOM_UTF8)
    text = _ESCAPE.sub(_whole_escape, body).decode("utf-8", "surrogateescape")
    try:
        return _BODIES.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def spell_numbers(value: object, nan: str | None = None) -> object:
    """Replace the numbers that JSON cannot represent: NaN by `nan`, infinite ones by their names.

    Returns:
        The value itself if there are none.
    """
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return nan if math.isnan(value) else _name_of(value)
    if isinstance(value, dict):
        pairs = {name: spell_numbers(item, nan) for name, item in value.items()}
        return pairs if any(pairs[name] is not item for name, item in value.items()) else value
    if isinstance(value, list | tuple):
        items = [spell_numbers(item, nan) for item in value]
        return items if any(map(_differ, items, value)) else value
    return value


def _differ(one: object, other: object) -> bool:
    return one is not other


def _read_odd(body: bytes, error: orjson.JSONDecodeError, decoder: JSONDecoder) -> object:
    """Parse JSON that orjson refused.

    Raises:
        ValueError: The body is not JSON; `error` if that is not about the values handled here.
    """
    if b"\\u" in body:
        body = _ESCAPE.sub(_whole_escape, body)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    if not (b"NaN" in body or b"Infinity" in body or "infinity" in str(error)):
        raise error
    try:
        return decoder.decode(body.decode())
    except (ValueError, RecursionError):
        raise error from None


def _read_long(body: bytes, decoder: JSONDecoder) -> object:
    """Parse JSON while other threads run.

    Raises:
        ValueError: The body is not JSON.
    """
    if b"\\u" in body:
        body = _ESCAPE.sub(_whole_escape, body)
    try:
        return decoder.decode(body.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def _name_of(number: float) -> str:
    return "Infinity" if number > 0 else "-Infinity"


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else _name_of(number)


def _int(digits: str) -> int | float | str:
    number = int(digits)
    return number if _INT64 <= number < _UINT64 else _float(digits)  # as orjson does


def _decoder(constant: Callable[[str], str | None]) -> JSONDecoder:
    return JSONDecoder(
        object_hook=_keep, parse_constant=constant, parse_float=_float, parse_int=_int
    )


def _keep(members: dict[str, object]) -> dict[str, object]:
    """Return an object as it is. Calling this lets other threads run."""
    return members


_PAYLOADS: Final = _decoder(lambda name: None if name == "NaN" else name)
_BODIES: Final = _decoder(str)
