"""Measure the collector's counters: sequence numbers of spans in the store, metrics of runs."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from otel_ml_collector.loss import Hours, read_totals
from otel_ml_collector.mapping.spans import Processes
from otel_ml_collector.records import Arrivals, Records
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry.runs import RunNumbers
from tests.bench.table import print_table
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call, map_all

TIMES: Final = 2_000
ROUNDS: Final = 9
PROCESSES: Final = 20
HOURS: Final = 24
AN_HOUR: Final = 20_000
_HOUR: Final = NOW_NS // (3600 * SECOND_NS)
# Every how many numbers one is missing.
_MISSING: Final = 20
_SIZE: Final = Sql(
    "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND table = 'arrivals'"
)


def report() -> None:
    """Measure and print CPU time of the thread or process, because other load affects it less."""
    with tempfile.TemporaryDirectory() as folder:
        connections = connect(f"chdb://{Path(folder) / 'data'}")
        try:
            rows = [*_measure_spans(), *_measure_store(connections)]
        finally:
            connections.close()
    print_table(("numbers of spans, metrics of runs", "takes"), rows)


def _measure_spans() -> list[tuple[str, str]]:
    told: dict[str, Value] = {"otel_ml.process": "0000000a", "otel_ml.tag.client": "bigshot"}
    spans = [make_call("answer", {**told, "otel_ml.seq": seq}) for seq in range(1, TIMES + 1)]
    foreign = [make_call("answer") for _ in spans]
    runs = Records(runs=map_all(*spans).runs)

    def heard(of: Sequence[Span]) -> None:
        now = Processes(NOW_NS)
        for span in of:
            now.note(span, "p")

    def counted(tags: tuple[str, ...]) -> None:
        RunNumbers(tags, lambda project, kind, names: {}).count(runs)

    pieces: list[tuple[str, Callable[[], None]]] = [
        ("mapping, a span of ours", lambda: heard(spans)),
        ("mapping, another span", lambda: heard(foreign)),
        ("metrics, a run", lambda: counted(())),
        ("metrics, a run, by one tag", lambda: counted(("client",))),
    ]
    return [(name, f"{_least_s(piece) / TIMES * 1e6:.2f} µs") for name, piece in pieces]


def _measure_store(connections: Connections) -> list[tuple[str, str]]:
    writer, reader = Writer(connections), Reader(connections)
    for process in range(PROCESSES):
        writer.write(Records(arrivals=[_hour(process, hour) for hour in range(HOURS)]))
    last_day = Hours(_HOUR - HOURS + 1, _HOUR + 1, NOW_NS + 3600 * SECOND_NS, "p")
    took_s: list[float] = []
    for _ in range(ROUNDS):
        started = time.process_time()
        read_totals(reader, last_day)
        took_s.append(time.process_time() - started)
    inserted_s: list[float] = []
    for place in range(40):
        one = Arrivals("q", "0000000a", _HOUR, 0, list(range(place * 500, place * 500 + 500)))
        started = time.perf_counter()
        writer.write(Records(arrivals=[one]))
        inserted_s.append(time.perf_counter() - started)
    connections.open().command(Sql("OPTIMIZE TABLE arrivals FINAL"))
    size = reader.rows(_SIZE, {})[0]["bytes"]
    kept = PROCESSES * HOURS * AN_HOUR * (1 - 1 / _MISSING) / 1e6
    return [
        ("insert, a group with spans of ours, on disk", f"{median(inserted_s) * 1e3:.1f} ms"),
        (
            f"{kept:.1f} M numbers of {PROCESSES} processes in {HOURS} h, merged",
            f"{size / 1e6:.1f} MB",
        ),
        ("what is missing of those, CPU", f"{median(took_s) * 1e3:.0f} ms"),
    ]


def _hour(process: int, hour: int) -> Arrivals:
    numbers = [n for n in range(hour * AN_HOUR + 1, (hour + 1) * AN_HOUR + 1) if n % _MISSING]
    return Arrivals("p", f"{process:08x}", _HOUR - HOURS + 1 + hour, 0, numbers)


def _least_s(piece: Callable[[], None]) -> float:
    found: list[float] = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        piece()
        found.append(time.thread_time() - started)
    return min(found)
