"""The contract of wrappers, and the table that looks them up for a value or a written form.

Data names a type, it never chooses code: only registered wrappers read.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, Protocol, TypeVar

import orjson

from otel_ml.arguments import NAME_CHARS, invalid

Form = dict[str, Any]
Params = Mapping[str, Any]
Encode = Callable[[Any], Any]  # any value to what JSON has a form for
Decode = Callable[[Any], Any]  # and back

Self = TypeVar("Self", bound="Data")


class ValueWriter(Protocol):
    """Writes the values that a value holds."""

    def encode(self, value: Any) -> Any:
        """Return the JSON form of `value`. Never raises."""

    def items(self, items: list[Any]) -> list[Any]:
        """Return the JSON forms of items; the list may be the given list."""


# Hides what is secret in a column of a table, see `otel_ml.artifact`: of the column, its name, its
# dtype in words, what returns its elements as Python's own values, and what makes one of such.
HideColumn = Callable[[Any, str, str, Callable[[], list[Any]], Callable[[list[Any]], Any]], Any]


class Data(ABC):
    """A value that can be written as JSON and read back as it was.

    Subclass it for a type of your own and `register` the subclass, so that `load` finds it.

    Attributes:
        type_name: What its written form is known by: the qualified name of the class, or the
            name that it was registered under.
        data: The value itself, never copied.
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
        """Write the value as it is now.

        Returns:
            A dict with the keys ``type``, which is `type_name`, and ``params``, made of what
            JSON knows, which is dicts with text keys, lists, texts, finite numbers, bools, None.
        """

    @classmethod
    @abstractmethod
    def from_jcr(cls: type[Self], params: Params) -> Self:
        """Read the params that `to_jcr` wrote."""

    def validate(self, data: Any) -> None:  # noqa: B027 - a wrapper may take anything
        """Raise a ValueError when `data` is nothing for this wrapper."""

    def to_json(self) -> str:
        """Write the value as it is now as JSON text."""
        return dump(self).decode()


def dump(data: Data) -> bytes:
    """Write a wrapper and its value as they are now.

    Returns:
        The JSON text of ``data.to_jcr()``. Nothing of it changes with the value later on.

    Raises:
        ValueError: It is no wrapper, or a wrapper of the user writes a value that JSON has no form
            for.
    """
    if not issubclass(type(data), Data):
        raise invalid("data", data, "a wrapper, as otel_ml.types.wrap makes one")
    form = data.to_jcr()
    try:
        return orjson.dumps(form)
    except TypeError as error:
        raise ValueError(
            f"Invalid form of type {data.type_name!r}: expected to_jcr() to return what JSON knows"
        ) from error


Wrapper = TypeVar("Wrapper", bound=type[Data])

# Values of other packages, recognised by their types' names: no package is loaded.

_PACKAGES: Final = frozenset(
    {"PIL", "jaxlib", "matplotlib", "numpy", "pandas", "plotly", "polars", "pyarrow"}
    | {"scipy", "torch"}
)

_wrappers: dict[tuple[str, str], type[Data]] = {}


def wraps(package: str, *names: str) -> Callable[[Wrapper], Wrapper]:
    """Make the decorated wrapper that of these types of a package and their subclasses."""

    def decorate(cls: Wrapper) -> Wrapper:
        _wrappers.update(dict.fromkeys(((package, name) for name in names), cls))
        return cls

    return decorate


def find_wrapper(kind: type) -> type[Data] | None:
    """Return the wrapper for values of a type of another package's, or None."""
    for package, base in _foreign_bases(kind):
        wrapper = _wrappers.get((package, base.__name__))
        if wrapper is not None:
            return wrapper
    return None


def is_from(package: str, kind: type) -> bool:
    """Tell whether a type, or a base of it, is a package's."""
    return any(package == name for name, _base in _foreign_bases(kind))


def bases(kind: type) -> tuple[type, ...]:
    """Return a type and its bases; its metaclass, which may be the host's, is not asked."""
    order: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return order


def _foreign_bases(kind: type) -> Iterator[tuple[str, type]]:
    for base in bases(kind):
        module = base.__module__
        package = module.partition(".")[0] if isinstance(module, str) else ""
        if package in _PACKAGES:
            yield package, base


# Which type string is read by which wrapper.

Reader = Callable[[Params], Data]

_RESERVED: Final = ("otel_ml.", "raymon.")
_SHOWN_CHARS: Final = 100  # of a name that is shown in an error

_readers: dict[str, Reader] = {}
_owners: dict[str, str] = {}


def register(cls: Wrapper, name: str | None = None) -> Wrapper:
    """Let `load` read a wrapper of yours; a decorator, too.

    Args:
        cls: A subclass of `Data`. Defined and registered again, as in a notebook, it replaces
            its former self.
        name: The type string of its written form; the qualified name of the class otherwise.

    Raises:
        ValueError: It is no subclass of `Data`, or its name is taken or reserved.
    """
    if not issubclass(type(cls), type) or not issubclass(cls, Data):
        raise invalid("cls", cls, "a subclass of otel_ml.types.Data")
    chosen = cls.type_name if name is None else name
    is_text = issubclass(type(chosen), str) and 0 < len(chosen) <= NAME_CHARS
    if not is_text or chosen.startswith(_RESERVED):
        raise invalid("name", chosen, "a text that no package of ours has")
    owner = f"{cls.__module__}.{cls.__qualname__}"
    if _owners.setdefault(chosen, owner) != owner:
        raise ValueError(
            f"Invalid name {chosen!r}: expected none under which {_owners[chosen]} is registered"
        )
    cls.type_name = chosen
    _readers[chosen] = cls.from_jcr
    return cls


def read_by(name: str, reader: Reader) -> None:
    """Register `reader` for a reserved type name."""
    _readers[name] = reader


def load(jcr: Mapping[str, Any] | str | bytes) -> Data:
    """Read a form written by `dump` or ``to_jcr``, or by raymon 0.0.39.

    Args:
        jcr: The form, as JSON or read from it.

    Returns:
        A wrapper whose ``data`` has the type, dtype, shape and values that were written.

    Raises:
        ValueError: It is no such form, its type is not registered, or its params are broken.
        ImportError: It needs a package that is not installed.
    """
    form: Any = jcr
    if issubclass(type(jcr), str | bytes):
        form = _parsed(form)
    is_form = issubclass(type(form), Mapping)
    name = form.get("type") if is_form else None
    params = form.get("params") if is_form else None
    if not isinstance(name, str) or not isinstance(params, Mapping):
        raise invalid("jcr", jcr, 'JSON of {"type": text, "params": object}')
    reader = _readers.get(name)
    if reader is None:
        raise ValueError(
            f"Unknown type {name[:_SHOWN_CHARS]!r}: expected one of {', '.join(sorted(_readers))}; "
            "otel_ml.types.register adds wrappers"
        )
    return _read(reader, name, params)


def _read(reader: Reader, name: str, params: Params) -> Data:
    try:
        return reader(params)
    except (ImportError, ValueError):
        raise
    except Exception as error:  # the border to data of any make and to wrappers of the user's
        raise ValueError(f"Invalid params of type {name!r}: expected what it writes") from error


def _parsed(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)  # raymon wrote NaN, which JSON does not have
        except (ValueError, RecursionError) as error:
            raise invalid("jcr", text, "JSON") from error
