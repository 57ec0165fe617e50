"""Imports that a fork waits for, because CPython frees no module's lock in a child.

A child that is forked while another thread imports a module waits for ever when it imports it, too.
What is loaded late goes through `LOADING`, on whatever thread: a load that has begun holds a fork
back, and a fork that has begun holds a load back. On threads of this package other imports hold a
fork back, too: those of judges, exporters and libraries that we did not write.

A load may wait for a lock of the forking thread, so a fork goes on when the load has not moved
for 5 s; on a busy machine a moving load may take 30 s. See docs/design/024-interruptions.md.
"""

import contextvars
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib import _bootstrap
from types import CodeType, FrameType
from typing import Final, TypeVar

# It loads `logging`, whose lock an import may need: a fork takes that after it has waited here.
from otel_ml.errors import report

T = TypeVar("T")
_Positions = list[tuple[int, str, int]]

_STANDSTILL_S: Final = 5.0
_WAIT_S: Final = 30.0
_POLL_S: Final = 0.002


class _Loading:
    """The loads and forks of this process that wait for each other.

    Without a lock, which a signal's handler may leave held: which thread loads is read from the
    frames of all threads, and only while a thread forks.

    Attributes:
        once: Held within a load that makes objects shared by threads; replaced in a child.
    """

    def __init__(self) -> None:
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._begin()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(
                before=self._hold_back, after_in_parent=self._go_on, after_in_child=self._begin
            )

    def _begin(self) -> None:
        self.once = threading.RLock()
        self._forking: list[int] = []  # threads
        self._is_overdue = False

    def watch(self, thread: threading.Thread) -> None:
        """Let a fork wait for every import of a thread of ours."""
        self._threads.add(thread)

    def load(self, make: Callable[[], T]) -> T:
        """Call a function that imports; a fork of another thread waits for its end.

        Args:
            make: What it returns or raises is returned or raised.
        """
        until_s = time.monotonic() + _WAIT_S
        # The fork looks for this very frame: between this question and the import is no gap.
        while self._is_held_back(sys._getframe(1)) and time.monotonic() < until_s:
            _rest()
        return make()

    def _is_held_back(self, caller: FrameType | None) -> bool:
        """Tell whether a load has to wait; none does within a load that the fork waits for."""
        this = threading.get_ident()
        if not self._forking or this in self._forking:
            return False
        return not _is_within(caller, self._find_awaited(this))

    def _hold_back(self) -> None:
        this = threading.get_ident()
        self._forking.append(this)
        began_s = moved_s = time.monotonic()
        before: _Positions = []
        while now := self._find_loads(this):
            now_s = time.monotonic()
            if now != before:
                before, moved_s = now, now_s
            if now_s - moved_s >= _STANDSTILL_S or now_s - began_s >= _WAIT_S:
                self._is_overdue = True
                break
            time.sleep(_POLL_S)

    def _find_loads(self, this: int) -> _Positions:
        """Find the positions of other threads that load; a moving thread changes between calls."""
        return [
            (thread, frame.f_code.co_filename, frame.f_lasti)
            for thread, frame in sys._current_frames().items()
            if thread != this
            and frame.f_code is not _rest.__code__
            and _is_within(frame, self._find_awaited(thread))
        ]

    def _find_awaited(self, ident: int) -> frozenset[CodeType]:
        """Find the functions in which a thread holds a fork back."""
        is_own = any(thread.ident == ident for thread in list(self._threads))
        return _LOADS | _IMPORTS if is_own else _LOADS

    def _go_on(self) -> None:
        with suppress(ValueError):  # interrupted before it was noted
            self._forking.remove(threading.get_ident())
        if self._is_overdue:
            self._is_overdue = False
            report("fork", TimeoutError("forked while an import went on: the child may hang in it"))


def _rest() -> None:
    """Sleep on the thread of a load that waits for a fork, which knows it by this frame."""
    time.sleep(_POLL_S)


def _is_within(frame: FrameType | None, codes: frozenset[CodeType]) -> bool:
    """Tell whether a frame, or a caller of it, runs any of these functions."""
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False


_LOADS: Final = frozenset({_Loading.load.__code__})
_IMPORTS: Final = frozenset({vars(_bootstrap)["_find_and_load"].__code__})
LOADING: Final = _Loading()


def start_apart(thread: threading.Thread) -> None:
    """Start a thread outside every run, also where threads inherit the context of their starter."""
    LOADING.watch(thread)
    contextvars.Context().run(thread.start)
