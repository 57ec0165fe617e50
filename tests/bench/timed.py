"""Time one contender at one workload, in a separate process; print JSON."""

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
_WARM_CALLS: Final = 600  # fits in every queue, with three spans each


@dataclass(frozen=True, slots=True)
class Timed:
    """The cost of a call in one round.

    Attributes:
        wall_us: Wall time on the caller's thread, minus the call's own work.
        thread_us: CPU of that thread, so without its waits.
        cpu_us: CPU of the whole process, until all queued spans are delivered.
        sender_a_span_us: CPU of all threads but the caller's, per span that arrived; 0 if none
            did.
        arrived: The share of the spans that the sink got.
        configuration: The effective configuration.
    """

    wall_us: float
    thread_us: float
    cpu_us: float
    sender_a_span_us: float = 0.0
    arrived: float = 0.0
    configuration: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to compare, with its own table.

    Attributes:
        title: The heading of its table.
        read: Returns the figure of a measurement, in µs.
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
    """Time a contender in a separate process and count the spans at the sink.

    Args:
        contender: One of `tests.bench.contenders`.
        workload: One of `WORKLOADS`.
        endpoint: Endpoint of a sink that keeps its requests.
        python: The interpreter to run it with.
        calls: How many calls to time; None for the workload's number.
    """
    count(endpoint)
    made = WORKLOADS[workload].calls if calls is None else calls
    printed = run_module("timed", contender, workload, endpoint, made, python=python)
    timed = Timed(**json.loads(printed.splitlines()[-1]))
    return with_arrived(timed, workload, count(endpoint)[1], made)


def with_arrived(timed: Timed, workload: str, different: int, calls: int) -> Timed:
    """Add the share of arrived spans and the sender's CPU per arrived span.

    Args:
        timed: The output of the separate process.
        workload: One of `WORKLOADS`.
        different: Distinct spans at the sink, including those of warm-up calls.
        calls: How many calls were timed.
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
    """Return wall and thread seconds of the calls, and CPU seconds including delivery."""
    cpu_s, thread_s, wall_s = time.process_time(), time.thread_time(), time.perf_counter()
    run(calls)
    wall_s, thread_s = time.perf_counter() - wall_s, time.thread_time() - thread_s
    deliver()
    return wall_s, thread_s, time.process_time() - cpu_s


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(*sys.argv[1:]))))
