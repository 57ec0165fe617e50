"""Wrappers of generators: what a stream gave is the output of its run.

Nothing of ours stays attached to the context while the reader's code runs: the run is current only
while the generator's own body does.
"""

import itertools
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextvars import Token
from typing import Any, Final

from opentelemetry.context import Context, get_current

from otel_ml.calls import Call, new
from otel_ml.errors import hand_on
from otel_ml.functions import Traced
from otel_ml.spans import ELSEWHERE, attach, detach, reset

_CHUNKS: Final = 10_000
_FIRST: Final = range(1)
_KEPT: Final = range(1, _CHUNKS)

# Both wrappers hold everything themselves: a call of our own would be felt at each chunk.


def wrap_generator(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator function."""

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        call, token = new(Call), None
        stream = _Stream(call)
        try:
            if not call.open(traced, args, kwargs):
                return (yield from generator)
            context, send = call.context, generator.send
            resume, value, left = send, None, False
            for keep, slots in stream.stages(True):
                for _ in slots:
                    token = attach(context)
                    try:
                        chunk = resume(value)
                    except StopIteration as stop:
                        detach(token)
                        stream.finish(left)
                        return stop.value
                    try:
                        reset(token)
                    except ELSEWHERE as error:
                        hand_on(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                        resume, value = generator.throw, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            except BaseException as struck:  # of a signal's handler
                stream.fail(struck, token)
                raise
            raise
        return None  # never: the last stage has no end

    return wrapper


def wrap_async_generator(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an async generator function."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        call, token = new(Call), None
        stream = _Stream(call)
        try:
            is_open = call.open(traced, args, kwargs)
            context, send = call.context if is_open else None, generator.asend
            resume, value, left = send, None, False
            for keep, slots in stream.stages(is_open):
                for _ in slots:
                    token = attach(context or get_current())
                    try:
                        chunk = await resume(value)
                    except StopAsyncIteration:
                        detach(token)
                        stream.finish(left)
                        return
                    try:
                        reset(token)
                    except ELSEWHERE as error:
                        hand_on(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                        resume, value = generator.athrow, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            except BaseException as struck:  # of a signal's handler
                stream.fail(struck, token)
                raise
            raise

    return wrapper


class _Stream:
    """The chunks of one stream, and its run; of a call that is not open it keeps nothing."""

    def __init__(self, call: Call) -> None:
        self._chunks: list[Any] = []
        self._call = call
        self._is_open = False
        self._not_kept = 0
        self._began = 0.0
        self._first_chunk_ms = 0.0

    def stages(self, is_open: bool) -> tuple[tuple[Callable[[Any], None], Iterable[object]], ...]:
        """Return what is done with a chunk, and with how many of them; the last one has no end."""
        self._is_open = is_open
        self._began = time.perf_counter()
        rest = (self._count, itertools.repeat(None))
        if not is_open:
            return (rest,)
        return (self._keep_first, _FIRST), (self._chunks.append, _KEPT), rest

    def finish(self, left: bool) -> None:
        """End the run of a stream that ended by itself, or quietly when its reader left it."""
        if left:
            self.fail(GeneratorExit())
        elif self._is_open:
            self._describe()
            self._call.finish(self._chunks)

    def fail(self, error: BaseException, token: Token[Context] | None = None) -> None:
        """End the run of a stream that raised or was left, see `Call.fail`."""
        if self._is_open:
            self._describe()
        self._call.fail(error, token, self._chunks if self._is_open else None)

    def _keep_first(self, chunk: Any) -> None:
        self._first_chunk_ms = (time.perf_counter() - self._began) * 1e3
        self._chunks.append(chunk)

    def _count(self, _chunk: Any) -> None:
        self._not_kept += 1

    def _describe(self) -> None:
        kept = len(self._chunks)
        self._call.describe_stream(kept + self._not_kept, self._first_chunk_ms, kept)
