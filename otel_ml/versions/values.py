"""Converts values that a function uses to canonical text of limited size, with secrets hashed.

Only data counts. It is read without running user code.
"""

import enum
import inspect
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import PurePath
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, Final, NamedTuple

from otel_ml.capture.fields import hidden_fields
from otel_ml.redaction import Redaction
from otel_ml.versions.canonical import canonical_value
from otel_ml.versions.source import attributes_of
from otel_ml.versions.weights import kind_of

_LEAVES: Final = (str, int, float, bool, bytes, complex, type(None))
_MAPPINGS: Final = (dict, OrderedDict, defaultdict, Counter, MappingProxyType)
_SEQUENCES: Final = (list, deque)
_SETS: Final = (set, frozenset)
CONTAINERS: Final = frozenset({*_MAPPINGS, *_SEQUENCES, *_SETS, tuple})
# compared by name, because such values exist only if the module is loaded
_NUMBER_NAMES: Final = frozenset({"decimal.Decimal", "fractions.Fraction", "datetime.timedelta"})
_BASES: Final = ((str, str.__str__), (int, int.__int__), (float, float.__float__))
_RECORD_MARKS: Final = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
_MAX_STEPS: Final = 10_000
_TEXT_DEPTH: Final = 16
_NEAR: Final = 4
_MAX_ARRAY_BYTES: Final = 1024 * 1024
_MAX_SHOWN: Final = 64  # maximum length of a key in a path
SECRETS: Final = Redaction()


class Hashed(str):
    """The hash of a value. Pages show it instead of a secret or long value."""

    __slots__ = ()


class Weighed(dict[str, object]):
    """A model object that a function uses, as pages show it: its type instead of its weights."""


class Value(NamedTuple):
    """A value that a function uses, such as a constant, as part of the function's version.

    Attributes:
        text: The value as text that is the same on every Python version. If it changes, a new
            version is created.
        shown: The value as text for pages, with secrets replaced by hashes.
    """

    text: str
    shown: object


class TooManyParts(Exception):
    """A value, such as a large nested dict, has too many parts to be part of a version."""


Follow = Callable[[object, str], Value | None]


