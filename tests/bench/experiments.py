"""Measure a data set of 100,000 items, two experiments over it, and their verdict."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from otel_ml.reader import Reader
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

ITEMS: Final = 100_000
PROJECT: Final = "experiments"
DATASET: Final = f"/projects/{PROJECT}/datasets/numbers"
_TIMES: Final = 3
_FLUSH_S: Final = 600.0


def double(number: int) -> int:
    """Answer all items right."""
    return 2 * number


def forget(number: int) -> int:
    """Answer each tenth item wrong."""
    return 2 * number if number % 10 else 0


def report(items: int = ITEMS) -> None:
    """Measure and print."""
    rows: list[tuple[str, float, float | None]] = []

    def timed(title: str, floor_s: float | None, act: Callable[[], object]) -> object:
        began = time.perf_counter()
        done = act()
        rows.append((title, time.perf_counter() - began, floor_s))
        return done

    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            client = Client(PROJECT, endpoint=collector.endpoint, join=False)
            given = [{"inputs": {"number": one}, "expected": 2 * one} for one in range(items)]
            dataset = Dataset("numbers", given)
            timed("data set saved", 30, lambda: client.save(dataset, timeout_s=_FLUSH_S))
            with Reader(PROJECT, endpoint=collector.endpoint) as reader:
                loaded = timed(
                    "data set loaded", 10, lambda: Dataset.load("numbers", reader=reader)
                )
            if not isinstance(loaded, Dataset) or loaded.digest != dataset.digest:
                raise AssertionError("What was loaded is not what was saved")
            before = client.evaluate(double, dataset, [exact])
            now = client.evaluate(forget, dataset, [exact], baseline=before.experiment.id)
            timed("delivered", None, lambda: client.flush(_FLUSH_S))
            client.close()
            path = f"/projects/{PROJECT}/experiments/{now.experiment.id}"
            shown = collector.get(path)
            if shown["verdict"]["word"] != "worse" or shown["verdict"]["common"] != items:
                raise AssertionError(f"The verdict is another: {shown['verdict']['word']}")
            for _ in range(_TIMES):
                timed("verdict", 1, lambda: collector.get(path))
                timed("rows, worst first", None, lambda: collector.get(f"{path}/rows"))
                timed("page of the experiment", 0.3, lambda: collector.get_text(path))
                timed("page of the data set", 0.3, lambda: collector.get_text(DATASET))
        finally:
            collector.stop()
    print_table(
        (f"{items:,} items", "took", "floor", ""),
        [(title, f"{took_s:.2f} s", *_judge(took_s, floor_s)) for title, took_s, floor_s in rows],
    )


def _judge(took_s: float, floor_s: float | None) -> tuple[str, str]:
    return ("", "") if floor_s is None else (f"{floor_s:g} s", verdict(took_s <= floor_s))
