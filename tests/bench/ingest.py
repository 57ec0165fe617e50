"""Measure ingest: durable, queryable spans per second, and the CPU, memory and disk they use."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from tests.bench.beside import Tree
from tests.bench.load import Load, Sent, send_load
from tests.bench.payload import SPANS, Template
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

ROUNDS: Final = 3
SECONDS: Final = 4
IDLE_REQUESTS: Final = 20
_IDLE_APART_S: Final = 1.2  # a pause, because the collector batches requests in quick succession
# Requests in flight, spans per request, and the promised spans per second.
LOADS: Final = ((4, SPANS, 10_000), (32, SPANS, 15_000), (128, SPANS, 0), (64, 16, 5_000))
_IDLE_MS: Final = 100
_ANSWER_S: Final = 4.0
_MAP_US: Final = 15
_IDLE_MB: Final = 450
_PEAK_MB: Final = 1_200
_DISK: Final = 0.45
_MAPPED: Final = 40

# Requests in flight when compared with another commit. Its mapping is measured in its own process.
_BESIDE: Final = (4, 32)
_MAPPING: Final = "from tests.bench.ingest import measure_mapping; print(measure_mapping())"

Transport = Literal["gRPC", "HTTP"]


@dataclass(frozen=True, slots=True)
class Round:
    """The results of one round on a fresh collector.

    Attributes:
        idle: Requests of one span, with pauses.
        loads: One result for each of `LOADS`, run sequentially.
        idle_mb: Resident memory before the first request.
        peak_mb: The highest resident memory.
        bytes_per_run: Size of the data directory at the end, per run.
    """

    idle: Sent
    loads: Sequence[Sent]
    idle_mb: float
    peak_mb: float
    bytes_per_run: float


def measure(transport: Transport, seconds: float = SECONDS) -> Round:
    """Load a fresh collector; after each load, check that the API has every accepted run."""
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            idle_mb = _status_mb(collector.pid, "VmRSS")
            address = collector.grpc if transport == "gRPC" else collector.endpoint
            pauses = Load(address, "idle", 1, 1, 60, IDLE_REQUESTS, every_s=_IDLE_APART_S)
            idle = send_load(pauses)
            loads = []
            for in_flight, spans, _ in LOADS:
                project = f"{in_flight}-{spans}"
                loads.append(send_load(Load(address, project, in_flight, spans, seconds)))
                _check_stored(collector, project, loads[-1])
            peak_mb = _status_mb(collector.pid, "VmHWM")
            stored = sum(one["runs"] for one in collector.get("/projects")["projects"])
            collector.restart()  # removes parts that were merged away
            collector.stop()
            size = _size(Path(folder))
        finally:
            collector.kill()
    return Round(idle, loads, idle_mb, peak_mb, size / stored)


def measure_mapping() -> float:
    """Measure decoding and mapping with the per-call cost, in CPU µs per span."""
    template, prices = Template("bench"), Prices()
    bodies = [template.fresh() for _ in range(_MAPPED)]
    took_s = []
    for body in bodies:
        started = time.thread_time()
        map_spans(decode_traces(body), Filing(None, time.time_ns(), prices=prices))
        took_s.append(time.thread_time() - started)
    return statistics.median(took_s) / SPANS * 1e6


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Load a fresh collector of a tree over each transport, then measure decoding and mapping."""
    found = {}
    for transport in ("gRPC", "HTTP"):
        with tempfile.TemporaryDirectory() as folder:
            collector = CollectorProcess(Path(folder) / "data", launcher=tree.launcher)
            try:
                collector.wait_ready()
                address = collector.grpc if transport == "gRPC" else collector.endpoint
                for in_flight in _BESIDE:
                    load = Load(address, str(in_flight), in_flight, SPANS, SECONDS)
                    sent = send_load(load)
                    _check_stored(collector, load.project, sent)
                    title = f"{transport}, {in_flight} in flight"
                    found[f"{title}, spans/s"] = sent.accepted / sent.took_s
                    found[f"{title}, p50 ms"] = _centile_ms(sent, 50)
                found[f"{transport}, most memory, MB"] = _status_mb(collector.pid, "VmHWM")
            finally:
                collector.kill()
    found["decode and map, CPU µs a span"] = float(tree.run(_MAPPING))
    return found


