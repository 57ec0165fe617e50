"""Times one contender at one workload, in a process of its own; prints JSON."""

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from tests.bench.contenders import open_contender
from tests.bench.process import run_module
from tests.bench.sink import count
from tests.bench.workloads import WORKLOADS

_WARM_CALLS: Final = 600  # fit in every queue, three spans each


@dataclass(frozen=True, slots=True)
class Timed:
    """What a call costs, in one round.

    Attributes:
        wall_us: On the thread of the caller, without what the call does itself.
        thread_us: CPU of that thread, so without its waits.
        cpu_us: Of the whole process, until all that was queued is delivered.
        cpu_a_span_us: The same for each span that arrived; 0 when none did.
        arrived: Which share of the spans the sink got.
        configuration: What was in force.
    """

    wall_us: float
    thread_us: float
    cpu_us: float
    cpu_a_span_us: float = 0.0
    arrived: float = 0.0
    configuration: Mapping[str, object] = field(default_factory=dict)


def time_contender(
    contender: str, workload: str, endpoint: str, python: str = sys.executable
) -> Timed:
    """Time it in a process of its own, of any Python, and count at the sink what arrived."""
    count(endpoint)
    printed = run_module("timed", contender, workload, endpoint, python=python)
    found = Timed(**json.loads(printed.splitlines()[-1]))
    _, different = count(endpoint)
    given = WORKLOADS[workload]
    arrived = max(different - _WARM_CALLS * given.spans, 0)
    return replace(
        found,
        cpu_a_span_us=found.cpu_us * given.calls / arrived if arrived else 0.0,
        arrived=arrived / (given.calls * given.spans),
    )


def _measure(contender_name: str, workload_name: str, endpoint: str) -> Timed:
    workload = WORKLOADS[workload_name]
    contender = open_contender(contender_name, endpoint)
    traced, bare = workload.prepare(contender.trace), workload.prepare(lambda function: function)
    for run in (traced, bare):
        run(_WARM_CALLS)
    contender.flush()
    gc.collect()
    took_s = _clock(traced, workload.calls, contender.flush)
    bare_s = _clock(bare, workload.calls, lambda: None)
    wall_us, thread_us, cpu_us = (
        (one - other) / workload.calls * 1e6 for one, other in zip(took_s, bare_s, strict=True)
    )
    return Timed(wall_us, thread_us, cpu_us, configuration=contender.configuration())


def _clock(
    run: Callable[[int], None], calls: int, deliver: Callable[[], None]
) -> tuple[float, float, float]:
    """Return seconds of wall and of the thread for the calls, and of CPU with their delivery."""
    cpu_s, thread_s, wall_s = time.process_time(), time.thread_time(), time.perf_counter()
    run(calls)
    wall_s, thread_s = time.perf_counter() - wall_s, time.thread_time() - thread_s
    deliver()
    return wall_s, thread_s, time.process_time() - cpu_s


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(*sys.argv[1:]))))
