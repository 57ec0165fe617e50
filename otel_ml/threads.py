"""Takes the current run along to other threads, where a call would otherwise begin a new trace.

Tasks of asyncio and `asyncio.to_thread` take it along by themselves; threads, pools of them and
`loop.run_in_executor` do not.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context as context_api

from otel_ml.spans import attach, detach

P = ParamSpec("P")
R = TypeVar("R")


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """Bind the current run to a function: wherever it is called, its runs are children of it.

    The result may be called many times and on many threads at once.

    Args:
        function: A function, or a coroutine function, which stays a coroutine function.

    Raises:
        TypeError: It is a generator function, whose body runs where it is read: wrap the
            function that reads it.
    """
    if not callable(function):
        raise TypeError(
            f"Invalid function of type {type(function).__name__}: expected something that can be "
            "called; a pool is given wrapped functions"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"Invalid function {function!r}: expected none of a generator, whose body runs where "
            "it is read; wrap the function that reads it"
        )
    context = context_api.get_current()

    async def later(*args: Any, **kwargs: Any) -> Any:
        token = attach(context)
        try:
            return await awaited(*args, **kwargs)
        finally:
            detach(token)

    def now(*args: P.args, **kwargs: P.kwargs) -> R:
        token = attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            detach(token)

    awaited: Any = function
    kind: Any = type(function)
    is_later = any(map(inspect.iscoroutinefunction, (function, kind.__call__)))
    bound: Any = later if is_later else now
    wrapped: Callable[P, R] = functools.wraps(function)(bound)
    return wrapped


def follow_threads() -> None:
    """Let every thread and thread pool of the process take the run along that started its work.

    From now on `threading.Thread`, `threading.Timer`, `ThreadPoolExecutor` and what is built on
    them do so by themselves: `opentelemetry-instrumentation-threading` sees to it. A second call
    does nothing.

    Raises:
        ImportError: That package is not installed.
    """
    try:
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor
    except ImportError as error:
        raise ImportError(
            "follow_threads() needs opentelemetry-instrumentation-threading: "
            "pip install opentelemetry-instrumentation-threading"
        ) from error
    instrumentor = ThreadingInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
