"""A hostile host: ``python -m tests.support.hostile.hosts HOST`` prints the results of its calls.

With a name in ``HOSTILE_MODEL`` the model is traced. The hosts: gevent and eventlet with everything
patched, and one whose time limit raises in a signal handler, anywhere in the program.
"""

import functools
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

from tests.support.hostile.case import Case

NAME: Final = os.environ.get("HOSTILE_MODEL", "")
CALLS: Final = 20
LIMITS: Final = 100
GREENLETS: Final = {"gevent": "gevent.monkey.patch_all", "eventlet": "eventlet.monkey_patch"}
LIMIT: Final = "time limits"


class LimitExceeded(Exception):  # as Celery's is
    """The time limit of the host has expired."""


def model(number: int) -> int:
    """Take about as long as tracing it does, so that limits strike here and there."""
    return sum(range(number, number + 2_000))


def use(host: str, function: Callable[..., Any]) -> str:
    """Run the program; trace its model if the function is traced."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__, host],
        env={**os.environ, "HOSTILE_MODEL": "" if function is model else host},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def traced() -> Callable[[int], int]:
    """Return the model, traced if a name is given."""
    if not NAME:
        return model
    import otel_ml

    return otel_ml.trace(name=NAME)(model)


def call_in_greenlets(host: str) -> list[int]:
    """Patch everything, then call from threads, which are greenlets by then."""
    module, _, patch = GREENLETS[host].rpartition(".")
    getattr(importlib.import_module(module), patch)()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(traced(), range(CALLS)))


def call_under_limits() -> int:
    """Call until each limit expires; return how many limits reached the program."""
    call, reached = traced(), 0
    call(0)  # loads everything that the first call of a process loads

    def strike(*_: object) -> None:
        raise LimitExceeded

    signal.signal(signal.SIGALRM, strike)
    for number in range(LIMITS):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001 + number * 7e-6)
            while True:
                call(number)
        except LimitExceeded:
            reached += 1
    return reached


CASES: Final = [
    *(Case(host, model, use=functools.partial(use, host), runs=CALLS) for host in GREENLETS),
    Case(LIMIT, model, use=functools.partial(use, LIMIT), runs=None),
]

if __name__ == "__main__":
    _, chosen = sys.argv
    answers = call_under_limits() if chosen == LIMIT else call_in_greenlets(chosen)
    sys.stdout.write(f"{answers}\n")
