"""Converts any value to JSON and back. Values that JSON cannot represent are stored with a tag.

An object whose class declares fields is stored as these fields, and read back as a dict. Any other
object is stored as its ``repr``, and read back as that text. Values that contain themselves, are
nested too deeply, or exceed about 256 MiB are cut with an ellipsis.
"""

import enum
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, Final

import orjson

from otel_ml.capture.description import type_name, words_of
from otel_ml.capture.fields import field_names, fields_of
from otel_ml.capture.kinds import bases, is_from
from otel_ml.capture.values import clean
from otel_ml.errors import reraise_host_error, untrusted
from otel_ml.types.data import Data, Encode, File, Form, find_wrapper, load
from otel_ml.types.scalars import (
    OF,
    READERS,
    TAG,
    VALUE,
    WRITERS,
    TextOnly,
    reduced,
    tagged,
    write_member,
    write_text,
)

# estimated bytes; without a limit, lists that share parts can expand endlessly
_BUDGET: Final = 256 * 1024 * 1024
LEAF_BYTES: Final = 16
_CONTAINER: Final = 64
_MAX_LEVELS: Final = 128  # of JSON; orjson supports 254, but each needs about 5 stack frames
_DATA_LEVELS: Final = 8  # levels that a table may need around its elements
_REPR_CHARS: Final = 64 * 1024

_CUT: Final = "…"
_JSON_TYPES: Final = frozenset({str, int, float, bool, type(None)})
_STRINGS: Final = frozenset({str, bytes, bytearray})
_UNCHANGED: Final = frozenset({bool, type(None)})


@dataclass(frozen=True, slots=True)
class Inspection:
    """How to inspect a value before it is converted to JSON, for one type of values.

    Attributes:
        describes: Function that returns a short description of the value, such as its type and
            shape.
        size_of: Function that returns the approximate size of the value in bytes.
        is_binary: Function that returns True if the value is stored as bytes. Bytes are not
            searched for secrets.
        is_flat: Function that returns True for a table whose cells are single numbers, times and
            texts. It has no keys apart from the names of its columns.
    """

    describes: Callable[[Any], Form]
    size_of: Callable[[Any], int] = lambda _: LEAF_BYTES
    is_binary: Callable[[Any], bool] = lambda _: False
    is_flat: Callable[[Any], bool] = lambda _: False


class BuiltIn(Data):
    """Base class of otel-ml's own wrappers, which convert values of other libraries to JSON.

    Their values may also be part of another value, such as an array in a dict.

    Attributes:
        inspection: Functions that inspect the value before it is converted.
    """

    inspection: ClassVar[Inspection]

    def to_jcr(self) -> Form:
        """Serialise the value as it is now."""
        return self.form(Walker())

    def form(self, walker: "Walker") -> Form:
        """Convert the value to JSON as part of a larger value.

        Args:
            walker: Converts the parts of the value, and counts the total size.
        """
        return {"type": self.type_name, "params": self.write(walker)}

    def write(self, walker: "Walker") -> Form:
        """Return the ``params`` of the stored form."""
        raise NotImplementedError

    def _to_file(self, form: Form) -> File | str:
        """Convert the value as it is now to a file that other tools can open.

        Args:
            form: The typed form of the value. Empty if it is not known; it is computed if needed.

        Returns:
            The file, which `_from_file` reads back with the same type, dtype and shape. If no file
            can do that, the reason as the end of a sentence.
        """
        return "no common file format holds this type"

    @classmethod
    def _from_file(cls, content: bytes) -> "BuiltIn":
        """Create a wrapper from the content of a file that `_to_file` returned."""
        raise ValueError(f"Invalid file of type {cls.type_name!r}: expected typed JSON")


