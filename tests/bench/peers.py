"""What a traced call costs by hand, by ours, and by peers' decorators, all in one environment.

As in `tests.bench.caller` every contender runs each workload in a process of its own, in turn, and
the ratio is the median of the rounds' ratios to the span by hand.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench.process import run_module
from tests.bench.sink import open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.bench.timed import Timed, time_contender

PYTHON: Final = Path(__file__).parents[2] / ".venv-bench-peers" / "bin" / "python"
ROUNDS: Final = 3
BY_HAND: Final = "by hand"
# As the table calls them.
NAMES: Final[Mapping[str, str]] = {
    "ours": "otel-ml",
    "openlit": "OpenLIT",
    "openinference": "OpenInference",
}
WORKLOADS: Final[Mapping[str, str]] = {
    "tiny": "tiny values",
    "large": "4 KB in, 2 KB out",
    "nested": "3 nested spans",
    "async": "async, 100 at a time",
    "stream": "stream of 50 chunks",
}
HEADS: Final = ("a traced call", "", "ratio", "by the thread's CPU", "µs", "by hand, µs", "arrived")
_DISTRIBUTIONS: Final = ("opentelemetry-sdk", "openlit", "openinference-instrumentation")

Rounds = Sequence[Mapping[str, Timed]]


def measure(workload: str, endpoint: str, rounds: int = ROUNDS) -> Rounds:
    """Time every contender at a workload, in turn."""
    return [
        {name: time_contender(name, workload, endpoint, str(PYTHON)) for name in (BY_HAND, *NAMES)}
        for _ in range(rounds)
    ]


def rows_of(workload: str, rounds: Rounds) -> list[list[str]]:
    """Write a row for each but the one by hand."""
    by_hand = [one[BY_HAND] for one in rounds]
    rows = []
    for name, title in NAMES.items():
        found = [one[name] for one in rounds]
        both = list(zip(by_hand, found, strict=True))
        thread = statistics.median(other.thread_us / one.thread_us for one, other in both)
        rows.append(
            [
                WORKLOADS[workload],
                title,
                spread([other.wall_us / one.wall_us for one, other in both]),
                f"{thread:.2f}",
                spread([one.wall_us for one in found], digits=1),
                spread([one.wall_us for one in by_hand], digits=1),
                f"{statistics.median(one.arrived for one in found):.0%}",
            ]
        )
    return rows


def report() -> None:
    """Measure and print the table, with the versions of what was compared."""
    if not PYTHON.exists():
        print("There is no .venv-bench-peers, so peers is left out: make bench PEERS=1\n")
        return
    print(run_module("peers", python=str(PYTHON)).strip(), end=", ")
    print(f"load average {os.getloadavg()[0]:.1f}\n", flush=True)
    rows: list[list[str]] = []
    with open_sink(keep=True) as endpoint:
        for workload in WORKLOADS:
            rows += rows_of(workload, measure(workload, endpoint))
    print_table(HEADS, rows)


if __name__ == "__main__":  # by the Python of that environment
    print(", ".join(f"{name} {version(name)}" for name in _DISTRIBUTIONS))
