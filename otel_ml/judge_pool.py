"""Threads on which judges run, so that a call never waits for its score.

A run is held back from export until its judges have spoken or `hold_s` is over: scores in time
become attributes of the run, later ones are handed over one by one.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from otel_ml.errors import report
from otel_ml.judge import Evaluation, Judge

HOLD_S: Final = 0.5
_HELD: Final = 1_000
_LOCKED_S: Final = 0.1
_QUEUED: Final = 10_000
_WORKERS: Final = 4
_EXIT_S: Final = 2.0

Release = Callable[[Sequence[Evaluation]], None]
Late = Callable[[Evaluation], None]


@dataclass(slots=True, eq=False)
class Judged:
    """A finished call that waits for its judges.

    Attributes:
        release: Called once, with the evaluations that came in time.
        late: Called for each evaluation that came after `release`.
    """

    judges: Sequence[Judge]
    inputs: Mapping[str, object]
    outputs: object
    release: Release
    late: Late
    deadline: float = 0.0
    _done: list[Evaluation] = field(default_factory=list)
    _open: list[Judge] = field(init=False)
    _released: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._open = list(self.judges)

    def judge(self, judge: Judge) -> None:
        """Run one judge and hand its evaluation to whoever waits for it now."""
        evaluation = judge.evaluate(self.inputs, self.outputs)
        with self._lock:
            if judge not in self._open:  # said to be lost while it ran
                return
            self._open.remove(judge)
        self.put(evaluation)

    def lose(self) -> None:
        """Say of each judge that has not spoken that it is lost."""
        with self._lock:
            silent, self._open = self._open, []
        for judge in silent:
            self.put(Evaluation(judge.name, judge.version, error="lost: the judge was not run"))

    def put(self, evaluation: Evaluation) -> None:
        """Keep an evaluation for the run, or pass it on when the run is gone."""
        with self._lock:
            if not self._released:
                self._done.append(evaluation)
                return
        self.late(evaluation)

    def let_go(self) -> None:
        """Hand the run over with what is known. A second call does nothing."""
        with self._lock:
            if self._released:
                return
            self._released = True
            done = tuple(self._done)
        self.release(done)


class JudgePool:
    """Runs judges on a few daemon threads, started at the first judged call of a process."""

    def __init__(self, hold_s: float = HOLD_S, workers: int = _WORKERS) -> None:
        self._hold_s = hold_s
        self._workers = workers
        self.start()
        _POOLS.add(self)

    def start(self) -> None:
        """Begin empty: also in a forked child, which has none of the parent's threads."""
        lock = threading.RLock()  # a finalizer may submit while this thread holds it
        self._work_ready = threading.Condition(lock)
        self._hold_changed = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._lock = lock
        self._queue: deque[Judged] = deque()
        self._held: dict[int, Judged] = {}
        self._running: dict[int, Judged] = {}
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._closed = False

    def submit(self, judged: Judged) -> None:
        """Queue a call's judges; returns at once. Beyond the bounds they are said to be lost."""
        judged.deadline = time.monotonic() + self._hold_s
        accepted = hold = False
        # A finalizer may submit while its thread holds a lock that who holds this one waits for.
        if self._lock.acquire(timeout=_LOCKED_S):
            try:
                accepted = not self._closing and len(self._queue) < _QUEUED
                hold = accepted and len(self._held) < _HELD
                if hold:
                    self._held[id(judged)] = judged
                    if len(self._held) == 1:
                        self._hold_changed.notify()
                if accepted:
                    self._ensure_threads()
                    self._queue.append(judged)
                    self._work_ready.notify()
            finally:
                self._lock.release()
        if not accepted:
            judged.lose()
        if not hold:
            judged.let_go()

    def drain(self, timeout_s: float) -> bool:
        """Wait until no judge is queued or running. Returns whether that was so in time."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._queue and not self._running, timeout_s)

    @property
    def waiting(self) -> int:
        """How many calls are queued for their judges, or being judged."""
        with self._lock:
            return len(self._queue) + len(self._running)

    def close(self, wait_s: float = _EXIT_S) -> None:
        """Take no call any more, wait for the judges of queued ones, let every run go."""
        with self._lock:
            self._closing = True
        self.drain(wait_s)
        with self._lock:
            self._closed = True
            unheard = [*self._queue, *self._running.values()]
            self._queue.clear()
            held = list(self._held.values())
            self._held.clear()
            self._work_ready.notify_all()
            self._hold_changed.notify_all()
        for judged in unheard:
            judged.lose()
        for judged in [*unheard, *held]:
            judged.let_go()

    def _ensure_threads(self) -> None:
        if self._threads:
            return
        targets = [self._work] * self._workers + [self._let_go_when_due]
        self._threads = [
            threading.Thread(target=target, name=f"otel-ml-judge-{number}", daemon=True)
            for number, target in enumerate(targets)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (judged := self._next()) is not None:
            try:
                self._judge_all(judged)
            except Exception as error:  # noqa: BLE001 - the worker loop
                report("judge pool", error)
                judged.let_go()
            finally:
                self._finish(judged)

    def _next(self) -> Judged | None:
        with self._lock:
            self._work_ready.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return None
            judged = self._queue.popleft()
            self._running[id(judged)] = judged
            return judged

    def _finish(self, judged: Judged) -> None:
        with self._lock:
            self._held.pop(id(judged), None)
            self._running.pop(id(judged), None)
            if not self._queue and not self._running:
                self._idle.notify_all()

    def _judge_all(self, judged: Judged) -> None:
        for judge in judged.judges:
            if self._closed:  # what is left has been said to be lost
                break
            judged.judge(judge)
        judged.let_go()

    def _let_go_when_due(self) -> None:
        while (judged := self._next_due()) is not None:
            try:
                judged.let_go()
            except Exception as error:  # noqa: BLE001 - the worker loop
                report("judge pool", error)

    def _next_due(self) -> Judged | None:
        with self._lock:
            while not self._closed:
                oldest = next(iter(self._held.values()), None)
                if oldest is None:
                    self._hold_changed.wait()
                    continue
                left_s = oldest.deadline - time.monotonic()
                if left_s <= 0:
                    return self._held.pop(id(oldest))
                self._hold_changed.wait(left_s)
            return None


def _restart_in_child() -> None:
    for pool in list(_POOLS):
        pool.start()


_POOLS: Final[weakref.WeakSet[JudgePool]] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_restart_in_child)
