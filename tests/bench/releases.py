"""Measure the release of a model with a million runs, for whom it is worse, and a statistic.

``python -m tests.bench releases`` fills a store once and asks in turns. With ``--beside COMMIT``,
each code fills its own store with the same runs. The CPU time is that of the process with all
threads of the store. The store itself writes the runs, because only reading is measured.
"""

import atexit
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from otel_ml_collector.findings import releases
from otel_ml_collector.findings.releases import find_releases
from otel_ml_collector.stats import StatsQuery, find_stats
from otel_ml_collector.store import connection
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import warm_up
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window
from tests.bench.beside import Tree
from tests.bench.table import print_table, verdict
from tests.support.otel_ml_collector.stores import Store, open_store

PROJECT: Final = "released"
MODEL: Final = "answer"
RUNS: Final = 1_000_000
DAYS: Final = 10
TAGS: Final = 8
TIMES: Final = 5
RELEASE, FOR_WHOM, STATISTIC = "the release", "of it, for whom", "a statistic by one tag"
# The tag of the statistic. Each tag has 5 times the values of the one before, at most 200.
_TAG: Final = "tag1"
_MOST_VALUES: Final = 200
_FLOOR: Final = 2.0
# 2026-11-01, 00:00 UTC. Every store has the same times.
_END_NS: Final = 1_793_491_200 * 10**9
_NEW_SHARE: Final = 20
_PART: Final = 100_000
_LONGEST_S: Final = 120

# One run in 20 is of v2 since the third day. It fails as often as v1.
_WRITE_RUNS: Final = Sql("""
INSERT INTO runs (project, start_ns, trace_id, span_id, latency_ns, kind, name, model, digest,
  structure, outcome, inputs_preview, outputs_preview, tags, tag_kv, session, environment, release,
  input_tokens, output_tokens, cost, arrived_ns, rank)
SELECT {project:String}, start, toFixedString(unhex(hex(MD5(toString(number)))), 16),
  substring(MD5(toString(number)), 1, 8),
  toInt64(exp(4.6 + (cityHash64(number, 'latency') % 1000) / 1000) * 1e6),
  'model', {model:String}, {model:String},
  if(start >= {new:Int64} AND cityHash64(number, 'version') % {share} = 0, 'v2', 'v1'), 's',
  if(cityHash64(number, 'outcome') % 100 < 3, 'error', 'ok'),
  '{"question": "why"}', '{"text": "yes"}',
  mapFromArrays(names, arrayMap(value -> concat('"', value, '"'), chosen)),
  arrayMap((name, value) -> concat(name, '=', value), names, chosen),
  concat('s', toString(intDiv(number, 4))), 'production', 'r1',
  100 + cityHash64(number, 'input') % 100, 20 + cityHash64(number, 'output') % 50,
  0.001 + (cityHash64(number, 'cost') % 100) / 1e5, start, 1
FROM (
  SELECT number, {start:Int64} + number * {step:Int64} AS start,
    arrayMap(place -> concat('tag', toString(place)), range({tags})) AS names,
    arrayMap(place -> concat('v', toString(
      cityHash64(intDiv(number, 4), place) % least(toUInt64(pow(5, place)) * 2, {values}))),
      range({tags})) AS chosen
  FROM numbers({first:UInt64}, {runs:UInt64}))""").fill(
    tags=TAGS, values=_MOST_VALUES, share=_NEW_SHARE
)
_WRITE_SCORES: Final = Sql("""
INSERT INTO scores (project, judge, start_ns, trace_id, span_id, judge_version, score, passed,
  failed, time_ns, rank, record_id)
SELECT project, 'grounded', start_ns, trace_id, span_id, 'a1',
  toFloat64(cityHash64(span_id) % 10 > 0), cityHash64(span_id) % 10 > 0, false, start_ns, 1,
  lower(hex(span_id))
FROM runs WHERE project = {project:String} AND start_ns >= {first_ns:Int64}
  AND start_ns < {end_ns:Int64}""")
_WRITE_VERSION: Final = Sql("""
INSERT INTO model_versions (project, kind, name, digest, structure, first_arrived_ns, last_seen_ns,
  definition)
SELECT {project:String}, 'model', {model:String}, {digest:String}, 's', {start:Int64},
  {end:Int64}, '{}'""")


