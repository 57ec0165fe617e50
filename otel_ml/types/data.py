"""The base class of wrappers, and the tables that find a wrapper for a value or a type name.

Stored data contains only a type name, so it can never choose which code runs: only registered
wrappers read it.
"""

import base64
import binascii
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, TypeVar

import orjson

from otel_ml.arguments import NAME_CHARS, check_text, invalid
from otel_ml.capture.kinds import LibraryKind, find_kinds

Form = dict[str, Any]
Params = Mapping[str, Any]
Encode = Callable[[Any], Any]  # converts any value to a JSON-compatible one
Decode = Callable[[Any], Any]  # the inverse

Self = TypeVar("Self", bound="Data")


class ValueWriter(Protocol):
    """Converts the parts of a value to JSON, for wrappers of containers."""

    def encode(self, value: Any) -> Any:
        """Return the JSON form of `value`. Never raises."""

    def items(self, items: list[Any]) -> list[Any]:
        """Return the JSON forms of a list's items. The result may be the same list."""


@dataclass(frozen=True, slots=True)
class File:
    """A value as a file that other tools can open.

    Attributes:
        media_type: Media type, a key of `otel_ml.file_formats.FILE_FORMATS`.
        content: Content of the file.
    """

    media_type: str
    content: bytes


# Function that hides secrets in a table column, see `otel_ml.artifact`. Arguments: the column, its
# name, its dtype as text, a function that returns its elements as Python values, and one that
# creates a column from such elements.
HideColumn = Callable[[Any, str, str, Callable[[], list[Any]], Callable[[list[Any]], Any]], Any]


class Data(ABC):
    """Base class of wrappers, which convert a value to JSON and back without changing it.

    For your own type, write a subclass and `register` it, so that `load` finds it.

    Attributes:
        type_name: Name of the type in the JSON. Default: the class's module and name, or the name
            that you pass to `register`.
        data: The value itself, not a copy.
    """

    type_name: ClassVar[str]

    def __init__(self, data: Any) -> None:
        self.validate(data)
        self.data = data

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "type_name" not in cls.__dict__:
            cls.type_name = f"{cls.__module__}.{cls.__qualname__}"

    @abstractmethod
    def to_jcr(self) -> Form:
        """Convert the current value to a dict that can be written as JSON.

        Returns:
            A dict with ``type`` (the `type_name`) and ``params``. It contains only values that JSON
            supports: dicts with string keys, lists, strings, finite numbers, bools and None.
        """

    @classmethod
    @abstractmethod
    def from_jcr(cls: type[Self], params: Params) -> Self:
        """Create a wrapper from the ``params`` of a stored value, as `to_jcr` returned them."""

    def validate(self, data: Any) -> None:  # noqa: B027 - a wrapper may accept anything
        """Raise ValueError if `data` is not valid for this wrapper."""

    def to_json(self) -> str:
        """Return the value as it is now as JSON text."""
        return dump(self).decode()


def dump(data: Data) -> bytes:
    """Convert a wrapper, such as `Image`, to JSON bytes. To read them, use `load`.

    Raises:
        ValueError: `data` is not a wrapper, or the `to_jcr` method of your own wrapper returned a
            value that JSON does not support.
    """
    if not issubclass(type(data), Data):
        raise invalid("data", data, "a wrapped value, such as the result of otel_ml.types.wrap")
    form = data.to_jcr()
    try:
        return orjson.dumps(form)
    except TypeError as error:
        raise ValueError(
            f"Invalid form of type {data.type_name!r}: expected to_jcr() to return JSON values"
        ) from error


Wrapper = TypeVar("Wrapper", bound=type[Data])

# Wrappers for values of other libraries.

_wrappers: dict[LibraryKind, type[Data]] = {}


def wraps(*kinds: LibraryKind) -> Callable[[Wrapper], Wrapper]:
    """Return a decorator that registers a wrapper for kinds of values of a library."""

    def decorate(cls: Wrapper) -> Wrapper:
        _wrappers.update(dict.fromkeys(kinds, cls))
        return cls

    return decorate


def find_wrapper(kind: type) -> type[Data] | None:
    """Return the wrapper class for a type of another library, or None."""
    for library_kind in find_kinds(kind):
        wrapper = _wrappers.get(library_kind)
        if wrapper is not None:
            return wrapper
    return None


# Readers by type name: of typed JSON, and of files.

Reader = Callable[[Params], Data]
FileReader = Callable[[bytes], Data]

_SHOWN_CHARS: Final = 100  # maximum length of a name in an error
_BLANK_BYTES: Final = 16  # searched for the first brace of JSON

_readers: dict[str, Reader] = {}
_file_readers: dict[str, FileReader] = {}
_owners: dict[str, str] = {}


