"""Processes of services, run with Python of `.venv-services` and our package from the tree."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.support.folders import ROOT

PYTHON: Final = ROOT / ".venv-services" / "bin" / "python"
# Far longer than a test, so that spans that arrive during a test were delivered at exit.
NEVER_BY_ITSELF: Final = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
_LISTENS: Final = re.compile(r"(?:Listening at:|[Rr]unning on) (http://[\d.]+:\d+)")
_WAIT_S: Final = 60


class Service:
    """A service that prints its address, and its processes.

    Attributes:
        address: Its address.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._output: list[str] = []
        self._told = threading.Event()
        self._ended = False
        self.address = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        """The output so far."""
        return "".join(self._output)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the output has a text this many times, for example once per worker."""
        while self.output.count(text) < times:
            assert self._told.wait(_WAIT_S), self.output
            assert not self._ended, self.output
            self._told.clear()

    def listens(self) -> bool:
        """Return whether it accepts connections; uvicorn prints its address before that."""
        place = urlsplit(self.address)
        try:
            socket.create_connection((place.hostname or "", place.port or 0), _WAIT_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def get(self, path: str) -> Any:
        """Send a GET request on a new connection; return the decoded response."""
        with urlopen(self.address + path, timeout=_WAIT_S) as answer:
            return json.loads(answer.read())

    def stop(self) -> int:
        """Send SIGTERM to the first process, as an operator does; return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_WAIT_S)

    def kill(self) -> None:
        """Kill all its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its children are in its session
        self._process.wait(_WAIT_S)
        self._reader.join(_WAIT_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = _LISTENS.search(line)
            if found:
                self.address = found.group(1)
            self._output.append(line)
            self._told.set()
        self._process.stdout.close()
        self._ended = True
        self._told.set()


def start_service(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None
) -> Service:
    """Start a service in a new process group, so it can be killed with its workers."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return Service(process)


@contextmanager
def serving(
    *arguments: str,
    ready: str,
    times: int = 1,
    variables: dict[str, str],
    folder: Path | None = None,
) -> Iterator[Service]:
    """Run a module of the environment until the block ends.

    Args:
        arguments: The module and its arguments.
        ready: The output that shows it is ready.
        times: How often that output must occur.
        variables: Environment variables; it gets no other telemetry variables.
        folder: Its folder; by default that of the tests.
    """
    service = start_service([python(), "-m", *arguments], variables_for(variables), folder)
    try:
        service.wait_for(ready, times)
        yield service
    finally:
        service.kill()


def run(*arguments: str, **variables: str) -> Any:
    """Run a module of the environment until it exits; return the JSON of its last output line."""
    return json.loads(complete(*arguments, folder=None, **variables).splitlines()[-1])


def complete(*arguments: str, folder: Path | None = None, **variables: str) -> str:
    """Run a module of the environment, in a folder, until it exits; return its output."""
    done = subprocess.run(
        [python(), "-m", *arguments],
        env=variables_for(variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_WAIT_S * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def variables_for(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process, without inherited telemetry variables."""
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables}


def python() -> str:
    """Return the Python of the environment."""
    if not PYTHON.exists():
        pytest.skip("There is no .venv-services: make .venv-services/stamp")
    return str(PYTHON)
