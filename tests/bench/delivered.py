"""Count how many of 100,000 unflushed calls in a tight loop arrive, for each way to exit."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_ml import Client
from tests.bench.contenders import CONTENDERS, open_contender
from tests.bench.pace import pace
from tests.bench.process import run_module, start_module
from tests.bench.sink import count, open_sink
from tests.bench.table import print_table, verdict
from tests.bench.workloads import Decorator, answer

CALLS: Final = 100_000
_END_S: Final = 60.0
_BY_HAND: Final = "by hand, clean exit"
_SPOOLED: Final = "SIGTERM, spool, then a second process"
# Exit status of a process that ends in this way.
ENDINGS: Final[Mapping[str, int]] = {
    "clean exit": 0,
    "sys.exit(3)": 3,
    "unhandled exception": 1,
    "SIGTERM, flush_on_sigterm": -signal.SIGTERM,
    _SPOOLED: -signal.SIGTERM,
    _BY_HAND: 0,
}


@dataclass(frozen=True, slots=True)
class Delivered:
    """The spans that arrived.

    Attributes:
        calls: How many calls were made.
        different: Spans at the sink with distinct ids.
        twice: Spans that the sink received more than once.
        us_a_call: Wall time per call in the loop.
        exit_s: From the last call to the end of the process.
    """

    calls: int
    different: int
    twice: int
    us_a_call: float
    exit_s: float


def measure(ending: str, calls: int = CALLS, python: str = sys.executable) -> Delivered:
    """Run a program that ends in the given way, and count the spans at its sink.

    Args:
        ending: One of `ENDINGS`, or a contender whose program ends cleanly.
        calls: How many calls the program makes.
        python: The interpreter to run it with.

    Raises:
        AssertionError: The exit status differs from that without otel-ml.
    """
    with (
        open_sink(keep=True) as endpoint,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as spool,
        start_module("delivered", ending, calls, endpoint, spool, python=python) as process,
    ):
        printed, _ = process.communicate(timeout=_END_S * 2)
        ended_s = time.monotonic()
        assert process.returncode == ENDINGS.get(ending, 0), (ending, process.returncode)
        made = calls
        if ending == _SPOOLED:
            run_module("delivered", "restart", 1, endpoint, spool)
            made += 1
        runs, different = count(endpoint)
    began_s, last_s = map(float, printed.split())
    return Delivered(
        calls=made,
        different=different,
        twice=runs - different,
        us_a_call=(last_s - began_s) / calls * 1e6,
        exit_s=ended_s - last_s,
    )


def report() -> None:
    """Measure every ending and print the table."""
    rows = []
    for ending in ENDINGS:
        found = measure(ending)
        rows.append(
            [
                ending,
                f"{found.different:,} of {found.calls:,}",
                "" if ending == _BY_HAND else verdict(found.different == found.calls),
                f"{found.twice:,}",
                f"{found.us_a_call:.1f}",
                f"{found.exit_s:.1f}",
            ]
        )
    heads = ("a tight loop, then", "delivered", "", "more than once", "µs a call", "exit, s")
    print_table(heads, rows)


def _run(ending: str, calls: str, endpoint: str, spool: str) -> None:
    trace = _open(ending, endpoint, spool)
    model = trace(answer)
    began_s = time.monotonic()
    for number in range(int(calls)):
        model(number, "hello")
    print(began_s, time.monotonic(), flush=True)
    if ending == "sys.exit(3)":
        sys.exit(3)
    if ending == "unhandled exception":
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the traceback is expected
        raise ValueError
    if ENDINGS.get(ending) == -signal.SIGTERM:
        os.kill(os.getpid(), signal.SIGTERM)
        pace(_END_S)  # ended by the signal


def _open(ending: str, endpoint: str, spool: str) -> Decorator:
    if ending == _BY_HAND:
        return open_contender("by hand", endpoint).trace
    if ending in CONTENDERS:
        return open_contender(ending, endpoint).trace
    kept = spool if ending in {_SPOOLED, "restart"} else None
    flushes = ending == "SIGTERM, flush_on_sigterm"
    return Client("bench", endpoint=endpoint, spool=kept, flush_on_sigterm=flushes).trace


if __name__ == "__main__":
    _run(*sys.argv[1:])
