"""The steps of a judgement: the user's code as calls, for whoever makes them on its own thread.

A judge's logic is a generator that yields each call into the user's code and is sent what came of
it. So it is written once, for threads that may wait and for loops that may not.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import CoroutineType
from typing import Any, Final, Protocol, TypeVar

from otel_ml.judges.answer import JudgeError, JudgeTimedOut, tell

T = TypeVar("T")

# Of these nothing has to be awaited.
_ANSWERS: Final = frozenset({bool, int, float, tuple})

Step = Callable[[], Any]
Steps = Generator[Step, Any, T]


class Wait(Protocol):
    """Waits on this thread for the result of an async function."""

    def __call__(self, awaitable: Awaitable[object], timeout_s: float) -> object:
        """Return the result or raise its error.

        Raises:
            JudgeTimedOut: It took longer; then it was cancelled.
        """


def drive(
    steps: Steps[T],
    wait: Wait,
    timeout_s: float,
    is_of_host: Callable[[BaseException], bool] | None = None,
) -> T:
    """Take all steps on this thread.

    Args:
        steps: The remaining steps; each error of the user's code is thrown into them.
        wait: For the answers of async functions.
        timeout_s: For all steps together; a later answer is an error.
        is_of_host: Tells which exceptions are not the judge's; they go on to the caller.
    """
    deadline = time.monotonic() + timeout_s
    go_on: Callable[[Any], Step] = steps.send
    judge_timed_out: Any = None
    while True:
        try:
            step = go_on(judge_timed_out)
        except StopIteration as stop:
            answer: T = stop.value
            return answer
        try:
            go_on, judge_timed_out = steps.send, step()
            if type(judge_timed_out) not in _ANSWERS and inspect.isawaitable(judge_timed_out):
                judge_timed_out = wait(judge_timed_out, max(deadline - time.monotonic(), 0))
        except BaseException as problem:
            if is_of_host is not None and is_of_host(problem):
                raise
            go_on, judge_timed_out = steps.throw, thrown(problem)
        if time.monotonic() > deadline:
            go_on, judge_timed_out = steps.throw, JudgeTimedOut(timeout_s)


def thrown(problem: BaseException) -> BaseException:
    """Return an error in a form for `generator.throw`: some types mean something else there."""
    if isinstance(problem, GeneratorExit | StopIteration):
        return JudgeError(tell(problem))
    return problem


def is_async(step: object) -> bool:
    """Tell whether calling it runs none of the user's code before it is awaited."""
    while isinstance(step, partial):
        step = step.func
    kind: Any = type(step)  # the class's own method, as calling finds it
    return any(map(inspect.iscoroutinefunction, (step, kind.__call__)))


def discard(awaitable: object) -> None:
    """Let go of a coroutine that nobody will await, without Python's warning."""
    if type(awaitable) is CoroutineType:  # no isinstance(): it asks the object
        awaitable.close()