def register(cls: Wrapper, name: str | None = None) -> Wrapper:
    """Register your own wrapper class, so that `load` can read its values. Works as a decorator.

    Args:
        cls: A subclass of `Data`. If you define the same class again, as in a notebook, the new
            class replaces the old one.
        name: Name of the type in the JSON. Default: the class's module and name.

    Raises:
        ValueError: `cls` is not a subclass of `Data`, or the name is already used or reserved.
    """
    if not issubclass(type(cls), type) or not issubclass(cls, Data):
        raise invalid("cls", cls, "a subclass of otel_ml.types.Data")
    chosen = cls.type_name if name is None else name
    is_text = issubclass(type(chosen), str) and 0 < len(chosen) <= NAME_CHARS
    if not is_text or chosen.startswith(("otel_ml.", "raymon.")):
        raise invalid("name", chosen, "a name that starts with neither otel_ml. nor raymon.")
    owner = f"{cls.__module__}.{cls.__qualname__}"
    if _owners.setdefault(chosen, owner) != owner:
        raise ValueError(
            f"Invalid name {chosen!r}: {_owners[chosen]} is already registered under it"
        )
    cls.type_name = chosen
    _readers[chosen] = cls.from_jcr
    return cls


def read_by(name: str, reader: Reader) -> None:
    """Use `reader` to load stored values with a reserved type name."""
    _readers[name] = reader


def read_file_by(name: str, reader: FileReader) -> None:
    """Use `reader` to load the files of values with a reserved type name."""
    _file_readers[name] = reader


def is_typed(form: Any) -> bool:
    """Tell whether parsed JSON is a value in its typed form, so that `load` reads it as such."""
    return (
        isinstance(form, Mapping)
        and isinstance(form.get("type"), str)
        and isinstance(form.get("params"), Mapping)
    )


def may_be_typed(content: bytes) -> bool:
    """Tell whether the content of a file could be taken for typed JSON. May be True by mistake."""
    return content[:_BLANK_BYTES].lstrip().startswith(b"{") and b'"params"' in content


def load(jcr: Mapping[str, Any] | str | bytes, kind: str = "") -> Data:
    """Read a value stored by `dump`, `Data.to_jcr` or ``run.log``, or by raymon 0.0.39.

    Args:
        jcr: What was stored: JSON text, a dict with ``type`` and ``params``, or the content of a
            file, such as Parquet or PNG.
        kind: Type of the value, such as ``otel_ml.types.DataFrame``. Required for a file, because
            several types are stored as the same kind of file.

    Returns:
        A wrapper. Its ``data`` is the value, with the type, dtype and shape that it had.

    Raises:
        ValueError: `jcr` is not a stored value, its type is not registered, or its params are
            invalid. Or `kind` is not a text.
        ImportError: The value needs a library that is not installed.
    """
    kind = check_text("kind", kind, may_be_empty=True)
    form: Any = jcr
    if issubclass(type(jcr), str | bytes):
        file_reader = _file_readers.get(kind)
        if file_reader is not None and issubclass(type(jcr), bytes):
            content: bytes = form
            if not (may_be_typed(content) and is_typed(_json_or_none(content))):
                return _read(file_reader, kind, content)
        form = _parsed(form)
    is_form = issubclass(type(form), Mapping)
    name = form.get("type") if is_form else None
    params = form.get("params") if is_form else None
    if not isinstance(name, str) or not isinstance(params, Mapping):
        raise invalid("jcr", jcr, 'JSON of {"type": text, "params": object}')
    # The API sends files as JSON with these keys.
    if params.keys() == {"media_type", "base64"} and name in _file_readers:
        return _read(_file_readers[name], name, _from_base64(params["base64"]))
    reader = _readers.get(name)
    if reader is None:
        raise ValueError(
            f"Unknown type {name[:_SHOWN_CHARS]!r}: expected one of {', '.join(sorted(_readers))}; "
            "otel_ml.types.register adds wrappers"
        )
    return _read(reader, name, params)


def _from_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error) as error:
        raise ValueError("Invalid file: expected base64") from error


def _read(reader: Callable[[Any], Data], name: str, content: Params | bytes) -> Data:
    try:
        return reader(content)
    except (ImportError, ValueError):
        raise
    except Exception as error:  # invalid data, or an error in a user's wrapper
        raise ValueError(
            f"Invalid content of type {name!r}: expected what this type writes"
        ) from error


def _json_or_none(text: bytes) -> Any:
    try:
        return _parsed(text)
    except ValueError:
        return None


def _parsed(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)  # raymon wrote NaN, which is not valid JSON
        except (ValueError, RecursionError) as error:
            raise invalid("jcr", text, "JSON") from error
