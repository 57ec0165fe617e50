"""Serves as long as some process uses the collector: for `otel_ml.launch` in notebooks.

A process that uses the collector holds a shared lock on a file, which it also loses when it is
killed. Once no process holds the lock, the collector stops.
"""

import fcntl
import os
import signal
import threading
import time
from pathlib import Path
from typing import Final

from otel_ml_collector.errors import BadSetting

_CHECK_EVERY_S: Final = 0.5


class LaunchFile:
    """The file that users of a launched collector lock, and in which they read its address.

    Args:
        path: The file. Its directory must exist.

    Raises:
        BadSetting: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadSetting(f"The file of --launched cannot be used: {error}") from error

    def announce(self, address: str) -> None:
        """Write the base address of the collector that answers."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, address.encode(), 0)

    def stop_when_unused(self) -> None:
        """Stop this process with SIGTERM, as an operator would, once no process holds the lock.

        From then on, this process holds the lock itself, so a new user waits until it has ended.
        """
        threading.Thread(target=self._watch, name="launch-file", daemon=True).start()

    def _watch(self) -> None:
        while not self._is_unused():
            time.sleep(_CHECK_EVERY_S)
        os.ftruncate(self._file, 0)
        os.kill(os.getpid(), signal.SIGTERM)

    def _is_unused(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