class Walker:
    """Converts a value and everything inside it to JSON.

    Args:
        with_hidden: Whether to include the fields that a class keeps out of its ``repr``, see
            `otel_ml.capture.fields`.

    Attributes:
        texts: Number of objects that could only be stored as their ``repr``.
    """

    def __init__(self, *, with_hidden: bool = False) -> None:
        self.texts = 0
        self._with_hidden = with_hidden
        self._left = _BUDGET
        self._levels = 0
        self._path: set[int] = set()

    def encode(self, value: Any) -> Any:
        """Return the JSON form of `value`. Never raises."""
        kind = type(value)
        self._left -= LEAF_BYTES
        if kind in _UNCHANGED:
            return value
        try:
            return self._encode(value, kind)
        except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
            reraise_host_error(error)
            return self.words(value)

    def _encode(self, value: Any, kind: type) -> Any:
        """Serialise a value. Uses few stack frames, because their number limits the depth."""
        if self._left < 0:
            return tagged("repr", _CUT)
        levels, write = _way(kind)
        if levels == 0:
            if kind in _STRINGS:
                self._left -= len(value)
            return write(self, value)
        self._left -= _CONTAINER
        if id(value) in self._path or self._levels + levels > _MAX_LEVELS:
            return tagged("repr", _CUT)
        self._path.add(id(value))
        self._levels += levels
        try:
            return write(self, value)
        finally:
            self._levels -= levels
            self._path.discard(id(value))

    def data(self, value: Data) -> Any:
        """Convert a wrapper inside the value."""
        if isinstance(value, BuiltIn):
            return tagged("data", value.form(self))
        return tagged("data", orjson.loads(orjson.dumps(value.to_jcr())))

    def foreign(self, value: Any) -> Any:
        """Convert a value of a library that has a wrapper, such as an array inside a list."""
        wrapper = find_wrapper(type(value))
        with untrusted:
            if wrapper is not None and issubclass(wrapper, BuiltIn):
                return tagged("value", wrapper(value).form(self))
        with untrusted:
            if field_names(type(value)) is not None:
                return self.declared_fields(value)
        return self.words(value)

    def pandas(self, value: Any) -> Any:
        """Convert a single pandas value, index or array."""
        from otel_ml.types import pandas_form  # only if pandas is installed

        form = pandas_form.write_scalar(value, self)
        return self.words(value) if form is None else form

    def words(self, value: Any) -> Any:
        """Store only the ``repr`` of an object, because nothing else is possible."""
        self.texts += 1
        text = object.__repr__(value)
        with untrusted:
            text = words_of(value) or text
        return reduced("repr", clean(text[:_REPR_CHARS]), type_name(value))

    def declared_fields(self, value: Any) -> Any:
        """Store an object as the fields that its class declares."""
        return self.fields(fields_of(value, with_hidden=self._with_hidden), value)

    def fields(self, pairs: list[tuple[str, Any]], value: Any) -> Any:
        """Store an object as its fields. It is read back as a dict."""
        form = [[write_text(name), self.encode(item)] for name, item in pairs]
        return reduced("fields", form, type_name(value))

    def listed_pairs(self, pairs: list[tuple[Any, Any]]) -> list[list[Any]]:
        """Convert a dict to a list of key and value pairs, for keys that JSON does not support."""
        return [[self.encode(key), self.encode(item)] for key, item in pairs]

    def items(self, items: list[Any]) -> list[Any]:
        """Serialise elements.

        A list of plain JSON values, the usual case, is returned unchanged.
        """
        if self._are_plain(items):
            return items
        return [self.encode(item) for item in items]

    def _are_plain(self, items: list[Any]) -> bool:
        kinds = set(map(type, items))
        if not kinds <= _JSON_TYPES:
            return False
        texts = sum(len(item) for item in items if type(item) is str) if str in kinds else 0
        if texts + LEAF_BYTES * len(items) > self._left:
            return False
        if float in kinds and not all(math.isfinite(n) for n in items if type(n) is float):
            return False
        try:
            orjson.dumps(items)  # it rejects values that `write_int` and `write_text` tag
        except TypeError:
            return False
        self._left -= texts + LEAF_BYTES * len(items)
        return True

    def pairs(self, pairs: list[tuple[Any, Any]]) -> Any:
        """Serialise a dict. If a key is not plain text, it becomes a list of pairs."""
        if all(type(key) is str and key != TAG and write_text(key) is key for key, _ in pairs):
            self._left -= sum(len(key) for key, _ in pairs)
            return {key: self.encode(item) for key, item in pairs}
        return tagged("dict", self.listed_pairs(pairs))


Write = Callable[[Walker, Any], Any]


