"""Tests of the guard that fails a unit test which starts a process, a socket or the engine."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.folders import ROOT
from tests.support.sampling import at_night, sampled

GUARD = ROOT / "tests" / "unit" / "conftest.py"


@sampled(1)
@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("import subprocess; subprocess.run(['true'])", "starts a process"),
        ("import os; os.fork() or os._exit(0)", "forks"),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", "opens a socket"),
        ("import socket; socket.socket().connect_ex(('127.0.0.1', 9))", "connects a socket"),
        ("import chdb", "opens the engine of the store"),
    ],
)
def test_start_is_refused(body: str, what: str, tmp_path: Path) -> None:
    """A test that starts something fails, and the message names the action."""
    ended = run(body, tmp_path)
    assert ended.returncode == 1
    assert f"A unit test {what}" in ended.stdout


@at_night
def test_nothing_is_started(tmp_path: Path) -> None:
    """A test that starts nothing passes."""
    assert run("import asyncio; asyncio.run(asyncio.to_thread(print))", tmp_path).returncode == 0


def run(body: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(GUARD.read_text())
    (folder / "test_one.py").write_text(f"def test_one():\n    {body}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_one.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
