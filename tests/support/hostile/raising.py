"""Functions that raise all kinds of exceptions: the caller gets the same object."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from tests.support.hostile.case import Case
from tests.support.waiting import run_other_tasks


class SilentError(Exception):
    """An exception whose `str` and `repr` raise."""

    def __str__(self) -> str:
        raise RuntimeError("hostile")

    __repr__ = __str__


class NamelessError(Exception):
    __module__ = None  # type: ignore[assignment]  # seen in generated classes


class AttributelessError(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("hostile")


def fail(error: BaseException) -> NoReturn:
    raise error


async def fail_later(error: BaseException) -> NoReturn:
    await run_other_tasks()
    raise error


def chained(error: BaseException) -> NoReturn:
    raise error from KeyError("cause")


def is_passed_on(function: Callable[..., Any], error: BaseException) -> list[object]:
    try:
        function(error)
    except BaseException as caught:  # noqa: BLE001 - the case needs it
        return [
            caught is error,
            BaseException.__dict__["args"].__get__(caught) == error_args(error),
        ]
    return ["nothing was raised"]


def is_passed_on_later(function: Callable[..., Any], error: BaseException) -> list[object]:
    async def main() -> list[object]:
        try:
            await function(error)
        except BaseException as caught:  # noqa: BLE001 - the case needs it
            return [caught is error, str(caught), type(caught.__cause__)]
        return ["nothing was raised"]

    return asyncio.run(main())


def error_args(error: BaseException) -> object:
    return BaseException.__dict__["args"].__get__(error)


def is_chained(function: Callable[..., Any], error: BaseException) -> list[object]:
    try:
        function(error)
    except ValueError as caught:
        return [caught is error, repr(caught.__cause__), caught.__suppress_context__]
    return ["nothing was raised"]


def cancel(function: Callable[..., Any]) -> list[bool]:
    async def main() -> list[bool]:
        entered = asyncio.Event()
        task = asyncio.ensure_future(function(entered))
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])
        return [task.cancelled(), task.done()]

    return asyncio.run(main())


async def wait_for_ever(entered: asyncio.Event) -> None:
    entered.set()
    await asyncio.Event().wait()


def time_out(function: Callable[..., Any]) -> str:
    async def main() -> str:
        try:
            await asyncio.wait_for(function(asyncio.Event()), 0.01)
        except asyncio.TimeoutError as error:
            return type(error).__name__
        return "nothing was raised"

    return asyncio.run(main())


def group() -> BaseException:
    inner = ExceptionGroup("more", [KeyError("b")])  # noqa: F821 - the tests need Python 3.11
    return ExceptionGroup("several", [ValueError("a"), inner])  # noqa: F821 - as above


ERRORS: dict[str, tuple[Callable[[], BaseException], str]] = {
    "ValueError": (lambda: ValueError("a", 1), "error"),
    "KeyboardInterrupt": (KeyboardInterrupt, "cancelled"),
    "SystemExit": (lambda: SystemExit(3), "cancelled"),
    "GeneratorExit": (GeneratorExit, "abandoned"),
    "CancelledError": (asyncio.CancelledError, "cancelled"),
    "StopIteration": (lambda: StopIteration("value"), "error"),
    "StopAsyncIteration": (StopAsyncIteration, "error"),
    "RecursionError": (RecursionError, "error"),
    "MemoryError": (MemoryError, "error"),
    "an exception without text": (SilentError, "error"),
    "an exception without a module": (NamelessError, "error"),
    "an exception without attributes": (AttributelessError, "error"),
    "an exception with a text of 5 MB": (lambda: ValueError("ä" * 2_500_000), "error"),
    "an exception with a lone surrogate": (lambda: ValueError("\ud800"), "error"),
    "an exception group": (group, "error"),
    "a base exception group": (
        lambda: BaseExceptionGroup("several", [KeyboardInterrupt()]),  # noqa: F821 - as above
        "error",
    ),
}


def _made(make: Callable[[], BaseException]) -> Callable[[], tuple[BaseException]]:
    return lambda: (make(),)


CASES = [
    *(
        Case(f"raises {name}", fail, _made(make), is_passed_on, outcome=outcome)
        for name, (make, outcome) in ERRORS.items()
    ),
    *(
        Case(f"raises {name} later", fail_later, _made(make), is_passed_on_later, outcome="error")
        for name, make in {"ValueError": lambda: ValueError("a"), "a group": group}.items()
    ),
    Case(
        "raises StopIteration later",
        fail_later,
        lambda: (StopIteration(),),
        is_passed_on_later,
        outcome="error",
    ),
    Case("raises with a cause", chained, lambda: (ValueError("a"),), is_chained, outcome="error"),
    Case("cancelled task", wait_for_ever, tuple, cancel, outcome="cancelled"),
    Case("timed out", wait_for_ever, tuple, time_out, outcome="cancelled"),
]
