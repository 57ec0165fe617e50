"""Records the stream of a model that a function returns, while the caller reads it.

The caller receives the same object. Its class is replaced by a generated subclass, so that chunks,
errors, ``with``, `close` and everything else of the library work unchanged. Only a generator, whose
class cannot be replaced, is wrapped in another generator.
"""

import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from types import AsyncGeneratorType, FunctionType, GeneratorType, new_class
from typing import Any, Final, Protocol

from opentelemetry.context import Context

from otel_ml.errors import untrusted
from otel_ml.spans import attach, detach

_CLASSES: Final = 256
_ATTRIBUTE: Final = "_otel_ml_following"


class Chunks(Protocol):
    """Interface for recording a stream: receives each chunk, and how the stream ended."""

    def take(self, chunk: Any) -> None:
        """Record one chunk."""

    def finish(self, left: bool) -> object:
        """End the run. `left` is True if the reader stopped before the end of the stream."""

    def fail(self, error: BaseException) -> None:
        """End the run with the error that the stream raised."""


def follow(output: Any, chunks: Chunks, context: Context) -> Any:
    """Record the chunks of a stream while the caller reads it.

    Args:
        output: The stream that a traced function returned, such as a generator.
        chunks: Object that records each chunk and the end of the stream.
        context: OpenTelemetry context in which the generator's code runs, so that its spans become
            children of the run.

    Returns:
        The stream to give to the caller instead of `output`. None if `output` is not a supported
        stream.
    """
    following = _StreamReading(chunks)
    kind = type(output)
    with untrusted:
        if kind is GeneratorType:
            return _watched(_generate(output, following, context), following)
        if kind is AsyncGeneratorType:
            return _watched(_generate_later(output, following, context), following)
        # objects without weak references are not followed, because their end would be missed
        weakref.ref(output)
        return _watched(_replace_class(output, following), following)
    return None


class _StreamReading:
    """A stream that is being read. It ends only once.

    Attributes:
        depth: Number of active steps; one step of the stream may call another.
    """

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._is_over = False
        self.depth = 0

    def take(self, chunk: object) -> None:
        """Keep a chunk, unless an outer step keeps it."""
        if not (self.depth or self._is_over):
            self._chunks.take(chunk)

    def end(self) -> None:
        """End the run because the stream is exhausted."""
        if not (self.depth or self._is_over):
            self._is_over = True
            self._chunks.finish(False)

    def leave(self) -> None:
        """End the run because the reader closed the stream or dropped it."""
        if not self._is_over:
            self._is_over = True
            self._chunks.finish(True)

    def fail(self, error: BaseException) -> None:
        """End the run because the stream raised."""
        if not (self.depth or self._is_over):
            self._is_over = True
            self._chunks.fail(error)

    def _stop(self, error: BaseException, end: type[Exception]) -> None:
        """End the run after an error in a step. A closed stream ends by itself."""
        if issubclass(type(error), end):
            self.end()
        elif not issubclass(type(error), GeneratorExit):
            self.fail(error)

    def step(self, advance: Callable[[], Any]) -> Any:
        """Advance an iterator with `advance`. Record the chunk, the error or the end."""
        self.depth += 1
        try:
            chunk = advance()
        except BaseException as error:
            self.depth -= 1
            self._stop(error, StopIteration)
            raise
        self.depth -= 1
        self.take(chunk)
        return chunk

    async def step_later(self, advance: Callable[[], Any]) -> Any:
        """Advance an async iterator with `advance`, like `step`."""
        self.depth += 1
        try:
            chunk = await advance()
        except BaseException as error:
            self.depth -= 1
            self._stop(error, StopAsyncIteration)
            raise
        self.depth -= 1
        self.take(chunk)
        return chunk


def _watched(followed: Any, following: _StreamReading) -> Any:
    """End the run when the stream is no longer referenced."""
    weakref.finalize(followed, following.leave)
    return followed


# Generators.


def _generate(
    generator: Generator[Any, Any, Any], following: _StreamReading, context: Context
) -> Generator[Any, Any, Any]:
    resume, value = generator.send, None
    while True:
        token = attach(context)
        try:
            chunk = resume(value)
        except StopIteration as stop:
            following.end()
            return stop.value
        except GeneratorExit:
            following.leave()
            raise
        except BaseException as error:
            following.fail(error)
            raise
        finally:
            detach(token)
        following.take(chunk)
        try:
            value = yield chunk
            resume = generator.send
        except BaseException as thrown:  # noqa: BLE001 - thrown into the generator
            resume, value = generator.throw, thrown


