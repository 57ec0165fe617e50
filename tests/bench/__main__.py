"""Print the figures of all benchmarks, or of the named parts; ``make bench``."""

import argparse
import os
import platform
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tests.bench import (
    artifacts,
    assistants,
    beside,
    caller,
    children,
    crashed,
    delivered,
    drift,
    evals_peers,
    evaluating,
    experiments,
    full,
    gpu,
    idle,
    importing,
    ingest,
    judged,
    judging,
    killed,
    memory,
    monitors,
    monitors_imported,
    mutated,
    outage,
    pages,
    peer_values,
    peers,
    pieces,
    queries,
    ready,
    releases,
    seen,
    sizes,
    sizing,
    steady,
    stopped,
    threads,
    traffic,
    trouble,
    values,
)
from tests.bench.beside import Measure, Tree
from tests.bench.progress import measuring, shown_progress

PARTS: Final[Mapping[str, Callable[[], None]]] = {
    "ready": ready.report,
    "idle": idle.report,
    "traffic": traffic.report,
    "ingest": ingest.report,
    "import": importing.report,
    "queries": queries.report,
    "seen": seen.report,
    "releases": releases.report,
    "sizes": sizes.report,
    "sizing": sizing.report,
    "pages": pages.report,
    "assistants": assistants.report,
    "artifacts": artifacts.report,
    "crashed": crashed.report,
    "trouble": trouble.report,
    "threads": threads.report,
    "mutated": mutated.report,
    "caller": caller.report,
    "values": values.report,
    "gpu": gpu.report,
    "peers": peers.report,
    "peer_values": peer_values.report,
    "evaluating": evaluating.report,
    "experiments": experiments.report,
    "evals_peers": evals_peers.report,
    "monitors": monitors.report,
    "monitors_imported": monitors_imported.report,
    "pieces": pieces.report,
    "delivered": delivered.report,
    "children": children.report,
    "killed": killed.report,
    "outage": outage.report,
    "stopped": stopped.report,
    "steady": steady.report,
    "memory": memory.report,
    "drift": drift.report,
    "judged": judged.report,
    "judging": judging.report,
}


# Parts that can be compared with another commit.
BESIDE: Final[Mapping[str, Measure]] = {
    "ingest": ingest.measure_beside,
    "traffic": traffic.measure_beside,
    "queries": queries.measure_beside,
    "written": queries.measure_written,
    "seen": seen.measure_beside,
    "pages": pages.measure_beside,
    "releases": releases.measure_beside,
    "caller": caller.measure_beside,
    "ready": ready.measure_beside,
    "steady": steady.measure_beside,
}


# Parts that compare a project that uses all features with one that uses none.
FULL: Final[Mapping[str, Callable[[int, int], None]]] = {
    "queries": full.report_queries,
    "written": full.report_written,
    "pages": full.report_pages,
    "ingest": lambda _, times: full.report_ingest(times),
}
FULL_BESIDE: Final[Mapping[str, Callable[[Tree, int, int], Mapping[str, float]]]] = {
    "queries": full.measure_queries,
    "ingest": lambda tree, _, times: full.measure_ingest(tree, times),
    "traffic": lambda tree, *_: full.measure_traffic(tree),
}


class _Repeats(NamedTuple):
    rounds: int
    times: int


_USUAL: Final = _Repeats(beside.ROUNDS, full.TIMES)
_BRIEF: Final = _Repeats(1, 3)


def _full(part: str, runs: int, times: int) -> Measure:
    """Return the measure of a part for a project that uses all features."""
    return lambda tree: FULL_BESIDE[part](tree, runs, times)


def main() -> None:
    """Measure and print one part after the other, because they must not share the machine."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"any of {', '.join(PARTS)}; all when none is")
    parser.add_argument("--beside", metavar="COMMIT", default="", help="ratios to a commit")
    parser.add_argument("--rounds", type=int, help=f"beside that commit [{beside.ROUNDS}]")
    parser.add_argument("--full", action="store_true", help="a project that uses everything")
    of_full = f"of a full project; {queries.RUNS:,}, or {queries.RUNS_BESIDE:,} beside a commit"
    parser.add_argument("--runs", type=int, help=of_full)
    parser.add_argument("--times", type=int, help=f"each of it so often [{full.TIMES}]")
    brief = f"like --rounds {_BRIEF.rounds} --times {_BRIEF.times}: ingest takes 4 minutes"
    parser.add_argument("--brief", action="store_true", help=brief)
    chosen = parser.parse_args()
    usual = _BRIEF if chosen.brief else _USUAL
    rounds, times = chosen.rounds or usual.rounds, chosen.times or usual.times
    known: Mapping[str, object] = BESIDE if chosen.beside else PARTS
    if chosen.full:
        known = FULL_BESIDE if chosen.beside else FULL
    runs = chosen.runs or (queries.RUNS_BESIDE if chosen.beside else queries.RUNS)
    wanted = chosen.part or list(known)
    if unknown := set(wanted) - known.keys():
        parser.error(f"Unknown part {min(unknown)!r}: expected any of {', '.join(known)}")
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}", end=", ")
    print(f"load average {os.getloadavg()[0]:.1f}\n", flush=True)
    for part in wanted:
        with shown_progress(), measuring(part):
            if chosen.beside:
                measure = BESIDE[part] if not chosen.full else _full(part, runs, times)
                beside.report(chosen.beside, measure, rounds)
            elif chosen.full:
                FULL[part](runs, times)
            else:
                PARTS[part]()


if __name__ == "__main__":
    main()
