"""Judging what is stored: equal inputs and people's words in a large store, and a backfill.

The store is filled by its engine, a part at a time, so that a million runs take a minute. What is
asked is asked over HTTP, of a collector of its own.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from otel_ml import Client, Judge
from otel_ml.reader import Reader
from otel_ml_collector.store.sql import Sql
from tests.bench.table import print_table, verdict
from tests.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call
from tests.otel_ml_collector.stores import Service, open_service
from tests.support.collector import CollectorProcess

RUNS: Final = 1_000_000
JUDGED: Final = 100_000
PROJECT: Final = "judged"
_PART: Final = 100_000
# A word of a person on each so many-th run.
_EVERY: Final = 200
_TIMES: Final = 5
_VERSIONS: Final = ("a", "b")
_FLOOR_RUNS_A_SECOND: Final = 2_000
_KEY: Final = Sql("""
    '{project}' AS project, {first} + number * 1000000 AS start_ns,
    toFixedString(unhex(leftPad(hex(number + 1), 32, '0')), 16) AS trace_id,
    toFixedString(unhex(leftPad(hex(number + 1), 16, '0')), 8) AS span_id""")
# One of 5,000 questions, and of every tenth run another answer.
_FILL: Final = (
    Sql("""INSERT INTO runs (project, start_ns, trace_id, span_id, kind, name, model, digest,
      outcome, latency_ns, inputs_preview, outputs_preview, arrived_ns)
      SELECT {key}, 'model', 'answer', 'answer', if(number % 2, 'a', 'b'), 'ok', 1000000,
        toString(number % 5000), toString(number % 10 = 0), start_ns
      FROM numbers({start}, {count})"""),
    Sql("""INSERT INTO payloads (project, start_ns, trace_id, span_id, inputs, outputs, arrived_ns)
      SELECT {key},
        concat('{"question":"what is to be said of number ', toString(number % 5000), '?","k":5,',
          '"messages":[{"role":"system","content":"You are an assistant who answers in brief, and ',
          'with care for the facts at hand"},{"role":"user","content":"tell of number ',
          toString(number % 5000), ' and sum it up in two lines"}]}'),
        concat('{"text":"an answer that is as long as most of them are, about number ',
          toString(number % 5000), '","n":', toString(number % 10 = 0), '}'), start_ns
      FROM numbers({start}, {count})"""),
    Sql("""INSERT INTO metrics (project, owner, owner_start_ns, name, source, judge_version, value,
      step, time_ns, mode, passed, arrived_ns)
      SELECT project, concat(lower(hex(trace_id)), '-', lower(hex(span_id))), start_ns, 'grounded',
        'judge', 'j1', (number % 10) / 10, -1, start_ns, 'single', number % 10 > 4, start_ns
      FROM (SELECT {key}, number FROM numbers({start}, {count}))"""),
    Sql("""INSERT INTO metrics (project, owner, owner_start_ns, name, source, record_id, value,
      step, time_ns, mode, passed, label, annotator, arrived_ns)
      SELECT project, concat(lower(hex(trace_id)), '-', lower(hex(span_id))), start_ns, 'grounded',
        'human', toString(number), NULL, -1, start_ns, 'single', number % 3 > 0,
        if(number % 3 > 0, 'Yes', 'No'), 'ann', start_ns
      FROM (SELECT {key}, number FROM numbers({start}, {count}) WHERE number % {every} = 0)"""),
)


def fill(service: Service, runs: int) -> None:
    """Store runs of two versions with payloads, scores of a judge and words of a person."""
    for version in _VERSIONS:  # that these versions are known
        service.store.take(PROJECT, make_call(attributes={"otel_ml.model.version": version}))
    client = service.store.connections.open()
    first_ns = NOW_NS - runs * SECOND_NS // 1_000 - SECOND_NS
    for start in range(0, runs, _PART):
        for statement in _FILL:
            told: dict[str, Sql | int] = {
                "key": _KEY.fill(project=Sql("judged"), first=first_ns),
                "start": start,
            }
            told["count"] = min(_PART, runs - start)
            if "{every}" in statement:
                told["every"] = _EVERY
            client.command(statement.fill(**told))


def report(runs: int = RUNS, judged: int = JUDGED) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        with open_service(data_dir) as service:
            fill(service, runs)
        collector = CollectorProcess(data_dir)
        try:
            collector.wait_ready()
            with Reader(PROJECT, endpoint=collector.endpoint, timeout_s=60) as reader:
                _report_questions(reader, runs)
            _report_backfill(collector, judged)
        finally:
            collector.stop()


def _report_questions(reader: Reader, runs: int) -> None:
    found = reader.variability("answer")
    where = found["groups"][0]["where"]
    digest = where.rpartition(" and ")[2]
    asked: dict[str, Callable[[], object]] = {
        "how alike the answers of two versions are": lambda: reader.variability("answer"),
        "the runs of one input": lambda: list(reader.runs(where)),
        "the runs of one input among all": lambda: list(reader.runs(digest, limit=1)),
        "people beside a judge": lambda: reader.judge_agreement("grounded"),
    }
    rows = []
    for name, ask in asked.items():
        took = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            ask()
            took.append(1_000 * (time.perf_counter() - began))
        rows.append((name, f"{statistics.median(took):,.0f}", f"{max(took):,.0f}"))
    print_table((f"{runs:,} runs", "median ms", "slowest ms"), rows)


def _report_backfill(collector: CollectorProcess, judged: int) -> None:
    client = Client(PROJECT, endpoint=collector.endpoint, join=False)
    judge = Judge("trivial", "Passes always", lambda outputs: 1, lambda score: True)
    began, cpu = time.perf_counter(), time.process_time()
    before_mb = _peak_mb()
    with Reader(PROJECT, endpoint=collector.endpoint) as reader:
        change = client.judge(reader.runs('model == "answer"', limit=judged), judge)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - began
    client.close()
    of_core = len(change.runs) / cpu_s
    rows = (
        ("runs judged", f"{len(change.runs):,}", "", ""),
        (
            "a second of the caller's core",
            f"{of_core:,.0f}",
            f"{_FLOOR_RUNS_A_SECOND:,}",
            verdict(of_core >= _FLOOR_RUNS_A_SECOND),
        ),
        ("a second by the clock", f"{len(change.runs) / wall_s:,.0f}", "", ""),
        ("memory of the caller before, MB", f"{before_mb:,.0f}", "", ""),
        ("at most, MB", f"{_peak_mb():,.0f}", "", ""),
    )
    print_table(("judging stored runs", "measured", "floor", ""), rows)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
