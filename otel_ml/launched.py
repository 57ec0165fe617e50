"""Starts a collector from a notebook or script, and sends the calls of this process to it.

Each process that launches or joins a collector holds a shared lock on a file in the collector's
folder. The collector stops when no process holds it, see ``otel_ml_collector/serve/launched.py``.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from otel_ml.arguments import check_path
from otel_ml.export.settings import find_grpc_variable, is_endpoint_named, resolve
from otel_ml.notebook import Card, HasCard
from otel_ml.process import renew_in_child
from otel_ml.recorder import drain_all, redirect_all

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

_FOLDER: Final = "otel-ml-data"
_ENDPOINT: Final = "OTEL_ML_ENDPOINT"
_LAUNCH_FILE: Final = "launched.lock"
_LOG_FILE: Final = "launched.log"
_LAUNCH_S: Final = 120.0
_COLLECTOR_END_S: Final = 15.0
_LOOK_EVERY_S: Final = 0.05
_DRAIN_S: Final = 10.0
_ANSWER_S: Final = 2.0
_ADDRESS_CHARS: Final = 1_000
_LOG_BYTES: Final = 100_000

_logger = logging.getLogger(__name__)


class LaunchError(RuntimeError):
    """The collector could not be started. The message says why, and what to do."""


class LaunchedCollector(HasCard):
    """A collector that this process uses. In a notebook, it is displayed as a link to its pages.

    Attributes:
        url: Base address of its pages and its API, and the endpoint of clients.
        folder: The folder with its data, as an absolute path. None if nothing was started, because
            an environment variable names the endpoint.
    """

    def __init__(self, url: str, folder: Path | None = None, lock: int | None = None) -> None:
        self.url = url
        self.folder = folder
        self._lock = lock

    def stop(self) -> None:
        """Deliver what this process has recorded, and stop using the collector.

        The collector ends if no other process uses it. A collector that you started yourself, for
        example with ``otel-ml serve``, keeps running. A second call does nothing.
        """
        with _LAUNCHING:
            if self._lock is None or self.folder is None:
                return
            drain_all(_DRAIN_S)
            lock, self._lock = self._lock, None
            is_last = _try_lock(lock, LOCK_EX)
            os.close(lock)
            _CURRENT.clear()
            if os.environ.get(_ENDPOINT) == self.url:
                del os.environ[_ENDPOINT]
            redirect_all()
            if is_last:
                _wait_for_end()

    @property
    def _answers(self) -> bool:
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), _ANSWER_S).close()
        except OSError:
            return False
        return True

    @property
    def _card(self) -> Card:
        facts = () if self.folder is None else (self.folder.name,)
        return Card("Collector", self.url, facts, self.url)

    def _leave_in_child(self) -> None:
        """Leave the lock to the parent process. Closing its copy does not release it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def launch(dir: "str | os.PathLike[str] | None" = None) -> LaunchedCollector:
    """Start a collector for this process, for example in the first cell of a notebook.

    The collector is a process of its own, listens at a free port of 127.0.0.1, and is the endpoint
    of every client of this process that was given none, also of clients made before. It ends within
    10 s after the last process that launched it has ended, also if that process was killed. If a
    collector of this machine already has the folder open, this process uses that one.

    Args:
        dir: Folder for the data; it is created. Default: ``otel-ml-data`` in the current folder. If
            ``OTEL_ML_ENDPOINT`` or an OpenTelemetry variable names an endpoint, and no folder is
            given, nothing is started: a warning says so, and the result has that endpoint.

    Returns:
        The collector, with ``url`` and ``stop()``. A second call returns the same object.

    Raises:
        LaunchError: The collector did not start, this process already uses another folder, or
            ``OTEL_EXPORTER_OTLP_PROTOCOL`` is ``grpc``.
        InvalidArgumentError: `dir` is not a path.
    """
    asked = None if dir is None else check_path("dir", dir).resolve()
    with _LAUNCHING:
        for current in _CURRENT:
            if not current._answers:
                current.stop()
                continue
            if asked not in {None, current.folder}:
                raise LaunchError(
                    f"This process uses the collector of {current.folder}: call its stop() first"
                )
            return current
        if asked is None and is_endpoint_named(None):
            url = resolve(None, "", None).page
            _logger.warning("No collector is started: a variable names the endpoint %s", url)
            return LaunchedCollector(url)
        if variable := find_grpc_variable():
            raise LaunchError(f"launch() works over HTTP only: unset {variable}, which is 'grpc'")
        launched = _launch(asked or Path(_FOLDER).resolve())
        _CURRENT.append(launched)
        os.environ[_ENDPOINT] = launched.url
        redirect_all()
        return launched


def _launch(folder: Path) -> LaunchedCollector:
    if not _CAN_LOCK:
        raise LaunchError("launch() needs Linux or macOS: start a collector with otel-ml serve")
    file = folder / _LAUNCH_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LaunchError(f"The folder {folder} cannot be used: {error}") from error
    try:
        until = time.monotonic() + _LAUNCH_S
        while not _try_lock(lock, LOCK_SH):  # an unused collector is about to end
            _pause(until, folder)
        os.ftruncate(lock, 0)
        return LaunchedCollector(_start(folder, file, until), folder, lock)
    except BaseException:
        os.close(lock)  # a collector that has started ends without it
        raise


def _start(folder: Path, file: Path, until: float) -> str:
    """Start a collector, and return its address, or that of the one that has the folder open."""
    command = [sys.executable, "-m", "otel_ml_collector", "serve", "--data-dir", str(folder)]
    command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--launched", str(file)]
    with (folder / _LOG_FILE).open("ab") as log:
        began = log.tell()
        # In a session of its own, because Ctrl-C in a notebook interrupts the cell only.
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _STARTED.append(process)
    while not (address := file.read_text()[:_ADDRESS_CHARS]):
        if process.poll():
            with (folder / _LOG_FILE).open("rb") as log:
                log.seek(began)
                lines = log.read(_LOG_BYTES).decode("utf-8", "replace").split("\n")
            raise LaunchError(next((line for line in reversed(lines) if line.strip()), "No output"))
        _pause(until, folder)
    return address


def _pause(until: float, folder: Path) -> None:
    if time.monotonic() > until:
        raise LaunchError(
            f"The collector is not ready after {_LAUNCH_S:g} s, see {folder}/{_LOG_FILE}"
        )
    time.sleep(_LOOK_EVERY_S)


def _wait_for_end() -> None:
    """Wait until the collectors that this process has started have ended."""
    until = time.monotonic() + _COLLECTOR_END_S
    while time.monotonic() < until and any(process.poll() is None for process in _STARTED):
        time.sleep(_LOOK_EVERY_S)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        flock(lock, kind | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _renew_in_child() -> None:
    global _LAUNCHING  # noqa: PLW0603 - a copied lock may be held forever
    _LAUNCHING = threading.RLock()
    for current in _CURRENT:
        current._leave_in_child()
    _STARTED.clear()


_LAUNCHING = threading.RLock()
_CURRENT: Final[list[LaunchedCollector]] = []
# Collectors that this process has started. A `Popen` that is forgotten warns that it still runs.
_STARTED: Final[list["subprocess.Popen[bytes]"]] = []
renew_in_child(_renew_in_child)
