"""Takes snapshots on the thread of a traced call, and describes values.

A value that JSON can hold is copied within limits. A value of any other type becomes a
`Snapshot`, or plain values such as its fields. Nothing is formatted here, and no ``__repr__`` of
another package's type is called.
"""

import dataclasses
import datetime
import enum
import re
import types
import uuid
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from otel_ml.capture import arrays, pictures, tables
from otel_ml.capture.cells import HEAD
from otel_ml.capture.description import is_placeholder_type, type_name, words_of
from otel_ml.capture.fields import (
    HIDDEN,
    field_names,
    hidden_fields,
    match_dump,
    shown_value,
)
from otel_ml.capture.kinds import LibraryKind, bases, kind_of, root_of
from otel_ml.capture.snapshot import ALL, NUMBER_CELLS, PICTURES, Snapshot, Taker, Taking, Way
from otel_ml.errors import reraise_host_error, untrusted

TRUNCATED: Final = "truncated"
UNSERIALISABLE: Final = "unserialisable"
RENAMED: Final = "renamed_keys"  # keys of a dict that became the same text

_PAYLOAD_BYTES: Final = 1024 * 1024  # for all samples of the inputs or outputs of a run
_PAYLOAD_CHARS: Final = 70_000  # more characters do not fit into a payload
_ELEMENTS: Final = 36_000  # more elements do not fit, because each takes at least two bytes
_FULL: Final = -_ELEMENTS  # below this, objects and containers become ellipses
_FIELDED: Final = 7  # an object with fields counts as this many elements
_ELEMENT_BYTES: Final = 24
_BARE_BYTES: Final = 256
# Minimum kept of each part beyond the limits, because a preview gives all parts equal space.
_FEWEST: Final = 16
_FEWEST_CHARS: Final = 256
_MAX_DEPTH: Final = 64
_ELLIPSIS: Final = "…"

_REPR_CHARS: Final = 200
_KNOWN_TYPES: Final = 1_000
_MOST_ATTRIBUTES: Final = 50
_SHOWN_OF_SET: Final = 1_000
_OMIT: Final = object()  # a library's placeholder for "argument not given"

_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_PLAIN_TYPES: Final = _NUMBERS | {str}
_KEY_TYPES: Final = _PLAIN_TYPES | {datetime.date, uuid.UUID}
_ZONES: Final = frozenset({type(None), datetime.timezone})


class ValueTaker:
    """Copies one value, so that later changes to it do not change what is recorded.

    Args:
        taking: Which parts may be recorded, such as the columns of a table.

    Attributes:
        notes: Notes on parts that were left out.
        cells: Number of numeric table cells that may still be copied. Each copied table reduces it.
        pictures: Number of images that may still get a thumbnail. Each image reduces it.
    """

    __slots__ = ("_chars", "_left", "_path", "_room", "cells", "notes", "pictures", "taking")

    def __init__(self, taking: Taking = ALL) -> None:
        self.taking = taking
        self.notes: set[str] = set()
        self.cells = NUMBER_CELLS
        self.pictures = PICTURES
        self._left = _ELEMENTS
        self._chars = _PAYLOAD_CHARS
        self._room = _PAYLOAD_BYTES
        self._path: list[int] = []

    @property
    def weight(self) -> int:
        """Approximate size of what was taken, in bytes."""
        elements = (_ELEMENTS - self._left) * _ELEMENT_BYTES
        return elements + _PAYLOAD_CHARS - self._chars + _PAYLOAD_BYTES - self._room + _BARE_BYTES

    def has_room(self, size: int) -> bool:
        """Tell whether a sample of `size` bytes may still be copied."""
        return size <= self._room

    def take(self, value: Any, depth: int = 0) -> object:
        """Copy a value, so that later changes to it do not change what is recorded.

        Args:
            value: Any value. It is not changed.
            depth: Number of containers and objects around the value. Deeply nested values are cut.

        Returns:
            Plain Python values, and snapshots of large objects such as arrays.
        """
        taken = self.field(value, depth)
        return _describe_omitted(value) if taken is _OMIT else taken

    def field(self, value: Any, depth: int) -> object:
        """Return a value like `take`, or `_OMIT` for an argument that was not given."""
        kind = type(value)
        if kind in _NUMBERS:
            return value
        if kind is str:
            return self.text(value)
        if depth >= _MAX_DEPTH or self._left < _FULL:
            self.notes.add(TRUNCATED)
            return _ELLIPSIS
        try:
            taken = (_WAYS.get(kind) or _find_way(kind))(value, self, depth + 1)
        except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
            reraise_host_error(error)
            self.notes.add(UNSERIALISABLE)
            return {"type": type_name(value), "unserialisable": type(error).__name__}
        if type(taken) is Snapshot:
            self._room -= taken.weight
        return taken

    def text(self, value: str) -> str:
        """Return a text, or only its beginning if the copy would become too large."""
        size = len(value)
        if size <= self._chars or size <= _FEWEST_CHARS:
            self._chars -= size
            return value
        self.notes.add(TRUNCATED)
        kept = max(self._chars, _FEWEST_CHARS)
        self._chars -= kept
        return value[:kept] + _ELLIPSIS

    def items(self, items: Iterable[tuple[Any, Any]], size: int, depth: int) -> dict[Any, object]:
        """Return the first items of a mapping as a new dict."""
        count = self._count(size)
        if count < size:
            items = islice(items, count)
        taken: dict[Any, object] = {}
        is_mixed = False  # a dict of only texts cannot lose a key
        # as one list, because other threads may change the mapping
        for key, item in [*items]:
            kind = type(item)
            part = item if kind in _NUMBERS else self.field(item, depth)
            if part is not _OMIT:
                if is_mixed or type(key) is not str:
                    is_mixed = True
                    key = name_key(key, taken, self.notes)  # noqa: PLW2901 - its text
                taken[key] = part
        return taken

    def elements(self, items: Any, depth: int) -> list[object]:
        """Return copies of the elements as a new list. Do not change `items` meanwhile."""
        if len(items) > _FEWEST and _NUMBERS.issuperset(map(type, items)):
            return [*items]
        taken: list[object] = []
        for item in items:
            part = item if type(item) in _NUMBERS else self.field(item, depth)
            taken.append(_describe_omitted(item) if part is _OMIT else part)
            # Skip the rest of a long list, but keep the texts and numbers of a short one.
            if part is _ELLIPSIS and self._left < _FULL and len(taken) > _FEWEST:
                break
        return taken

    def _count(self, size: int) -> int:
        """Count elements against the limit. Return how many of `size` may be kept."""
        kept = min(size, max(self._left, _FEWEST))
        if kept < size:
            self.notes.add(TRUNCATED)
        self._left -= kept + 1
        return kept