def fill(store: Store, runs: int) -> None:
    """Store the runs of 10 days of a model with two versions, sessions, scores and 8 tags."""
    client = store.connections.open()
    start_ns = _END_NS - DAYS * DAY_NS
    new_ns = start_ns + 3 * DAY_NS
    of = {"project": PROJECT, "model": MODEL}
    for digest, first_ns in (("v1", start_ns), ("v2", new_ns)):
        values = {**of, "digest": digest, "start": first_ns, "end": _END_NS}
        client.command(_WRITE_VERSION, parameters=values)
    step = DAYS * DAY_NS // runs
    for first in range(0, runs, _PART):
        part = min(_PART, runs - first)
        values = {
            **of,
            "start": start_ns,
            "new": new_ns,
            "step": step,
            "first": first,
            "runs": part,
            "first_ns": start_ns + first * step,
            "end_ns": start_ns + (first + part) * step,
        }
        for sql in (_WRITE_RUNS, _WRITE_SCORES):
            client.command(sql, parameters=values, settings={"max_execution_time": 600})


def measure(folder: Path, runs: int, times: int) -> dict[str, list[tuple[float, float]]]:
    """Ask a store several times; return seconds of CPU and of wall time for each question.

    Args:
        folder: Folder of the store. It is filled at the first call.
        runs: How many runs it gets.
        times: How often each question is asked, after once that does not count.
    """
    warm_up()  # as a collector does before its first query
    # Code that is slow on a busy machine is measured, too.
    connection._QUERY["max_execution_time"] = _LONGEST_S
    is_new = not folder.exists()
    with open_store(folder) as store:
        if is_new:
            fill(store, runs)
        window = Window(_END_NS - DAYS * DAY_NS, _END_NS)
        query = StatsQuery(
            PROJECT, f'model == "{MODEL}"', f'tags["{_TAG}"]', window, None, groups=10
        )
        taken: dict[str, list[tuple[float, float]]] = {}
        _time_for_whom(taken)
        for _ in range(times + 1):
            with _timed(taken, RELEASE):
                [release] = find_releases(store.reader, PROJECT, _END_NS, MODEL)
            with _timed(taken, STATISTIC):
                stats = find_stats(store.reader, query)
        assert release.candidate.version == 2, release
        counted = sum(bucket.runs for group in stats.groups for bucket in group.buckets)
        assert counted == runs, counted
    return {name: both[1:] for name, both in taken.items()}


@contextmanager
def _timed(taken: dict[str, list[tuple[float, float]]], name: str) -> Iterator[None]:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    yield
    both = time.process_time() - cpu_s, time.perf_counter() - wall_s
    taken.setdefault(name, []).append(both)


def _time_for_whom(taken: dict[str, list[tuple[float, float]]]) -> None:
    """Record the times of the part of a release that looks for slices, if this code has it."""
    find = getattr(releases, "find_worse_slices", None)
    if find is None:
        return

    def find_timed(*given: object, **named: object) -> object:
        with _timed(taken, FOR_WHOM):
            return find(*given, **named)

    setattr(releases, "find_worse_slices", find_timed)  # noqa: B010 - some commits lack it


@cache
def _find_folder(name: str) -> Path:
    """Return a folder for the store of a commit, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"otel-ml-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "data"


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Measure a tree once, in ms."""
    taken = json.loads(
        tree.run(
            "import json, pathlib; from tests.bench.releases import measure, RUNS; "
            f"folder = pathlib.Path({str(_find_folder(tree.name))!r}); "
            "print(json.dumps(measure(folder, RUNS, 3)))"
        )
    )
    return {
        f"{name}, {unit}": 1e3 * statistics.median(one[place] for one in both)
        for name, both in taken.items()
        for place, unit in enumerate(("ms of CPU", "ms"))
    }


def report(runs: int = RUNS, times: int = TIMES) -> None:
    """Measure and print, with the ratio of for whom to the statistic."""
    with tempfile.TemporaryDirectory() as scratch:
        taken = measure(Path(scratch) / "data", runs, times)
    cpu_s, wall_s = (
        {name: statistics.median(one[place] for one in both) for name, both in taken.items()}
        for place in (0, 1)
    )
    rows = [
        (
            name,
            f"{1e3 * cpu_s[name]:,.0f}",
            f"{1e3 * wall_s[name]:,.0f}",
            f"{cpu_s[name] / cpu_s[STATISTIC]:.2f}",
            f"{wall_s[name] / wall_s[STATISTIC]:.2f}",
            verdict(wall_s[name] <= _FLOOR * wall_s[STATISTIC]) if name == FOR_WHOM else "",
        )
        for name in (RELEASE, FOR_WHOM, STATISTIC)
    ]
    heads = (f"{runs:,} runs, {TAGS} tags", "ms of CPU", "ms", "CPU ÷ statistic", "ms ÷ statistic")
    print_table((*heads, f"≤ {_FLOOR:g}"), rows)
