"""Tests of `tests.alone`, which reruns failed tests one by one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.alone import FAILED, MOST
from tests.support.folders import ROOT
from tests.support.sampling import at_night

PASSES_LATER = """
from pathlib import Path

def test_late():
    seen = Path("seen")
    was_seen = seen.exists()
    seen.touch()
    assert was_seen
"""


def run_twice(folder: Path, text: str) -> tuple[int, str]:
    """Run tests and rerun the failed ones; return the status and output of the rerun."""
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


@at_night
def test_passes_alone(tmp_path: Path) -> None:
    """A test that passes in the rerun is named in the output."""
    status, output = run_twice(tmp_path, PASSES_LATER)
    assert status == 0, output
    assert output.endswith("failures above:\n   test_it.py::test_late\n")


@at_night
def test_fails_again(tmp_path: Path) -> None:
    """A test that fails twice is a failure."""
    status, _ = run_twice(tmp_path, PASSES_LATER + "    assert False\n")
    assert status == 1


@at_night
def test_many_failures(tmp_path: Path) -> None:
    """If there are many failures, or a module cannot be imported, nothing is rerun."""
    many = (
        f"import pytest\n@pytest.mark.parametrize('n', range({MOST + 1}))\ndef test_it(n): assert 0"
    )
    assert run_twice(tmp_path, many) == (1, "")
    assert run_twice(tmp_path, "import nothing_of_this_name") == (1, "")


@at_night
def test_sampled_case(tmp_path: Path) -> None:
    """The nightly run reruns a failed case even if CI leaves that case out."""
    case = f"{ROOT}/tests/unit/otel_ml/test_values_cost.py::test_cost_ends_at_the_limit[text]"
    failed = tmp_path / FAILED
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps({case: True}))
    ended = subprocess.run(
        [sys.executable, "-m", "tests.alone"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
            "OTEL_ML_TESTS": "nightly",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout
