"""A million points of one run are stored in linear time and read in bounded memory."""

import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from otel_ml_collector.metrics import find_metrics
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_record
from tests.support.otel_ml_collector.stores import Store, open_store

_BY_UPDATE = 1_000
_ANSWER_BYTES = 16 * 1024 * 1024


def make_logged(first: int) -> dict[str, Value]:
    """Return the attributes of an update with 1,000 points; each value equals its step."""
    steps = range(first, first + _BY_UPDATE)
    return {
        "otel_ml.metric.names": ["loss"] * _BY_UPDATE,
        "otel_ml.metric.values": [float(step) for step in steps],
        "otel_ml.metric.steps": list(steps),
        "otel_ml.metric.times": [NOW_NS + step for step in steps],
        "otel_ml.metric.modes": ["append"] * _BY_UPDATE,
    }


def store_points(store: Store, project: str, number: int) -> float:
    """Store a run's points, the last ones first, and return the CPU time."""
    call = make_call(project)
    store.take(project, call)
    updates = [
        make_record("update", call, make_logged(first)) for first in range(0, number, _BY_UPDATE)
    ]
    started = time.process_time()
    for update in reversed(updates):
        store.take(project, update)
    taken_s = time.process_time() - started
    check_answers(store, project, id_of(call), number)
    return taken_s


def check_answers(store: Store, project: str, run_id: str, number: int) -> None:
    """Read run and curve: 1,000 of the points, in order, in little memory."""
    tracemalloc.start()
    run = find_run(store.reader, run_id, project, now_ns=NOW_NS)
    (series,) = find_metrics(store.reader, project, run_id).series
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < _ANSWER_BYTES
    assert (run.metric_points, series.count) == ({"loss": number}, number)
    values = [point.value or 0.0 for point in series.points]
    assert run.metrics == {"loss": values}
    assert len(values) == 1_000
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, number - 1.0)


def test_million_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Storing scales linearly with the number of points, and reading needs no more memory."""
    with open_store(tmp_path) as store:
        store_points(store, "warm", _BY_UPDATE * 2)
        some_s = store_points(store, "some", 100_000)
        many_s = store_points(store, "many", 1_000_000)
    with capsys.disabled():
        sys.stdout.write(f"\n100,000 points {some_s:.2f} s, 1,000,000 points {many_s:.2f} s\n")
    assert many_s < 20 * some_s
