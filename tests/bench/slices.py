"""Measure the slices and the Monitor page of a project of a million runs with 50 tags each.

``python -m tests.bench.slices [FOLDER [RUNS]]``; the folder is filled once, then queried. The CPU
time is that of the process with all threads of the store, so other programs on the machine do not
count. The store itself writes the runs, because only reading is measured.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.findings.find import find_monitor
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.measures.rollup import recompute
from otel_ml_collector.stats import Past
from otel_ml_collector.store.sketches import SketchJob, sketch_day
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import warm_up
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.bench.table import print_table, verdict
from tests.support.otel_ml_collector.stores import Store, open_store

PROJECT: Final = "many"
RUNS: Final = 1_000_000
DAYS: Final = 30
TAGS: Final = 50
VALUES: Final = 100
FIELDS: Final = 60
# Runs per session.
_SESSION: Final = 4
# Every how many runs one has a payload, which is enough for sketches of each hour.
_PAYLOADS: Final = 20
_TIMES: Final = 3
_NOTE: Final = "slices.txt"
_SLICES_S: Final = 1.5
_HOUR: Final = "hour"
_HOUR_RUNS: Final = 20_000
_HOUR_S: Final = 5.0
_PAGE_S: Final = 0.5

# Runs with the first value of the first tag fail three times as often.
_RUNS: Final = Sql("""
INSERT INTO runs (project, start_ns, trace_id, span_id, latency_ns, kind, name, model, digest,
  structure, outcome, inputs_preview, outputs_preview, tags, tag_kv, session, environment, release,
  input_tokens, output_tokens, cost, arrived_ns, rank)
SELECT {project:String}, {start:Int64} + (number - {first:UInt64}) * {step:Int64},
  toFixedString(unhex(hex(MD5(toString(number)))), 16), substring(MD5(toString(number)), 1, 8),
  toInt64(exp(4.6 + 0.4 * randNormal(0, 1)) * 1e6),
  'model', 'answer', 'answer', 'v1', 's',
  if(rand(1) % 100 < if(chosen[1] = 'v0', 9, 3), 'error', 'ok'),
  '{"question": "why"}', '{"text": "yes"}',
  mapFromArrays(names, arrayMap(value -> concat('"', value, '"'), chosen)),
  arrayMap((name, value) -> concat(name, '=', value), names, chosen),
  concat('s', toString(intDiv(number, {session}))), 'production', 'r1',
  100 + rand(2) % 100, 20 + rand(3) % 50, 0.001 + (rand(4) % 100) / 1e5,
  {start:Int64} + (number - {first:UInt64}) * {step:Int64}, 1
FROM (
  SELECT number, arrayMap(place -> concat('tag', toString(place)), range({tags})) AS names,
    arrayMap(place -> concat('v', toString(cityHash64(number, place) % {values})),
      range({tags})) AS chosen
  FROM numbers({first:UInt64}, {runs:UInt64}))""").fill(session=_SESSION, tags=TAGS, values=VALUES)
_SCORES: Final = Sql("""
INSERT INTO scores (project, judge, start_ns, trace_id, span_id, judge_version, score, passed,
  failed, time_ns, rank, record_id)
SELECT project, 'grounded', start_ns, trace_id, span_id, 'a1', toFloat64(rand() % 10 > 0),
  rand() % 10 > 0, false, start_ns, 1, lower(hex(span_id))
FROM runs WHERE project = {project:String}
  AND start_ns >= {start:Int64} AND start_ns < {start:Int64} + {day:Int64}""")
_PAYLOADS_OF_RUNS: Final = Sql("""
INSERT INTO payloads (project, start_ns, trace_id, span_id, inputs, outputs, arrived_ns, rank)
SELECT project, start_ns, trace_id, span_id,
  toJSONString(mapFromArrays(
    arrayMap(place -> concat('field', toString(place)), range({fields})),
    arrayMap(place -> cityHash64(span_id, place) % 1000, range({fields})))),
  '{"text": "yes"}', start_ns, 1
FROM runs WHERE project = {project:String} AND cityHash64(span_id) % {every:UInt32} = 0
  AND start_ns >= {start:Int64} AND start_ns < {start:Int64} + {day:Int64}""").fill(fields=FIELDS)
_VERSION: Final = Sql("""
INSERT INTO model_versions (project, kind, name, digest, structure, first_arrived_ns, last_seen_ns,
  definition)