def key_text(key: Any) -> str:
    """Return a dict key as text.

    A key of an unusual type becomes the name of that type. Its ``str`` and ``repr`` are not called,
    because they could raise an error.
    """
    kind = type(key)
    if issubclass(kind, enum.Enum):
        key = key.value
        kind = type(key)
    if kind in _TEXT_OF_KEY:
        return _TEXT_OF_KEY[kind](key)
    if kind in _KEY_TYPES or (kind is tuple and _PLAIN_TYPES.issuperset(map(type, key))):
        return str(key)
    if kind is datetime.datetime and type(key.tzinfo) in _ZONES:
        return str(key.isoformat())
    return str.__str__(key) if issubclass(kind, str) else type_name(key)


# as orjson writes these keys
_TEXT_OF_KEY: Final[dict[type, Callable[[Any], str]]] = {
    bool: lambda key: "true" if key else "false",
    type(None): lambda key: "null",
    bytes: lambda key: str(key[:_FEWEST_CHARS]),
}


def name_key(
    key: Any, taken: Mapping[Any, object], notes: set[str], name: str | None = None
) -> str:
    """Return a dict key as text that is not among the keys in `taken`.

    If another key became the same text, the type is appended, as in ``1 (str)``. This is added to
    the notes.

    Args:
        key: The key.
        taken: The mapping so far.
        notes: Notes on parts that were changed.
        name: Text to use instead of the key's own.
    """
    name = key_text(key) if name is None else name
    if name not in taken:
        return name
    notes.add(RENAMED)
    made = name = f"{name} ({type(key).__name__})"
    number = len(taken)  # counting from 1 would be slow for many keys of one type
    while made in taken:
        number += 1
        made = f"{name} {number}"
    return made


def name_keys(items: Iterable[tuple[Any, Any]], notes: set[str]) -> dict[str, Any]:
    """Return a mapping with its keys as texts, see `name_key`."""
    named: dict[str, Any] = {}
    for key, item in items:
        named[name_key(key, named, notes)] = item
    return named


def describe(value: Any) -> object:
    """Describe a value that JSON cannot hold, for example by type and shape.

    The result may contain snapshots, which need to be described too.
    """
    if type(value) is Snapshot:
        return value.describe()
    taken = (_WAYS.get(type(value)) or _find_way(type(value)))(value, _Shallow(), 0)
    if type(taken) is Snapshot:
        return taken.describe()
    return _describe_omitted(value) if taken is _OMIT else taken


