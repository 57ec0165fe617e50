"""Any value as what JSON knows, and back: what JSON has no form for stands under a tag.

What has no form at all, an object of the host's, leaves its ``repr`` and is read as that text. So
does what holds itself, what is nested too deep, and what comes after the first 256 MiB or so: their
text is an ellipsis.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import orjson

from otel_ml.capture.description import words_of
from otel_ml.capture.values import clean
from otel_ml.errors import hand_on, untrusted
from otel_ml.types.data import Data, Encode, Form, bases, find_wrapper, is_from, load
from otel_ml.types.scalars import READERS, TAG, VALUE, WRITERS, tagged, write_text

_BUDGET: Final = (
    256 * 1024 * 1024
)  # bytes, estimated: a small graph of lists can be an endless tree
_LEAF: Final = 16
_CONTAINER: Final = 64
_MAX_LEVELS: Final = 128  # of JSON: orjson writes 254, and Python calls some 5 functions for each
_DATA_LEVELS: Final = 8  # what a table may need around its elements
_REPR_CHARS: Final = 64 * 1024

_CUT: Final = "…"
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_LONG: Final = frozenset({str, bytes, bytearray})
_KEPT: Final = frozenset({bool, type(None)})


class BuiltIn(Data):
    """A wrapper of this package: it can write its value as a part of another value."""

    def to_jcr(self) -> Form:
        """Write the value as it is now."""
        return self.form(Walker())

    def form(self, walker: "Walker") -> Form:
        """Write the value as a part of what `walker` writes."""
        return {"type": self.type_name, "params": self.write(walker)}

    def write(self, walker: "Walker") -> Form:
        """Write the params."""
        raise NotImplementedError


class Walker:
    """Writes one value with all that it holds."""

    def __init__(self) -> None:
        self._left = _BUDGET
        self._levels = 0
        self._path: set[int] = set()

    def encode(self, value: Any) -> Any:
        """Return what stands for `value` in JSON. Never raises, whatever the value does."""
        kind = type(value)
        self._left -= _LEAF
        if kind in _KEPT:
            return value
        try:
            return self._encode(value, kind)
        except BaseException as error:  # noqa: BLE001 - the border to the host's values, see errors.py
            hand_on(error)
            return _in_words(value)

    def _encode(self, value: Any, kind: type) -> Any:
        """Write a value in as few frames as can be: they are what bounds how deep it goes."""
        if self._left < 0:
            return tagged("repr", _CUT)
        levels, write = _way(kind)
        if levels == 0:
            if kind in _LONG:
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
        """Write a wrapper."""
        if isinstance(value, BuiltIn):
            return tagged("data", value.form(self))
        return tagged("data", orjson.loads(orjson.dumps(value.to_jcr())))

    def foreign(self, value: Any) -> Any:
        """Write a value that has a wrapper, but is in none."""
        wrapper = find_wrapper(type(value))
        if wrapper is None or not issubclass(wrapper, BuiltIn):
            return _in_words(value)
        return tagged("value", wrapper(value).form(self))

    def pandas(self, value: Any) -> Any:
        """Write a single value of pandas, or an index or array of its."""
        from otel_ml.types import pandas_form  # only for who has pandas

        form = pandas_form.write_scalar(value, self)
        return _in_words(value) if form is None else form

    def items(self, items: list[Any]) -> list[Any]:
        """Write elements; a list of single values that JSON knows, as most are, at once."""
        if self._are_plain(items):
            return items
        return [self.encode(item) for item in items]

    def _are_plain(self, items: list[Any]) -> bool:
        kinds = set(map(type, items))
        if not kinds <= _PLAIN:
            return False
        texts = sum(len(item) for item in items if type(item) is str) if str in kinds else 0
        if texts + _LEAF * len(items) > self._left:
            return False
        if float in kinds and not all(math.isfinite(n) for n in items if type(n) is float):
            return False
        try:
            orjson.dumps(items)  # it refuses what `write_int` and `write_text` tag
        except TypeError:
            return False
        self._left -= texts + _LEAF * len(items)
        return True

    def pairs(self, pairs: list[tuple[Any, Any]]) -> Any:
        """Write a dict; one whose keys JSON does not know, or that looks tagged, as pairs."""
        if all(type(key) is str and key != TAG and write_text(key) is key for key, _ in pairs):
            self._left -= sum(len(key) for key, _ in pairs)
            return {key: self.encode(item) for key, item in pairs}
        return tagged("dict", [[self.encode(key), self.encode(item)] for key, item in pairs])


def _in_words(value: Any) -> Any:
    with untrusted:
        text = words_of(value)
        if text is None:
            text = object.__repr__(value)
        return tagged("repr", clean(text[:_REPR_CHARS]))
    return tagged("repr", clean(object.__repr__(value)))


Write = Callable[[Walker, Any], Any]


def _way(kind: type) -> tuple[int, Write]:
    """Return how many levels of JSON a value of a type takes at most, none of a leaf, and how."""
    if kind in _WAYS:
        return _WAYS[kind]
    if issubclass(kind, Data):
        return _DATA_LEVELS, Walker.data
    if find_wrapper(kind) is not None:
        return _DATA_LEVELS, Walker.foreign
    if is_from("pandas", kind):
        return _DATA_LEVELS, Walker.pandas
    found = next((base for base in bases(kind) if base in _WAYS), None)
    return (0, lambda _walker, value: _in_words(value)) if found is None else _WAYS[found]


def _leaf(write: Callable[[Any, Encode], Any]) -> tuple[int, Write]:
    return 0, lambda walker, value: write(value, walker.encode)


# By the methods of the base: those of a subclass are the host's.
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
}


def decode(form: Any) -> Any:
    """Return the value that stands in JSON as `form`.

    Raises:
        ValueError: It carries a tag that is none, or one that holds something else.
    """
    if isinstance(form, list):
        return [decode(item) for item in form]
    if not isinstance(form, dict):
        return form
    if TAG not in form:
        return {key: decode(item) for key, item in form.items()}
    reader = _READERS.get(form[TAG])
    if reader is None:
        raise ValueError(f"Unknown tag {form[TAG]!r}: expected one of {', '.join(_READERS)}")
    return reader(form[VALUE], decode)


def _read_pandas(form: Any, _decode: Callable[[Any], Any]) -> Any:
    from otel_ml.types import pandas_form  # only for who has pandas

    return pandas_form.read_scalar(form, decode)


_READERS: Final[dict[str, Callable[[Any, Callable[[Any], Any]], Any]]] = {
    **READERS,
    "tuple": lambda form, _decode: tuple(decode(form)),
    "set": lambda form, _decode: set(decode(form)),
    "frozenset": lambda form, _decode: frozenset(decode(form)),
    "dict": lambda form, _decode: {decode(key): decode(item) for key, item in form},
    "data": lambda form, _decode: load(form),
    "value": lambda form, _decode: load(form).data,
    "pandas": _read_pandas,
}
