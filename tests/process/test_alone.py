"""Tests of `tests.alone`, which runs failed tests again, one by one."""

import os
import subprocess
import sys
from pathlib import Path

from tests.alone import MOST
from tests.support.folders import ROOT

PASSES_LATER = """
from pathlib import Path

def test_late():
    seen = Path("seen")
    was_seen = seen.exists()
    seen.touch()
    assert was_seen
"""


def run_twice(folder: Path, text: str) -> tuple[int, str]:
    """Run tests, and those that failed again; returns the last status and what it printed."""
    (folder / "test_it.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    for module in ("pytest", "tests.alone"):
        ended = subprocess.run(
            [sys.executable, "-m", module],
            cwd=folder,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
    return ended.returncode, ended.stdout


def test_passes_alone(tmp_path: Path) -> None:
    """A test that passes the second time is named."""
    status, output = run_twice(tmp_path, PASSES_LATER)
    assert status == 0, output
    assert output.endswith("failures above:\n   test_it.py::test_late\n")


def test_fails_again(tmp_path: Path) -> None:
    """A test that fails twice has failed."""
    status, _ = run_twice(tmp_path, PASSES_LATER + "    assert False\n")
    assert status == 1


def test_many_failures(tmp_path: Path) -> None:
    """Many failures are not tried again, nor is a module that cannot be imported."""
    many = (
        f"import pytest\n@pytest.mark.parametrize('n', range({MOST + 1}))\ndef test_it(n): assert 0"
    )
    assert run_twice(tmp_path, many) == (1, "")
    assert run_twice(tmp_path, "import nothing_of_this_name") == (1, "")
