"""This process: its ID in records, its forked children, and delivery when it ends.

Delivery happens through `atexit`, through the exit hooks of `multiprocessing` and Celery children,
or on SIGTERM. SIGTERM is handled only if a client asked for it (``flush_on_sigterm``) and in
children of `multiprocessing`, whose pools end them with this signal. A handler of the program is
never replaced.
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
from otel_ml.loading import start_detached

# Attributes added to each call that is traced in a context. Inside a judge they are the judge and
# the judged run, inside an experiment the experiment and the item.
MARKS: Final[contextvars.ContextVar[Mapping[str, str] | None]] = contextvars.ContextVar(
    "otel_ml_marks", default=None
)

T = TypeVar("T")


SIGTERM_S: Final = 2.0
# The main thread may hold a lock that the delivery needs while it runs the handler. So it waits
# only this long, then continues while the delivery works.
_HOLD_MAIN_S: Final = 0.5
# wait for imports: enough for a slow disk right after the process has started
_LOADED_S: Final = 3.0


@contextmanager
def marking(mark: Mapping[str, str]) -> Iterator[None]:
    """Add attributes to every call that is traced inside this block.

    Judges and experiments use it to mark their runs.
    """
    token = MARKS.set({**(MARKS.get() or {}), **mark})
    try:
        yield
    finally:
        MARKS.reset(token)


def renew_in_child(renew: Callable[[], None]) -> None:
    """Register a function that every forked child process calls first.

    Functions run in the order of registration.
    """
    if hasattr(os, "register_at_fork"):  # not available on Windows
        os.register_at_fork(after_in_child=renew)


def renew_each_in_child(renew: Callable[[T], None]) -> "weakref.WeakSet[T]":
    """Return a weak set whose objects are reset in every forked child process.

    Add an object to the set to register it. In the child, `renew` is called with each object that
    is still alive.
    """
    living: weakref.WeakSet[T] = weakref.WeakSet()

    def renew_all() -> None:
        for item in list(living):
            renew(item)

    renew_in_child(renew_all)
    return living


class Process:
    """The ID that identifies this process in records, and the counters that number its records.

    A forked child gets a new ID and counts from 1.
    """

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self.renew)

    def renew(self) -> None:
        """Take a new ID and start counting at 1."""
        self.id = os.urandom(4).hex()
        self._counts: dict[str, itertools.count[int]] = {}

    def count_of(self, project: str) -> "itertools.count[int]":
        """Return the counter of a project. Pass it to ``next`` to get the next sequence number."""
        return self._counts.setdefault(project, itertools.count(1))


class Ending(Protocol):
    """An object that must deliver data before the process ends. Its methods never raise."""

    def hasten(self) -> None:
        """Send queued data immediately instead of in batches. Called when the process is ending."""

    def wait_until_loaded(self, limit_s: float) -> None:
        """Wait up to `limit_s` seconds for the imports that sending needs.

        The imports start in the background at the first recorded call.
        """

    def close(self) -> None:
        """Deliver all queued data, and stop."""

    def close_within(self, limit_s: float) -> None:
        """Deliver as much as possible within `limit_s` seconds, and stop."""


class _End:
    """Handles the end of this process. A forked child handles its own end.

    Attributes:
        has_begun: Whether the delivery at the end of the process has begun. From then on, nothing
            waits for work in the background, except for this delivery.
        is_over: Whether all threads of otel-ml have ended. No other thread may be started.
    """

    def __init__(self) -> None:
        self._endings: list[Ending] = []
        self._last: list[Callable[[], object]] = []
        self._is_asked = False
        self._notes_children = False
        self._finalizer: Any = None
        self._pipe: tuple[int, int] | None = None
        self._kept = threading.local()
        self._renew()
        # Registered at the import, so it runs after the handlers of the program and of the clients.
        atexit.register(self._finish)
        if hasattr(os, "register_at_fork"):  # not available on Windows
            os.register_at_fork(
                before=self._keep_signal,
                after_in_parent=self._let_signal,
                after_in_child=self._begin_forked,
            )

    def add(self, ending: Ending) -> None:
        """Close `ending` when the process, or a child of it, ends."""
        self._endings.append(ending)
        # Register now and not earlier. atexit runs the last registration first, and the service's
        # tracer provider must not shut down before this.
        atexit.register(self.close, ending)
        # Celery's children end with os._exit, which skips atexit. They send only this signal.
        ended = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
        if ended is not None:
            ended.connect(lambda **_told: self.close(ending), weak=False)
        util = self._ask_for_children()
        if util is not None and util.process.parent_process() is not None:
            self._begin_child(is_new=False)

    def close(self, *endings: Ending) -> None:
        """Deliver the data of these objects, or of all registered ones, before the process ends."""
        self.has_begun = True
        for ending in self._endings:
            ending.hasten()
        for ending in endings or self._endings:
            ending.close()
        _stay_interrupted()

    def call_last(self, function: Callable[[], object]) -> bool:
        """Call a function when the interpreter exits, after all clients have delivered.

        Returns:
            False if it is not called, because that moment has passed or the process ends without
            it, like the children of `multiprocessing`.
        """
        if self.is_over or self._finalizer is not None:
            return False
        self._last.append(function)
        return True

    def _finish(self) -> None:
        self.close()
        for function in self._last:
            with quiet("exit"):
                function()
        self.is_over = True

    # Forked children.

    def _renew(self) -> None:
        self.has_begun = False
        self.is_over = False
        self._begun = itertools.count()
        self._is_ending = False
        self._is_loaded = threading.Event()
        self._done = threading.Event()

    def _keep_signal(self) -> None:
        """Block SIGTERM in a child until the child has its own handler."""
        if self._pipe is not None:
            self._kept.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _let_signal(self) -> None:
        mask = self._kept.__dict__.pop("mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _begin_forked(self) -> None:
        """Reset the state in a forked child, which `multiprocessing` may or may not have started.

        The parent's thread that waits for SIGTERM does not exist here. The pipe that wakes it is
        still shared, so close it: a signal to this child must not reach the parent's thread.
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
        """Register for a callback in each child of `multiprocessing`, if that module is loaded.

        This also runs in a child that was just forked, because the parent may have loaded
        `multiprocessing` after its first span.
        """
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._notes_children:
            self._notes_children = True
            util.register_after_fork(self, _End._begin_child)
        return util

    def _begin_child(self, *, is_new: bool = True) -> None:
        """Deliver at the end of this child of `multiprocessing`, which ends without `atexit`.

        Args:
            is_new: Whether no code of the program has run in the child yet.
        """
        util: Any = sys.modules["multiprocessing.util"]
        if self._finalizer is None or not self._finalizer.still_active():
            self._finalizer = util.Finalize(None, self.close, exitpriority=0)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and os.name == "posix" and self._take_sigterm() and self._pipe is None:
            self._watch(is_new=is_new)

    # Delivery on SIGTERM.

    def ask_for_sigterm(self) -> str:
        """Deliver on SIGTERM. Returns the reason if that is not possible, else an empty string."""
        if threading.current_thread() is not threading.main_thread():
            return "the client was not created in the main thread"
        if not self._take_sigterm():
            return "the program has its own SIGTERM handler"
        self._is_asked = True
        return ""

    def _take_sigterm(self) -> bool:
        handler = signal.getsignal(signal.SIGTERM)
        if handler is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _handle)
        return handler is signal.SIG_DFL or handler is _handle

    def _watch(self, *, is_new: bool) -> None:
        """Watch for SIGTERM in a thread as well, because a C call blocks the main thread's handler.

        Without it, a pool that wants to stop a long call would have to wait for its end.
        """
        if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            return  # gevent replaces threads, and one that reads a pipe would block all others
        reading, writing = self._pipe = os.pipe()
        os.set_blocking(writing, False)
        with suppress(RuntimeError):  # no thread can be started
            start_detached(_make_thread(self._read, reading))
            before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            if before != -1 and not is_new:  # in a new child, it belongs to the parent
                signal.set_wakeup_fd(before)

    def _read(self, reading: int) -> None:
        while numbers := os.read(reading, 64):  # the number of each received signal, of any kind
            is_ours = self._is_ending or signal.getsignal(signal.SIGTERM) is _handle
            if signal.SIGTERM in numbers and is_ours:
                self.end_by(signal.SIGTERM)

    def begin_to_end(self, number: int) -> None:
        """Start to deliver. When that is done, a signal ends the process. Returns before that."""
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process immediately
        self._is_ending = True
        thread = _make_thread(self.end_by, number)
        try:
            start_detached(thread)
        except RuntimeError:  # the interpreter is already shutting down
            os.kill(os.getpid(), number)
            return
        atexit.register(thread.join)  # if the main thread finishes first, it waits here
        self._done.wait(_HOLD_MAIN_S)

    def end_by(self, number: int) -> None:
        """Deliver for at most 2 s once the modules are loaded, then end the process by a signal."""
        try:
            if next(self._begun) == 0:  # otherwise another thread has started to deliver
                start_detached(_make_thread(self._close_in_time))
            self._is_loaded.wait(_LOADED_S)
            self._done.wait(SIGTERM_S)
        finally:
            if signal.getsignal(number) is _handle:
                _restore_default(number)
            os.kill(os.getpid(), number)

    def _close_in_time(self) -> None:
        try:
            self.has_begun = True
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
    END.begin_to_end(number)


def _stay_interrupted() -> None:
    """Make a process that was stopped by Ctrl-C still exit that way after an import.

    Python records whether the last code it ran from text was interrupted. Imports run such code,
    for example to create a named tuple, and reset this record.
    """
    if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt) and not hasattr(sys, "ps1"):
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - the only way to make Python record it


def _restore_default(number: int) -> None:
    """Restore a signal's default action from a thread in which `signal.signal` does not work."""
    import ctypes  # needed only if the main thread is in a C call when the process ends

    restore = ctypes.pythonapi.PyOS_setsig
    restore.argtypes, restore.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    restore(number, None)


PROCESS: Final = Process()
END: Final = _End()
deliver_at_end: Final = END.add
deliver_at_sigterm: Final = END.ask_for_sigterm
