"""Measure judges over stored runs: equal inputs, reviewers' labels in a large store, a backfill.

The engine fills the store in parts, in memory if possible. Queries go over HTTP to a separate
collector process; the judge runs in another process.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from otel_ml import Client, Judge
from otel_ml.reader import Reader
from otel_ml_collector.store.sql import Sql
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service

RUNS: Final = 1_000_000
JUDGED: Final = 100_000
PROJECT: Final = "judged"
_PART: Final = 100_000
# Every how many runs a reviewer has labelled one.
_EVERY: Final = 200
_TIMES: Final = 5
# A time limit for busy machines; runs judged by then are measured.
_MOST_S: Final = 600
_VERSIONS: Final = ("a", "b")
_FLOOR_RUNS_A_SECOND: Final = 2_000
_MOST_KB: Final = 0.1  # of memory for each further run
_KEY: Final = Sql("""
    '{project}' AS project, {first} + number * 1000000 AS start_ns,
    toFixedString(unhex(leftPad(hex(number + 1), 32, '0')), 16) AS trace_id,
    toFixedString(unhex(leftPad(hex(number + 1), 16, '0')), 8) AS span_id""")
# One of 5,000 questions; every tenth run has a different answer.
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


def fill(service: Service, first: int, runs: int) -> None:
    """Store runs of two versions with payloads, judge scores and reviewers' labels."""
    for version in _VERSIONS:  # registers both versions
        service.store.take(PROJECT, make_call(attributes={"otel_ml.model.version": version}))
    client = service.store.connections.open()
    first_ns = NOW_NS - RUNS * SECOND_NS // 1_000 - SECOND_NS
    for start in range(first, runs, _PART):
        for statement in _FILL:
            told: dict[str, Sql | int] = {
                "key": _KEY.fill(project=Sql("judged"), first=first_ns),
                "start": start,
            }
            told["count"] = min(_PART, runs - start)
            if "{every}" in statement:
                told["every"] = _EVERY
            client.command(statement.fill(**told))


def report(judged: int = JUDGED, runs: int = RUNS) -> None:
    """Measure in phases and print each as it ends: first judging, then queries over more runs."""
    with tempfile.TemporaryDirectory(dir=_in_memory()) as folder:
        data_dir = Path(folder) / "data"
        with _phase(f"stored {judged:,} runs"), open_service(data_dir) as service:
            fill(service, 0, judged)
        with _serving(data_dir) as collector:
            few, many = (_judge_apart(collector, count) for count in (judged // 10, judged))
        _print_backfill(few, many)
        with _phase(f"stored {runs - judged:,} more"), open_service(data_dir) as service:
            fill(service, judged, runs)
        with (
            _serving(data_dir) as collector,
            Reader(PROJECT, endpoint=collector.endpoint, timeout_s=60) as reader,
        ):
            _report_questions(reader, runs)


def _in_memory() -> str | None:
    """Return a folder in memory, if there is one, because the disk is not measured."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder made in it


@contextmanager
def _phase(name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    load = os.getloadavg()[0]
    print(f"{name}: {time.perf_counter() - began:,.0f} s, load {load:.1f}", flush=True)


@contextmanager
def _serving(data_dir: Path) -> Iterator[CollectorProcess]:
    collector = CollectorProcess(data_dir)
    try:
        collector.wait_ready()
        yield collector
    finally:
        collector.stop()


def _report_questions(reader: Reader, runs: int) -> None:
    variability = reader.variability("answer")
    where = variability["groups"][0]["where"]
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
    load = os.getloadavg()[0]
    print_table((f"{runs:,} runs, load {load:.1f}", "median ms", "slowest ms"), rows)


@dataclass(frozen=True)
class JudgedRuns:
    """The cost of judging stored runs in a separate process.

    Attributes:
        runs: How many runs were judged.
        cpu_s: CPU time of the process.
        wall_s: Wall time.
        before_mb: Peak memory before the first run was read.
        most_mb: Peak memory at the end.
        served_s: CPU time of the collector meanwhile.
    """

    runs: int
    cpu_s: float
    wall_s: float
    before_mb: float
    most_mb: float
    served_s: float = 0.0


def judge_stored(endpoint: str, count: int) -> JudgedRuns:
    """Judge stored runs with a judge that does nothing, and compare it with its first version."""
    client = Client(PROJECT, endpoint=endpoint, join=False)
    judge = Judge("grounded", "Passes always", lambda outputs: 1, lambda score: True)
    before_mb = _peak_mb()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(_MOST_S)  # an interrupted backfill keeps its results
    began, cpu = time.perf_counter(), time.process_time()
    with Reader(PROJECT, endpoint=endpoint, timeout_s=60) as reader:
        change = client.judge(reader.runs('model == "answer"', limit=count), judge)
    signal.alarm(0)
    assert change.change is not None, "The first version said nothing of these runs"
    assert len(change.flips) == change.change.to_pass
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - began
    client.close()
    return JudgedRuns(len(change.runs), cpu_s, wall_s, before_mb, _peak_mb())


def _judge_apart(collector: CollectorProcess, count: int) -> JudgedRuns:
    """Judge in a new process, so that its memory is that of judging alone."""
    command = [sys.executable, "-m", "tests.bench.judged", collector.endpoint, str(count)]
    before_s = _cpu_s(collector.pid)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    served_s = _cpu_s(collector.pid) - before_s
    figures = JudgedRuns(**json.loads(done.stdout), served_s=served_s)
    print(
        f"judged {figures.runs:,}: {figures.wall_s:,.0f} s, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return figures


def _print_backfill(few: JudgedRuns, many: JudgedRuns) -> None:
    of_core = many.runs / many.cpu_s
    a_run_kb = 1_024 * (many.most_mb - few.most_mb) / max(many.runs - few.runs, 1)
    rows = (
        ("runs judged", f"{many.runs:,}", "", ""),
        (
            "a second of the caller's core",
            f"{of_core:,.0f}",
            f"{_FLOOR_RUNS_A_SECOND:,}",
            verdict(of_core >= _FLOOR_RUNS_A_SECOND),
        ),
        ("a second of the collector's", f"{many.runs / many.served_s:,.0f}", "", ""),
        ("a second by the clock", f"{many.runs / many.wall_s:,.0f}", "", ""),
        ("memory of the caller before, MB", f"{many.before_mb:,.0f}", "", ""),
        (f"at most, {few.runs:,} runs, MB", f"{few.most_mb:,.0f}", "", ""),
        (f"at most, {many.runs:,} runs, MB", f"{many.most_mb:,.0f}", "", ""),
        ("each run more, kB", f"{a_run_kb:.2f}", f"{_MOST_KB:g}", verdict(a_run_kb <= _MOST_KB)),
    )
    print_table(("judging stored runs", "measured", "floor", ""), rows)


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process, over all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb() -> float:
    """Return the peak memory of this process; `getrusage` would include the parent's."""
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    told = asdict(judge_stored(sys.argv[1], int(sys.argv[2])))
    del told["served_s"]
    print(json.dumps(told))
