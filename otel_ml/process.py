"""This process: its name on the wire, its forked children, and the delivery at its end.

A process ends by `atexit`, as a child of `multiprocessing` or Celery by their own ways, or by
SIGTERM. The signal is handled where a client asked for it (``flush_on_sigterm``) and in children of
`multiprocessing`, whose pools end them by it; never where the program handles it itself.
"""

import _thread
import atexit
import contextvars
import itertools
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import BuiltinFunctionType, FrameType
from typing import Any, Final, Protocol, TypeVar

from otel_ml.errors import quiet
from otel_ml.loading import start_apart

# What each call that is traced in a context says beside its own: within a judge of the judge and of
# what it judges, within a run over an item of the experiment.
MARKS: Final[contextvars.ContextVar[Mapping[str, str] | None]] = contextvars.ContextVar(
    "otel_ml_marks", default=None
)

T = TypeVar("T")


SIGTERM_S: Final = 2.0
# The main thread is stopped in the signal's handler and may hold a lock that the delivery needs:
# then it goes on while the delivery does its work.
_HOLD_MAIN_S: Final = 0.5
# From a slow disk, right after the start of a process.
_LOADED_S: Final = 3.0


@contextmanager
def marking(mark: Mapping[str, str]) -> Iterator[None]:
    """Mark the calls traced in this block, in this context, beside their marks until now."""
    token = MARKS.set({**(MARKS.get() or {}), **mark})
    try:
        yield
    finally:
        MARKS.reset(token)


def renew_in_child(renew: Callable[[], None]) -> None:
    """Call a function in every forked child, in the order of these calls."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=renew)


def renew_each_in_child(renew: Callable[[T], None]) -> "weakref.WeakSet[T]":
    """Return a set of objects, kept alive by others, that `renew` lets begin anew in a child."""
    living: weakref.WeakSet[T] = weakref.WeakSet()

    def renew_all() -> None:
        for item in list(living):
            renew(item)

    renew_in_child(renew_all)
    return living


class Process:
    """One process as the wire names it; a forked child gets a new id and counts from 1."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self.renew)

    def renew(self) -> None:
        """Take a new id and begin at 1."""
        self.id = os.urandom(4).hex()
        self._counts: dict[str, itertools.count[int]] = {}

    def count_of(self, project: str) -> "itertools.count[int]":
        """Return the numbers of a project; ``next`` takes a number."""
        return self._counts.setdefault(project, itertools.count(1))


class Ending(Protocol):
    """Something to deliver when the process ends; neither call raises."""

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""

    def wait_until_loaded(self, limit_s: float) -> None:
        """Wait until the modules for delivery are loaded, which began with the first call."""

    def close(self) -> None:
        """Deliver, and stop."""

    def close_within(self, limit_s: float) -> None:
        """Deliver as much as possible in so many seconds, and stop."""


