"""Runs the files and the workflow of the page "Evaluate in CI" unchanged."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it carries no types

from tests.support.folders import ROOT

PAGE = ROOT / "docs" / "how-to" / "evaluate-in-ci.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def shell(folder: Path, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a step as a runner does, with the `otel-ml` of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "OTEL_SDK_DISABLED": "true", **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the files and commands of the page."""
    (tmp_path / "app.py").write_text(blocks("py")[0])
    for command in blocks("sh"):
        ended = shell(tmp_path, command)
        assert ended.returncode == 0, ended.stderr
    return tmp_path


def run_workflow(folder: Path, programs: Path | None = None) -> tuple[list[str], str]:
    """Run the steps of the workflow; return the failed steps and the summary.

    Args:
        folder: The repository.
        programs: Programs of an empty environment to install into; None to skip the installation.
    """
    workflow: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    summary = folder / "summary.md"
    failed: list[str] = []
    for step in workflow["jobs"]["evaluate"]["steps"]:
        is_due = not failed or step.get("if") == "always()"
        is_done = step["name"] == "install" and programs is None if "run" in step else True
        if is_due and not is_done:
            variables = {"GITHUB_STEP_SUMMARY": str(summary)}
            if programs is not None:
                variables["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
            ended = shell(folder, step["run"], **variables)
            if ended.returncode:
                failed.append(f"{step['name']} {ended.returncode}: {ended.stderr.strip()}")
    return failed, summary.read_text()


def test_nothing_changed(repository: Path) -> None:
    """A pull request without changes passes, and its summary has the table."""
    failed, summary = run_workflow(repository)
    assert failed == []
    assert "| exact | 100.0% " in summary


def test_a_seeded_regression_fails(repository: Path) -> None:
    """A worse version fails the step with status 1, and the summary names the items."""
    app = repository / "app.py"
    app.write_text(app.read_text().replace("sum(", "-sum("))
    failed, summary = run_workflow(repository)
    assert failed == ["evaluate 1: otel-ml: --fail-if worse"]
    assert "100 pts worse" in summary
    assert summary.count("| sum-") == 10
    assert "and 30 more" in summary


def test_the_tests_of_the_page_run(repository: Path) -> None:
    """The tests of the page are collected by pytest, and pass."""
    (repository / "test_app.py").write_text(blocks("py")[1])
    ended = shell(repository, f"{sys.executable} -m pytest -p no:cacheprovider -q")
    assert (ended.returncode, "121 passed" in ended.stdout) == (0, True), ended.stdout
