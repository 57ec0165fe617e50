"""Arguments of a call by the names that its signature gives them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_ml.capture.description import is_unsaid
from otel_ml.errors import hand_on, untrusted

Binder = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]

_SIMPLE: Final = frozenset(
    {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}
)


def make_binder(function: Callable[..., Any]) -> Binder:
    """Compile, once a function, how its arguments become inputs.

    Returns:
        A function of ``(args, kwargs)`` that returns inputs by parameter name, defaults
        included and ``self`` or ``cls`` of a method left out, as are the marks by which a
        client library tells that an argument was not given. It never raises for a call that
        the function itself would refuse: what has no name is then kept under ``args``.
    """
    parameters = None
    with untrusted:  # a builtin has no signature
        parameters = inspect.signature(function).parameters
        skip = 1 if _is_method(function, parameters) else 0
    if parameters is None:
        return _unnamed
    if all(parameter.kind in _SIMPLE for parameter in parameters.values()):
        return _simple_binder(parameters, skip)
    return _general_binder(inspect.Signature(list(parameters.values())), skip)


def _simple_binder(parameters: Mapping[str, inspect.Parameter], skip: int) -> Binder:
    """Bind a signature without ``*`` and ``**``: a zip and an update."""
    names = tuple(parameters)[skip:]
    defaults = {
        name: parameters[name].default
        for name in names
        if not (
            parameters[name].default is inspect.Parameter.empty
            or is_unsaid(parameters[name].default)
        )
    }

    count = len(names)
    left_out = tuple(parameters)[:skip]

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        positional = args[skip:] if skip else args
        if not kwargs and len(positional) == count:
            return dict(zip(names, positional))  # noqa: B905 - just compared; `strict` costs time
        if len(positional) > len(names):
            return _unnamed(positional, kwargs)
        given = dict(zip(names, positional, strict=False))
        if kwargs:
            given.update(kwargs)
            for name in left_out:  # of a method that is called by its class
                given.pop(name, None)
        if len(given) < len(names):
            for name, default in defaults.items():
                given.setdefault(name, default)
        return given

    return bind


def _general_binder(signature: inspect.Signature, skip: int) -> Binder:
    names = tuple(signature.parameters)[:skip]
    unsaid = [one.name for one in signature.parameters.values() if is_unsaid(one.default)]

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            hand_on(error)
            return _unnamed(args[skip:], kwargs)
        bound.apply_defaults()
        for name in names:
            bound.arguments.pop(name, None)
        for name in unsaid:
            if is_unsaid(bound.arguments[name]):
                del bound.arguments[name]
        return bound.arguments

    return bind


def _unnamed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"args": list(args), **kwargs}


def _is_method(function: Callable[..., Any], parameters: Mapping[str, object]) -> bool:
    """Tell a function written in a class body from one that merely names a parameter `self`."""
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    return (
        bool(owner)
        and not owner.endswith("<locals>")
        and next(iter(parameters), None) in {"self", "cls"}
    )