def _describe_omitted(value: object) -> object:
    return {"type": type_name(value), "attributes": {}}


# Containers.


def _take_dict(value: Any, taker: Any, depth: int) -> object:
    mark = id(value)
    if mark in taker._path:
        taker.notes.add(UNSERIALISABLE)
        return _ELLIPSIS
    taker._path.append(mark)
    try:
        return taker.items(dict.items(value), len(value), depth)
    finally:
        taker._path.pop()


def _take_list(value: Any, taker: Any, depth: int) -> object:
    mark = id(value)
    if mark in taker._path:
        taker.notes.add(UNSERIALISABLE)
        return _ELLIPSIS
    taker._path.append(mark)
    try:
        kept = slice(taker._count(list.__len__(value)))
        return taker.elements(list.__getitem__(value, kept), depth)
    finally:
        taker._path.pop()


def _take_tuple(value: Any, taker: Any, depth: int) -> object:
    kept = slice(taker._count(tuple.__len__(value)))
    return taker.elements(tuple.__getitem__(value, kept), depth)


def _take_set(value: Any, taker: Any, depth: int) -> object:
    """Copy a set or a view of a dict. A large one is sampled, because sorting it takes long."""
    size = len(value)
    if size > _SHOWN_OF_SET:
        head = taker.elements([*islice(value, HEAD)], depth)
        return {"type": type_name(value), "length": size, "head": head}
    taker._count(size)
    return Snapshot(type(value), _sort, (taker.elements([*value], depth),))


def _sort(items: list[object]) -> object:
    return sorted(
        items, key=lambda item: str(item) if type(item) in _PLAIN_TYPES else type_name(item)
    )


def _take_deque(value: Any, taker: Any, depth: int) -> object:
    return taker.elements([*islice(value, taker._count(len(value)))], depth)


def _take_wrapped(value: Any, taker: Taker, depth: int) -> object:
    return taker.take(value.data, depth)


def _take_proxy(value: Any, taker: Any, depth: int) -> object:
    return taker.items(value.items(), len(value), depth)


# Values that never change. A reference is kept, and the value is written later.


def _keep(write: Callable[[Any], object]) -> Way:
    def way(value: Any, taker: Taker, depth: int) -> object:
        return Snapshot(type(value), write, (value,))

    return way


def _write_repr(value: Any) -> object:
    return {"type": type_name(value), "repr": repr(value)[:_REPR_CHARS]}


def _take_moment(value: Any, taker: Taker, depth: int) -> object:
    """Keep a date or time. orjson can write most of them directly."""
    if type(value) is datetime.date:
        return value
    if type(value) is datetime.datetime and type(value.tzinfo) in _ZONES:
        return value
    return Snapshot(type(value), _write_moment, (value,))


def _write_moment(value: Any) -> str:
    text: str = value.isoformat()
    return text


def _take_bytes(value: Any, taker: Taker, depth: int) -> object:
    return Snapshot(type(value), _describe_bytes, (len(value), bytes(value[:HEAD])))


def _describe_bytes(length: int, head: bytes) -> object:
    return {"type": "bytes", "length": length, "head": head.hex()}


# Objects.


def _take_member(value: Any, taker: Taker, depth: int) -> object:
    return taker.take(value.value, depth)


def _take_text(value: Any, taker: Any, depth: int) -> object:
    return taker.text(str.__str__(value))


def _take_int(value: Any, taker: Taker, depth: int) -> object:
    return int.__int__(value)


def _take_float(value: Any, taker: Taker, depth: int) -> object:
    return float.__float__(value)


def _fields_way(kind: type, declared: Iterable[str]) -> Way:
    """Return the function that copies objects of a class with these declared fields."""
    names = tuple(name for name in declared if not name.startswith("_"))
    hidden = hidden_fields(kind)

    def take_all(value: Any, taker: Any, depth: int, names: tuple[str, ...] = names) -> object:
        taker._left -= _FIELDED
        fields = {}
        for name in names:
            try:
                item = getattr(value, name)
            except AttributeError as error:  # a field without a value
                reraise_host_error(error)
                continue
            fields[name] = item if type(item) in _NUMBERS else taker.take(item, depth)
        return fields

    shown = tuple(name for name in names if name not in hidden.names)

    def take_shown(value: Any, taker: Any, depth: int) -> object:
        if taker.taking.hidden:
            return take_all(value, taker, depth)
        deciding = hidden.shown_as.keys() | hidden.unless.keys()
        fields: Any = take_all(value, taker, depth, tuple(n for n in shown if n not in deciding))
        for name in shown:
            item = shown_value(hidden, name, getattr(value, name, HIDDEN))
            if name in deciding and item is not HIDDEN:
                fields[name] = taker.take(item, depth)
        return {name: fields[name] for name in shown if name in fields}

    return take_shown if len(shown) < len(names) or hidden.shown_as or hidden.unless else take_all


