"""Wrappers of traced async functions that await the judges of a call before it returns."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from otel_ml.functions import Traced
from otel_ml.judges.awaiting import judge_on_loop
from otel_ml.judges.inline import DESK, Desk, is_stream
from otel_ml.judges.steps import is_async
from otel_ml.wrappers import TracedObject, plainly

P = ParamSpec("P")
R = TypeVar("R")


def await_judges(traced: Traced, recorded: Callable[P, R]) -> Callable[P, R]:
    """Wrap what records an async function once more, so that its judges are awaited.

    Args:
        traced: The function.
        recorded: What `wrap` made of it.

    Returns:
        The same kind of thing; `recorded` itself when the function is not async.
    """
    function = traced.function
    wrapper: Callable[..., Any]
    if isinstance(recorded, FunctionType):
        if inspect.isasyncgenfunction(recorded):
            wrapper = _wrap_stream(function, recorded)
        elif inspect.iscoroutinefunction(recorded):
            wrapper = _wrap_async(function, recorded)
        else:
            return recorded
        return functools.wraps(recorded)(wrapper)
    if is_stream(function):
        wrapper = _wrap_stream(function, recorded)
    elif is_async(function):
        wrapper = _wrap_async(function, recorded)
    else:
        return recorded
    if not (inspect.isasyncgenfunction(recorded) or inspect.iscoroutinefunction(recorded)):
        wrapper = plainly(wrapper)
    made: Callable[P, R] = TracedObject(wrapper, traced)
    return made


def _wrap_async(function: Callable[..., Any], recorded: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        desk, before = Desk(function), DESK.get()
        DESK.set(desk)
        try:
            output = await recorded(*args, **kwargs)
        except BaseException:
            desk.lose()
            raise
        finally:
            DESK.set(before)
        if desk.left is not None:
            await judge_on_loop(*desk.left)
        return output

    return wrapper


def _wrap_stream(function: Callable[..., Any], recorded: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        stream, desk = recorded(*args, **kwargs), Desk(function)
        resume, value = stream.asend, None
        while True:
            before = DESK.get()
            DESK.set(desk)
            try:
                chunk = await resume(value)
            except StopAsyncIteration:
                break
            except BaseException:
                desk.lose()
                raise
            finally:
                DESK.set(before)
            try:
                resume, value = stream.asend, (yield chunk)
            except BaseException as thrown:  # noqa: BLE001 - it goes on into the stream
                resume, value = stream.athrow, thrown
        if desk.left is not None:
            await judge_on_loop(*desk.left)

    return wrapper
