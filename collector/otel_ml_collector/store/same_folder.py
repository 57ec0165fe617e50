"""Checks that the collector sees the same folder at a path as the command that names it.

A service may have a `/tmp` of its own, or other folders in place of `/home`. A backup written there
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
# systemd names the folders of StateDirectory= here.
_STATE_FOLDERS: Final = "STATE_DIRECTORY"


@dataclass(frozen=True, slots=True)
class FolderIdentity:
    """A folder as one process sees it. Processes that see the same folder see the same numbers.

    Attributes:
        path: Its absolute path.
        device: The number of its file system.
        inode: Its number there.
    """

    path: Path
    device: int
    inode: int


def identify(folder: Path) -> FolderIdentity:
    """Identify a folder or, if this process cannot see it, the nearest visible one above it."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            status = path.stat()
            return FolderIdentity(path, status.st_dev, status.st_ino)
    raise FileNotFoundError(folder)


def is_inside(folder: Path, outer: Path) -> bool:
    """Tell whether a folder, which may not exist yet, is another folder or is inside it."""
    resolved = folder.resolve()
    for path in (resolved, *resolved.parents):
        with suppress(OSError):
            if path.samefile(outer):
                return True
    return False


def explain_other_folder(folder: Path, seen: FolderIdentity | None = None) -> str:
    """Explain why other processes would not see what this process writes to a folder.

    Args:
        folder: The folder that is to be written.
        seen: It, or a folder above it, as its user sees it; None if that is not known.

    Returns:
        The reason, or an empty text if there is none.
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
    """Suggest a folder that systemd provides to the service, other than its data directory."""
    folders = os.environ.get(_STATE_FOLDERS, "").split(":")[1:]
    return f"; use a new folder in {folders[-1]}" if folders else ""


def _find_private_mount(folder: Path) -> str:
    """Find the private mount of systemd that a folder is in; empty if it is in none."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    resolved = folder.resolve()
    points = [(fields[_POINT], fields[_ROOT]) for fields in (line.split(" ") for line in lines)]
    # The last one of the longest path is on top.
    over = [(point, root) for point, root in points if resolved.is_relative_to(point)]
    point, root = max(reversed(over), key=lambda mount: len(mount[0]), default=("", ""))
    return point if _PRIVATE in root else ""
