"""Single values of the standard library as JSON. Types that JSON lacks are stored with a tag.

A tagged value is ``{"$": tag, "v": parts}``. If only a part of the value is stored, ``of`` names
its type.
"""

import array
import base64
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from otel_ml.capture.description import type_name
from otel_ml.capture.values import clean
from otel_ml.types.data import Decode, Encode

TAG: Final = "$"
VALUE: Final = "v"
OF: Final = "of"

_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1


_OF_CHARS: Final = 200


class TextOnly(str):
    """A text, such as the ``repr``, that is loaded in place of an object that could not be stored.

    Attributes:
        of: Qualified name of the object's type, such as ``app.Model``. Empty if unknown.
    """

    __slots__ = ("of",)

    of: str

    def __new__(cls, text: str, of: str = "") -> "TextOnly":
        """Create a text for an object, with the name of its type."""
        made = super().__new__(cls, text)
        made.of = of
        return made


def tagged(tag: str, value: Any) -> dict[str, Any]:
    """Return the stored form of a value that JSON lacks: ``{"$": tag, "v": value}``."""
    return {TAG: tag, VALUE: value}


def reduced(tag: str, value: Any, of: str) -> dict[str, Any]:
    """Return the JSON for an object that can only be stored in part, such as its ``repr``.

    Args:
        tag: What is stored: ``repr``, ``fields`` or ``member`` (the value of an enum member).
        value: The stored part, as JSON.
        of: Qualified name of the object's type, such as ``app.Model``.
    """
    return {TAG: tag, VALUE: value, OF: clean(of[:_OF_CHARS])}


def write_text(value: str) -> Any:
    """Serialise a string.

    If it contains lone surrogates, which JSON cannot represent, store bytes.
    """
    text = str.__str__(value)  # not str(value), because a subclass may override it
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return tagged("text", to_base64(text.encode("utf-8", "surrogatepass")))
    return text


def write_int(value: int) -> Any:
    """Serialise an integer. More than 64 bits are stored in hexadecimal."""
    number = int.__add__(value, 0)  # not int(value), because a subclass may override it
    return number if _INT64_MIN <= number <= _UINT64_MAX else tagged("int", hex(number))


def write_float(value: float) -> Any:
    """Serialise a float. NaN and infinities are stored by name."""
    number = float.__pos__(value)
    return number if math.isfinite(number) else tagged("float", repr(number))


_BASE64_BYTES: Final = 3 * 2**16  # divisible by 3, so that the pieces have no padding


def to_base64(raw: Any) -> str:
    """Return bytes, or a buffer, as base64 text."""
    if type(raw) is bytes and len(raw) > _BASE64_BYTES:
        # in pieces: 4 MB at once would block other threads for 8 ms
        pieces = range(0, len(raw), _BASE64_BYTES)
        return "".join([to_base64(raw[start : start + _BASE64_BYTES]) for start in pieces])
    return base64.b64encode(raw).decode()


def from_base64(text: str) -> bytes:
    """Return the bytes of base64 text. Line breaks are ignored."""
    return base64.b64decode(text)


_MICROSECOND: Final = datetime.timedelta(microseconds=1)


