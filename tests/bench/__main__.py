"""Prints every number; ``make bench``."""

import statistics

from tests.bench import caller, ingest, ready
from tests.bench.spread import spread

ROUNDS = 3


def main() -> None:
    """Measure and print, one after the other: they must not share the machine."""
    print(f"ready after: {spread(ready.measure(), ' s')}", flush=True)
    for in_flight in (4, 32):
        rounds = [ingest.measure(in_flight) for _ in range(ROUNDS)]
        print(
            f"ingest, {in_flight} requests of 512 spans in flight:",
            f"{spread([one.spans_per_s for one in rounds], ' spans/s', 0)}, answers",
            f"p50 {spread([one.p50_ms for one in rounds], ' ms', 0)}",
            f"p99 {spread([one.p99_ms for one in rounds], ' ms', 0)},",
            f"{sum(one.refused for one in rounds)} refused,",
            f"memory {spread([one.peak_mb for one in rounds], ' MB', 0)}",
            flush=True,
        )
        disk = statistics.median(one.bytes_per_run / one.raw_bytes_per_run for one in rounds)
        print(
            f"disk: {spread([one.bytes_per_run for one in rounds], ' B', 0)} a run,",
            f"{disk:.2f} of the {rounds[0].raw_bytes_per_run:,.0f} B on the wire",
            flush=True,
        )
    for workload, (by_hand, ours) in caller.measure().items():
        print(
            f"traced call, {workload}: {caller.ratio((by_hand, ours)):.2f} of a hand-written span",
            f"({spread(ours, ' µs', 1)} against {spread(by_hand, ' µs', 1)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
