"""Ports that stay free until somebody listens at them."""

import secrets
import socket
from contextlib import suppress
from typing import Final

# Below those that the system gives to connections and to whoever asks for any port.
_PORTS: Final = range(15_000, 32_000)


def free_port() -> int:
    """Find a port of this machine at which nobody listens, and which the system gives to nobody."""
    while True:
        port = secrets.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
