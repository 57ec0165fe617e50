"""Run every case against a collector: ``python -m tests.support.hostile`` prints a table.

With ``--json`` it prints a row for each case, then the SDK's own errors (`stats().trouble`).
Further arguments name the cases to run.
"""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.collector import CollectorProcess

PROJECT = "hostile"


def main() -> None:
    folder = Path(tempfile.mkdtemp())  # a forked child would delete a TemporaryDirectory
    collector = CollectorProcess(folder / "data")
    try:
        collector.wait_ready()
        os.environ.update(OTEL_ML_PROJECT=PROJECT, OTEL_ML_ENDPOINT=collector.endpoint)
        _run(collector)
    finally:
        collector.kill()
        shutil.rmtree(folder)


def _run(collector: CollectorProcess) -> None:
    from tests.support.hostile import driver, processes  # its client reads the environment

    is_json, *names = sys.argv[1:] or [""]
    cases = [case for case in driver.CASES if not names or case.name in names]
    rows = list(driver.run(processes.CLIENT, PROJECT, collector, cases))
    if is_json:
        lines = [json.dumps(dataclasses.asdict(row)) for row in rows]
        lines.append(json.dumps(processes.CLIENT.stats().trouble))
    else:
        lines = list(driver.write(rows))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
