"""The folder of the demo. One demo at a time locks it; each start clears it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from examples.demo.errors import DemoError

_LOCK: Final = "demo.lock"
_OWN: Final = ("data", "models", "service")
_REFUSED: Final = 2


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock the folder and clear the files of the previous demo.

    Raises:
        DemoError: Another demo or collector uses the folder, or the folder has files that are
            not from a demo. Nothing is changed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"The folder {folder} cannot be created: {error}", _REFUSED) from error
    if any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise DemoError(f"{folder} was not created by the demo: expected an empty folder", _REFUSED)
    lock = _lock(folder / _LOCK)
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        collector_lock = folder / "data" / "collector.lock"
        if collector_lock.exists():
            os.close(_lock(collector_lock))
        _clear(folder)
        yield
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """Open and lock a file that contains the process ID of its owner. Closing it unlocks it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        owner = path.read_text().strip() or "unknown"
        raise DemoError(
            f"Another demo uses {path.parent} (process {owner}): stop it, or choose another "
            "--folder",
            _REFUSED,
        ) from error
    return file


def _clear(folder: Path) -> None:
    for name in _OWN:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
