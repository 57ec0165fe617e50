"""Carries the current run to other threads, where a call would otherwise start a new trace.

asyncio tasks and `asyncio.to_thread` do this by themselves. Threads, thread pools and
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
    """Wrap a function that will run in another thread, so that it continues the current trace.

    Without `wrap`, calls in another thread start new traces. With it, they become children of the
    run in which you called `wrap`. You can call the wrapped function many times, also in several
    threads at once.

    Args:
        function: A sync function or a coroutine function.

    Returns:
        The wrapped function, of the same kind.

    Raises:
        TypeError: The argument is not callable, or it is a generator function. To wrap a generator,
            wrap the function that iterates over it instead.
    """
    if not callable(function):
        raise TypeError(
            f"Invalid function of type {type(function).__name__}: expected something that can be "
            "called; for a pool, wrap the functions that you pass to it"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"Invalid function {function!r}: expected no generator function, because its body "
            "runs in the code that iterates over it; wrap that code instead"
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
    """Let all threads and thread pools continue the trace of the code that starts them.

    Otherwise, calls in other threads start new traces. This function changes `threading.Thread`,
    `threading.Timer`, `ThreadPoolExecutor` and everything that uses them. Calling it again does
    nothing.

    Raises:
        ImportError: The package ``opentelemetry-instrumentation-threading`` is not installed.
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
