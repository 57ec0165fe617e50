"""Collectors that begin as copies of a process that has imported the program, once for all tests.

Two thirds of what a start takes are imports, the same each time. What runs is the program itself,
in a process of its own that can be stopped and killed. Tests of the start and of the end itself
start a `CollectorProcess` that is not forked.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Final

from otel_ml_collector.cli.program import main

_FORKING: Final = multiprocessing.get_context("forkserver")
# Without the engine: what is forked must have no threads that work.
_FORKING.set_forkserver_preload(["tests.support.preloaded", __name__])


class Forked:
    """The program ``otel-ml`` in a process that can be ended as those of `subprocess`.

    Attributes:
        pid: Its number.
        stdout: What it prints, both streams.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        reading, writing = os.pipe()
        output = Connection(writing, readable=False)
        given = tuple(arguments), dict(environment), Path.cwd(), output
        self._process = _FORKING.Process(target=_run, args=given, daemon=True)
        self._process.start()
        output.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.stdout: IO[str] = os.fdopen(reading, errors="replace")  # its reader closes it

    def poll(self) -> int | None:
        """Give its exit status once it has ended."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait until it has ended; returns its exit status."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"it goes on after {timeout} s"
        return self._process.exitcode

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)


def _run(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path, output: Connection
) -> None:
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.exit(main(arguments))
