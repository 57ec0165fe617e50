"""Tells a service manager, such as systemd, what the collector is doing.

Does nothing unless the environment names a socket for it, as ``Type=notify`` of a unit does.

Spec: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import contextlib
import os
import socket


def notify_ready() -> None:
    """Report that the collector answers requests and can store."""
    _notify("READY=1", "STATUS=Ready")


def notify_waiting(reason: str) -> None:
    """Report what the collector waits for before it is ready."""
    _notify(f"STATUS={reason}")


def notify_stopping() -> None:
    """Report that the collector stops."""
    _notify("STOPPING=1")


def _notify(*assignments: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    text = "\n".join(line.replace("\n", " ") for line in assignments)
    # The collector keeps running even if the service manager is gone.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection,
    ):
        connection.sendto(text.encode(), address)
