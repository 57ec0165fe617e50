"""Tests how the nightly run chooses its cases."""

import os
import subprocess
import sys

from tests.support.folders import ROOT

MODULE = "tests/unit/otel_ml/test_tags.py"


def test_properties_are_nightly() -> None:
    """The nightly run tries properties with all their examples, and leaves plain tests to CI."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", MODULE],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "", "OTEL_ML_TESTS": "nightly"},
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    ).stdout
    assert [line for line in listed.splitlines() if "::" in line] == [
        f"{MODULE}::test_primitive_is_stable",
        f"{MODULE}::test_integer_fits_the_wire",
    ]
