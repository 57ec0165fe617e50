"""CPU of a process that makes a few traced calls per second, compared with the stock SDK."""

import json
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Final

from tests.bench.beside import Tree
from tests.bench.contenders import open_contender
from tests.bench.pace import pace
from tests.bench.process import start_module
from tests.bench.sink import open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.bench.workloads import answer

ROUNDS: Final = 3
SECONDS: Final = 20.0
RATES: Final = (5, 100)
_WARM_UP_S: Final = 3.0  # excludes imports and the first request
_CONTENDERS: Final = ("by hand", "ours")


def measure(rate: int, seconds: float = SECONDS) -> Mapping[str, float]:
    """Run both at the same time; return the CPU of each process, in per cent of one core."""
    with open_sink(is_as_collector=True) as endpoint:
        processes = {
            name: start_module("steady", name, endpoint, rate, seconds) for name in _CONTENDERS
        }
        return {
            name: float(json.loads(process.communicate()[0])) for name, process in processes.items()
        }


_RUN: Final = """
import runpy, sys
sys.argv = ["steady", *{!r}]
runpy.run_module("tests.bench.steady", run_name="__main__")
"""


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Run a process with the client of a tree at each rate; return its CPU."""
    found = {}
    with open_sink(is_as_collector=True) as endpoint:
        for rate in RATES:
            printed = tree.run(_RUN.format(("ours", endpoint, str(rate), str(SECONDS))))
            found[f"{rate} calls/s: CPU, % of a core"] = float(printed.splitlines()[-1])
    return found


def report(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    rows = []
    for rate in RATES:
        measured = [measure(rate) for _ in range(rounds)]
        ratios = [cpu["ours"] / cpu["by hand"] for cpu in measured]
        columns = (spread([cpu[name] for cpu in measured], " %") for name in _CONTENDERS)
        is_reached = statistics.median(ratios) <= 1
        rows.append((f"{rate} calls/s", *columns, spread(ratios), "≤ 1", verdict(is_reached)))
    heads = ("CPU of a process", "stock SDK, batch processor", "otel-ml", "ratio", "floor", "")
    print_table(heads, rows)


def _run(name: str, endpoint: str, rate: str, seconds: str) -> None:
    contender = open_contender(name, endpoint)
    model = contender.trace(answer)
    every_s = 1 / float(rate)
    began_s = time.monotonic()
    cpu_s, calls = 0.0, 0
    while (gone_s := time.monotonic() - began_s) < _WARM_UP_S + float(seconds):
        if gone_s >= _WARM_UP_S and not cpu_s:
            cpu_s = time.process_time()
        model(calls, "hello")
        calls += 1
        pace(max(calls * every_s - (time.monotonic() - began_s), 0))
    print((time.process_time() - cpu_s) / float(seconds) * 100)
    contender.flush()


if __name__ == "__main__":
    _run(*sys.argv[1:])
