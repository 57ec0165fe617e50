"""DigitalHub's decorator of job functions."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import otel_ml

P = ParamSpec("P")
R = TypeVar("R")


def handler(outputs: Sequence[str] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Record every call of a function as a run of kind training, see `otel_ml.trace`.

    The function returns what it returns; the names are for the record.

    Args:
        outputs: Names of what it returns: of the only value, or of the items of a tuple.
    """
    named = tuple(outputs or ())

    def record(function: Callable[P, R]) -> Callable[P, R]:
        traced: Callable[P, R] = otel_ml.trace(kind="training")(_naming(function, named))
        return traced

    return record


def _naming(function: Callable[..., Any], named: Sequence[str]) -> Callable[..., Any]:
    """Make a function say its outputs by name, to the run that its call is."""
    if not named:
        return function
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def say_later(*args: Any, **kwargs: Any) -> Any:
            returned = await function(*args, **kwargs)
            otel_ml.current_run().set_output(name_outputs(named, returned))
            return returned

        return say_later

    @functools.wraps(function)
    def say(*args: Any, **kwargs: Any) -> Any:
        returned = function(*args, **kwargs)
        otel_ml.current_run().set_output(name_outputs(named, returned))
        return returned

    return say


def name_outputs(named: Sequence[str], returned: object) -> Mapping[str, object] | object:
    """Give what was returned its names; what they do not fit stays as it is."""
    if len(named) == 1:
        return {named[0]: returned}
    if isinstance(returned, tuple | list) and len(returned) == len(named):
        return dict(zip(named, returned, strict=True))
    return returned
