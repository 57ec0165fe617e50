"""Call a model in children: ``python -m tests.support.hostile.parents WAY METHOD TRACING``.

Prints the results. With a name in ``HOSTILE_MODEL`` the model is traced; a parent that traces
first calls it once, before `multiprocessing` is loaded.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

NAME: Final = os.environ.get("HOSTILE_MODEL", "")
JOBS: Final = 20
WAYS: Final = ("executor", "with Pool")
TRACING: Final = ("traced before", "not traced")


def model(number: int) -> int:
    return 2 * number


if NAME:
    import otel_ml

    model = otel_ml.trace(name=NAME)(model)


def use(way: str, method: str, tracing: str, function: Callable[..., Any]) -> str:
    """Run the program; trace its model if the function is traced."""
    return subprocess.run(
        # Python 3.12 and newer warn about any fork with other threads.
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning"),
            "-m",
            __name__,
            way,
            method,
            tracing,
        ],
        env={
            **os.environ,
            "HOSTILE_MODEL": "" if function is model else name(way, method, tracing),
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def name(way: str, method: str, tracing: str) -> str:
    return f"{way}, {method}, parent {tracing}"


def main(way: str, method: str, tracing: str) -> list[int]:
    first = [model(-1)] if tracing == TRACING[0] else []
    if "multiprocessing.util" in sys.modules:
        raise RuntimeError("multiprocessing is loaded too early")
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context(method)
    if way == WAYS[0]:
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            return [*first, *executor.map(model, range(JOBS))]
    with context.Pool(2) as pool:
        return [*first, *pool.map(model, range(JOBS))]


if __name__ == "__main__":
    sys.stdout.write(f"{main(*sys.argv[1:])}\n")
