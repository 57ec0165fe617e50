"""Count otel-ml's findings in the streams of `tests.bench monitors`, imported as tables.

Each draw of a stream is a table with one row per value, and a separate model in the stream's
project. A window is a day, and the judged window is yesterday. The first draw of each stream is
imported with ``otel-ml import``, the others with `Client.import_table`.
"""

import contextlib
import io
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from otel_ml import Client
from otel_ml_collector.cli import main
from tests.bench.monitors_cases import DRAWS, STREAMS, WINDOWS, Stream
from tests.bench.table import print_table
from tests.support.collector import CollectorProcess, running
from tests.support.waiting import wait_until

# One draw of a stream with 20,000 values per window, two with 2,000, and ten with 100.
_ROWS: Final = 60_000
_DAY_US: Final = 24 * 60 * 60 * 1_000_000
_CHECKED_S: Final = 1_800


def count_draws(stream: Stream) -> int:
    """Return how many draws of a stream are imported."""
    return min(max(_ROWS // ((WINDOWS + 1) * stream.n), 1), DRAWS)


def make_rows(stream: Stream, draw: int, today_us: int) -> Iterator[dict[str, Any]]:
    """Make the table of a draw: a day for each window of the reference, then the judged one."""
    windows, judged = stream.make(draw)
    for place, values in enumerate([*windows, judged]):
        start_us = today_us - (WINDOWS + 1 - place) * _DAY_US
        for number, value in enumerate(values):
            yield {
                "scored_at": (start_us + number * _DAY_US // len(values)) / 1e6,
                "value": None if isinstance(value, float) and math.isnan(value) else value,
                "label": "yes",
                "visit": f"{place}-{number // stream.session}",
            }


def import_stream(endpoint: str, project: str, stream: Stream, folder: Path) -> int:
    """Import the draws of a stream, and return the number of rows."""
    today_us = time.time_ns() // 1_000 // _DAY_US * _DAY_US
    path = folder / "stream.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in make_rows(stream, 0, today_us)))
    command = ["import", str(path), f"--endpoint={endpoint}", f"--project={project}"]
    command += ["--model=draw-0", "--time=scored_at", "--inputs=value"]
    command += ["--outputs=label", "--session=visit"]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as log,
    ):
        status = main(command)
    assert status == 0, log.getvalue()
    rows = len(path.read_text().splitlines())
    with contextlib.closing(Client(project, endpoint=endpoint, join=False)) as client:
        for draw in range(1, count_draws(stream)):
            done = client.import_table(
                [*make_rows(stream, draw, today_us)],
                model=f"draw-{draw}",
                time="scored_at",
                inputs=["value"],
                outputs="label",
                session="visit",
            )
            rows += done.stored
    return rows


def read_findings(collector: CollectorProcess, project: str) -> dict[str, list[str]]:
    """Return the problems of the field by model: `drift`, `missing` or `type`."""
    found: dict[str, list[str]] = {}
    for finding in collector.get(f"/projects/{project}/findings")["findings"]:
        if finding["field"] != "inputs.value":
            continue
        word = "drift" if finding["kind"] != "broken" else "type"
        word = "missing" if "is missing" in finding["title"] else word
        found.setdefault(finding["model"], []).append(word)
    return found


def is_checked(collector: CollectorProcess, project: str) -> bool:
    """Return whether the collector has checked all imported days of a project."""
    return "Still checking" not in collector.get_text(f"/projects/{project}/monitor/progress")


def measure_imported(titles: Mapping[str, Stream] = STREAMS) -> dict[str, dict[str, Any]]:
    """Import streams into a new collector and wait until their days are checked.

    Returns:
        By title, how many `draws` were imported, how many of them had a problem (`said`), the
        problems found (`words`), and how many `rows` were imported.
    """
    measured: dict[str, dict[str, Any]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "data", forked=False) as collector,
    ):
        projects = {title: f"stream-{number}" for number, title in enumerate(titles)}
        rows = {
            title: import_stream(collector.endpoint, projects[title], stream, Path(folder))
            for title, stream in titles.items()
        }
        for title, project in projects.items():
            wait_until(partial(is_checked, collector, project), _CHECKED_S)
            found = read_findings(collector, project)
            measured[title] = {
                "draws": count_draws(titles[title]),
                "rows": rows[title],
                "said": len(found),
                "words": sorted({word for words in found.values() for word in words}),
            }
    return measured


def report() -> None:
    """Import all streams and print the findings."""
    begun_s = time.monotonic()
    measured = measure_imported()
    seconds = time.monotonic() - begun_s
    rows = sum(told["rows"] for told in measured.values())
    print(f"{rows:,} rows were imported and checked in {seconds:,.0f} s")
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    table = [
        [
            title,
            "yes" if STREAMS[title].changed else "no",
            f"{told['said']} of {told['draws']}"
            + (f": {' or '.join(told['words'])}" if told["words"] else ""),
        ]
        for title, told in measured.items()
    ]
    print_table(("stream, imported as a table", "should be said", "findings of otel-ml"), table)
