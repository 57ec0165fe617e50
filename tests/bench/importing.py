"""Import a table of predictions into a real collector: rows per minute, and memory by row.

``python -m tests.bench import`` imports a million rows; ``python -m tests.bench.importing 100000``
imports fewer.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import parquet

from otel_ml import Client
from tests.bench.process import run_module
from tests.bench.table import print_table
from tests.support.collector import running

ROWS: Final = 1_000_000
_DAYS: Final = 60
_AT_ONCE: Final = 50_000
_POINTS: Final = 8
_CHILD: Final = "child"


def write_table(path: Path, rows: int) -> None:
    """Write predictions with ten columns; include ground truth and equal rows."""
    random = np.random.default_rng(1)
    end_us = int(time.time() * 1e6)
    start_us = end_us - _DAYS * 86_400 * 10**6
    writer = None
    for begin in range(0, rows, _AT_ONCE):
        size = min(_AT_ONCE, rows - begin)
        times = start_us + (np.arange(begin, begin + size) // 2) * (end_us - start_us) // rows * 2
        score = random.random(size)
        table = pa.table(
            {
                "scored_at": pa.array(times, pa.timestamp("us", "UTC")),
                "age": random.integers(18, 90, size),
                "usage": random.lognormal(1, 1, size),
                "plan": random.choice(["basic", "pro", "max"], size),
                "since": random.integers(2000, 2027, size),
                "churned": score > 0.5,
                "probability": score,
                "actually_churned": score + random.normal(0, 0.2, size) > 0.5,
                "region": random.choice(["EU", "NA", "APAC"], size),
                "client": random.choice([f"client-{number}" for number in range(40)], size),
            }
        )
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def import_here(endpoint: str, path: str) -> None:
    """Import a table in this process, and print its memory along the way as JSON."""
    points: list[tuple[int, float]] = []

    def note(rows: int, _total: int | None) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        [size] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
        points.append((rows, int(size) / 1024))

    client = Client("bench", endpoint=endpoint, join=False)
    done = client.import_table(
        path,
        model="churn",
        time="scored_at",
        inputs=["age", "usage", "plan", "since"],
        outputs=["churned", "probability"],
        truth="actually_churned",
        tags=["region", "client"],
        on_progress=note,
    )
    print(orjson.dumps([done.stored, done.seconds, points]).decode())


def report(rows: int = ROWS) -> None:
    """Import a table, and print the speed and the memory of the importing process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        write_table(path, rows)
        with running(Path(folder) / "data", forked=False) as collector:
            printed = run_module("importing", _CHILD, collector.endpoint, path)
    stored, seconds, points = orjson.loads(printed.splitlines()[-1])
    print(f"{stored:,} rows with ground truth in {seconds:,.1f} s, collector included:")
    print(f"{stored / seconds * 60:,.0f} rows a minute, load average {os.getloadavg()[0]:.1f}\n")
    chosen = points[:: max(len(points) // _POINTS, 1)]
    print_table(
        ("rows", "memory of the import, MB"), [[f"{n:,}", f"{mb:,.0f}"] for n, mb in chosen]
    )


if __name__ == "__main__":
    if sys.argv[1] == _CHILD:
        import_here(*sys.argv[2:])
    else:
        report(int(sys.argv[1]))
