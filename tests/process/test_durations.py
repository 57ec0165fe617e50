"""Tests of the durations that a run of pytest keeps."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.durations import FOLDER, read_seconds
from tests.support.folders import ROOT
from tests.support.sampling import at_night

SLOW = """
import pytest
from tests.support.waiting import elapsed, wait_until

@pytest.fixture(autouse=True)
def prepared():
    wait_until(elapsed(0.2))
    yield
    wait_until(elapsed(0.3))

def test_slow():
    wait_until(elapsed(0.1))

def test_failing():
    assert False
"""


def run_pytest(folder: Path, *arguments: str) -> str:
    """Run the tests of a folder and return the output."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.durations", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return ended.stdout + ended.stderr


@at_night
def test_workers_durations_are_kept(tmp_path: Path) -> None:
    """A run with workers keeps one file, in which preparing and cleaning up count."""
    (tmp_path / "test_slow.py").write_text(SLOW)
    (tmp_path / "test_fast.py").write_text("def test_it(): pass")
    output = run_pytest(tmp_path, "--keep-durations", "own", "--numprocesses", "2")
    (file,) = (tmp_path / FOLDER).iterdir()
    assert file.name.startswith("own-2")
    kept = read_seconds(file)
    assert sorted(kept) == [
        "test_fast.py::test_it",
        "test_slow.py::test_failing",
        "test_slow.py::test_slow",
    ]
    assert kept["test_slow.py::test_slow"] > 0.6
    assert "The 2 most expensive of 2 modules, with their share of" in output


@at_night
def test_incomplete_run_is_not_kept(tmp_path: Path) -> None:
    """A run that ends early, or has no name, keeps no file."""
    (tmp_path / "test_slow.py").write_text("def test_it(): raise KeyboardInterrupt")
    assert "KeyboardInterrupt" in run_pytest(tmp_path, "--keep-durations", "own")
    (tmp_path / "test_slow.py").write_text("def test_it(): pass")
    assert "1 passed" in run_pytest(tmp_path)
    assert not (tmp_path / FOLDER).exists()