def write_zone(zone: Any, at: datetime.datetime | None = None) -> dict[str, Any]:
    """Convert a time zone to JSON, by its name or else by its offset from UTC.

    Args:
        zone: A time zone, such as ``Europe/Berlin``, of zoneinfo, pytz, the standard library or any
            other library.
        at: Time at which to take the offset, for a zone that is stored without a name.

    Raises:
        ValueError: The zone has neither a name nor an offset.
    """
    package = type(zone).__module__.partition(".")[0]
    if package == "zoneinfo" and isinstance(zone.key, str):
        return {"zone": zone.key}
    if package == "pytz" and isinstance(zone.zone, str):
        return {"zone": zone.zone, "by": "pytz"}
    offset = zone.utcoffset(at)
    if offset is None:
        raise ValueError("Invalid time zone: expected one with a name or an offset")
    form: dict[str, Any] = {"offset_us": offset // _MICROSECOND}
    if isinstance(zone, datetime.timezone):
        name = zone.tzname(None)
        if name != datetime.timezone(offset).tzname(None):
            form["name"] = name
    return form


def read_zone(form: Any) -> datetime.tzinfo:
    """Read a time zone. A pytz zone becomes a zoneinfo if pytz is not installed."""
    if "zone" in form:
        return _named(form["zone"], form.get("by"))
    offset = form["offset_us"] * _MICROSECOND
    if "name" in form:
        return datetime.timezone(offset, form["name"])
    return datetime.timezone(offset) if offset else datetime.timezone.utc


def _named(name: str, by: str | None) -> datetime.tzinfo:
    if by == "pytz":
        try:
            import pytz  # type: ignore[import-untyped]  # optional, and only for pytz zones
        except ImportError:
            pass
        else:
            zone: datetime.tzinfo = pytz.timezone(name)
            return zone
    return zoneinfo.ZoneInfo(name)


def _write_clock(tag: str, value: Any, at: datetime.datetime | None) -> Any:
    """Serialise a time or datetime with its zone, see `write_zone`."""
    zone = None if value.tzinfo is None else write_zone(value.tzinfo, at)
    return tagged(tag, [value.replace(tzinfo=None, fold=0).isoformat(), zone, value.fold])


def _read_clock(kind: Any, form: Any) -> Any:
    local, zone, fold = form
    tz = None if zone is None else read_zone(zone)
    return kind.fromisoformat(local).replace(tzinfo=tz, fold=fold)


def _write_path(value: pathlib.PurePath, encode: Encode) -> Any:
    flavour = "windows" if isinstance(value, pathlib.PureWindowsPath) else "posix"
    concrete = isinstance(value, pathlib.Path)
    return tagged("path", [encode(str(value)), flavour, concrete])


def _read_path(form: Any, decode: Decode) -> pathlib.PurePath:
    """Read a path. A path of another operating system becomes a pure path."""
    text, flavour, concrete = form
    pure = pathlib.PureWindowsPath if flavour == "windows" else pathlib.PurePosixPath
    kind = pathlib.Path if concrete and issubclass(type(pathlib.Path()), pure) else pure
    return kind(decode(text))


def write_member(value: enum.Enum, encode: Encode) -> Any:
    """Serialise a member of an enumeration: its value and its name."""
    return reduced("member", encode(value.value), f"{type_name(value)}.{value.name}")


def _write_range(value: range, encode: Encode) -> Any:
    return tagged("range", [encode(value.start), encode(value.stop), encode(value.step)])


WRITERS: Final[dict[type, Callable[[Any, Encode], Any]]] = {
    str: lambda value, _encode: write_text(value),
    int: lambda value, _encode: write_int(value),
    float: lambda value, _encode: write_float(value),
    complex: lambda value, _encode: tagged(
        "complex", [write_float(value.real), write_float(value.imag)]
    ),
    bytes: lambda value, _encode: tagged("bytes", to_base64(value)),
    bytearray: lambda value, _encode: tagged("bytearray", to_base64(value)),
    memoryview: lambda value, _encode: tagged("bytes", to_base64(value.tobytes())),
    datetime.datetime: lambda value, _encode: _write_clock("datetime", value, value),
    datetime.date: lambda value, _encode: tagged("date", value.isoformat()),
    datetime.time: lambda value, _encode: _write_clock("time", value, None),
    datetime.timedelta: lambda value, _encode: tagged(
        "timedelta", [value.days, value.seconds, value.microseconds]
    ),
    decimal.Decimal: lambda value, _encode: tagged("decimal", str(value)),
    fractions.Fraction: lambda value, encode: tagged(
        "fraction", [encode(value.numerator), encode(value.denominator)]
    ),
    uuid.UUID: lambda value, _encode: tagged("uuid", value.hex),
    pathlib.PurePath: _write_path,
    range: _write_range,
    slice: lambda value, encode: tagged(
        "slice", [encode(part) for part in (value.start, value.stop, value.step)]
    ),
    type(...): lambda _value, _encode: tagged("ellipsis", None),
    datetime.tzinfo: lambda value, _encode: tagged("zone", write_zone(value)),
    array.array: lambda value, encode: tagged(
        "array", [value.typecode, [encode(item) for item in value.tolist()]]
    ),
}

READERS: Final[dict[str, Callable[[Any, Decode], Any]]] = {
    "text": lambda form, _decode: from_base64(form).decode("utf-8", "surrogatepass"),
    "int": lambda form, _decode: int(form, 16),
    "float": lambda form, _decode: float(form),
    "complex": lambda form, decode: complex(*map(decode, form)),
    "bytes": lambda form, _decode: from_base64(form),
    "bytearray": lambda form, _decode: bytearray(from_base64(form)),
    "datetime": lambda form, _decode: _read_clock(datetime.datetime, form),
    "date": lambda form, _decode: datetime.date.fromisoformat(form),
    "time": lambda form, _decode: _read_clock(datetime.time, form),
    "timedelta": lambda form, _decode: datetime.timedelta(*form),
    "decimal": lambda form, _decode: decimal.Decimal(form),
    "fraction": lambda form, decode: fractions.Fraction(*map(decode, form)),
    "uuid": lambda form, _decode: uuid.UUID(form),
    "path": _read_path,
    "range": lambda form, decode: range(*map(decode, form)),
    "slice": lambda form, decode: slice(*map(decode, form)),
    "ellipsis": lambda _form, _decode: ...,
    "zone": lambda form, _decode: read_zone(form),
    "array": lambda form, decode: array.array(form[0], [decode(item) for item in form[1]]),
}
