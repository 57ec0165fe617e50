"""The wrappers: a call becomes a run, and returns or raises exactly as without us.

Nothing of ours stays attached to the context while the caller's code runs: a generator's run is
current only while the generator's own body does.
"""

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Final, ParamSpec, TypeVar

from otel_ml.attachment import attach, detach
from otel_ml.call import Call, Traced

P = ParamSpec("P")
R = TypeVar("R")

_CHUNKS: Final = 10_000


def wrap(traced: Traced, function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function, so that it stays what it is under `inspect`."""
    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        wrapper = _wrap_async_generator(traced, function)
    elif inspect.isgeneratorfunction(function):
        wrapper = _wrap_generator(traced, function)
    elif inspect.iscoroutinefunction(function):
        wrapper = _wrap_async(traced, function)
    elif inspect.iscoroutinefunction(vars(type(function)).get("__call__")):
        later = _wrap_async(traced, function)

        def wrapper(*args: Any, **kwargs: Any) -> Any:  # no coroutine function under inspect
            return later(*args, **kwargs)

    else:
        wrapper = _wrap_plain(traced, function)
    return functools.wraps(function)(wrapper)


def _wrap_plain(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = traced.begin(args, kwargs)
        if call is None:
            return function(*args, **kwargs)
        token = attach(call.context)
        try:
            output = function(*args, **kwargs)
        except BaseException as error:
            detach(token)
            call.fail(error)
            raise
        detach(token)
        call.finish(output)
        return output

    return wrapper


def _wrap_async(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = traced.begin(args, kwargs)
        if call is None:
            return await function(*args, **kwargs)
        token = attach(call.context)
        try:
            output = await function(*args, **kwargs)
        except BaseException as error:
            detach(token)
            call.fail(error)
            raise
        detach(token)
        call.finish(output)
        return output

    return wrapper


def _wrap_generator(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        call = traced.begin(args, kwargs)
        if call is None:
            return (yield from generator)
        stream = _Stream(call)
        context, chunks = call.context, stream.chunks
        resume, value, left = generator.send, None, False
        # Everything stands here, because a call of our own would be felt at each chunk.
        while True:
            token = attach(context)
            try:
                chunk = resume(value)
            except StopIteration as stop:
                detach(token)
                stream.finish(left)
                return stop.value
            except BaseException as error:
                detach(token)
                stream.fail(error)
                raise
            detach(token)
            if chunks and len(chunks) < _CHUNKS:
                chunks.append(chunk)
            else:
                stream.add(chunk)
            try:
                value = yield chunk
                resume, left = generator.send, False
            except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                resume, value, left = generator.throw, thrown, isinstance(thrown, GeneratorExit)

    return wrapper


def _wrap_async_generator(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        stream = _Stream(traced.begin(args, kwargs))
        resume, value, left = generator.asend, None, False
        while True:
            try:
                chunk = await stream.async_step(resume(value))
            except StopAsyncIteration:
                stream.finish(left)
                return
            except BaseException as error:
                stream.fail(error)
                raise
            stream.add(chunk)
            try:
                resume, value, left = generator.asend, (yield chunk), False
            except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                resume, value, left = generator.athrow, thrown, isinstance(thrown, GeneratorExit)

    return wrapper


class _Stream:
    """The chunks of one stream, and its run; without a call it only passes steps on."""

    def __init__(self, call: Call | None) -> None:
        self.chunks: list[Any] = []
        self._call = call
        self._not_kept = 0
        self._began = time.perf_counter()
        self._first_chunk_ms = 0.0

    async def async_step(self, step: Awaitable[Any]) -> Any:
        """Await the generator's body to its next chunk, with the run current."""
        if self._call is None:
            return await step
        token = attach(self._call.context)
        try:
            return await step
        finally:
            detach(token)

    def add(self, chunk: Any) -> None:
        """Keep a chunk; beyond the bound only their number is kept."""
        if not self.chunks:
            self._first_chunk_ms = (time.perf_counter() - self._began) * 1e3
        if self._call is None or len(self.chunks) >= _CHUNKS:
            self._not_kept += 1
        else:
            self.chunks.append(chunk)

    def finish(self, left: bool) -> None:
        """End the run of a stream that ended by itself, or quietly when its reader left it."""
        if left:
            self.fail(GeneratorExit())
        elif self._call is not None:
            self._describe(self._call)
            self._call.finish(self.chunks)

    def fail(self, error: BaseException) -> None:
        """End the run of a stream that raised or was left."""
        if self._call is not None:
            self._describe(self._call)
            self._call.fail(error, self.chunks)

    def _describe(self, call: Call) -> None:
        count = len(self.chunks) + self._not_kept
        call.describe_stream(count, self._first_chunk_ms, len(self.chunks))
