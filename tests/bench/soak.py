"""The long benchmarks: ``make soak``.

Ten minutes without a collector, ten under load, fifteen of a steady load with reads, alerts and
deletions, ten million calls, ten million runs, a hundred kills of the collector, a minute on a bad
disk, a million broken requests.
"""

from typing import Final

from tests.bench import crashed, memory, mutated, outage, queries, sustained, threads, trouble

OUTAGE_S: Final = 600
LOADED_S: Final = 600
SUSTAINED_S: Final = 900
CALLS: Final = 10_000_000
KILLS: Final = 100
TROUBLE_S: Final = 60
MUTATED: Final = 1_000_000
RUNS: Final = 10_000_000


def main() -> None:
    """Measure and print, sequentially."""
    outage.report(OUTAGE_S)
    threads.report(LOADED_S)
    sustained.report(SUSTAINED_S)
    memory.report(CALLS)
    crashed.report(KILLS)
    trouble.report(TROUBLE_S)
    mutated.report(MUTATED)
    queries.report(RUNS)


if __name__ == "__main__":
    main()