def _take_dumped(value: Any, taker: Any, depth: int) -> object:
    """Copy the dump of a pydantic model. It leaves out excluded fields."""
    taker._left -= _FIELDED
    dumped = value.model_dump()
    return taker.take(match_dump(dumped, value, with_hidden=taker.taking.hidden), depth)


def _take_serialised(value: Any, taker: Any, depth: int) -> object:
    """Copy the dump of a pydantic dataclass."""
    taker._left -= _FIELDED
    dumped = type(value).__pydantic_serializer__.to_python(value, warnings=False)
    return taker.take(match_dump(dumped, value, with_hidden=taker.taking.hidden), depth)


def _take_awaitable(value: Any, taker: Taker, depth: int) -> object:
    return {"type": type_name(value), "awaitable": True}  # its result is not known yet


def _take_named(value: Any, taker: Taker, depth: int) -> object:
    """Record a function, class or module by its name."""
    names: list[object] = []
    with untrusted:
        if type(value) is types.ModuleType:
            names = [value.__name__]
        else:
            names = [getattr(value, part, None) for part in ("__module__", "__qualname__")]
    name = ".".join(name for name in names if type(name) is str)
    return {"type": type_name(value), "attributes": {"name": name}}


def _take_error(value: BaseException, taker: Taker, depth: int) -> object:
    attributes = {}
    args = BaseException.__dict__["args"].__get__(value)
    if args and type(args[0]) is str:
        attributes["message"] = args[0][:_REPR_CHARS]
    return {"type": type_name(value), "attributes": attributes}


def _take_object(value: Any, taker: Any, depth: int) -> object:
    """Describe an object of unknown type by its ``repr`` or by its plain attributes."""
    described: dict[str, object] = {"type": type_name(value)}
    attributes = _attributes_of(value)
    if choices := _describe_choices(attributes.get("choices")):
        return {**described, "choices": choices}
    if _has_own_repr(type(value), taker.taking.package):
        words = words_of(value)
        return described if words is None else {**described, "repr": words[:_REPR_CHARS]}
    plain = {
        name: taker.text(item[:_REPR_CHARS]) if type(item) is str else item
        for name, item in islice(attributes.items(), _MOST_ATTRIBUTES)
        if type(name) is str and type(item) in _PLAIN_TYPES and not name.startswith("_")
    }
    return {**described, "attributes": plain}


def _attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes that an object stores, without running code of its class."""
    attributes: dict[str, Any] = {}
    with untrusted:
        for kind in type.__dict__["__mro__"].__get__(type(value)):
            for name, member in vars(kind).items():
                if type(member) is types.MemberDescriptorType and not name.startswith("_"):
                    with untrusted:
                        attributes[name] = member.__get__(value)
    with untrusted:
        stored = object.__getattribute__(value, "__dict__")
        if type(stored) is dict:
            attributes.update(islice(stored.items(), 4 * _MOST_ATTRIBUTES))
    return attributes


def _has_own_repr(kind: type, package: str) -> bool:
    """Tell whether a class of the traced function's package defines the ``repr`` of a type."""
    if not package:
        return False
    for base in type.__dict__["__mro__"].__get__(kind):
        if "__repr__" in base.__dict__:
            return root_of(base) == package
    return False


def _describe_choices(listed: Any) -> list[dict[str, object]]:
    """Describe the choices of a chat response. Return an empty list for other objects."""
    choices = listed[:HEAD] if isinstance(listed, list | tuple) else ()
    described: list[dict[str, object]] = []
    for choice in choices:
        message = getattr(choice, "message", None)
        facts = {name: getattr(message, name, None) for name in ("role", "content")}
        if not isinstance(facts["content"], str):
            return []
        texts = {name: text for name, text in facts.items() if isinstance(text, str)}
        described.append({"message": texts})
    return described


def _omit(value: object, taker: Taker, depth: int) -> object:
    return _OMIT


class _Shallow(ValueTaker):
    """Copies only the outermost level of a value. Its parts are encoded one by one later."""

    def field(self, value: Any, depth: int) -> object:
        return value

    def elements(self, items: Any, depth: int) -> list[object]:
        return [*items]


# Functions that copy values, called ways. The way of a type is found once.