class _End:
    """The end of this process; a forked child has an end of its own."""

    def __init__(self) -> None:
        self._endings: list[Ending] = []
        self._is_asked = False
        self._tells_of_children = False
        self._finalizer: Any = None
        self._pipe: tuple[int, int] | None = None
        self._kept = threading.local()
        self._renew()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(
                before=self._keep_signal,
                after_in_parent=self._let_signal,
                after_in_child=self._begin_forked,
            )

    def add(self, ending: Ending) -> None:
        """Close it when the process ends, or a child of it."""
        self._endings.append(ending)
        # Now, not earlier: what is registered last ends first, and a joined provider must not end
        # before us.
        atexit.register(self.close, ending)
        # Celery's children end by `os._exit`, without `atexit`; this is all that they send.
        ended = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
        if ended is not None:
            ended.connect(lambda **_told: self.close(ending), weak=False)
        util = self._ask_for_children()
        if util is not None and util.process.parent_process() is not None:
            self._begin_child(is_new=False)

    def close(self, *endings: Ending) -> None:
        """Close these, else all; while any has to wait, the others deliver."""
        for ending in self._endings:
            ending.hasten()
        for ending in endings or self._endings:
            ending.close()
        _stay_interrupted()

    # Children.

    def _renew(self) -> None:
        self._begun = itertools.count()
        self._is_told = False
        self._is_loaded = threading.Event()
        self._done = threading.Event()

    def _keep_signal(self) -> None:
        """Block the signal in a child until its handler is the child's own."""
        if self._pipe is not None:
            self._kept.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _let_signal(self) -> None:
        mask = self._kept.__dict__.pop("mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _begin_forked(self) -> None:
        """Begin as a forked child, of which it is not known yet whether it is `multiprocessing`'s.

        The parent's thread that waits for SIGTERM is not here; the pipe that wakes it is still
        shared, so it is let go: a signal of this child must not reach it.
        """
        self._renew()
        if self._pipe is not None:
            before = signal.set_wakeup_fd(-1)
            if before not in {-1, self._pipe[1]}:
                signal.set_wakeup_fd(before)
            for end in self._pipe:
                os.close(end)
            self._pipe = None
            if not self._is_asked and signal.getsignal(signal.SIGTERM) is _handle:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._let_signal()
        if self._endings:
            self._ask_for_children()

    def _ask_for_children(self) -> Any:
        """Ask `multiprocessing`, if it is loaded, to tell us in each child of its own.

        Also from a child that has just been forked, before `multiprocessing` begins it: the parent
        may have loaded it after its first span.
        """
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._tells_of_children:
            self._tells_of_children = True
            util.register_after_fork(self, _End._begin_child)
        return util

    def _begin_child(self, *, is_new: bool = True) -> None:
        """Deliver at the end of this child of `multiprocessing`: it ends without `atexit`.

        Args:
            is_new: Whether nothing of the program has run in it yet.
        """
        util: Any = sys.modules["multiprocessing.util"]
        if self._finalizer is None or not self._finalizer.still_active():
            self._finalizer = util.Finalize(None, self.close, exitpriority=0)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and os.name == "posix" and self._take_sigterm() and self._pipe is None:
            self._watch(is_new=is_new)

    # SIGTERM.

    def ask_for_sigterm(self) -> str:
        """Deliver at SIGTERM; returns why not, empty where it will be."""
        if threading.current_thread() is not threading.main_thread():
            return "the client was not made on the main thread"
        if not self._take_sigterm():
            return "the program handles SIGTERM itself"
        self._is_asked = True
        return ""

    def _take_sigterm(self) -> bool:
        handler = signal.getsignal(signal.SIGTERM)
        if handler is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _handle)
        return handler is signal.SIG_DFL or handler is _handle

    def _watch(self, *, is_new: bool) -> None:
        """Watch for the signal on a thread, too: the main thread misses it while in a C call.

        Without it a pool would wait for the end of a call that it wants to break off.
        """
        if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            return  # gevent's threads are none: one that reads a pipe stops them all
        reading, writing = self._pipe = os.pipe()
        os.set_blocking(writing, False)
        with suppress(RuntimeError):  # no thread can be started
            start_apart(_make_thread(self._read, reading))
            before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            if before != -1 and not is_new:  # a new child's is its parent's
                signal.set_wakeup_fd(before)

    def _read(self, reading: int) -> None:
        while numbers := os.read(reading, 64):  # a number for each signal, of any kind
            is_ours = self._is_told or signal.getsignal(signal.SIGTERM) is _handle
            if signal.SIGTERM in numbers and is_ours:
                self.end_by(signal.SIGTERM)

    def begin_to_end(self, number: int) -> None:
        """Deliver and end by a signal; returns soon, the process ends a moment later."""
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        self._is_told = True
        thread = _make_thread(self.end_by, number)
        try:
            start_apart(thread)
        except RuntimeError:  # the interpreter ends already
            os.kill(os.getpid(), number)
            return
        atexit.register(thread.join)  # a main thread that comes to its end waits for the signal's
        self._done.wait(_HOLD_MAIN_S)

    def end_by(self, number: int) -> None:
        """Deliver for at most 2 s once the modules for it are loaded, then end by a signal."""
        try:
            if next(self._begun) == 0:  # else another thread has begun
                start_apart(_make_thread(self._close_in_time))
            self._is_loaded.wait(_LOADED_S)
            self._done.wait(SIGTERM_S)
        finally:
            if signal.getsignal(number) is _handle:
                _restore_default(number)
            os.kill(os.getpid(), number)

    def _close_in_time(self) -> None:
        try:
            with quiet("sigterm"):
                for ending in self._endings:
                    ending.hasten()
                loaded_by = time.monotonic() + _LOADED_S
                for ending in self._endings:
                    ending.wait_until_loaded(max(loaded_by - time.monotonic(), 0.0))
                self._is_loaded.set()
                deadline = time.monotonic() + SIGTERM_S
                for ending in self._endings:
                    ending.close_within(max(deadline - time.monotonic(), 0.0))
        finally:
            self._is_loaded.set()
            self._done.set()


def _make_thread(target: Callable[..., None], *arguments: int) -> threading.Thread:
    return threading.Thread(target=target, args=arguments, name="otel-ml-sigterm", daemon=True)


def _handle(number: int, frame: FrameType | None) -> None:
    _END.begin_to_end(number)


def _stay_interrupted() -> None:
    """Let a process that ends by Ctrl-C end so, though an import made the interpreter forget it.

    Whatever the interpreter runs from text notes whether that was interrupted, and imports run such
    text: each named tuple does, also on our thread.
    """
    if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt) and not hasattr(sys, "ps1"):
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - nothing else makes it note that


def _restore_default(number: int) -> None:
    """Let a signal end the process, from a thread for which `signal.signal` does not work."""
    import ctypes  # for a process whose main thread is in a C call when it ends

    restore = ctypes.pythonapi.PyOS_setsig
    restore.argtypes, restore.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    restore(number, None)


PROCESS: Final = Process()
_END: Final = _End()
deliver_at_end: Final = _END.add
deliver_at_sigterm: Final = _END.ask_for_sigterm
