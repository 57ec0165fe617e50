"""OTLP's JSON: fields of objects and attribute values; what traces, logs and metrics share.

protobuf's own reader of JSON is none for OTLP: ids are hex there, unknown fields are to be ignored.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import math
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from otel_ml_collector.errors import BadField
from otel_ml_collector.span import Value

JsonObject = dict[str, object]
Item = TypeVar("Item")

_UINT64: Final = (0, 2**64 - 1)
_INT64: Final = (-(2**63), 2**63 - 1)
_INT32: Final = (-(2**31), 2**31 - 1)
# As deep as protobuf's reader goes with lists.
_DEPTH: Final = 46
_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}")
_DOUBLE: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_NO_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_URL_SAFE: Final = str.maketrans("-_", "+/")
_TYPES: Final = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def each(parent: JsonObject, key: str, read: Callable[[JsonObject], Item]) -> list[Item]:
    """Read the objects of a list; an absent one is empty."""
    items = parent.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise _wrong(key, "a list", items)
    found: list[Item] = []
    try:
        for item in items:
            if not isinstance(item, dict):
                raise _wrong("", "an object", item)
            found.append(read(item))
    except BadField as error:
        raise _inside(f"{key}[{len(found)}]", error) from None
    return found


def within(parent: JsonObject, key: str, read: Callable[[JsonObject], Item]) -> Item:
    """Read an object; an absent one is one without fields."""
    found = parent.get(key)
    if found is None:
        return read({})
    if not isinstance(found, dict):
        raise _wrong(key, "an object", found)
    try:
        return read(found)
    except BadField as error:
        raise _inside(key, error) from None


def text(parent: JsonObject, key: str) -> str:
    """Read a string; an absent one is empty."""
    found = parent.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _wrong(key, "a string", found)
    return found


def uint64(parent: JsonObject, key: str) -> int:
    """Read a number that is written as a string or as a number; an absent one is 0."""
    found = parent.get(key)
    return 0 if found is None else _whole(found, key, _UINT64)


def enum(parent: JsonObject, key: str, names: Mapping[str, int]) -> int:
    """Read an enum: a number, or against OTLP's rule its name; an absent one is 0."""
    found = parent.get(key)
    if found is None:
        return 0
    if isinstance(found, str) and found in names:
        return names[found]
    return _whole(found, key, _INT32)


def hex_bytes(parent: JsonObject, key: str) -> bytes:
    """Read an id: hex of either case, of any length; an absent one is empty."""
    found = parent.get(key)
    if found is None:
        return b""
    if isinstance(found, str):
        try:
            read = bytes.fromhex(found)
        except ValueError:
            pass
        else:
            if 2 * len(read) == len(found):  # no spaces between the digits
                return read
    raise _wrong(key, "an id in hex", found)


def attributes_of(parent: JsonObject) -> dict[str, Value]:
    """Read attributes; of a key that stands twice the last value stays."""
    return _pairs(parent, "attributes", _DEPTH)


def value(parent: JsonObject, key: str) -> Value:
    """Read a value of any kind; None when it has none."""
    return _value(parent, key, _DEPTH)


def _pairs(parent: JsonObject, key: str, depth: int) -> dict[str, Value]:
    items = parent.get(key)
    if items is None:
        return {}
    if not isinstance(items, list):
        raise _wrong(key, "a list", items)
    found: dict[str, Value] = {}
    place = 0
    try:
        for place, item in enumerate(items):  # noqa: B007 - the error tells it
            if not isinstance(item, dict):
                raise _wrong("", "an object", item)
            found[text(item, "key")] = _value(item, "value", depth)
    except BadField as error:
        raise _inside(f"{key}[{place}]", error) from None
    return found


def _value(parent: JsonObject, key: str, depth: int) -> Value:
    found = parent.get(key)
    if found is None:
        return None
    try:
        return _any_value(found, depth)
    except BadField as error:
        raise _inside(key, error) from None


