"""Starts a module of these benches as a process of its own, as a user's program would be."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.pace import pace

_ROOT: Final = Path(__file__).parents[2]
_RUN_S: Final = 1_800
# Until a process is idle it is waited for so long; it is where it uses less of a second.
_LONGEST_S: Final = 600
_QUIET_S: Final = 5
_LITTLE: Final = 0.05


def start_module(
    name: str, *arguments: object, python: str = sys.executable, **variables: str
) -> subprocess.Popen[str]:
    """Start ``tests.bench.<name>``; what it prints is to be read from its `stdout`.

    Args:
        name: The module.
        arguments: Its command line.
        python: Whose environment it runs in.
        variables: Of the environment; no other one of OpenTelemetry's or ours is passed on.
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
    """Run it to its end, which has to be a good one; returns what it printed."""
    with start_module(name, *arguments, python=python, **variables) as process:
        printed, _ = process.communicate(timeout=_RUN_S)
    assert process.returncode == 0, f"{name} ended with status {process.returncode}"
    return printed


def cpu_s_of(pid: int) -> float:
    """Tell how many seconds of CPU a process has had, on all its threads."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def wait_idle(pid: int) -> None:
    """Wait until a process has used little of the CPU for five seconds, at most ten minutes.

    A collector that was started over a new store first makes its sums, sketches and verdicts.
    """
    quiet, deadline = 0, time.monotonic() + _LONGEST_S
    while quiet < _QUIET_S and time.monotonic() < deadline:
        before_s = cpu_s_of(pid)
        pace(1)
        quiet = quiet + 1 if cpu_s_of(pid) - before_s < _LITTLE else 0