class ValueReader:
    """Converts values that a function uses, such as constants, to text.

    The text becomes part of the version of the function.

    If the text changes, a new version is created.

    Args:
        follow: Called with the name and value of everything that is not plain data, such as a
            function. It returns the value's text, or None if the value cannot be part of the
            version.
        own: Function that takes a class. It returns True if the attributes of its objects become
            part of the version, as for classes of the user's own package.
        is_state: Function that takes a class and an attribute name. It returns True if the
            attribute changes while the program runs, such as a call counter. The attribute is then
            not part of the version.
    """

    def __init__(
        self,
        follow: Follow,
        own: Callable[[type], bool],
        is_state: Callable[[type, str], bool],
    ) -> None:
        self._follow = follow
        self._own = own
        self._is_state = is_state
        self._left = _MAX_STEPS
        self._path: list[int] = []

    def read(self, value: Any, name: str) -> Value | None:
        """Return the text of a value; None if the value cannot be part of a version.

        Raises:
            TooManyParts: The value has too many parts.
        """
        self._left -= 1
        if self._left < 0:
            raise TooManyParts
        kind = type(value)
        if kind in _LEAVES:
            return Value(canonical_value(value), value)
        if kind in CONTAINERS and len(value) > self._left:
            raise TooManyParts
        if id(value) in self._path or len(self._path) >= _TEXT_DEPTH:
            return Value("…", "…")
        self._path.append(id(value))
        try:
            return self._data(value, kind, name)
        finally:
            self._path.pop()

    def _data(self, value: Any, kind: type, name: str) -> Value | None:
        # use the base class's items, because methods of a subclass may raise
        if issubclass(kind, dict | MappingProxyType):
            items = dict.items(value) if issubclass(kind, dict) else value.items()
            return self._mapping("dict", list(items), name, self._default(value, kind, name))
        if kind is tuple:
            return self._sequence("()", value, name)
        if issubclass(kind, list | deque):
            elements = list.__iter__(value) if issubclass(kind, list) else deque.__iter__(value)
            return self._sequence("[]", list(elements), name)
        if kind in _SETS:
            parts = [self._part(item, name) for item in sorted(value, key=_rank)]
            parts.sort(key=lambda part: part.text)
            return Value(f"set{_between('{}', parts)}", [part.shown for part in parts])
        scalar = _scalar(value, kind)
        if scalar is not None:
            return scalar
        fields = getattr(kind, "_fields", None) if issubclass(kind, tuple) else None
        if isinstance(fields, tuple):
            return self._record(kind, zip(fields, tuple.__iter__(value), strict=False), name)
        return self._object(value, kind, name)

    def _object(self, value: object, kind: type, name: str) -> Value | None:
        part = self._follow(value, name)
        if part is not None and type(part.shown) is Weighed:
            return part
        if not is_record(kind) and not self._own(kind):
            return part
        attributes = [
            (key, item)
            for key, item in attributes_of(value)
            if kind_of(item) is not None or not self._is_state(kind, key)
        ]
        if part is None:
            return self._record(kind, attributes, name)
        if not attributes:
            return part
        whole = self._record(kind, attributes, name)
        return Value(f"{part.text}{whole.text}", whole.shown)

    def _mapping(
        self, title: str, items: list[tuple[Any, Any]], name: str, default: dict[str, Value]
    ) -> Value:
        parts = [(f"<{key}>", f"<{key}>", part) for key, part in default.items()]
        for key, item in sorted(items, key=lambda pair: _rank(pair[0])):
            text = self._part(key, name).text
            word = key if type(key) is str else text.partition(":")[2] or text
            label = f"{name}[{word[:_MAX_SHOWN]!a}]"
            parts.append((text, word, self._part(item, label)))
        return _joined(title, parts)

    def _default(self, value: Any, kind: type, name: str) -> dict[str, Value]:
        """Read what creates the missing values of a dict, such as a `defaultdict` factory."""
        if issubclass(kind, defaultdict):
            factory = value.default_factory
            label = f"{name}.default_factory"
            return {} if factory is None else {"default": self._factory(factory, label)}
        if kind in CONTAINERS or not hasattr(kind, "__missing__"):
            return {}
        if not self._own(kind):
            self._follow(value, name)  # notes it as unseen
            return {}
        missing = self._part(inspect.getattr_static(kind, "__missing__"), f"{name}.__missing__")
        return {"default": missing, "attributes": self._record(kind, attributes_of(value), name)}

    def _factory(self, factory: Any, name: str) -> Value:
        owner = getattr(factory, "__self__", None)
        if owner is not None and not issubclass(type(owner), ModuleType | type):
            part = self._part(owner, f"{name}.__self__")
            return Value(f"{factory.__name__} of {part.text}", part.shown)
        title = f"{getattr(factory, '__module__', '')}.{getattr(factory, '__qualname__', '')}"
        return self.read(factory, name) or Value(title, f"<{title}>")

    def _record(self, kind: type, items: Iterable[tuple[str, Any]], name: str) -> Value:
        hidden = hidden_fields(kind)
        private = hidden.names | hidden.unless.keys() | hidden.shown_as.keys()
        parts = []
        for key, item in items:
            part = self._part(item, f"{name}.{key}")
            parts.append((key, key, hashed(part) if key in private else part))
        return _joined(kind.__qualname__, parts)

    def _sequence(self, brackets: str, items: Iterable[Any], name: str) -> Value:
        parts = [self._part(item, f"{name}[{index}]") for index, item in enumerate(items)]
        return Value(_between(brackets, parts), [part.shown for part in parts])

    def _part(self, value: Any, name: str) -> Value:
        part = self.read(value, name)
        if part is not None:
            return part
        title = f"<{type(value).__qualname__}>"
        return Value(title, title)


