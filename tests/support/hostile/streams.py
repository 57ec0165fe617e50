"""Generators, sync and async, consumed in every way."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from tests.support.hostile.case import Case
from tests.support.waiting import run_other_tasks


def count(stop: int) -> Generator[int, Any, str]:
    try:
        for number in range(stop):
            try:
                yield number
            except KeyError:
                yield -1
    finally:
        gc.get_count()
    return "end"


async def count_later(stop: int) -> AsyncIterator[int]:
    for number in range(stop):
        await run_other_tasks()
        yield number


def broken(stop: int) -> Generator[int, None, None]:
    yield stop
    raise StopIteration("inside")  # noqa: PLR1708 - that is the case


def read_all(function: Callable[..., Any]) -> list[Any]:
    def outer() -> Generator[Any, Any, None]:
        found.append((yield from function(3)))

    found: list[Any] = []
    return [*outer(), found]


def leave(function: Callable[..., Any]) -> list[int]:
    stream = function(3)
    for number in stream:
        stream.close()
        return [number, *stream]
    return []


def forget(function: Callable[..., Any]) -> int:
    first = next(function(3))
    gc.collect()
    return int(first)


def never_iterate(function: Callable[..., Any]) -> str:
    stream = function(3)
    name = type(stream).__name__
    del stream
    gc.collect()
    return name


def close_first(function: Callable[..., Any]) -> list[int]:
    stream = function(3)
    stream.close()
    return list(stream)


def throw(function: Callable[..., Any]) -> list[object]:
    stream = function(2)
    found = [next(stream), stream.throw(KeyError("thrown"))]
    error = ValueError("thrown")
    try:
        stream.throw(error)
    except ValueError as caught:
        found += [caught is error, caught.args]
    return found


def interleave(function: Callable[..., Any]) -> list[Any]:
    one, other = function(3), function(2)
    return [next(one), next(other), next(one), *other, *one]


def read_broken(function: Callable[..., Any]) -> list[Any]:
    found: list[Any] = []
    try:
        found.extend(function(1))
    except RuntimeError as error:
        found += [error.args, repr(error.__cause__)]
    return found


def read_in_threads(function: Callable[..., Any]) -> list[int]:
    stream, found = function(4), []
    for _ in range(4):
        thread = threading.Thread(target=lambda: found.append(next(stream)))
        thread.start()
        thread.join()
    return [*found, *stream]


def read_later(function: Callable[..., Any]) -> list[int]:
    async def main() -> list[int]:
        return [number async for number in function(3)]

    return asyncio.run(main())


def break_later(function: Callable[..., Any]) -> list[int]:
    async def main() -> list[int]:
        found = []
        async for number in function(3):
            found.append(number)
            break
        gc.collect()
        await run_other_tasks()
        return found

    return asyncio.run(main())


def close_later(function: Callable[..., Any]) -> list[int]:
    async def main() -> list[int]:
        stream = function(3)
        first = await anext(stream)
        await stream.aclose()
        return [first, *[number async for number in stream]]

    return asyncio.run(main())


def never_iterate_later(function: Callable[..., Any]) -> str:
    async def main() -> str:
        return type(function(3)).__name__

    return asyncio.run(main())


def change_tasks(function: Callable[..., Any]) -> list[int]:
    """Read each chunk in a separate task, which has a different context."""

    async def main() -> list[int]:
        stream = function(3)

        async def step() -> int:
            number: int = await anext(stream)
            return number

        found = [await asyncio.create_task(step()) for _ in range(2)]
        asyncio.create_task(stream.aclose())  # noqa: RUF006 - not awaited, on purpose
        await run_other_tasks()
        return found

    return asyncio.run(main())


CASES = [
    Case("stream is read", count, use=read_all),
    Case("stream is left", count, use=leave, outcome="abandoned"),
    Case("stream is forgotten", count, use=forget, outcome="abandoned"),
    Case("stream is never iterated", count, use=never_iterate, runs=0),
    Case("stream is closed before it began", count, use=close_first, runs=0),
    Case("stream is thrown into", count, use=throw, outcome="error"),
    Case("streams are interleaved", count, use=interleave, runs=2),
    Case("stream raises StopIteration", broken, use=read_broken, outcome="error"),
    Case("stream is read by several threads", count, use=read_in_threads),
    Case("async stream is read", count_later, use=read_later),
    Case("async stream is left by break", count_later, use=break_later, outcome="abandoned"),
    Case("async stream is closed", count_later, use=close_later, outcome="abandoned"),
    Case("async stream is never iterated", count_later, use=never_iterate_later, runs=0),
    Case("async stream changes tasks", count_later, use=change_tasks, outcome="abandoned"),
]