async def _generate_later(
    generator: AsyncGenerator[Any, Any], following: _StreamReading, context: Context
) -> AsyncGenerator[Any, Any]:
    resume: Any = generator.asend
    value: Any = None
    while True:
        token = attach(context)
        try:
            chunk = await resume(value)
        except StopAsyncIteration:
            following.end()
            return
        except GeneratorExit:
            following.leave()
            raise
        except BaseException as error:
            following.fail(error)
            raise
        finally:
            detach(token)
        following.take(chunk)
        try:
            value = yield chunk
            resume = generator.asend
        except BaseException as thrown:  # noqa: BLE001 - thrown into the generator
            resume, value = generator.athrow, thrown


# Objects of library classes.


def _replace_class(output: Any, following: _StreamReading) -> Any:
    """Replace the class of a stream, or of a context manager that creates one."""
    kind = type(output)
    followed = _CHOSEN.get(kind)
    if followed is None:
        followed = _follow_class(kind)
        if len(_CHOSEN) < _CLASSES:
            _CHOSEN[kind] = followed
    vars(output)[_ATTRIBUTE] = following
    output.__class__ = followed
    return output


def _follow_class(kind: Any) -> type:
    """Create the subclass that replaces a library's class, under the same name."""
    body: dict[str, Any] = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    is_stream = hasattr(kind, "__next__") or hasattr(kind, "__anext__")
    for name, make in (_OF_STREAM if is_stream else _OF_MANAGER).items():
        method = inspect.getattr_static(kind, name, None)
        if isinstance(method, FunctionType):
            body[name] = make(method)
    if body.keys().isdisjoint({"__next__", "__anext__", "__enter__", "__aenter__"}):
        raise TypeError("A mock, or a class without methods written in Python")
    return new_class(kind.__name__, (kind,), {}, lambda given: given.update(body))


def _iter(method: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    def __iter__(self: Any) -> Iterator[Any]:  # noqa: N807 - as the class calls it
        inner = method(self)
        return inner if inner is self else _iterate(inner, vars(self)[_ATTRIBUTE])

    return __iter__


def _next(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def __next__(self: Any) -> Any:  # noqa: N807 - as the class calls it
        return vars(self)[_ATTRIBUTE].step(lambda: method(self))

    return __next__


def _aiter(method: Callable[[Any], AsyncIterator[Any]]) -> Callable[[Any], AsyncIterator[Any]]:
    def __aiter__(self: Any) -> AsyncIterator[Any]:  # noqa: N807 - as the class calls it
        inner = method(self)
        return inner if inner is self else _iterate_later(inner, vars(self)[_ATTRIBUTE])

    return __aiter__


def _anext(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def __anext__(self: Any) -> Any:  # noqa: N807 - as the class calls it
        return vars(self)[_ATTRIBUTE].step_later(lambda: method(self))

    return __anext__


def _close(method: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            vars(self)[_ATTRIBUTE].leave()

    return close


def _enter(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def __enter__(self: Any) -> Any:  # noqa: N807 - as the class calls it
        return _entered(self, method(self))

    return __enter__


def _aenter(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def __aenter__(self: Any) -> Any:  # noqa: N807 - as the class calls it
        return _entered(self, await method(self))

    return __aenter__


def _entered(manager: Any, stream: Any) -> Any:
    """Follow the stream that a context manager created.

    The stream keeps a reference to the manager.
    """
    following: _StreamReading = vars(manager)[_ATTRIBUTE]
    with untrusted:
        vars(stream)["_otel_ml_manager"] = manager
        return _replace_class(stream, following)
    following.leave()
    return stream


_Methods = dict[str, Callable[[Any], Callable[..., Any]]]
_OF_MANAGER: Final[_Methods] = {"__enter__": _enter, "__aenter__": _aenter}
_OF_STREAM: Final[_Methods] = {
    "__iter__": _iter,
    "__next__": _next,
    "__aiter__": _aiter,
    "__anext__": _anext,
    "close": _close,
    "aclose": _close,
}
_CHOSEN: Final[dict[Any, type]] = {}


def _iterate(inner: Iterator[Any], following: _StreamReading) -> Iterator[Any]:
    step = inner.__next__
    while True:
        try:
            chunk = following.step(step)
        except StopIteration:
            return
        yield chunk


async def _iterate_later(
    inner: AsyncIterator[Any], following: _StreamReading
) -> AsyncIterator[Any]:
    step = inner.__anext__
    while True:
        try:
            chunk = await following.step_later(step)
        except StopAsyncIteration:
            return
        yield chunk
