"""Calls in other processes: children that are forked, spawned, or forked by a server."""

import atexit
import functools
import itertools
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

from otel_ml import Client
from tests.support.hostile import crowd, parents
from tests.support.hostile.case import Case

WORKERS: Final = 3
ROUNDS: Final = 2
# Spawned children import this module and use the client of the environment's project.
CLIENT: Final = Client()


def scale(factor: int, number: int) -> int:
    return factor * number


def fork(function: Callable[..., Any]) -> list[int]:
    return _in_children(function, 1)


def prefork(function: Callable[..., Any]) -> list[int]:
    """Call before and after the fork, in the parent and in the children."""
    return [function(1), *_in_children(function, WORKERS), function(2)]


def _in_children(function: Callable[..., Any], count: int) -> list[int]:
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                status = function(number + 10)
                atexit._run_exitfuncs()  # as the interpreter does at exit
            finally:
                os._exit(status)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def run_process(method: str, function: Callable[..., Any]) -> int | None:
    process = multiprocessing.get_context(method).Process(target=function, args=(1,))  # type: ignore[attr-defined]  # every context has it
    process.start()
    process.join()
    code: int | None = process.exitcode
    return code


def map_in_processes(method: str, function: Callable[..., Any]) -> list[int]:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(function, range(4)))


METHODS: Final = ("fork", "spawn", "forkserver")
DOUBLE: Final = functools.partial(scale, 2)

CASES = [
    *(
        Case(f"process by {method}", DOUBLE, use=functools.partial(run_process, method))
        for method in METHODS
    ),
    *(
        Case(f"pool by {method}", DOUBLE, use=functools.partial(map_in_processes, method), runs=4)
        for method in METHODS
    ),
    *(
        Case(
            parents.name(*child),
            parents.model,
            use=functools.partial(parents.use, *child),
            runs=parents.JOBS + (child[-1] == parents.TRACING[0]),
        )
        for child in itertools.product(parents.WAYS, METHODS, parents.TRACING)
    ),
    Case(
        "six children at once, busy machine",
        crowd.model,
        use=functools.partial(crowd.use, "six children at once, busy machine", ROUNDS),
        runs=ROUNDS * crowd.CALLS,
    ),
    Case("os.fork", DOUBLE, use=fork),
    Case("prefork", DOUBLE, use=prefork, runs=WORKERS + 2),
]
