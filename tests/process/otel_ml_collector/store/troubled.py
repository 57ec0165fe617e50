"""Runs a store in a separate process, so that a full disk does not affect the process of a test."""

import json
import sys
import time
from pathlib import Path

from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.spans import make_call, map_all
from tests.support.otel_ml_collector.stores import open_store

_WAIT_S = 60


def main(folder: str) -> None:
    """Store a run for each name on standard input; print the error and the names of stored runs."""
    with open_store(Path(folder)) as store:
        commit = Commit(store.writer.write, Telemetry(), collect_s=0)
        for line in sys.stdin:
            records = map_all(make_call(line.strip()))
            error = commit.submit(records, time.monotonic() + _WAIT_S).exception(_WAIT_S)
            told = "" if error is None else f"{type(error).__name__}: {error}"
            rows = store.reader.rows(Sql("SELECT name FROM runs ORDER BY name"), {})
            sys.stdout.write(json.dumps([told, [row["name"] for row in rows]]) + "\n")
            sys.stdout.flush()
        commit.close(_WAIT_S)


if __name__ == "__main__":
    main(sys.argv[1])
