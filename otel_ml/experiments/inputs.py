"""Rebuilds recorded values as the types that a function's annotations ask for.

A record stores a date as text, a dataclass as its fields, and a short array as its elements. The
function expects the original types. If too little was recorded to rebuild a value, an error is
raised.
"""

import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from typing import Any, Final

import orjson

from otel_ml.capture.taker import describe
from otel_ml.errors import untrusted

_INFINITE: Final = {"Infinity": float("inf"), "-Infinity": float("-inf")}
# `otel_ml.capture` describes a value without a JSON form by its type and one of these keys.
_IN_SHORT: Final = frozenset(
    {"attributes", "awaitable", "choices", "columns", "device", "dtype", "head", "length", "mode"}
    | {"repr"}
)
_TEXTS: Final[Mapping[type, Callable[[str], Any]]] = {
    datetime.datetime: lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00")),
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
    complex: complex,
    int: int,
}
_BYTES: Final = "bytes"
_ARRAY: Final = "numpy.ndarray"
_TENSOR: Final = "torch.Tensor"
_JAX: Final = "jax.Array"


class NotRebuiltError(ValueError):
    """A recorded value cannot be rebuilt as its original type, because too little was recorded."""

    def __init__(self, of: object) -> None:
        self.of = getattr(of, "__qualname__", None) or str(of)
        super().__init__(self.of)


class Recorded:
    """Converts recorded inputs and outputs of a function from JSON back to Python objects.

    Use it to call the function again with recorded inputs.

    Args:
        function: The function in its current version. Its annotations determine the types.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._parameters: Mapping[str, inspect.Parameter] = {}
        with untrusted:  # a builtin has no signature
            self._parameters = inspect.signature(function).parameters
        self._hints = _hints_of(function)

    def inputs(
        self,
        recorded: Mapping[str, Any],
        find_logged: Callable[[str], Iterable[Any]] = lambda _: (),
    ) -> dict[str, Any]:
        """Convert a function's recorded inputs from JSON to the types in its annotations.

        For example, a list becomes an array and a dict becomes a dataclass.

        Args:
            recorded: Recorded inputs by parameter name.
            find_logged: Function that takes the name of an input and returns the values that the
                run logged under this name. If only the first elements of an input were recorded,
                a logged value replaces it. This value has the same type, shape and first elements.

        Raises:
            NotRebuiltError: An input cannot be converted.
        """
        inputs = {}
        for name, value in recorded.items():
            try:
                inputs[name] = self._input(name, value)
            except NotRebuiltError:
                logged = [one for one in find_logged(name) if _is_described(one, value)]
                if not logged:
                    raise
                inputs[name] = self._input(name, logged[0])
        return inputs

    def output(self, recorded: Any) -> Any:
        """Rebuild a recorded output as the type of the function's return annotation.

        Raises:
            NotRebuiltError: The output cannot be rebuilt.
        """
        return rebuild(recorded, self._hints.get("return", Any))

    def _input(self, name: str, value: Any) -> Any:
        parameter = self._parameters.get(name)
        hint = self._hints.get(name, Any)
        if parameter is None:
            return rebuild(value, Any)
        if parameter.kind is parameter.VAR_POSITIONAL:
            return rebuild(value, list[hint])  # type: ignore[valid-type]  # of the host's
        if parameter.kind is parameter.VAR_KEYWORD:
            return rebuild(value, dict[str, hint])  # type: ignore[valid-type]  # of the host's
        if value is None and parameter.default is None:  # `x: float = None`
            return None
        return rebuild(value, hint)

    def spread(self, inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Convert inputs by name to the positional and keyword arguments of a call."""
        args: list[Any] = []
        kwargs = dict(inputs)
        kinds = {name: parameter.kind for name, parameter in self._parameters.items()}
        starred = next(
            (name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), ""
        )
        if not kinds and isinstance(kwargs.get("args"), list):  # no signature known
            args = kwargs.pop("args")
        for name, kind in kinds.items():
            if name not in kwargs:
                continue
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args += kwargs.pop(name)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs |= kwargs.pop(name)
            elif kind is inspect.Parameter.POSITIONAL_ONLY or (
                kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and inputs.get(starred)
            ):
                args.append(kwargs.pop(name))
        return tuple(args), kwargs


def _is_described(value: Any, recorded: Any) -> bool:
    """Return whether a value matches a recorded description: type, shape, first elements."""
    with untrusted:  # runs code of the host's class
        return bool(orjson.loads(orjson.dumps(describe(value), default=str)) == recorded)
    return False


def _hints_of(function: Any) -> Mapping[str, Any]:
    with untrusted:  # names under TYPE_CHECKING do not resolve; the host's class may raise
        while isinstance(function, partial):
            function = function.func
        if not inspect.isroutine(function):
            function = type(function).__call__
        return typing.get_type_hints(function)
    return {}


