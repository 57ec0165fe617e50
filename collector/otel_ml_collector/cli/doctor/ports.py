"""Who listens at a port of this machine, as Linux tells it in /proc.

Spec: https://docs.kernel.org/networking/proc_net_tcp.html
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

_LISTENS: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def find_listener(port: int) -> str:
    """Name the process that listens at a port: ``jaeger (process 41)``; empty when none is seen.

    Those of other users are seen by the administrator alone.
    """
    sockets = {f"socket:[{inode}]" for table in _TABLES for inode in _listening(table, port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it has ended, or is not ours to see
            if any(_target(file) in sockets for file in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
    return ""


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # it was closed meanwhile
        return ""


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:  # not Linux
        return []
    return [
        row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port
    ]
