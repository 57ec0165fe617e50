"""Makes forks wait for imports in other threads, so that a forked child cannot deadlock.

CPython does not release a module's import lock in a forked child. A child that is forked while
another thread imports a module hangs when it imports the same module. So modules that are loaded
late go through `LOADING`: a fork waits for a load in progress, and a load waits for a fork in
progress. In threads of this package, a fork waits for all imports, including those of judges,
exporters and third-party libraries.

A load may itself wait for a lock of the forking thread. So a fork continues if the load has made no
progress for 5 s, or after 30 s in any case. See docs/design/024-interruptions.md.
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

# Importing this loads logging, whose lock another import may need. Logging's fork hook must run
# after ours.
from otel_ml.errors import report

T = TypeVar("T")
_Positions = list[tuple[int, str, int]]

_STANDSTILL_S: Final = 5.0
_WAIT_S: Final = 30.0
_POLL_S: Final = 0.002


class _Loading:
    """The loads and forks of this process that wait for each other.

    It uses no lock, because a signal handler could leave it held. Which thread is loading is read
    from the stack frames of all threads, and only during a fork.

    Attributes:
        once: Lock for loads that create shared objects. A forked child gets a new one.
    """

    def __init__(self) -> None:
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._begin()
        if hasattr(os, "register_at_fork"):  # not available on Windows
            os.register_at_fork(
                before=self._hold_back, after_in_parent=self._go_on, after_in_child=self._begin
            )

    def _begin(self) -> None:
        self.once = threading.RLock()
        self._forking: list[int] = []  # thread IDs
        self._is_overdue = False

    def watch(self, thread: threading.Thread) -> None:
        """Make forks wait for all imports of this thread."""
        self._threads.add(thread)

    def load(self, make: Callable[[], T]) -> T:
        """Call a function that imports modules, and return its result.

        If another thread forks the process meanwhile, the fork waits up to 30 s for the imports to
        end. Otherwise the child process could hang when it imports the same module.

        Args:
            make: The function. Its errors are passed on to the caller.
        """
        until_s = time.monotonic() + _WAIT_S
        # Do nothing between this check and the import: the fork hook looks for this frame.
        while self._must_wait(sys._getframe(1)) and time.monotonic() < until_s:
            _rest()
        return make()

    def _must_wait(self, caller: FrameType | None) -> bool:
        """Return whether a load must wait for a fork.

        It need not if it is part of another load for which the fork already waits.
        """
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
        """Return the positions of loads in other threads.

        A position that changes shows progress.
        """
        return [
            (thread, frame.f_code.co_filename, frame.f_lasti)
            for thread, frame in sys._current_frames().items()
            if thread != this
            and frame.f_code is not _rest.__code__
            and _is_within(frame, self._find_awaited(thread))
        ]

    def _find_awaited(self, ident: int) -> frozenset[CodeType]:
        """Return the functions in which a thread makes a fork wait."""
        is_own = any(thread.ident == ident for thread in list(self._threads))
        return _LOADS | _IMPORTS if is_own else _LOADS

    def _go_on(self) -> None:
        with suppress(ValueError):  # interrupted before it was added
            self._forking.remove(threading.get_ident())
        if self._is_overdue:
            self._is_overdue = False
            report("fork", TimeoutError("forked during an import: the child may hang in it"))


def _rest() -> None:
    """Sleep in a load that waits for a fork. The fork recognises this frame."""
    time.sleep(_POLL_S)


def _is_within(frame: FrameType | None, codes: frozenset[CodeType]) -> bool:
    """Return whether a frame, or one of its callers, runs one of these functions."""
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False


_LOADS: Final = frozenset({_Loading.load.__code__})
_IMPORTS: Final = frozenset({vars(_bootstrap)["_find_and_load"].__code__})
LOADING: Final = _Loading()


def start_detached(thread: threading.Thread) -> None:
    """Start a thread of otel-ml itself. Runs that it records do not belong to the current run."""
    LOADING.watch(thread)
    contextvars.Context().run(thread.start)
