"""Many calls: nested, on threads, in tasks."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import otel_ml
from tests.support.hostile.case import Case
from tests.support.waiting import run_other_tasks

THREADS = 1_000
TASKS = 10_000
DEPTH = 300


def double(number: int) -> int:
    return 2 * number


async def double_later(number: int) -> int:
    await run_other_tasks()
    return 2 * number


def descend(function: Callable[..., Any], depth: int) -> int:
    return 0 if depth == 0 else 1 + int(function(function, depth - 1))


def recurse(function: Callable[..., Any]) -> int:
    return int(function(function, DEPTH))


def recurse_for_ever(function: Callable[..., Any]) -> str:
    def within(_number: int) -> int:
        def endless() -> int:
            return endless() + 1

        return endless()

    try:
        function(within)
    except RecursionError as error:
        return type(error).__name__
    return "nothing was raised"


def apply(function: Callable[[int], int]) -> int:
    return function(1)


def run_threads(function: Callable[..., Any]) -> list[int]:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: found.append(function(number)))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def map_in_pool(function: Callable[..., Any]) -> list[int]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, range(100)))


def map_wrapped(function: Callable[..., Any]) -> list[int]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(otel_ml.wrap(function), range(100)))


def run_in_executor(function: Callable[..., Any]) -> list[int]:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        found: list[int] = await asyncio.gather(
            *[loop.run_in_executor(None, function, number) for number in range(10)],
            *[asyncio.to_thread(function, number) for number in range(10)],
        )
        return found

    return asyncio.run(main())


def gather(function: Callable[..., Any]) -> int:
    async def main() -> int:
        return sum(await asyncio.gather(*[function(number) for number in range(TASKS)]))

    return asyncio.run(main())


def in_task_group(function: Callable[..., Any]) -> list[int]:
    async def main() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(function(number)) for number in range(20)]
        return [task.result() for task in tasks]

    return asyncio.run(main())


CASES = [
    Case(f"recursion {DEPTH} deep", descend, use=recurse, runs=DEPTH + 1),
    Case("recursion without an end", apply, use=recurse_for_ever, outcome="error"),
    Case(f"{THREADS:,} threads", double, use=run_threads, runs=THREADS),
    Case(f"gather of {TASKS:,}", double_later, use=gather, runs=TASKS),
    Case("thread pool", double, use=map_in_pool, runs=100),
    Case("thread pool with wrap", double, use=map_wrapped, runs=100),
    Case("run_in_executor and to_thread", double, use=run_in_executor, runs=20),
    Case("task group", double_later, use=in_task_group, runs=20),
]