def _joined(title: str, parts: list[tuple[str, str, Value]]) -> Value:
    """Combine named values into one value. Their order does not matter."""
    texts, shown = [], {}
    for key, word, given in parts:
        part = hashed(given) if SECRETS.is_secret(word) else given
        texts.append(f"{key}:{part.text}")
        shown[word] = part.shown
    return Value(f"{title}{{{','.join(sorted(texts))}}}", shown)


def hashed(value: Value) -> Value:
    """Replace the text and the shown form of a value by its hash."""
    mark = Hashed(f"sha256:{sha256(value.text.encode('utf-8', 'replace')).hexdigest()[:16]}")
    return Value(mark, mark)


def is_record(kind: type) -> bool:
    """Tell whether objects of a class consist of declared fields, like those of dataclasses."""
    if issubclass(kind, SimpleNamespace):
        return True
    return any(mark in vars(base) for base in kind.__mro__ for mark in _RECORD_MARKS)


def _scalar(value: Any, kind: type) -> Value | None:
    """Read a single value of a class derived from a plain type, or similar."""
    if issubclass(kind, enum.Enum):
        scalar = canonical_value(value._value_) if type(value._value_) in _LEAVES else ""
        return Value(f"{kind.__qualname__}.{value._name_}={scalar}", f"{value._name_}")
    for base, convert in _BASES:
        if issubclass(kind, base):
            plain = convert(value)
            return Value(canonical_value(plain), plain)
    if kind is range or f"{kind.__module__}.{kind.__qualname__}" in _NUMBER_NAMES:
        return Value(f"{kind.__name__}:{value!s}", str(value))
    if kind is re.Pattern and type(value.pattern) in _LEAVES:
        return Value(f"Pattern:{value.pattern!a}:{int(value.flags)}", value.pattern)
    if issubclass(kind, PurePath) and not value.is_absolute():
        return Value(f"path:{value.as_posix()!a}", value.as_posix())
    return _array(value)


def models_in(value: Any, own: Callable[[type], bool], depth: int = 0) -> Iterator[object]:
    """Yield the model objects that a value is or contains, up to a few levels deep."""
    kind = type(value)
    if kind in _LEAVES or depth > _NEAR:
        return
    if kind_of(value) is not None:
        yield value
        return
    parts: Iterable[object] = ()
    if kind in CONTAINERS:
        parts = list(value.values() if kind in _MAPPINGS else value)[:_MAX_SHOWN]
    elif own(kind) or is_record(kind):
        parts = [item for _, item in attributes_of(value)]
    for part in parts:
        yield from models_in(part, own, depth + 1)


def _array(value: Any) -> Value | None:
    """Read a NumPy number or small array, if NumPy is loaded."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    if type(value).__module__ == "numpy" and isinstance(value, numpy.generic):
        plain = value.item()
        return Value(canonical_value(plain), plain) if type(plain) in _LEAVES else None
    if type(value) is not numpy.ndarray or value.dtype.hasobject:
        return None
    if value.nbytes > _MAX_ARRAY_BYTES:
        return None
    title = f"array:{value.dtype.str}:{value.shape}"
    mark = f"sha256:{sha256(value.tobytes()).hexdigest()[:16]}"
    return Value(f"{title}:{mark}", {"dtype": value.dtype.str, "shape": value.shape, "is": mark})


def _rank(item: object) -> str:
    """Return a sort key. The order matters, because helpers are numbered as they are found."""
    kind = type(item)
    if kind in _LEAVES:
        return canonical_value(item)
    return f"{kind.__qualname__}:{getattr(item, '__qualname__', '')}"


def _between(brackets: str, parts: list[Value]) -> str:
    return f"{brackets[0]}{','.join(part.text for part in parts)}{brackets[1]}"
