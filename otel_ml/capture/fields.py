"""The fields that a class declares, and which of them it keeps out of its ``repr`` or its dump.

A class declares that a field is private with ``field(repr=False)`` (dataclasses, attrs, pydantic)
or with ``Field(exclude=True)`` (pydantic). Such fields are not recorded, unless the client has
``capture_hidden=True``.
"""

import dataclasses
import types
import typing
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from otel_ml.errors import reraise_host_error, untrusted

PLAIN_TYPES: Final = frozenset({str, int, float, bool, type(None)})
_SEQUENCES: Final = (list, tuple, deque)
_PLAIN_CONTAINERS: Final = (list, dict, typing.Union, types.UnionType)
_NONE: Final = object()


class Hidden(NamedTuple):
    """What a class keeps out of its ``repr`` or its dump.

    Attributes:
        names: Fields that are never shown.
        unless: Fields whose value decides: functions that return True if the value is hidden, as in
            pydantic's ``Field(exclude_if=...)``.
        shown_as: Fields that are shown as the result of a function, as in attrs'
            ``field(repr=function)``.
        aliases: Names of fields in a pydantic dump, if they have a name of their own there.
        is_flat: Whether no field of a pydantic model can contain an object with fields.
    """

    names: frozenset[str] = frozenset()
    unless: Mapping[str, Callable[[Any], object]] = {}
    shown_as: Mapping[str, Callable[[Any], object]] = {}
    aliases: Mapping[str, str] = {}
    is_flat: bool = False


_NOTHING: Final = Hidden()
_KNOWN_TYPES: Final = 1_000
_HIDDEN_OF_TYPE: Final[dict[type, Hidden]] = {}


def field_names(kind: type) -> Sequence[str] | None:
    """Return the names of the fields that a class declares. None if it declares none.

    Supports dataclasses, named tuples, and classes of attrs, msgspec and pydantic. Catch exceptions
    when you call it, because reading the fields runs code of the class.
    """
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
        return names if isinstance(names, tuple) else None
    if hasattr(kind, "to_plotly_json"):
        return ()
    if isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
        return [field.name for field in kind.__attrs_attrs__]  # type: ignore[attr-defined]
    declared = getattr(kind, "__struct_fields__", None)
    if isinstance(declared, tuple) and declared:
        return [*declared]
    declared = getattr(kind, "__pydantic_fields__", None)
    return [*declared] if isinstance(declared, dict) else [*_former_fields(kind)] or None


def hidden_fields(kind: type) -> Hidden:
    """Return which fields a class keeps out of its ``repr`` or its dump.

    The result is cached. Catch exceptions when you call it, as for `field_names`.
    """
    known = _HIDDEN_OF_TYPE.get(kind)
    if known is None:
        if len(_HIDDEN_OF_TYPE) >= _KNOWN_TYPES:
            _HIDDEN_OF_TYPE.clear()
        known = _HIDDEN_OF_TYPE[kind] = _find_hidden(kind)
    return known


def _find_hidden(kind: type) -> Hidden:
    names: set[str] = set()
    unless: dict[str, Callable[[Any], object]] = {}
    shown_as: dict[str, Callable[[Any], object]] = {}
    aliases: dict[str, str] = {}
    if dataclasses.is_dataclass(kind):
        names.update(field.name for field in dataclasses.fields(kind) if not field.repr)
    attributes = getattr(kind, "__attrs_attrs__", None)
    for attribute in attributes if isinstance(attributes, tuple) else ():
        if callable(attribute.repr):
            shown_as[attribute.name] = attribute.repr
        elif not attribute.repr:
            names.add(attribute.name)
    for name, info in _pydantic_fields(kind).items():
        if getattr(info, "exclude", None) is True or getattr(info, "repr", None) is False:
            names.add(name)
        if callable(getattr(info, "exclude_if", None)):
            unless[name] = info.exclude_if
        if isinstance(alias := getattr(info, "serialization_alias", None), str):
            aliases[name] = alias
    return Hidden(frozenset(names), unless, shown_as, aliases, _is_flat(kind))


def _is_flat(kind: Any) -> bool:
    """Tell whether the fields of a pydantic model contain only plain values, by their types."""
    declared = getattr(kind, "__pydantic_fields__", None)
    if not isinstance(declared, dict) or not hasattr(kind, "model_config"):
        return False
    properties = kind.__pydantic_decorators__.computed_fields
    is_open = properties or kind.model_config.get("extra") == "allow"
    return not is_open and all(_is_plain(info.annotation) for info in declared.values())


def _is_plain(annotation: Any) -> bool:
    if annotation in PLAIN_TYPES or annotation is None:
        return True
    is_container = typing.get_origin(annotation) in _PLAIN_CONTAINERS
    return is_container and all(map(_is_plain, typing.get_args(annotation)))