SELECT {project:String}, 'model', 'answer', 'v1', 's', {start:Int64}, {end:Int64}, '{}'""")
_MARK: Final = Sql("""
INSERT INTO daily (project, day_ns, marked_ns) SELECT {project:String}, {day_ns:Int64}, 1""")


def fill(store: Store, runs: int, end_ns: int) -> None:
    """Store the runs of 30 days and everything that a collector derives from them."""
    client = store.connections.open()
    first_ns = end_ns - DAYS * DAY_NS
    times = {"project": PROJECT, "start": first_ns, "end": end_ns}
    client.command(_VERSION, parameters=times)
    a_day = runs // DAYS
    for day in range(DAYS):
        values: dict[str, Any] = {
            "project": PROJECT,
            "start": first_ns + day * DAY_NS,
            "day": DAY_NS,
            "step": DAY_NS // a_day,
            "first": day * a_day,
            "runs": a_day,
            "every": _PAYLOADS,
        }
        for sql in (_RUNS, _SCORES, _PAYLOADS_OF_RUNS):
            client.command(sql, parameters=values, settings={"max_execution_time": 600})
    for day in range(first_ns // DAY_NS, end_ns // DAY_NS):
        day_ns = day * DAY_NS
        client.command(_MARK, parameters={"project": PROJECT, "day_ns": day_ns})
        recompute(client, store.connections.memory, PROJECT, [day_ns], time.time_ns())
    job = SketchJob(client, store.connections.memory, time.monotonic)
    while job.run():
        pass


@dataclass(frozen=True, slots=True)
class Taken:
    """The CPU seconds and wall seconds of queries."""

    cpu_s: list[float]
    wall_s: list[float]

    @classmethod
    def of(cls, ask: Callable[[int], object]) -> "Taken":
        """Run several queries, each with different arguments."""
        taken = cls([], [])
        for place in range(_TIMES):
            cpu_s, wall_s = time.process_time(), time.monotonic()
            ask(place)
            taken.cpu_s.append(time.process_time() - cpu_s)
            taken.wall_s.append(time.monotonic() - wall_s)
        return taken

    def row(self, title: str, floor_s: float, cores: int = os.cpu_count() or 1) -> list[str]:
        """Make the row of the table; the floor is wall time with that many idle cores."""
        cpu_s = statistics.median(self.cpu_s)
        return [
            title,
            f"{cpu_s:.2f}",
            f"{statistics.median(self.wall_s):.2f}",
            f"{floor_s}",
            verdict(cpu_s <= floor_s * cores),
        ]


def ask_all(store: Store, end_ns: int) -> list[list[str]]:
    """Query slices and the page without caches, then the page from its cache."""

    def slices(days: int) -> Callable[[int], object]:
        query = SlicesQuery(PROJECT, start_ns=end_ns - days * DAY_NS, end_ns=end_ns)
        return lambda _: find_slices(store.reader, query, end_ns)

    def page(last: Past, kept: int) -> Callable[[int], object]:
        # A response is cached for minutes of this clock.
        return lambda place: find_monitor(
            store.reader, PROJECT, last, end_ns + (0 if kept else 6 * place * MINUTE_NS)
        )

    return [
        Taken.of(slices(DAYS)).row(f"slices of {DAYS} days", _SLICES_S),
        Taken.of(slices(1)).row("slices of 24 h", _SLICES_S),
        Taken.of(page("24h", 0)).row("page Monitor, 24 h, first", _PAGE_S),
        Taken.of(page("24h", 1)).row("page Monitor, 24 h, kept", _PAGE_S),
        Taken.of(page("30d", 0)).row("page Monitor, 30 days, first", _PAGE_S),
    ]


def sketch_hour(store: Store, end_ns: int) -> list[str]:
    """Sketch an hour with the maximum number of runs, all with payloads."""
    client = store.connections.open()
    day_ns = end_ns // DAY_NS * DAY_NS - DAY_NS
    values = {
        "project": _HOUR,
        "start": day_ns,
        "day": DAY_NS,
        "step": HOUR_NS // _HOUR_RUNS,
        "first": 0,
        "runs": _HOUR_RUNS,
        "every": 1,
    }
    for sql in (_RUNS, _PAYLOADS_OF_RUNS):
        client.command(sql, parameters=values, settings={"max_execution_time": 600})
    return Taken.of(
        lambda _: sketch_day(client, store.connections.memory, _HOUR, day_ns, time.time_ns())
    ).row(f"sketches of an hour of {_HOUR_RUNS:,} runs", _HOUR_S, cores=1)


def main() -> None:
    """Fill, query, and print."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "data"
        runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
        note = folder / _NOTE
        warm_up()  # as a collector does before its first query
        with open_store(folder) as store:
            if not note.exists():
                end_ns = time.time_ns()
                cpu_s = time.process_time()
                fill(store, runs, end_ns)
                note.write_text(str(end_ns))
                sys.stdout.write(f"filled: {time.process_time() - cpu_s:.0f} s of CPU\n")
            end_ns = int(note.read_text())
            rows = [*ask_all(store, end_ns), sketch_hour(store, end_ns)]
        sys.stdout.write(
            f"{runs:,} runs, {TAGS} tags of {VALUES} values, {FIELDS} fields, "
            f"load average {os.getloadavg()[0]:.1f}\n"
        )
        print_table(("what", "s of CPU", "s", "floor, s", "by the CPU of two cores"), rows)


if __name__ == "__main__":
    main()
