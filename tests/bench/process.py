"""Start a benchmark module as a separate process, like a user's program."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.pace import pace

_ROOT: Final = Path(__file__).parents[2]
_RUN_S: Final = 1_800
# Maximum wait until a process is idle: less than `_LITTLE` s of CPU in each of `_QUIET_S` s.
_LONGEST_S: Final = 600
_QUIET_S: Final = 5
_LITTLE: Final = 0.05


def start_module(
    name: str, *arguments: object, python: str = sys.executable, **variables: str
) -> subprocess.Popen[str]:
    """Start ``tests.bench.<name>``; read its output from `stdout`.

    Args:
        name: The module.
        arguments: Its command line.
        python: The interpreter to run it with.
        variables: Environment variables; no other ``OTEL_`` variable is passed on.
    """
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.Popen(
        [python, "-m", f"tests.bench.{name}", *map(str, arguments)],
        cwd=_ROOT,
        env={**kept, **variables},
        stdout=subprocess.PIPE,
        text=True,
    )


def run_module(
    name: str, *arguments: object, python: str = sys.executable, **variables: str
) -> str:
    """Run the module until it exits with status 0; return its output."""
    with start_module(name, *arguments, python=python, **variables) as process:
        printed, _ = process.communicate(timeout=_RUN_S)
    assert process.returncode == 0, f"{name} ended with status {process.returncode}"
    return printed


def cpu_s_of(pid: int) -> float:
    """Return the CPU seconds of a process, over all threads."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def wait_idle(pid: int) -> None:
    """Wait until a process has used little CPU for five seconds, at most ten minutes.

    A collector over a new store first computes its aggregates, sketches and verdicts.
    """
    quiet, deadline = 0, time.monotonic() + _LONGEST_S
    while quiet < _QUIET_S and time.monotonic() < deadline:
        before_s = cpu_s_of(pid)
        pace(1)
        quiet = quiet + 1 if cpu_s_of(pid) - before_s < _LITTLE else 0