def _way(kind: type) -> tuple[int, Write]:
    """Return the number of JSON levels that a type needs at most (0 for a leaf), and its writer."""
    if kind in _WAYS:
        return _WAYS[kind]
    if issubclass(kind, Data):
        return _DATA_LEVELS, Walker.data
    if find_wrapper(kind) is not None:
        return _DATA_LEVELS, Walker.foreign
    if is_from("pandas", kind):
        return _DATA_LEVELS, Walker.pandas
    if issubclass(kind, enum.Enum):
        return 1, lambda walker, value: write_member(value, walker.encode)
    match = next((base for base in bases(kind) if base in _WAYS), None)
    names = field_names(kind) if match in _FIELDED else None
    if names is not None:
        return 3, lambda walker, value: walker.declared_fields(value)
    return (0, Walker.words) if match is None else _WAYS[match]


# descriptions of incomplete values
KEPT: Final = {"repr": "its text only", "fields": "its fields", "member": "its value"}


def kept_of(form: Any) -> str:
    """Return which part of an object was stored, such as "its text only"; empty if complete."""
    return KEPT.get(str(form.get(TAG)), "") if isinstance(form, dict) else ""


def _leaf(write: Callable[[Any, Encode], Any]) -> tuple[int, Write]:
    return 0, lambda walker, value: write(value, walker.encode)


# methods of the base class, because a subclass may override them
_WAYS: Final[dict[type, tuple[int, Write]]] = {
    **{kind: _leaf(write) for kind, write in WRITERS.items()},
    list: (1, lambda walker, value: walker.items(list.copy(value))),
    tuple: (2, lambda walker, value: tagged("tuple", walker.items([*tuple.__iter__(value)]))),
    set: (2, lambda walker, value: tagged("set", walker.items([*set.__iter__(value)]))),
    frozenset: (
        2,
        lambda walker, value: tagged("frozenset", walker.items([*frozenset.__iter__(value)])),
    ),
    dict: (3, lambda walker, value: walker.pairs([*dict.items(value)])),
    OrderedDict: (
        3,
        lambda walker, value: tagged("ordered", walker.listed_pairs([*OrderedDict.items(value)])),
    ),
    Counter: (
        3,
        lambda walker, value: tagged("counter", walker.listed_pairs([*dict.items(value)])),
    ),
    MappingProxyType: (3, lambda walker, value: walker.pairs([*value.items()])),
    deque: (
        3,
        lambda walker, value: tagged(
            "deque", [walker.items([*deque.__iter__(value)]), value.maxlen]
        ),
    ),
    SimpleNamespace: (3, lambda walker, value: walker.fields([*vars(value).items()], value)),
}
# subclasses of these may declare fields
_FIELDED: Final = frozenset({None, tuple})


def decode(form: Any) -> Any:
    """Convert the stored JSON form of a value back to the value.

    Raises:
        ValueError: The form is not valid, or from a newer version.
    """
    if isinstance(form, list):
        return [decode(item) for item in form]
    if not isinstance(form, dict):
        return form
    if TAG not in form:
        return {key: decode(item) for key, item in form.items()}
    if form[TAG] == "repr":
        return TextOnly(form[VALUE], str(form.get(OF, "")))
    reader = _READERS.get(form[TAG])
    if reader is None:
        raise ValueError(f"Unknown tag {form[TAG]!r}: expected one of {', '.join(_READERS)}")
    return reader(form[VALUE], decode)


def _read_pairs(form: Any) -> list[tuple[Any, Any]]:
    return [(decode(key), decode(item)) for key, item in form]


def _read_pandas(form: Any, _decode: Callable[[Any], Any]) -> Any:
    from otel_ml.types import pandas_form  # only if pandas is installed

    return pandas_form.read_scalar(form, decode)


_READERS: Final[dict[str, Callable[[Any, Callable[[Any], Any]], Any]]] = {
    **READERS,
    "tuple": lambda form, _decode: tuple(decode(form)),
    "set": lambda form, _decode: set(decode(form)),
    "frozenset": lambda form, _decode: frozenset(decode(form)),
    "dict": lambda form, _decode: dict(_read_pairs(form)),
    "fields": lambda form, _decode: dict(_read_pairs(form)),
    "ordered": lambda form, _decode: OrderedDict(_read_pairs(form)),
    "counter": lambda form, _decode: Counter(dict(_read_pairs(form))),
    "deque": lambda form, _decode: deque(decode(form[0]), form[1]),
    "member": lambda form, _decode: decode(form),
    "data": lambda form, _decode: load(form),
    "value": lambda form, _decode: load(form).data,
    "pandas": _read_pandas,
}
