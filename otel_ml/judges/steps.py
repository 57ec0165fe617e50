"""Lets threads and event loops run the same judge code.

A judge is a generator. It yields each call of the user's code and receives the result. So each
caller decides how to run the call: threads may block, event loops may not.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import CoroutineType
from typing import Any, Final, Protocol, TypeVar

from otel_ml.judges.answer import JudgeError, JudgeTimedOut, describe_problem

T = TypeVar("T")

# Results of these types need no await.
_ANSWERS: Final = frozenset({bool, int, float, tuple})

Step = Callable[[], Any]
Steps = Generator[Step, Any, T]


class Wait(Protocol):
    """Function that waits on this thread for the result of an async function."""

    def __call__(self, awaitable: Awaitable[object], timeout_s: float) -> object:
        """Return the result or raise its exception.

        Raises:
            JudgeTimedOut: The time limit was exceeded and the function was cancelled.
        """


def drive(
    steps: Steps[T],
    wait: Wait,
    timeout_s: float,
    is_of_host: Callable[[BaseException], bool] | None = None,
) -> T:
    """Run a judge's generator on this thread until it ends, and return its result.

    Args:
        steps: The generator. It yields functions, which are called here. Their results are sent
            into it, and their exceptions are thrown into it.
        wait: Function that waits for the result of an awaitable.
        timeout_s: Time limit in seconds for all calls together. After that, `JudgeTimedOut` is
            thrown into the generator.
        is_of_host: Function that returns True for exceptions to raise here, such as
            KeyboardInterrupt. They are not thrown into the generator.
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
    """Return an exception that is safe to throw into a generator.

    StopIteration and GeneratorExit would end the generator, so they become a `JudgeError`.
    """
    if isinstance(problem, GeneratorExit | StopIteration):
        return JudgeError(describe_problem(problem))
    return problem


def is_async(step: object) -> bool:
    """Return whether a function is async, so that calling it runs no code until it is awaited."""
    while isinstance(step, partial):
        step = step.func
    kind: Any = type(step)  # a call looks up __call__ on the class
    return any(map(inspect.iscoroutinefunction, (step, kind.__call__)))


def discard(awaitable: object) -> None:
    """Close a coroutine that nobody will await, to avoid Python's warning."""
    if type(awaitable) is CoroutineType:  # isinstance() would call the object's code
        awaitable.close()
