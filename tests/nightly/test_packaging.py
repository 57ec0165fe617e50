"""Slow cases of tests/process/test_packaging.py."""

import subprocess
import sys

import pytest

from tests.support.folders import ROOT


def test_release() -> None:
    """The packages have the right content, and the README's code runs after their installation."""
    if not (ROOT / ".venv-release").exists():
        pytest.skip("There is no .venv-release: make .venv-release/stamp")
    done = subprocess.run(
        [sys.executable, "-m", "tests.release"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
