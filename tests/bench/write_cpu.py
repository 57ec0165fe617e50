"""Prints the CPU time of storing runs and of the pass after it, in microseconds per run.

``python -m tests.bench.write_cpu one 16``: kind of data (one, late, full) and number of groups.
Start it with the PYTHONPATH of another tree to compare both.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.store.calls import CallResolver
from tests.bench.dataset import Plan
from tests.bench.dataset_full import FullDataset
from tests.bench.payload import ScoredTemplate, Template
from tests.support.otel_ml_collector.stores import open_store

_SKIPPED: int = 2


def make_groups(kind: str, groups: int) -> Iterator[Records]:
    """Make groups of about 2,000 spans: of one scope, with late scores, or of a full project."""
    now_ns = time.time_ns()
    if kind == "full":
        for body, _ in FullDataset(Plan(groups * 1_400, now_ns)).requests(2_048):
            yield map_spans(decode_traces(body), Filing("default", now_ns))
        return
    template = Template("p") if kind == "one" else ScoredTemplate("p", delay=4)
    for _ in range(groups):
        spans = [span for _ in range(4) for span in decode_traces(template.fresh())]
        yield map_spans(spans, Filing("default", now_ns))


def read_cpu() -> float:
    """Return the CPU time of this process, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(kind: str, groups: int) -> None:
    """Store the groups, and print the times. The first two groups do not count."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "store") as store:
        watch = CallResolver(store.connections)
        watch.run_pass()
        write_s = pass_s = 0.0
        runs = 0
        for number, records in enumerate(make_groups(kind, groups)):
            if number == _SKIPPED:
                write_s, pass_s, runs = 0.0, 0.0, 0
            begin_s = read_cpu()
            store.writer.write(records)
            stored_s = read_cpu()
            watch.note(records, store.writer.stamped_ns or 0)
            watch.run_pass()
            write_s, pass_s = write_s + stored_s - begin_s, pass_s + read_cpu() - stored_s
            runs += len(records.runs)
        begin_s = read_cpu()
        while watch.run_pass() or store.connections.memory.updates.has_pending:
            pass
        pass_s += read_cpu() - begin_s
    print(f"{kind}: {runs} runs, write {write_s / runs * 1e6:.0f}, pass {pass_s / runs * 1e6:.0f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
