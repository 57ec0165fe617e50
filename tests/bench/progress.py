"""Shows every 5 s on the standard error what a benchmark measures."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

EVERY_S: Final = 5.0
_STEPS: Final[list[str]] = []


@contextmanager
def measuring(step: str) -> Iterator[None]:
    """Name what the block measures; in a block of another step, name a part of it."""
    _STEPS.append(step)
    try:
        yield
    finally:
        _STEPS.pop()


@contextmanager
def shown_progress(every_s: float = EVERY_S) -> Iterator[None]:
    """Print the current steps until the block ends, with the seconds since it began."""
    began_s, ended = time.monotonic(), Event()

    def show() -> None:
        while not ended.wait(every_s):
            line = f"{time.monotonic() - began_s:6.0f} s: {', '.join(_STEPS)}\n"
            sys.stderr.write(line)
            sys.stderr.flush()

    thread = Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
