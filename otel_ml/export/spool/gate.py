"""The lock of a spool, which also knows when it is entered a second time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets one thread in, and that thread as often as it likes.

    A finaliser or a signal handler may append a frame while its own thread is anywhere in the
    spool. It finds `is_inside` set: then it may write, but not close what its thread works on.

    Attributes:
        is_inside: Whether the thread that holds `lock` was in already.
    """

    __slots__ = ("is_inside", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_inside = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold the lock and say so."""
        with self.lock:
            inside, self.is_inside = self.is_inside, True
            try:
                yield
            finally:
                self.is_inside = inside
