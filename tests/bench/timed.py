"""Times one contender at one workload, in a process of its own; prints JSON."""

import gc
import json
import operator
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from tests.bench.contenders import open_contender
from tests.bench.process import run_module
from tests.bench.sink import count
from tests.bench.workloads import WORKLOADS

BY_HAND: Final = "by hand"
_WARM_CALLS: Final = 600  # fit in every queue, three spans each


@dataclass(frozen=True, slots=True)
class Timed:
    """What a call costs, in one round.

    Attributes:
        wall_us: On the thread of the caller, without what the call does itself.
        thread_us: CPU of that thread, so without its waits.
        cpu_us: Of the whole process, until all that was queued is delivered.
        sender_a_span_us: What of it is not the caller's thread, which is what sends, for each span
            that arrived; 0 when none did.
        arrived: Which share of the spans the sink got.
        configuration: What was in force.
    """

    wall_us: float
    thread_us: float
    cpu_us: float
    sender_a_span_us: float = 0.0
    arrived: float = 0.0
    configuration: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """What is compared, each in a table of its own.

    Attributes:
        title: What stands above its table.
        read: Takes it of what was timed, in µs.
    """

    title: str
    read: Callable[[Timed], float]


CALLER: Final = Figure("CPU of the caller's thread, a call", operator.attrgetter("thread_us"))
SENDER: Final = Figure(
    "CPU of the threads that send, a span that arrived", operator.attrgetter("sender_a_span_us")
)
PROCESS: Final = Figure("CPU of the process, a call", operator.attrgetter("cpu_us"))
WALL: Final = Figure("by the clock, a call", operator.attrgetter("wall_us"))
FIGURES: Final = (CALLER, SENDER, PROCESS, WALL)


def time_contender(
    contender: str,
    workload: str,
    endpoint: str,
    python: str = sys.executable,
    calls: int | None = None,
) -> Timed:
    """Time it in a process of its own, of any Python, and count at the sink what arrived.

    Args:
        contender: One of `tests.bench.contenders`.
        workload: One of `WORKLOADS`.
        endpoint: Of a sink that keeps what it gets.
        python: Whose environment it runs in.
        calls: How many are timed, where it is not the workload's own number.
    """
    count(endpoint)
    made = WORKLOADS[workload].calls if calls is None else calls
    printed = run_module("timed", contender, workload, endpoint, made, python=python)
    timed = Timed(**json.loads(printed.splitlines()[-1]))
    return with_arrived(timed, workload, count(endpoint)[1], made)


def with_arrived(timed: Timed, workload: str, different: int, calls: int) -> Timed:
    """Add what arrived, and the sender's share of each such span.

    Args:
        timed: As the process of its own has printed it.
        workload: One of `WORKLOADS`.
        different: How many spans the sink has, those of the calls that warm it up among them.
        calls: How many were timed.
    """
    spans = WORKLOADS[workload].spans
    arrived = max(different - _WARM_CALLS * spans, 0)
    sender_us = (timed.cpu_us - timed.thread_us) * calls
    return replace(
        timed,
        sender_a_span_us=sender_us / arrived if arrived else 0.0,
        arrived=arrived / (calls * spans),
    )


def _measure(contender_name: str, workload_name: str, endpoint: str, calls_text: str = "") -> Timed:
    workload = WORKLOADS[workload_name]
    calls = int(calls_text or workload.calls)
    contender = open_contender(contender_name, endpoint)
    traced, bare = workload.prepare(contender.trace), workload.prepare(lambda function: function)
    for run in (traced, bare):
        run(_WARM_CALLS)
    contender.flush()
    gc.collect()
    took_s = _clock(traced, calls, contender.flush)
    bare_s = _clock(bare, calls, lambda: None)
    wall_us, thread_us, cpu_us = (
        (traced_s - untraced_s) / calls * 1e6
        for traced_s, untraced_s in zip(took_s, bare_s, strict=True)
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