def rebuild(value: Any, hint: Any) -> Any:
    """Convert a recorded value from JSON to a Python type.

    Args:
        value: The recorded JSON.
        hint: A type or annotation to convert to. With ``Any``, the type in the recorded JSON is
            used.

    Raises:
        NotRebuiltError: The value cannot be converted, for example because it was recorded only in
            part.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return _rebuild_one_of(value, arguments)
    if origin in {typing.Annotated, typing.Final, typing.ClassVar}:
        return rebuild(value, arguments[0])
    if hasattr(hint, "__supertype__"):
        return rebuild(value, hint.__supertype__)
    kind = origin if isinstance(origin, type) else hint
    if kind is Any or not isinstance(kind, type) or kind is object:
        return _rebuild_alone(value)
    try:
        return _rebuild_as(value, kind, arguments)
    except NotRebuiltError:
        raise
    except Exception as error:  # the host's class may raise anything
        raise NotRebuiltError(kind) from error


def _rebuild_one_of(value: Any, hints: Sequence[Any]) -> Any:
    if type(value) in hints or (value is None and type(None) in hints):
        return rebuild(value, type(value)) if type(value) is not dict else _rebuild_alone(value)
    for hint in hints:
        with suppress(NotRebuiltError):
            return rebuild(value, hint)
    raise NotRebuiltError(" | ".join(getattr(hint, "__name__", str(hint)) for hint in hints))


def _rebuild_alone(value: Any) -> Any:
    """Rebuild a value without an annotation: JSON, and arrays and bytes recorded as a whole."""
    if type(value) is list:
        return [_rebuild_alone(item) for item in value]
    if type(value) is not dict:
        return value
    kind = value.get("type")
    if type(kind) is str and _IN_SHORT & value.keys() and _is_type(kind):
        return _rebuild_described(value, kind)
    return {name: _rebuild_alone(item) for name, item in value.items()}


def _is_type(kind: str) -> bool:
    return kind == _BYTES or (
        all(part.isidentifier() for part in kind.split(".")[1:]) and "." in kind
    )


def _rebuild_described(value: Mapping[str, Any], kind: str) -> Any:
    if kind == _BYTES:
        head = bytes.fromhex(value["head"])
        if len(head) == value["length"]:
            return head
    elif kind in {_ARRAY, _TENSOR, _JAX} and "values" in value:
        with suppress(ImportError, TypeError, ValueError, AttributeError):
            return _rebuild_array(value, kind)
    raise NotRebuiltError(kind)


def _rebuild_array(value: Mapping[str, Any], kind: str) -> Any:
    if kind == _TENSOR:
        import torch  # optional; installed if a tensor was recorded

        dtype = getattr(torch, value["dtype"])
        return torch.tensor(value["values"], dtype=dtype).reshape(value["shape"])
    import numpy as np  # optional; installed if an array was recorded

    if value["dtype"] == "object" or value["dtype"].startswith("["):
        raise NotRebuiltError(kind)
    array = np.array(value["values"], dtype=value["dtype"]).reshape(value["shape"])
    if kind == _ARRAY:
        return array
    import jax.numpy as jnp  # optional; installed if a JAX array was recorded

    return jnp.asarray(array)


def _rebuild_as(value: Any, kind: type, arguments: Sequence[Any]) -> Any:
    if issubclass(kind, enum.Enum):
        return kind(_rebuild_alone(value))
    if issubclass(kind, bytes | bytearray):
        return kind(_checked(_rebuild_alone(value), bytes))
    if kind in _TEXTS or issubclass(kind, str | int | float | pathlib.PurePath | types.NoneType):
        return _rebuild_scalar(value, kind)
    if issubclass(kind, tuple):
        return _rebuild_tuple(_checked(value, list), kind, arguments)
    of = arguments[0] if arguments else Any
    if issubclass(kind, AbstractSet):
        made = {rebuild(item, of) for item in _checked(value, list)}
        return frozenset(made) if kind is frozenset else made
    if type(value) is list and issubclass(list, kind):
        return [rebuild(item, of) for item in value]
    return _rebuild_object(value, kind, arguments)


def _rebuild_scalar(value: Any, kind: type) -> Any:
    if type(value) is str and kind in _TEXTS:
        return _TEXTS[kind](value)
    if issubclass(kind, pathlib.PurePath):
        return kind(_checked(value, str))
    if kind is float and type(value) in {int, str}:
        return _INFINITE[value] if type(value) is str else value
    if kind in {bool, types.NoneType} or kind in _TEXTS or isinstance(value, kind):
        return _checked(value, kind)
    made: Callable[[Any], Any] = kind
    return made(_checked(value, next(base for base in (str, int, float) if issubclass(kind, base))))


def _checked(value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return value
    raise NotRebuiltError(kind)


def _rebuild_tuple(values: Sequence[Any], kind: type, arguments: Sequence[Any]) -> Any:
    if hasattr(kind, "_fields"):
        hints = list(typing.get_type_hints(kind).values()) or [Any] * len(values)
        return kind(*map(rebuild, values, hints))
    if arguments[1:] == (...,) or not arguments:
        of = arguments[0] if arguments else Any
        return tuple(rebuild(item, of) for item in values)
    if len(arguments) != len(values):
        raise NotRebuiltError(kind)
    return tuple(map(rebuild, values, arguments))


def _rebuild_object(value: Any, kind: type, arguments: Sequence[Any]) -> Any:
    if type(value) is not dict:
        return _checked(value, kind)
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        return {name: rebuild(item, hints.get(name, Any)) for name, item in value.items()}
    if issubclass(dict, kind):
        of_key, of_item = arguments if len(arguments) > 1 else (Any, Any)
        if not arguments:
            return _checked(_rebuild_alone(value), kind)
        return {rebuild(name, of_key): rebuild(item, of_item) for name, item in value.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        taken = {field.name for field in dataclasses.fields(kind) if field.init}
        return kind(**{name: rebuild(value[name], hints[name]) for name in value if name in taken})
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    return _checked(_rebuild_alone(value), kind)
