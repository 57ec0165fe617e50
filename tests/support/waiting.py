"""The one way to wait in tests: poll a condition until it holds or a deadline passes.

No other test module pauses; ``tests/unit/test_waiting.py`` checks that.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.05
_GROWTH: Final = 1.5


def wait_until(
    condition: Callable[[], T | None],
    timeout_s: float = 60.0,
    *,
    about: str | Callable[[], str] = "the condition",
) -> T:
    """Poll a condition until it is truthy.

    Args:
        condition: Called at least once, and once more after the deadline.
        timeout_s: Seconds until the wait fails.
        about: What is awaited, for the message of a failure. A function is called on failure only,
            so that it can report what has happened by then.

    Returns:
        The truthy value of the condition.

    Raises:
        AssertionError: The condition is still falsy at the deadline.
    """
    deadline_s = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        is_last = time.monotonic() >= deadline_s
        if value := condition():
            return value
        if is_last:
            raise _failure(about, timeout_s, value)
        time.sleep(pause_s)
        pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)


async def async_wait_until(
    condition: Callable[[], T | None],
    timeout_s: float = 60.0,
    *,
    about: str | Callable[[], str] = "the condition",
) -> T:
    """Poll a condition until it is truthy; other tasks of the loop run meanwhile.

    Args:
        condition: As for ``wait_until``.
        timeout_s: Seconds until the wait fails.
        about: What is awaited, as for ``wait_until``.

    Returns:
        The truthy value of the condition.

    Raises:
        AssertionError: The condition is still falsy at the deadline.
    """
    deadline_s = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        is_last = time.monotonic() >= deadline_s
        if value := condition():
            return value
        if is_last:
            raise _failure(about, timeout_s, value)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)


def elapsed(seconds: float) -> Callable[[], bool]:
    """Return a condition that holds once this much time has passed from now.

    For tests about time itself: a callee that takes longer than it may, a client that is slow. To
    wait for something to happen, use that as the condition.
    """
    due_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= due_s


async def run_other_tasks() -> None:
    """Suspend this task once, so that a function under test really awaits something."""
    await asyncio.sleep(0)


def run_other_threads() -> None:
    """Release the interpreter's lock once."""
    time.sleep(0)


def _failure(about: str | Callable[[], str], timeout_s: float, value: object) -> AssertionError:
    awaited = about if isinstance(about, str) else about()
    return AssertionError(
        f"Waited {timeout_s:g} s in vain for: {awaited}; its last value is {value!r}"
    )
