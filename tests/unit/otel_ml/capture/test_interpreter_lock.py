"""Copying a sample keeps the interpreter lock, so a busy thread does not delay the traced call."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.capture.cells import copy_in_pieces
from otel_ml.capture.snapshot import Snapshot
from otel_ml.capture.taker import ValueTaker

RANDOM = np.random.default_rng(0)
SWITCH_S = 0.2  # how long a thread keeps the lock once it has it
VALUES: dict[str, object] = {
    "frame of 100 rows": pd.DataFrame(RANDOM.normal(size=(100, 8))),
    "frame of 100,000 rows": pd.DataFrame(RANDOM.normal(size=(100_000, 8))),
    "frame of 200 columns": pd.DataFrame(RANDOM.normal(size=(50, 200))),
    "every second number": RANDOM.normal(size=16_000)[::2],
    "array of 100,000 rows": RANDOM.normal(size=(100_000, 8)),
    "transposed array": RANDOM.normal(size=(8, 100_000)).T,
    "series": pd.Series(RANDOM.normal(size=100_000)),
}


@contextlib.contextmanager
def busy_thread() -> Iterator[threading.Event]:
    """Run a thread that always wants the interpreter lock. It sets the event while it runs."""
    stopped, ran = threading.Event(), threading.Event()
    interval_s = sys.getswitchinterval()

    def work() -> None:
        while not stopped.is_set():
            ran.set()

    thread = threading.Thread(target=work)
    thread.start()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield ran
    finally:
        sys.setswitchinterval(interval_s)
        stopped.set()
        thread.join()


@pytest.mark.parametrize("name", VALUES)
def test_busy_thread_does_not_delay_a_snapshot(name: str) -> None:
    value = VALUES[name]
    ValueTaker().take(value)  # the first call loads modules
    waits = []
    with busy_thread() as ran:
        for _ in range(3):
            ran.clear()
            assert ran.wait(60)  # from now on, this thread has the lock for a whole interval
            began_s = time.perf_counter()
            ValueTaker().take(value)
            waits.append(time.perf_counter() - began_s)
    assert min(waits) < SWITCH_S / 2


def test_masked_cells_of_a_large_table_are_missing() -> None:
    table = np.ma.masked_greater(np.arange(60_000.0).reshape(6, 10_000).T, 40_000)
    described: Any = Snapshot.describe(ValueTaker().take(table))  # type: ignore[arg-type]
    assert set(described["cells"]["5"]) == {None}
    assert None not in described["cells"]["0"]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=3), st.integers(1, 3), st.booleans())
def test_copy_in_pieces_is_a_copy(shape: list[int], step: int, is_transposed: bool) -> None:
    array = np.arange(np.prod([size * step for size in shape])).reshape(
        [size * step for size in shape]
    )
    array = (array.T if is_transposed else array)[..., ::step]
    copied = copy_in_pieces(array)
    assert np.array_equal(copied, array)
    assert not np.shares_memory(copied, array)
