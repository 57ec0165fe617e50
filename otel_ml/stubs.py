"""Stubs for replays: traced functions return recorded results instead of running.

During a replay, the stubbed functions return the results from the recorded call. If the record
has no answer for an input, the stub raises an error inside the replayed call.
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
from typing import Any, Final, NamedTuple, Protocol

import orjson

from otel_ml import attributes as names
from otel_ml.functions import TracedFunction
from otel_ml.process import MARKS


class Stubbed(dict[str, bool]):
    """The functions that return recorded results (stubs) instead of running, in the current replay.

    A dict by function name. The value is True if the real function is called when no result is
    recorded. Outside of a replay, the dict is empty.
    """

    def __reduce__(self) -> str:
        return "STUBBED"  # a reference, so that traced functions can be sent to other processes


STUBBED: Final = Stubbed()


# Built-in errors that can be created from a message. All others become RecordedError.
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
    """A replay called a stubbed function with an input that has no recorded answer."""


class RecordedError(Exception):
    """Raised by a stub if the recorded call failed.

    It is not the original error: only its type and message were recorded.
    """


class HasFacts(Protocol):
    """Interface of a run that belongs to a stubbed call.

    A stubbed call does not call the function. It returns the output of an earlier run instead, and
    records the ID of that run.
    """

    def note_stub(self, run_id: str) -> None:
        """Store the ID of the recorded run that the result comes from."""


class RecordedAnswer(NamedTuple):
    """The recorded result of a call: its output or its error. A stub returns or raises it again.

    Attributes:
        run_id: ID of the recorded run.
        output: What the function returned. None if it raised an error.
        chunks: The items that it yielded, if it returned a stream.
        error_type: Type of the error that it raised. Empty if there was none.
        error_message: Message of that error.
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
    """Return the key under which answers are stored: the function's name and its inputs as JSON."""
    return name, orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)


class Answers:
    """Recorded results that are returned instead of calling functions while a run is replayed.

    They are the results of all functions that this run called when it was recorded. Each result is
    used once. Several calls with the same inputs get their results in the recorded order.

    Args:
        recorded: Results by function name and inputs (see `key_of`), oldest first.
        rebuild: Function that converts a recorded output to the function's return type. It raises
            ValueError if the output was not recorded completely.
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
        """Return the next unused answer of a function for these inputs.

        Raises:
            StubMissError: There is no unused answer.
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
            f"{traced.name}() is stubbed, but the recorded run {often} with these inputs"
        )

    def _made(self, traced: TracedFunction, answer: RecordedAnswer) -> RecordedAnswer:
        if answer.error_type or answer.chunks:
            return answer
        try:
            return answer._replace(output=self._rebuild(traced.function, answer.output))
        except ValueError as error:
            raise StubMissError(
                f"{traced.name}() is stubbed, but its recorded output is incomplete: {error}"
            ) from error


_ANSWERS: Final[ContextVar[Answers | None]] = ContextVar("otel_ml_answers", default=None)


def answer_from(answers: Answers) -> None:
    """Let stubs in the current context use these recorded answers from now on."""
    _ANSWERS.set(answers)


@contextmanager
def stubbing(stubbed: Collection[str], *, calls_misses: bool) -> Iterator[None]:
    """Make traced functions return recorded results inside a ``with`` block, in all threads.

    Args:
        stubbed: Names of the functions.
        calls_misses: Whether to call the real function if no result is recorded for the inputs. If
            False, `StubMissError` is raised.

    Raises:
        RuntimeError: Another replay already replaces functions in this process.
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
            f"{traced.name}() is stubbed, but was called outside a replayed call, for example in a "
            "thread without the run's context"
        )
    return answers


def _find(traced: TracedFunction, call: HasFacts, *given: Any) -> RecordedAnswer | None:
    """Return the recorded answer for a call, or None if the function should be called.

    Raises:
        StubMissError: There is no answer, and the function must not be called.
    """
    # calls made by a judge are not part of the replayed call
    if names.JUDGING in (MARKS.get() or {}):
        return None
    try:
        answer = _recorded_answers(traced).take(traced, traced.bind(*given))
    except StubMissError:
        if STUBBED.get(traced.name, True):
            return None
        raise
    call.note_stub(answer.run_id)
    return answer


def plain(traced: TracedFunction, call: HasFacts) -> Callable[..., Any]:
    """Return a stub that returns recorded results instead of calling a sync function.

    Return the function itself if the current replay does not stub it.
    """
    function = traced.function
    if traced.name not in STUBBED:
        return function

    def give(*args: Any, **kwargs: Any) -> Any:
        answer = _find(traced, call, args, kwargs)
        return function(*args, **kwargs) if answer is None else answer.give()

    return give


def awaited(traced: TracedFunction, call: HasFacts) -> Callable[..., Awaitable[Any]]:
    """Return a coroutine function that gives recorded results instead of calling the traced one.

    Return the function itself if the current replay does not stub it.
    """
    function = traced.function
    if traced.name not in STUBBED:
        return function

    async def give(*args: Any, **kwargs: Any) -> Any:
        answer = _find(traced, call, args, kwargs)
        return await function(*args, **kwargs) if answer is None else answer.give()

    return give


def stream(traced: TracedFunction, call: HasFacts) -> Callable[..., Generator[Any, Any, Any]]:
    """Return a stub that yields recorded chunks instead of calling a generator function.

    Return the function itself if the current replay does not stub it.
    """
    function = traced.function
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


def async_stream(traced: TracedFunction, call: HasFacts) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return a stub that yields recorded chunks instead of calling an async generator function.

    Return the function itself if the current replay does not stub it.
    """
    function = traced.function
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