def _pydantic_fields(kind: Any) -> dict[str, Any]:
    """Return how pydantic describes each field, and each property that it dumps but not shows."""
    fields: dict[str, Any] = {}
    if isinstance(declared := getattr(kind, "__pydantic_fields__", None), dict):
        fields.update(declared)
        properties = getattr(getattr(kind, "__pydantic_decorators__", None), "computed_fields", {})
        for name, entry in properties.items():
            if entry.info.repr is False:
                fields[name] = _HiddenProperty(entry.info.alias)
        return fields
    return _former_fields(kind)


def _former_fields(kind: type) -> dict[str, Any]:
    """Return how pydantic 1 describes each field; empty for other classes."""
    declared = getattr(kind, "__fields__", None)
    if not isinstance(declared, dict):
        return {}
    described = {name: getattr(field, "field_info", None) for name, field in declared.items()}
    return {name: info for name, info in described.items() if hasattr(info, "exclude")}


class _HiddenProperty(NamedTuple):
    """A property that pydantic adds to the dump of a model, but not to its ``repr``."""

    serialization_alias: str | None
    exclude: bool = True
    repr: bool = False


def shown_value(hidden: Hidden, name: str, value: Any) -> Any:
    """Return a field's value as it may be recorded. Calls functions that the class declares.

    If such a function raises, the value is hidden.
    """
    with untrusted:
        if name in hidden.shown_as:
            return str(hidden.shown_as[name](value))
        if name not in hidden.unless or not hidden.unless[name](value):
            return value
    return HIDDEN


HIDDEN: Final = object()  # what `shown_value` returns for a value that must not be recorded


def fields_of(value: Any, *, with_hidden: bool = False) -> list[tuple[str, Any]]:
    """Return names and values of the fields that an object's class declares, as for dataclasses.

    Fields without a value are left out. Hidden fields are left out too, unless `with_hidden`.
    """
    kind = type(value)
    if hasattr(kind, "to_plotly_json"):
        return [*value.to_plotly_json().items()]
    names = field_names(kind) or ()
    if isinstance(value, tuple):
        return [*zip(names, tuple.__iter__(value), strict=False)]
    hidden = _NOTHING if with_hidden else hidden_fields(kind)
    found = []
    for name in names:
        item = _NONE if name in hidden.names else getattr(value, name, _NONE)
        if hidden.shown_as or hidden.unless:
            item = item if item is _NONE else shown_value(hidden, name, item)
        if item is not _NONE and item is not HIDDEN:
            found.append((name, item))
    return found


def match_dump(dumped: Any, original: Any, *, with_hidden: bool) -> Any:
    """Remove hidden fields from what pydantic dumped, or add them if `with_hidden`.

    A dump contains the fields with ``repr=False``, and plain dicts instead of the objects inside
    the model, whose classes may hide fields too. So the dump is compared with the original.

    Args:
        dumped: What pydantic returned for `original`. Its dicts are changed.
        original: The model, or a part of it.
        with_hidden: Add fields with ``exclude=True`` instead of removing hidden ones.
    """
    kind = type(dumped)
    if dumped is original or kind in PLAIN_TYPES:
        return dumped
    while getattr(type(original), "__pydantic_root_model__", False):
        original = original.root
    if kind is dict:
        if not isinstance(original, dict):
            _match_object(dumped, original, with_hidden)
        elif not PLAIN_TYPES.issuperset(map(type, dumped.values())):
            for key, item in dumped.items():
                dumped[key] = match_dump(item, original.get(key, item), with_hidden=with_hidden)
    elif (
        isinstance(original, _SEQUENCES)
        and issubclass(kind, _SEQUENCES)
        and len(dumped) == len(original)
        and not PLAIN_TYPES.issuperset(map(type, dumped))
    ):
        pairs = zip(dumped, original, strict=True)
        return [match_dump(item, own, with_hidden=with_hidden) for item, own in pairs]
    return dumped


def _match_object(dumped: dict[str, Any], original: Any, with_hidden: bool) -> None:
    names, unless, _, aliases, is_flat = hidden_fields(type(original))
    for name in (*names, *unless) if with_hidden else names:  # pydantic calls `unless` itself
        key = name if name in dumped else aliases.get(name, name)
        if not with_hidden:
            dumped.pop(key, None)
        elif key not in dumped:
            dumped[name] = getattr(original, name)
    if is_flat:
        return
    own_names = {alias: name for name, alias in aliases.items()} if aliases else aliases
    for key, item in dumped.items():
        if type(item) in PLAIN_TYPES or type(key) is not str:
            continue
        try:
            own = getattr(original, own_names.get(key, key))
        except AttributeError as error:  # made by the class's own serializer
            reraise_host_error(error)
            continue
        dumped[key] = match_dump(item, own, with_hidden=with_hidden)
