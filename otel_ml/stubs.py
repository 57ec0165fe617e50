"""Traced functions that are not called: recorded runs answer in their place.

While calls are replayed, functions of given names answer as they did in the recorded call. Where no
answer was recorded for an input, nothing is called: that raises within the call.
"""

import threading
from collections import Counter, deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import orjson

from otel_ml import attributes as names
from otel_ml.functions import TracedFunction
from otel_ml.process import MARKS

# Of each name whether a call of which nothing was recorded is made for real. Empty but for replays:
# who looks at it at each call pays for one look.
STUBBED: Final[dict[str, bool]] = {}


# Errors of Python that are made of a message; any other is a `RecordedError`.
_RAISED: Final[Mapping[str, type[Exception]]] = {
    kind.__name__: kind
    for kind in (
        *(ArithmeticError, OverflowError, ZeroDivisionError, AssertionError, AttributeError),
        *(LookupError, IndexError, KeyError, NameError, NotImplementedError, RuntimeError),
        *(RecursionError, TypeError, ValueError, EOFError, MemoryError, BufferError),
        *(OSError, ConnectionError, ConnectionRefusedError, ConnectionResetError),
        *(BrokenPipeError, FileNotFoundError, PermissionError, TimeoutError),
    )
}


class StubMissError(LookupError):
    """A stubbed function got an input that it did not get in the recorded call."""


class RecordedError(Exception):
    """The recorded call failed, with an error of which only type and message are known."""


class HasFacts(Protocol):
    """The run of a call: the stand-in of the function notes its source there."""

    def say_stubbed(self, run_id: str) -> None:
        """Say that a recorded run answered."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """The answer of a recorded run of a function.

    Attributes:
        run_id: Of that run.
        output: Its output; of a failed run None.
        chunks: Of a stream, piece by piece.
        error_type: Of a failed run; else empty.
        error_message: Its message.
    """

    run_id: str
    output: Any = None
    chunks: tuple[Any, ...] = ()
    error_type: str = ""
    error_message: str = ""

    def give(self) -> Any:
        """Return the recorded output, or raise the recorded error."""
        if not self.error_type:
            return self.output
        if self.error_type in _RAISED:
            raise _RAISED[self.error_type](self.error_message)
        raise RecordedError(f"{self.error_type}: {self.error_message}")


def key_of(name: str, inputs: Any) -> tuple[str, bytes]:
    """Return the identity of a call: the function, and its inputs as a record keeps them."""
    return name, orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)


class Answers:
    """The recorded answers of the functions that a call called, each once and in their order.

    Args:
        recorded: The answers by `key_of`, the oldest first.
        rebuild: Makes the function's declared return type of a recorded output; raises a
            ValueError where too little was kept for that.
    """

    def __init__(
        self,
        recorded: Mapping[tuple[str, bytes], Collection[RecordedAnswer]],
        rebuild: Callable[[Callable[..., Any], Any], Any],
    ) -> None:
        self._rebuild = rebuild
        self._left = {key: deque(answers) for key, answers in recorded.items()}
        self._taken: Counter[tuple[str, bytes]] = Counter()
        self._lock = threading.Lock()

    def take(self, traced: TracedFunction, inputs: Mapping[str, Any]) -> RecordedAnswer:
        """Take the next answer of a function to some inputs.

        Raises:
            StubMissError: There is no answer.
        """
        key = key_of(traced.name, orjson.loads(traced.recorder.redaction.encode(inputs).text))
        with self._lock:
            left = self._left.get(key)
            answer = left.popleft() if left else None
            asked = self._taken[key]
            self._taken[key] += answer is not None
        if answer is not None:
            return self._made(traced, answer)
        often = f"called it {asked:,} times" if asked else "did not call it"
        raise StubMissError(
            f"{traced.name}() is stubbed, and the recorded call {often} with these inputs"
        )

    def _made(self, traced: TracedFunction, answer: RecordedAnswer) -> RecordedAnswer:
        if answer.error_type or answer.chunks:
            return answer
        try:
            return replace(answer, output=self._rebuild(traced.function, answer.output))
        except ValueError as error:
            raise StubMissError(
                f"{traced.name}() is stubbed, and its recorded output was not kept as {error}"
            ) from error


_ANSWERS: Final[ContextVar[Answers | None]] = ContextVar("otel_ml_answers", default=None)


def answer_from(answers: Answers) -> None:
    """Let recorded answers hold from here on in this context."""
    _ANSWERS.set(answers)


@contextmanager
def stubbing(stubbed: Collection[str], *, calls_misses: bool) -> Iterator[None]:
    """Stub the traced functions of given names in this block, on all threads.

    Raises:
        RuntimeError: Others are stubbed in this process already.
    """
    if STUBBED and stubbed:
        raise RuntimeError("Another replay stubs functions in this process: expected one at a time")
    STUBBED.update(dict.fromkeys(stubbed, calls_misses))
    try:
        yield
    finally:
        for name in stubbed:
            STUBBED.pop(name, None)


def _recorded_answers(traced: TracedFunction) -> Answers:
    answers = _ANSWERS.get()
    if answers is None:
        raise StubMissError(
            f"{traced.name}() is stubbed, and was called outside of a replayed call, such as on a "
            "thread that follows none"
        )
    return answers


def _find(traced: TracedFunction, call: HasFacts, *given: Any) -> RecordedAnswer | None:
    """Find the answer to a call; None where the function is to be called.

    Raises:
        StubMissError: There is no answer, and it must not be called.
    """
    if names.JUDGING in (MARKS.get() or {}):  # a judge's own calls are none of the replayed one's
        return None
    try:
        answer = _recorded_answers(traced).take(traced, traced.bind(*given))
    except StubMissError:
        if STUBBED.get(traced.name, True):
            return None
        raise
    call.say_stubbed(answer.run_id)
    return answer


def plain(
    traced: TracedFunction, function: Callable[..., Any], call: HasFacts
) -> Callable[..., Any]:
    """Return the stand-in of a function."""
    if traced.name not in STUBBED:
        return function

    def give(*args: Any, **kwargs: Any) -> Any:
        answer = _find(traced, call, args, kwargs)
        return function(*args, **kwargs) if answer is None else answer.give()

    return give


def awaited(
    traced: TracedFunction, function: Callable[..., Any], call: HasFacts
) -> Callable[..., Awaitable[Any]]:
    """Return the stand-in of a coroutine function."""
    if traced.name not in STUBBED:
        return function

    async def give(*args: Any, **kwargs: Any) -> Any:
        answer = _find(traced, call, args, kwargs)
        return await function(*args, **kwargs) if answer is None else answer.give()

    return give


def stream(
    traced: TracedFunction, function: Callable[..., Any], call: HasFacts
) -> Callable[..., Generator[Any, Any, Any]]:
    """Return the stand-in of a generator function."""
    if traced.name not in STUBBED:
        return function

    def give(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        answer = _find(traced, call, args, kwargs)
        if answer is None:
            return (yield from function(*args, **kwargs))
        if answer.error_type:
            answer.give()
        yield from answer.chunks or (answer.output,)
        return None

    return give


def async_stream(
    traced: TracedFunction, function: Callable[..., Any], call: HasFacts
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return the stand-in of an async generator function."""
    if traced.name not in STUBBED:
        return function

    async def give(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        answer = _find(traced, call, args, kwargs)
        if answer is None:
            async for chunk in function(*args, **kwargs):
                yield chunk
            return
        if answer.error_type:
            answer.give()
        for chunk in answer.chunks or (answer.output,):
            yield chunk

    return give
