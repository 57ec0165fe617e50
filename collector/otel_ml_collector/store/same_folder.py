"""Checks that the collector and the command that names a folder see the same folder.

A service may have its own `/tmp`, or other folders in place of `/home`. A backup in such a folder
is not where the operator looks for it, and is deleted with the service.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_PRIVATE: Final = "systemd-private-"
_ROOT, _POINT = 3, 4
# systemd sets this variable to the folders of StateDirectory=.
_STATE_FOLDERS: Final = "STATE_DIRECTORY"


@dataclass(frozen=True, slots=True)
class FolderIdentity:
    """How one process sees a folder. Processes that see the same folder see the same numbers.

    Attributes:
        path: Absolute path.
        device: Number of the file system.
        inode: Number of the folder in it.
    """

    path: Path
    device: int
    inode: int


def identify(folder: Path) -> FolderIdentity:
    """Identify a folder or, if this process cannot see it, the nearest visible folder above it."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            status = path.stat()
            return FolderIdentity(path, status.st_dev, status.st_ino)
    raise FileNotFoundError(folder)


def is_inside(folder: Path, outer: Path) -> bool:
    """Return whether a folder is `outer` or inside it. The folder need not exist."""
    resolved = folder.resolve()
    for path in (resolved, *resolved.parents):
        with suppress(OSError):
            if path.samefile(outer):
                return True
    return False


def explain_other_folder(folder: Path, seen: FolderIdentity | None = None) -> str:
    """Explain why an operator would not see the files that this process writes to a folder.

    For example, systemd can give a service its own `/tmp`.

    Args:
        folder: The folder.
        seen: Path, device and inode of the folder, as the operator's command line sees them. If the
            folder does not exist there, those of the nearest existing parent folder. None if this
            is unknown.

    Returns:
        The reason. Empty if none was found.
    """
    if private := _find_private_mount(folder):
        return f"{private} is a private folder of the service, deleted when the service stops"
    if seen is None:
        return ""
    try:
        status = seen.path.stat()
    except OSError as error:
        return f"the service does not see {seen.path} ({error.strerror})"
    if (status.st_dev, status.st_ino) != (seen.device, seen.inode):
        return f"the service sees a different folder at {seen.path} than you do"
    return ""


def suggest_folder() -> str:
    """Suggest a folder in which the service can store backups.

    It is the last folder of StateDirectory= in the systemd unit. The first one is not suggested,
    because it is the data directory.

    Returns:
        The hint as text; empty if the unit has no second folder.
    """
    folders = os.environ.get(_STATE_FOLDERS, "").split(":")[1:]
    return f"; use a new folder in {folders[-1]}" if folders else ""


def _find_private_mount(folder: Path) -> str:
    """Return the private mount of systemd that contains a folder; empty if there is none."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    resolved = folder.resolve()
    points = [(fields[_POINT], fields[_ROOT]) for fields in (line.split(" ") for line in lines)]
    # If several mounts have the longest path, the last one hides the others.
    over = [(point, root) for point, root in points if resolved.is_relative_to(point)]
    point, root = max(reversed(over), key=lambda mount: len(mount[0]), default=("", ""))
    return point if _PRIVATE in root else ""
