"""A small disk for one store that fills up or becomes read-only while the store is open.

If this process may mount, it is a file system in memory. Otherwise the process of the store is
limited: in the size of its files, and by folders that it may not write to.
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
# Without these capabilities, folder permissions apply to root, too.
_POWERS: Final = "-dac_override,-dac_read_search"


class Disk(Protocol):
    """The disk of a store.

    Attributes:
        data_dir: The store's directory on this disk.
        launcher: A prefix of the command that opens the store.
    """

    data_dir: Path
    launcher: Sequence[str]

    def fill(self, pid: int) -> None:
        """Leave no space for a process's writes; call again if space was freed."""

    def free(self, pid: int) -> None:
        """Free the space again."""

    def protect(self) -> None:
        """Make the engine's files read-only."""

    def unprotect(self) -> None:
        """Make the engine's files writable again."""


class MountedDisk:
    """A file system in memory; when read-only, a separate mount covers the engine's files.

    It is mounted on top of them, because files that are already open for writing, such as the
    engine's log, would keep an existing mount from becoming read-only.

    Attributes:
        ballast: The file that fills the disk; truncating it frees space.
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
        # Everything mounted from it is read-only, too.
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
    """Limits of one process, for machines without permission to mount."""

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
        for folder, _, _ in os.walk(engine):  # top-down, so that no new folder is missed
            with suppress(FileNotFoundError):  # the engine removes merged parts
                Path(folder).chmod(mode)


Kind = type[MountedDisk] | type[LimitedDisk]


@cache
def kinds() -> Sequence[Kind]:
    """Return the kinds of disk that this machine allows, the real one first."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            MountedDisk(Path(folder) / "disk", 1).close()
        except (subprocess.CalledProcessError, OSError):
            return [LimitedDisk]
    return [MountedDisk, LimitedDisk]


@contextmanager
def open_disk(folder: Path, mebibytes: int = 64, kind: Kind | None = None) -> Iterator[Disk]:
    """Make a disk in a folder, of the first allowed kind; remove it at the end."""
    disk = (kind or kinds()[0])(folder / "disk", mebibytes)
    try:
        yield disk
    finally:
        disk.close()


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