def report(rounds: int = ROUNDS) -> None:
    """Measure and print, with a column for each load."""
    found: dict[Transport, list[Round]] = {
        transport: [measure(transport) for _ in range(rounds)] for transport in ("gRPC", "HTTP")
    }
    mapped = [measure_mapping() for _ in range(rounds)]
    heads = [f"{in_flight} in flight of {spans} spans" for in_flight, spans, _ in LOADS]
    for transport, those in found.items():
        print_table((transport, *heads), [_row(line, those) for line in _LINES])
    _report_floors(found, mapped)


def _refused_ms(sent: Sent) -> float:
    return sorted(sent.refusals_s)[len(sent.refusals_s) * 99 // 100] * 1e3 if sent.refused else 0.0


_Line = tuple[str, str, int, Callable[[Sent], float]]
_LINES: Final[Sequence[_Line]] = (
    ("accepted, durable, queryable", " spans/s", 0, lambda sent: sent.accepted / sent.took_s),
    ("answer, p50", " ms", 0, lambda sent: _centile_ms(sent, 50)),
    ("answer, p99", " ms", 0, lambda sent: _centile_ms(sent, 99)),
    ("any answer, longest", " s", 2, lambda sent: sent.longest_s),
    ("told to come again", "", 0, lambda sent: sent.refused),
    ("told so after, p99", " ms", 0, _refused_ms),
)


def _row(line: _Line, rounds: Sequence[Round]) -> list[str]:
    title, unit, digits, pick = line
    columns = zip(*(one.loads for one in rounds), strict=True)
    return [title, *(spread([pick(sent) for sent in column], unit, digits) for column in columns)]


def _report_floors(found: dict[Transport, list[Round]], mapped: Sequence[float]) -> None:
    rows = []

    def add(title: str, values: Sequence[float], unit: str, digits: int, reached: bool) -> None:
        rows.append([title, spread(values, unit, digits), verdict(reached)])

    for transport, rounds in found.items():
        for place, (in_flight, spans, floor) in enumerate(LOADS):
            loads = [one.loads[place] for one in rounds]
            rates = [sent.accepted / sent.took_s for sent in loads]
            if floor:
                title = f"{transport}, {in_flight} in flight of {spans} spans: ≥ {floor:,} spans/s"
                add(title, rates, " spans/s", 0, statistics.median(rates) >= floor)
        longest = [max(sent.longest_s for sent in one.loads) for one in rounds]
        title = f"{transport}, longest time to any answer: ≤ {_ANSWER_S:.0f} s"
        add(title, longest, " s", 2, max(longest) <= _ANSWER_S)
        idle = [_centile_ms(one.idle, 99) for one in rounds]
        middle = [_centile_ms(one.idle, 50) for one in rounds]
        add(f"{transport}, one span when idle, p50", middle, " ms", 1, max(middle) <= _IDLE_MS)
        title = f"{transport}, one span when idle, p99: ≤ {_IDLE_MS} ms"
        add(title, idle, " ms", 1, statistics.median(idle) <= _IDLE_MS)
    everything = [one for rounds in found.values() for one in rounds]
    idle_mb, peak_mb = [one.idle_mb for one in everything], [one.peak_mb for one in everything]
    raw = everything[0].loads[0].bytes / SPANS
    title = f"decode and map, CPU of a span: ≤ {_MAP_US} µs"
    add(title, mapped, " µs", 1, statistics.median(mapped) <= _MAP_US)
    add(f"memory, idle: ≤ {_IDLE_MB} MB", idle_mb, " MB", 0, max(idle_mb) <= _IDLE_MB)
    add(f"memory under load: ≤ {_PEAK_MB:,} MB", peak_mb, " MB", 0, max(peak_mb) <= _PEAK_MB)
    sizes = [one.bytes_per_run / raw for one in everything]
    add(f"disk, a run ÷ its bytes on the wire: ≤ {_DISK}", sizes, "", 2, max(sizes) <= _DISK)
    print_table(("floor", "measured", ""), rows)


def _centile_ms(sent: Sent, centile: int) -> float:
    return statistics.quantiles(sent.waits_s, n=100)[centile - 1] * 1e3


def _check_stored(collector: CollectorProcess, project: str, sent: Sent) -> None:
    """Check that all accepted runs are stored; a request that was refused may be stored, too."""
    projects = {one["project"]: one["runs"] for one in collector.get("/projects")["projects"]}
    assert projects[project] >= sent.accepted, (projects[project], sent.accepted)


def _status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def _size(folder: Path) -> int:
    done = subprocess.run(["du", "-sb", str(folder)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])
