"""The directory of a spool: names, ages and locks of the files in it.

A segment is ``<owner>-<number>.spool``: 16 hexadecimal digits drawn by its process, then a number
that rises by one. The newest segment of a process is locked by its writer for as long as it
lives; the lock of the newest is the lock of all. ``.new`` ends a segment that is being created,
``.damaged`` one that was set aside.

Paths are text here, not `pathlib.Path`: a directory may hold many thousand files.
"""

import errno
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows
    HAS_FLOCK = False
else:
    HAS_FLOCK = True

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9]{8,})\.spool(\.new|\.damaged)?")
_BLOCK: Final = 4096


class SegmentFile(NamedTuple):
    """A file of a spool.

    Attributes:
        changed_s: When it was written last, seconds since the epoch.
        size: What it takes of the disk, at least a block.
        number: Its place among the segments of its owner.
        suffix: Empty for a segment, else ``.new`` or ``.damaged``.
    """

    changed_s: float
    path: str
    size: int
    owner: str
    number: int
    suffix: str


def prepare_directory(directory: Path) -> None:
    """Make the directory, for its owner alone, unless it is there.

    Raises:
        OSError: It cannot be used as a spool.
    """
    if not HAS_FLOCK:
        raise OSError(
            errno.ENOTSUP, "A spool needs flock, which this system lacks: leave out spool"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, "Invalid spool directory: expected a directory", str(directory)
        ) from error
    owner, user = directory.stat().st_uid, os.geteuid()
    if owner != user:
        raise PermissionError(
            errno.EPERM,
            f"Invalid spool directory, it belongs to user {owner}: expected one of user {user}",
            str(directory),
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, "Invalid spool directory: expected one that is writable", str(directory)
        )


def list_files(directory: str) -> list[SegmentFile]:
    """List the files of a spool, oldest first; empty when the directory is gone."""
    files: list[SegmentFile] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name is None:
                continue
            with suppress(OSError):  # removed meanwhile
                status = entry.stat(follow_symlinks=False)
                size = max(status.st_size, _BLOCK)
                owner, number, suffix = name.groups(default="")
                files.append(
                    SegmentFile(status.st_mtime, entry.path, size, owner, int(number), suffix)
                )
    return sorted(files)


def list_segments(directory: str, owner: str) -> list[str]:
    """List the paths of one owner's segments, oldest first."""
    numbers: dict[int, str] = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name is not None and name[1] == owner and name[3] is None:
                numbers[int(name[2])] = entry.path
    return [numbers[number] for number in sorted(numbers)]


def segment_path(directory: str, owner: str, number: int) -> str:
    """Return the path of a segment."""
    return f"{directory}/{owner}-{number:08}.spool"


def lock(fd: int) -> None:
    """Lock an open file for as long as a copy of its descriptor is open.

    Raises:
        OSError: Another process holds the lock, or the file system has none.
    """
    flock(fd, LOCK_EX | LOCK_NB)


def lock_file(path: str) -> int | None:
    """Lock a file whose writer has ended.

    Returns:
        The descriptor that holds the lock, or None: its writer lives, another process was
        faster, or the file is gone or not ours.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        lock(fd)
        if os.fstat(fd).st_uid == os.geteuid() and is_at(fd, path):
            return fd
    os.close(fd)
    return None


def is_at(fd: int, path: str) -> bool:
    """Tell whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def remove(path: str) -> None:
    """Remove a file. One that cannot be removed is delivered again by a later process."""
    with suppress(OSError):
        Path(path).unlink()


def set_aside(path: str) -> int:
    """Rename a file that cannot be read, so that nobody tries it again; returns its size."""
    try:
        return Path(path).rename(f"{path}.damaged").stat().st_size
    except OSError:
        return 0
