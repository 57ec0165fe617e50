"""Ports that stay free until a test uses them."""

import secrets
import socket
from contextlib import suppress
from typing import Final

# Below the range of ports that the system assigns to connections and to port 0.
_PORTS: Final = range(15_000, 32_000)


def free_port() -> int:
    """Return a port that nothing listens on and that the system never assigns."""
    while True:
        port = secrets.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
