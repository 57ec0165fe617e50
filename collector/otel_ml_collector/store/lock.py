"""The lock file of a data directory, in which the collector that locked it writes its address."""

from pathlib import Path
from typing import Final

LOCK_FILE: Final = "collector.lock"


def read_holder(folder: Path) -> tuple[str, str]:
    """Return process ID and address of the last collector that used a data directory.

    Both can be empty. The collector may have ended since.
    """
    try:
        process, _, address = (folder / LOCK_FILE).read_text().strip().partition("\n")
    except OSError:
        return "", ""
    return process, address
