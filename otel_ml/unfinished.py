"""Runs that are open: a run that lasts is said to have started, a process that has one to live.

Spans travel when they end. Without this a run that hangs, or whose process is killed, would never
be seen.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from otel_ml.errors import report

ANNOUNCE_AFTER_S: Final = 2.0
HEARTBEAT_S: Final = 60.0
_TICK_S: Final = 0.5
_REST_AFTER_S: Final = 5.0


class OpenRun(Protocol):
    """A run that has perhaps not ended."""

    @property
    def start_ns(self) -> int:
        """When it began."""

    def announce(self) -> None:
        """Say that it is open."""

    def send_waiting(self) -> None:
        """Send what was said of it a second ago or earlier."""


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
        self._announced: set[OpenRun] = set()
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._asleep = True
        self._closed = False
        self._thread: threading.Thread | None = None
        self._beat_at_s: float | None = None  # None: there was never a start to tell

    def add(self, run: OpenRun) -> None:
        """Watch a run from its start."""
        self._open[run] = None
        if self._asleep:
            self._wake()

    def remove(self, run: OpenRun) -> None:
        """Forget a run that ended; one that is not known is no error."""
        self._open.pop(run, None)

    def announce(self, run: OpenRun) -> None:
        """Watch a run that is worth a word at once."""
        self.add(run)
        self._tell(run)

    def _tell(self, run: OpenRun) -> None:
        self._announced.add(run)
        if self._beat_at_s is None:
            self._beat_at_s = time.monotonic()
        run.announce()

    @property
    def count(self) -> int:
        """How many runs are open."""
        return len(self._open)

    def close(self) -> None:
        """Say goodbye, when a start was ever told. Runs that are still open stay so."""
        if self._closed:
            return
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
                thread.start()
            except RuntimeError:  # the interpreter ends
                return
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
            if self._open:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= _REST_AFTER_S:
                self._asleep = True
                if not self._open:  # one that came before we slept woke nobody
                    self._tokens.get()
                self._asleep = False
                idle_since = time.monotonic()

    def _look(self) -> None:
        before_ns = time.time_ns() - int(ANNOUNCE_AFTER_S * 1e9)
        runs_told = list(self._announced)
        for run in list(self._open):
            try:
                if run not in self._announced and run.start_ns <= before_ns:
                    self._tell(run)
                run.send_waiting()
            except Exception as error:  # noqa: BLE001 - one run hides no other
                report("open runs", error)
        self._announced.difference_update([run for run in runs_told if run not in self._open])
        due = (
            self._beat_at_s is not None and time.monotonic() - self._beat_at_s >= self._heartbeat_s
        )
        if self._announced and due:
            self._beat_at_s = time.monotonic()
            self._beat("heartbeat")
