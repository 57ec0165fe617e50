"""A small disk for one store, that fills up or becomes read-only while the store is open.

Where this process may mount, it is a file system in memory; elsewhere the same is done to the
process that holds the store: a limit on the size of its files, and folders it may not write to.
"""

import errno
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, Protocol

_MEBIBYTE: Final = 1024 * 1024
_SMALLEST: Final = 4096
# Without these root is held to the permissions of folders, as everybody is.
_POWERS: Final = "-dac_override,-dac_read_search"


class Disk(Protocol):
    """What a store stands on.

    Attributes:
        data_dir: For the store, on this disk.
        launcher: What to put before the command of the process that opens the store.
    """

    data_dir: Path
    launcher: Sequence[str]

    def fill(self, pid: int) -> None:
        """Leave no room for what a process writes; again when room has come up meanwhile."""

    def free(self, pid: int) -> None:
        """Give the room back."""

    def protect(self) -> None:
        """Make what the engine stores read-only."""

    def unprotect(self) -> None:
        """Let it be written again."""


class MountedDisk:
    """A file system in memory. Read-only, the engine's files are a mount of their own on it.

    It lies above them: what is open for writing already, as a log of the engine's always is, would
    keep a mount that was there before from becoming read-only.

    Attributes:
        ballast: The file that fills it; what is cut from it is room again.
    """

    launcher: Sequence[str] = ()

    def __init__(self, folder: Path, mebibytes: int) -> None:
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder)
        self._folder = folder
        self.ballast = folder / "ballast"
        self.data_dir = folder / "data"
        self._engine = self.data_dir / "store" / "store"
        self._engine.mkdir(parents=True)
        # What is mounted of it is read-only, too.
        self._read_only = folder / "read-only"
        self._read_only.mkdir()
        _mount("--bind", self._engine, self._read_only)
        _mount("-o", "remount,bind,ro", self._read_only)
        self._is_protected = False

    def fill(self, pid: int) -> None:
        size = _MEBIBYTE
        with self.ballast.open("ab", buffering=0) as ballast:
            while size >= _SMALLEST:
                try:
                    ballast.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self, pid: int) -> None:
        self.ballast.unlink()

    def protect(self) -> None:
        if not self._is_protected:
            _mount("--bind", self._read_only, self._engine)
            self._is_protected = True

    def unprotect(self) -> None:
        subprocess.run(["umount", "--lazy", self._engine], check=True)
        self._is_protected = False

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", "--recursive", self._folder], check=True)


class LimitedDisk:
    """Limits of one process, where mounting is not allowed."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True)
        is_root = os.geteuid() == 0
        drop = ("setpriv", f"--bounding-set={_POWERS}", f"--inh-caps={_POWERS}")
        self.launcher: Sequence[str] = drop if is_root else ()

    def fill(self, pid: int) -> None:
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))

    def free(self, pid: int) -> None:
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    def protect(self) -> None:
        self._set_mode(0o555)

    def unprotect(self) -> None:
        self._set_mode(0o755)

    def close(self) -> None:
        self.unprotect()

    def _set_mode(self, mode: int) -> None:
        engine = self.data_dir / "store" / "store"
        for folder, _, _ in os.walk(engine):  # from the top, so that nothing new comes up behind
            with suppress(FileNotFoundError):  # the engine removes what it merged
                Path(folder).chmod(mode)


Kind = type[MountedDisk] | type[LimitedDisk]


@cache
def kinds() -> Sequence[Kind]:
    """The kinds of disk that this machine allows, the real one first."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            MountedDisk(Path(folder) / "disk", 1).close()
        except (subprocess.CalledProcessError, OSError):
            return [LimitedDisk]
    return [MountedDisk, LimitedDisk]


@contextmanager
def open_disk(folder: Path, mebibytes: int = 64, kind: Kind | None = None) -> Iterator[Disk]:
    """Make a disk in a folder, of the first kind that is allowed, and take it away at the end."""
    disk = (kind or kinds()[0])(folder / "disk", mebibytes)
    try:
        yield disk
    finally:
        disk.close()


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
