"""Compare a traced call by hand, with otel-ml, and with peers' decorators, in one environment.

As in `tests.bench.caller`, every contender runs each workload in a separate process, in turn, and
the ratio is the median of the rounds' ratios to the span by hand. All send to a sink that responds
like any OTLP receiver. A program of each that exits without a flush measures delivery.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench import delivered
from tests.bench.process import run_module
from tests.bench.sink import open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.bench.timed import BY_HAND, FIGURES, Figure, Timed, time_contender

PYTHON: Final = Path(__file__).parents[2] / ".venv-bench-peers" / "bin" / "python"
ROUNDS: Final = 3
# More than any peer's queue holds; the slowest takes more than a millisecond per call.
CALLS: Final = 5_000
# Display names.
NAMES: Final[Mapping[str, str]] = {
    "ours": "otel-ml",
    "openlit": "OpenLIT",
    "openinference": "OpenInference",
    "logfire": "Logfire",
    "langfuse": "Langfuse",
    "mlflow": "MLflow",
}
WORKLOADS: Final[Mapping[str, str]] = {
    "tiny": "tiny values",
    "large": "4 KB in, 2 KB out",
    "nested": "3 nested spans",
    "async": "async, 100 at a time",
    "stream": "stream of 50 chunks",
}
_DISTRIBUTIONS: Final = (
    *("opentelemetry-sdk", "openlit", "openinference-instrumentation"),
    *("logfire", "langfuse", "mlflow"),
)

Rounds = Sequence[Mapping[str, Timed]]


def measure(workload: str, endpoint: str, rounds: int = ROUNDS, calls: int = CALLS) -> Rounds:
    """Time every contender at a workload, in turn."""
    return [
        {
            name: time_contender(name, workload, endpoint, str(PYTHON), calls)
            for name in (BY_HAND, *NAMES)
        }
        for _ in range(rounds)
    ]


def row_of(title: str, figure: Figure, rounds: Rounds) -> list[str]:
    """Return a row with the ratios of a figure to the span by hand, and its µs."""
    by_hand = [figure.read(times[BY_HAND]) for times in rounds]
    cells = [title, spread(by_hand, digits=1)]
    for name in NAMES:
        others = [figure.read(times[name]) for times in rounds]
        cells.append(spread([b / a for a, b in zip(by_hand, others, strict=True)]))
    return cells


def arrived_row(title: str, rounds: Rounds) -> list[str]:
    """Return a row with the share of spans that arrived, for each contender."""
    shares = [[times[name].arrived for times in rounds] for name in (BY_HAND, *NAMES)]
    return [title, *(f"{statistics.median(share):.0%}" for share in shares)]


def delivered_row(name: str, calls: int = CALLS) -> list[str]:
    """Measure a program that exits without a flush: spans arrived, duplicates, and exit time."""
    loop = delivered.measure(name, calls, str(PYTHON))
    return [
        NAMES.get(name, name),
        f"{loop.different / loop.calls:.0%}",
        f"{loop.twice:,}",
        f"{loop.exit_s:.1f}",
    ]


def report() -> None:
    """Measure and print the tables, with the versions of the compared products."""
    if not PYTHON.exists():
        print("There is no .venv-bench-peers, so peers is left out: make bench PEERS=1\n")
        return
    print(run_module("peers", python=str(PYTHON)).strip(), end=", ")
    print(f"load average {os.getloadavg()[0]:.1f}\n", flush=True)
    with open_sink(keep=True) as endpoint:
        measured = {workload: measure(workload, endpoint) for workload in WORKLOADS}
    titles = tuple(NAMES.values())
    for figure in FIGURES:
        rows = [row_of(WORKLOADS[workload], figure, measured[workload]) for workload in measured]
        print_table((f"{figure.title}, ÷ by hand", "by hand, µs", *titles), rows)
    rows = [arrived_row(WORKLOADS[workload], measured[workload]) for workload in measured]
    print_table(("arrived, when it flushes", BY_HAND, *titles), rows)
    heads = (f"{CALLS:,} calls in a tight loop, then a clean exit", "delivered", "more than once")
    print_table((*heads, "exit, s"), [delivered_row(name) for name in (BY_HAND, *NAMES)])


if __name__ == "__main__":  # run by the interpreter of that environment
    print(", ".join(f"{name} {version(name)}" for name in _DISTRIBUTIONS))
