"""Delivers what is queued when the process is told to end by SIGTERM; only who asks for it."""

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from otel_ml.errors import report

LIMIT_S: Final = 2.0
# The main thread is stopped in this handler and may hold a lock that the delivery needs: then it
# goes on while the delivery does its work.
_HOLD_MAIN_S: Final = 0.5

_logger = logging.getLogger(__name__)
_closers: Final[list[Callable[[float], None]]] = []


def close_on_sigterm(close: Callable[[float], None]) -> bool:
    """Call `close` with the seconds that it has when SIGTERM arrives, then end by that signal.

    Returns:
        Whether it will be: only from the main thread, and only where nobody handles the signal
        already, which is logged otherwise.
    """
    if threading.current_thread() is not threading.main_thread():
        _logger.warning("flush_on_sigterm is off: the client was not made on the main thread")
        return False
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not _handle:
        if handler is not signal.SIG_DFL:
            _logger.warning("flush_on_sigterm is off: the program handles SIGTERM itself")
            return False
        signal.signal(signal.SIGTERM, _handle)
    _closers.append(close)
    return True


def _handle(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    done = threading.Event()

    def end() -> None:
        try:
            _close_all()
        finally:
            done.set()
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=end, name="otel-ml-sigterm", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends already
        os.kill(os.getpid(), number)
        return
    atexit.register(thread.join)  # a main thread that comes to its end waits for the signal's
    done.wait(_HOLD_MAIN_S)


def _close_all() -> None:
    deadline = time.monotonic() + LIMIT_S
    for close in _closers:
        try:
            close(max(deadline - time.monotonic(), 0.0))
        except Exception as error:  # noqa: BLE001 - any exporter of the user's
            report("sigterm", error)
