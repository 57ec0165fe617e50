"""Collectors forked from a process that has imported the program once for all tests.

Imports take two thirds of a start and are always the same. The program itself runs unchanged in a
separate process that can be stopped and killed. Tests of startup and exit use a `CollectorProcess`
that is not forked.
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
# Without the engine, because a process that forks must not have running threads.
_FORKING.set_forkserver_preload(["tests.support.preloaded", __name__])


class Forked:
    """The program ``otel-ml`` in a process with the interface of `subprocess`.

    Attributes:
        pid: Its process id.
        stdout: Its output, both streams.
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
        """Return the exit status once the process has ended."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait until the process has ended; return its exit status."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"it goes on after {timeout} s"
        return self._process.exitcode

    def kill(self) -> None:
        """Kill the process, as in a crash."""
        self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
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
