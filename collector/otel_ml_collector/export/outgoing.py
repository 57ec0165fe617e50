"""A file that is sent while it is written: whatever was written is taken away."""

import io
from typing import Any


class Outgoing(io.RawIOBase):
    """A file that cannot be read, nor written anywhere but at its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.waiting = 0  # bytes that were not taken yet

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size

    def write(self, data: Any) -> int:
        """Write bytes."""
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        self.waiting += len(part)
        return len(part)

    def take(self) -> bytes:
        """Take what was written since the last time."""
        taken, self._parts, self.waiting = b"".join(self._parts), [], 0
        return taken
