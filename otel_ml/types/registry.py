"""Which type string is read by which wrapper: data names a type, it never chooses code."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import orjson

from otel_ml.arguments import NAME_CHARS, invalid
from otel_ml.types.data import Data, Params

Reader = Callable[[Params], Data]
Wrapper = TypeVar("Wrapper", bound=type[Data])

_RESERVED: Final = ("otel_ml.", "raymon.")
_NAME_CHARS: Final = 100  # of a name that is shown in an error

_readers: dict[str, Reader] = {}
_owners: dict[str, str] = {}


def register(cls: Wrapper, name: str | None = None) -> Wrapper:
    """Let `load` read a wrapper of yours; a decorator, too.

    Args:
        cls: A subclass of `Data`. Defined and registered again, as in a notebook, it replaces
            its former self.
        name: The type string of its written form; the qualified name of the class otherwise.

    Raises:
        ValueError: It is no subclass of `Data`, or its name is taken or one of ours.
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
    """Let `reader` read what was written under a name of ours."""
    _readers[name] = reader


def load(jcr: Mapping[str, Any] | str | bytes) -> Data:
    """Read what `dump` or ``to_jcr`` wrote, or what raymon 0.0.39 wrote.

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
            f"Unknown type {name[:_NAME_CHARS]!r}: expected one of {', '.join(sorted(_readers))}; "
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
