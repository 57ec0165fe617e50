"""Runs that are open: a run that lasts is said to have started, a process that has one to live.

Spans travel when they end. Without this a run that hangs, or whose process is killed, would never
be seen.
"""

import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from otel_ml.errors import is_of_host, report
from otel_ml.process import start_apart

ANNOUNCE_AFTER_S: Final = 2.0
HEARTBEAT_S: Final = 60.0
_TICK_S: Final = 0.2
_REST_AFTER_S: Final = 5.0


class OpenRun(Protocol):
    """A run that has perhaps not ended."""

    @property
    def start_ns(self) -> int:
        """When it began."""

    def announce(self) -> None:
        """Say that it is open."""

    def end(self, error: BaseException | None = None) -> None:
        """End it, if it was opened by hand."""

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Send what was said of it, when it is time, or at once."""


class OpenRuns:
    """Watches the open runs of a client on a thread of its own, which sleeps while there are none.

    Args:
        beat: Says that this process lives (``heartbeat``) or ends (``goodbye``).
        heartbeat_s: How often it says that it lives, while a run that was told is open.
    """

    def __init__(self, beat: Callable[[str], None], heartbeat_s: float = HEARTBEAT_S) -> None:
        self._beat = beat
        self._heartbeat_s = heartbeat_s
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Begin without a run: those of the parent are the parent's."""
        self._open: dict[OpenRun, None] = {}
        self._by_hand: dict[int, weakref.ref[OpenRun]] = {}
        self._announced: set[OpenRun] = set()
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._asleep = True
        self._closed = False
        self._thread: threading.Thread | None = None
        self._beat_at_s: float | None = None  # None: there was never a start to tell

    def add(self, run: OpenRun) -> None:
        """Watch a call from its start."""
        self._open[run] = None
        if self._asleep:
            self._wake()

    def remove(self, run: OpenRun) -> None:
        """Forget a run that ended; one that is not known is no error."""
        if self._open.pop(run, run) is run:
            self._by_hand.pop(id(run), None)

    def announce(self, run: OpenRun) -> None:
        """Watch a run that was opened by hand, and say so at once; it may vanish unended."""
        self._by_hand[id(run)] = weakref.ref(run)
        self._tell(run)
        if self._asleep:
            self._wake()

    def _tell(self, run: OpenRun) -> None:
        if self._beat_at_s is None:
            self._beat_at_s = time.monotonic()
        run.announce()

    @property
    def count(self) -> int:
        """How many runs are open."""
        return len(self._open) + len(self._by_hand)

    def opened_by_hand(self) -> list[OpenRun]:
        """List the runs that were opened by hand and are open."""
        found = [made() for made in list(self._by_hand.values())]
        return [run for run in found if run is not None]

    def send_waiting(self) -> None:
        """Send what was said of the open runs and has waited for more."""
        for run in [*self._open, *self.opened_by_hand()]:
            run.send_waiting(at_once=True)

    def close(self) -> None:
        """End the runs that were opened by hand, say goodbye if a start was ever told.

        Where the process ends by an exception that nobody caught, that is what they failed with.
        Calls that are still open stay so.
        """
        if self._closed:
            return
        error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
        for run in self.opened_by_hand():
            run.end(error)
        self._closed = True
        self._tokens.put(None)
        if self._beat_at_s is not None:
            self._beat("goodbye")

    def _wake(self) -> None:
        if self._closed:
            return
        self._asleep = False
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._watch, name="otel-ml-open-runs", daemon=True)
            try:
                start_apart(thread)
            except BaseException as error:
                self._asleep = True  # the next run tries again
                if isinstance(error, RuntimeError) and not is_of_host(error):
                    return  # the interpreter ends
                raise
            self._thread = thread
        self._tokens.put(None)

    def _watch(self) -> None:
        idle_since = time.monotonic()
        while not self._closed:
            with suppress(Empty):
                self._tokens.get(timeout=_TICK_S)
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - the worker loop
                report("open runs", error)
            if self.count:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= _REST_AFTER_S:
                self._asleep = True
                if not self.count:  # one that came before we slept woke nobody
                    self._tokens.get()
                self._asleep = False
                idle_since = time.monotonic()

    def _look(self) -> None:
        before_ns = time.time_ns() - int(ANNOUNCE_AFTER_S * 1e9)
        runs_told = list(self._announced)
        for run in [*self._open, *self.opened_by_hand()]:
            try:
                if run in self._open and run not in self._announced and run.start_ns <= before_ns:
                    self._announced.add(run)
                    self._tell(run)
                run.send_waiting()
            except Exception as error:  # noqa: BLE001 - one run hides no other
                report("open runs", error)
        self._announced.difference_update([run for run in runs_told if run not in self._open])
        due = (
            self._beat_at_s is not None and time.monotonic() - self._beat_at_s >= self._heartbeat_s
        )
        if due and (self._announced or self._by_hand):
            self._beat_at_s = time.monotonic()
            self._beat("heartbeat")
