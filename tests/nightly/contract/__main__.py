"""Run the contract suite on a ClickHouse server: ``python -m tests.nightly.contract ADDRESS``.

Prints one table to paste into an issue. The table does not contain the password.
"""

import os
import platform
import sys
import time
from importlib.metadata import version
from typing import Final

import pytest

from tests.support.clickhouse import RealServer
from tests.support.contract.fixtures import STORE

# Tests that work on a real server: they kill, simulate and embed nothing.
_TESTS: Final = (
    "tests/process/contract/test_roads.py",
    "tests/process/contract/test_store.py",
    "tests/process/contract/test_end_to_end.py",
    "tests/process/contract/test_server.py::test_tables_that_delete_nothing",
    "tests/process/contract/test_server.py::test_unknown_database",
    "tests/process/contract/test_server.py::test_revoked_at_another_collector",
    "tests/nightly/contract/test_api.py",
    "tests/nightly/contract/test_roads.py",
    "tests/nightly/contract/test_server.py",
)
# This program has already imported modules that pytest would rewrite.
_OPTIONS: Final = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
_NOT_ON_A_CLUSTER: Final = "test_tables_that_delete_nothing"


class Results:
    """Collects the outcome of each test.

    Attributes:
        rows: The outcome, seconds and last error line of each test, by its name.
    """

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, float, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a step of a test; the worst outcome counts."""
        name = report.nodeid.removeprefix("tests/")
        before, seconds, error = self.rows.get(name, ("passed", 0.0, ""))
        outcome = before if before != "passed" else report.outcome
        if report.failed and not error:
            error = report.longreprtext.strip().splitlines()[-1][:120].replace("|", "/")
        self.rows[name] = (outcome, seconds + report.duration, error)


def main(address: str) -> int:
    """Run the suite and print the table; return 0 if every test passed."""
    server = RealServer(address)
    about = server.command("SELECT version(), hostName() != ''").split("\t")[0]
    os.environ[STORE] = address
    results = Results()
    without = f" and not {_NOT_ON_A_CLUSTER}" if server.is_cluster else ""
    began_s = time.monotonic()
    pytest.main(
        [*_OPTIONS, "-k", f"not embedded{without}", *_TESTS],
        plugins=[results],
    )
    passed = sum(outcome == "passed" for outcome, _, _ in results.rows.values())
    kind = "cluster otel_ml, replicated tables" if server.is_cluster else "single server"
    lines = [
        f"otel-ml {version('otel-ml')}, ClickHouse {about.strip()}, {kind}, "
        f"Python {platform.python_version()}: {passed} of {len(results.rows)} passed in "
        f"{time.monotonic() - began_s:.0f} s",
        "",
        "| test | result | s | error |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {outcome} | {seconds:.1f} | {error} |"
            for name, (outcome, seconds, error) in results.rows.items()
        ),
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    return int(passed < len(results.rows) or not results.rows)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].startswith("clickhouse"):
        sys.exit("Usage: make test-clickhouse STORE=clickhouse://user:password@host:8123/default")
    sys.exit(main(sys.argv[1]))