def _any_value(found: object, depth: int) -> Value:
    """Read one AnyValue; of several kinds in one object the last stays."""
    if not isinstance(found, dict):
        raise _wrong("", "an object", found)
    result: Value = None
    for kind, content in found.items():
        if content is None:
            continue
        read = _KINDS.get(kind)
        if read is not None:
            result = read(content, depth)
    return result


def _string(content: object, _depth: int) -> str:
    if not isinstance(content, str):
        raise _wrong("stringValue", "a string", content)
    return content


def _bool(content: object, _depth: int) -> bool:
    if not isinstance(content, bool):
        raise _wrong("boolValue", "true or false", content)
    return content


def _int(content: object, _depth: int) -> int:
    return _whole(content, "intValue", _INT64)


def _double(content: object, _depth: int) -> float:
    if isinstance(content, float):
        return content
    if isinstance(content, int) and not isinstance(content, bool):
        return float(content)
    if isinstance(content, str):
        if content in _NO_NUMBERS:
            return _NO_NUMBERS[content]
        if _DOUBLE.fullmatch(content):
            return float(content)
    raise _wrong("doubleValue", 'a number, "NaN", "Infinity" or "-Infinity"', content)


def _bytes(content: object, _depth: int) -> bytes:
    if isinstance(content, str):
        digits = content.translate(_URL_SAFE).rstrip("=")
        try:
            return b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        except (NotBase64, ValueError):
            pass
    raise _wrong("bytesValue", "base64", content)


def _array(content: object, depth: int) -> list[Value]:
    items = _members(content, "arrayValue", depth).get("values")
    if items is None:
        return []
    if not isinstance(items, list):
        raise _wrong("arrayValue.values", "a list", items)
    found: list[Value] = []
    try:
        for item in items:
            found.append(  # noqa: PERF401 - the error tells how many were read
                None if item is None else _any_value(item, depth - 1)
            )
    except BadField as error:
        raise _inside(f"arrayValue.values[{len(found)}]", error) from None
    return found


def _kvlist(content: object, depth: int) -> dict[str, Value]:
    members = _members(content, "kvlistValue", depth)
    try:
        return _pairs(members, "values", depth - 1)
    except BadField as error:
        raise _inside("kvlistValue", error) from None


def _members(content: object, kind: str, depth: int) -> JsonObject:
    if depth == 0:
        raise BadField(kind, f"expected at most {_DEPTH} values inside each other")
    if not isinstance(content, dict):
        raise _wrong(kind, "an object", content)
    return content


_KINDS: Final[Mapping[str, Callable[[object, int], Value]]] = {
    "stringValue": _string,
    "boolValue": _bool,
    "intValue": _int,
    "doubleValue": _double,
    "bytesValue": _bytes,
    "arrayValue": _array,
    "kvlistValue": _kvlist,
}


def _whole(found: object, key: str, bounds: tuple[int, int]) -> int:
    """Read an integer in either form; 1.0 is one too, as protobuf's JSON has it."""
    number: int | None = None
    if isinstance(found, str):
        number = int(found) if _DECIMAL.fullmatch(found) else None
    elif isinstance(found, int) and not isinstance(found, bool):
        number = found
    elif isinstance(found, float) and found.is_integer():
        number = int(found)
    low, high = bounds
    if number is None or not low <= number <= high:
        raise _wrong(key, f"an integer from {low} to {high}", found)
    return number


def _wrong(field: str, expected: str, found: object) -> BadField:
    """Say what a field is not; its value stays unsaid, it may be anything of the sender's."""
    return BadField(field, f"expected {expected}, got {kind_of(found)}")


def kind_of(found: object) -> str:
    """Name what something in JSON is, for an error."""
    return _TYPES[type(found)]


def _inside(place: str, error: BadField) -> BadField:
    return BadField(f"{place}.{error.field}" if error.field else place, error.description)
