"""The lock file of a data directory, in which the collector that holds it notes its address."""

from pathlib import Path
from typing import Final

LOCK_FILE: Final = "collector.lock"


def read_holder(folder: Path) -> tuple[str, str]:
    """Return the process and the address that a data directory's last collector noted.

    Both can be empty. The collector may have ended since.
    """
    try:
        process, _, address = (folder / LOCK_FILE).read_text().strip().partition("\n")
    except OSError:
        return "", ""
    return process, address
