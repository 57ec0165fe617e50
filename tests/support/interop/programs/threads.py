"""Where threads follow: the runs of threads, pools and timers, and the parents that they found.

Answers, for each way to another thread, whether the run there is a child of the one that began it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_ml
from otel_ml import Client, Judge
from tests.support.interop.programs.describe import answer

Child = Callable[[int], int]


def _thread(child: Child) -> None:
    thread = threading.Thread(target=child, args=(1,))
    thread.start()
    thread.join()


def _timer(child: Child) -> None:
    timer = threading.Timer(0, child, [1])
    timer.start()
    timer.join()


def _submit(child: Child) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(child, 1).result()


def _map(child: Child) -> None:
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(child, [1]))


def _run_in_executor(child: Child) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, child, 1)

    asyncio.run(main())


WAYS = {
    "thread": _thread,
    "timer": _timer,
    "submit": _submit,
    "map": _map,
    "run_in_executor": _run_in_executor,
}


def find_parents() -> dict[str, bool]:
    """Run each way within a run."""
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter)
    child = client.trace(name="child")(lambda number: number)
    found = {}
    for name, way in WAYS.items():
        with client.run(name) as parent:
            way(child)
        client.flush()
        [span] = [span for span in exporter.get_finished_spans() if span.name == "child"]
        found[name] = span.parent is not None and parent.id.endswith(f"{span.parent.span_id:016x}")
        exporter.clear()
    return found


def judge() -> bool:
    """Tell whether the threads of judges, which start within a run, are in none."""
    client = Client("shop", exporter=InMemorySpanExporter())
    found = []

    def rubric(outputs: int) -> int:
        found.append(otel_ml.current_run().is_recorded)
        return 1

    model = client.assess(Judge("judge", "", rubric))(lambda: 1)
    with client.run("parent"):
        model()
    client.flush()
    return found == [False]


def follow() -> dict[str, bool]:
    """Let threads follow, twice."""
    before = find_parents()
    otel_ml.follow_threads()
    otel_ml.follow_threads()
    return {**find_parents(), "before": any(before.values())}


if __name__ == "__main__":
    answer(follow, judge)