_BUILT_IN: Final[dict[type, Way]] = {
    dict: _take_dict,
    list: _take_list,
    tuple: _take_tuple,
    set: _take_set,
    frozenset: _take_set,
    type({}.keys()): _take_set,
    type({}.values()): _take_deque,
    type({}.items()): _take_deque,
    deque: _take_deque,
    bytes: _take_bytes,
    bytearray: _take_bytes,
    memoryview: _take_bytes,
    str: _take_text,
    int: _take_int,
    float: _take_float,
    complex: _keep(complex.__str__),
    uuid.UUID: _keep(uuid.UUID.__str__),
    UserDict: _take_wrapped,
    UserList: _take_wrapped,
    types.MappingProxyType: _take_proxy,
    datetime.date: _take_moment,
    datetime.time: _take_moment,
    type: _take_named,
    types.FunctionType: _take_named,
    types.BuiltinFunctionType: _take_named,
    types.MethodType: _take_named,
    types.ModuleType: _take_named,
    BaseException: _take_error,
}
# immutable types of the standard library, whose `repr` shows the whole value
_REPRESENTED: Final = frozenset(
    {range, datetime.timedelta, datetime.timezone, re.Pattern, type(...), type(NotImplemented)}
)


def _way_of_represented(kind: type) -> Way | None:
    return _keep(_write_repr)


def _way_of_written(kind: type) -> Way | None:
    write: Any = kind.__str__
    return _keep(write)


def _way_of_decimal(kind: type) -> Way | None:
    write: Any = kind.__str__
    return _keep(lambda value: None if value.is_nan() else write(value))


# By package name, so that no package is imported: values exist only if their package is loaded.
_LIBRARIES: Final[dict[str, Callable[[type], Way | None]]] = {
    "decimal": _way_of_decimal,
    "pathlib": _way_of_written,
    "fractions": _way_of_represented,
    "ipaddress": _way_of_represented,
    "zoneinfo": _way_of_represented,
    "tensorflow": arrays.way_of_tensorflow,
}
_OF_KINDS: Final[dict[LibraryKind, Way]] = {
    LibraryKind.NUMPY_ARRAY: arrays.take_array,
    LibraryKind.NUMPY_SCALAR: arrays.take_scalar,
    LibraryKind.PANDAS_TABLE: tables.take_frame,
    LibraryKind.PANDAS_COLUMN: tables.take_series,
    LibraryKind.PANDAS_MISSING: tables.take_missing,
    LibraryKind.POLARS_TABLE: tables.take_polars,
    LibraryKind.POLARS_COLUMN: tables.take_polars_series,
    LibraryKind.ARROW_TABLE: tables.take_arrow,
    LibraryKind.ARROW_COLUMN: tables.take_arrow_array,
    LibraryKind.ARROW_SCALAR: tables.take_arrow_scalar,
    LibraryKind.TORCH_TENSOR: arrays.take_tensor,
    LibraryKind.JAX_ARRAY: arrays.take_jax,
    LibraryKind.CUPY_ARRAY: arrays.take_cupy,
    LibraryKind.SPARSE_MATRIX: arrays.take_sparse,
    LibraryKind.PILLOW_IMAGE: pictures.take_image,
    LibraryKind.MATPLOTLIB_FIGURE: pictures.take_figure,
    LibraryKind.PLOTLY_FIGURE: pictures.take_plot,
}
_WAYS: Final[dict[type, Way]] = {}


def _find_way(kind: type) -> Way:
    """Find the function that copies values of a type, and remember it."""
    way: Way | None = None
    with untrusted:  # a metaclass may raise
        way = _choose_way(kind)
    if len(_WAYS) >= _KNOWN_TYPES:
        _WAYS.clear()
    _WAYS[kind] = found = way or _take_object
    return found


def _choose_way(kind: type) -> Way | None:
    if is_placeholder_type(kind):
        return _omit
    if issubclass(kind, enum.Enum):
        return _take_member
    if kind in _REPRESENTED:
        return _keep(_write_repr)
    for base in bases(kind):
        way = _BUILT_IN.get(base)
        library_kind = None if way is not None else kind_of(base)
        if library_kind is not None:
            way = _OF_KINDS.get(library_kind)
        library = None if way is not None else _LIBRARIES.get(root_of(base))
        if library is not None:
            way = library(base)
        if way is not None:
            return way
    is_dataclass = dataclasses.is_dataclass(kind)
    if hasattr(kind, "model_dump") and not is_dataclass:
        return _take_dumped
    if is_dataclass and "__pydantic_serializer__" in vars(kind):
        return _take_serialised
    is_figure = hasattr(kind, "to_plotly_json") and not is_dataclass
    names = None if is_figure else field_names(kind)
    if names is not None:
        return _fields_way(kind, names)
    return _take_awaitable if hasattr(kind, "__await__") else None
