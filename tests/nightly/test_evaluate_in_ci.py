"""Slow cases of tests/process/test_evaluate_in_ci.py."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.test_evaluate_in_ci import PAGE, Comments, blocks, comments, run_workflow, shell

__all__ = ["comments"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Create a Git repository by following the how-to page."""
    (tmp_path / "app.py").write_text(blocks("py")[0])
    for command in blocks("sh"):
        ended = shell(tmp_path, command)
        assert ended.returncode == 0, ended.stderr
    return tmp_path


def test_fresh_runner(repository: Path, tmp_path: Path, comments: Comments) -> None:
    """The workflow passes on a runner that has only Python, with the documented installation."""
    unwanted = shutil.ignore_patterns(".*", "node_modules")
    clone = shutil.copytree(PAGE.parents[2], tmp_path / "clone", ignore=unwanted)
    for command in blocks("bash"):
        ended = shell(clone, command)
        assert ended.returncode == 0, ended.stderr
    shutil.move(clone / "wheels", repository / "wheels")
    shutil.rmtree(clone)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    failed, summary = run_workflow(repository, comments.address, tmp_path / "env" / "bin")
    assert failed == []
    assert "| exact | 100.0% " in summary
