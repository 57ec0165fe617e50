"""Threads on which judges run, so that a call never waits for its score.

A run is held back from export until its judges have spoken or `hold_s` is over: scores in time
become attributes of the run, later ones are handed over one by one.

A thread that does not come back from a judge is left behind and another one takes its place. Four
may hang in one judge, whose calls are lost from then on; after 16 in all none is replaced, and when
the four of the pool hang, too, every judge is lost. A thread that comes back changes that again.
"""

import math
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from otel_ml.errors import quiet, report
from otel_ml.judges.answer import JudgeError, JudgeTimedOut
from otel_ml.judges.judged import NOT_RUN, Judged, Part
from otel_ml.late import late
from otel_ml.process import renew_each_in_child, start_apart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otel_ml.judges import loop
    from otel_ml.judges.judge import Judge
else:
    loop = late("judges.loop")

HOLD_S: Final = 0.5
_HELD: Final = 1_000
_LOCKED_S: Final = 1.0
_LOCKED: Final = 10  # a machine that stands still for seconds costs one of these
_QUEUED: Final = 10_000
_WORKERS: Final = 4
_EXIT_S: Final = 2.0
_LATE_S: Final = 0.5  # what a judge has beyond its deadline to come back by itself
_HANGING_OF_ONE: Final = 4
_HANGING: Final = 16
_ENDED: Final = "lost: the process ended before it spoke"
_HANGS: Final = "lost: too many runs of the judge hang"


# What waits for a judge's thread: each judge in its turn, so that a slow one stops no other.


class JudgeJob(Protocol):
    """Work for a judge's thread."""

    @property
    def judge(self) -> "Judge":
        """Whose work it is."""

    def run(self) -> None:
        """Do it, on the calling thread."""

    def give_up(self, error: str) -> None:
        """Say that it is not done, or not in time."""


class JudgeQueue:
    """Jobs in a line for each judge, taken in turn. Not safe without a lock around it.

    Args:
        at_once: How many jobs of one judge may be at work.
        may_hang: How many of them may hang; while so many do, its jobs are not taken.
    """

    def __init__(self, at_once: int, may_hang: int) -> None:
        self._at_once = at_once
        self._may_hang = may_hang
        # A finalizer may put a job while this thread is at the lines.
        self._new: deque[JudgeJob] = deque()
        self._lines: dict[Judge, deque[JudgeJob]] = {}
        self._at_work: Counter[Judge] = Counter()
        self._hanging: Counter[Judge] = Counter()

    def __len__(self) -> int:
        return len(self._new) + sum(map(len, self._lines.values()))

    def put(self, job: JudgeJob) -> None:
        """Add a job at the end of its judge's line. Also from within any other method."""
        self._new.append(job)

    def put_first(self, job: JudgeJob) -> None:
        """Add a job that somebody waits for: it comes before all others."""
        self._line_up()
        line = self._lines.pop(job.judge, deque())
        line.appendleft(job)
        self._lines = {job.judge: line, **self._lines}

    def take(self) -> JudgeJob | None:
        """Take the next job of the judge whose turn it is; None where none may begin."""
        self._line_up()
        for judge, line in self._lines.items():
            at_work = self._at_work[judge]
            if at_work < self._at_once and at_work + self._hanging[judge] < self._may_hang:
                job = line.popleft()
                del self._lines[judge]
                if line:
                    self._lines[judge] = line
                self._at_work[judge] += 1
                return job
        return None

    def done(self, judge: "Judge") -> None:
        """Say that a job that was taken is over."""
        _count_down(self._at_work, judge)

    def leave(self, judge: "Judge") -> None:
        """Say that a job that was taken hangs."""
        _count_down(self._at_work, judge)
        self._hanging[judge] += 1

    def come_back(self, judge: "Judge") -> None:
        """Say that a job that hung is over."""
        _count_down(self._hanging, judge)

    @property
    def hanging(self) -> int:
        """How many jobs hang."""
        return self._hanging.total()

    def is_stuck(self, judge: "Judge") -> bool:
        """Tell whether as many jobs of a judge hang as may."""
        return self._hanging[judge] >= self._may_hang

    def remove(self, judge: "Judge") -> list[JudgeJob]:
        """Take all that waits for one judge."""
        self._line_up()
        return list(self._lines.pop(judge, ()))

    def clear(self) -> list[JudgeJob]:
        """Take all that waits."""
        self._line_up()
        lines, self._lines = self._lines, {}
        return [job for line in lines.values() for job in line]

    def _line_up(self) -> None:
        while self._new:
            job = self._new.popleft()
            self._lines.setdefault(job.judge, deque()).append(job)


def _count_down(counter: "Counter[Judge]", judge: "Judge") -> None:
    counter[judge] -= 1
    if not counter[judge]:
        del counter[judge]  # a judge that is gone is not kept


@dataclass(slots=True, eq=False)
class _Work:
    """A job on its thread.

    Attributes:
        deadline: When its thread counts as one that hangs, on the monotonic clock.
    """

    job: JudgeJob
    deadline: float
    hangs: bool = False


class JudgePool:
    """Runs judges on a few daemon threads, started at the first judged call of a process."""

    def __init__(self, hold_s: float = HOLD_S, workers: int = _WORKERS) -> None:
        self._hold_s = hold_s
        self._workers = workers
        self._loop: loop.JudgeLoop | None = None
        self.start()
        _POOLS.add(self)

    def start(self) -> None:
        """Begin empty: also in a forked child, which has none of the parent's threads."""
        lock = threading.RLock()  # a finalizer may submit while this thread holds it
        self._work_ready = threading.Condition(lock)
        self._sooner = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._lock = lock
        self._queue = JudgeQueue(max(self._workers - 1, 1), _HANGING_OF_ONE)
        self._held: dict[int, Judged] = {}
        self._running: dict[int, _Work] = {}
        self._ending = 0  # runs being let go, and jobs whose hanging is being said
        self._live = self._workers  # threads that do not hang
        self._looks_at = math.inf  # when the watching thread looks again
        self._starts: dict[str, object] = {}
        self._closing = False
        self._closed = False
        if self._loop is not None:
            _OF_PARENTS.append(self._loop)  # its end would disturb the parent's
        self._loop = None

    def submit(self, judged: Judged) -> None:
        """Queue a call's judges; returns at once. Beyond the bounds they are said to be lost."""
        judged.deadline = time.monotonic() + self._hold_s
        jobs = [Part(judge, judged, self._wait) for judge in judged.judges]
        refused: Sequence[JudgeJob] = jobs
        why, hold = NOT_RUN, False
        self._ensure_threads()
        was_owned, is_locked = self._is_owned(), False
        try:
            # A finalizer may submit while its thread holds a lock that who holds this one waits
            # for.
            for _ in range(_LOCKED):
                is_locked = self._lock.acquire(timeout=_LOCKED_S)
                if is_locked:
                    break
            if is_locked:
                refused, why = self._enqueue(jobs)
                hold = len(refused) < len(jobs) and len(self._held) < _HELD
                if hold:
                    self._held[id(judged)] = judged
                    self._look_by(judged.deadline)
        finally:
            # A handler of a signal may raise where the lock is ours and we are not told.
            if is_locked or (not was_owned and self._is_owned()):
                self._lock.release()
        self._lose(refused, why)
        if not hold:
            judged.let_go()

    def _is_owned(self) -> bool:
        is_owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        return is_owned()

    def run_soon(self, job: JudgeJob) -> None:
        """Queue a job that somebody waits for before all others, or give it up at once."""
        self._ensure_threads()
        with self._lock:
            refused, why = self._enqueue([job], first=True)
        self._lose(refused, why)

    def wait(self, awaitable: "Awaitable[object]", timeout_s: float) -> object:
        """Wait on this thread for async code of a judge, see `JudgeLoop.wait`."""
        return self._open_loop().wait(awaitable, timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until no judge is queued or running. Returns whether that was so in time."""
        with self._lock:
            return self._idle.wait_for(lambda: not self.waiting, timeout_s)

    @property
    def waiting(self) -> int:
        """How many judgements are queued, made or handed on; those that hang are given up."""
        with self._lock:
            return len(self._queue) + len(self._running) + self._ending

    def close(self, wait_s: float = _EXIT_S) -> None:
        """Take no call any more, wait for the judges of queued ones, let every run go."""
        with self._lock:
            self._closing = True
        self.drain(wait_s)
        with self._lock:
            self._closed = True
            queued = self._queue.clear()
            running = [work.job for work in self._running.values()]
            held = list(self._held.values())
            self._held.clear()
            self._work_ready.notify_all()
            self._sooner.notify_all()
        self._lose(queued, NOT_RUN)
        self._lose(running, _ENDED)
        for judged in held:
            judged.let_go()
        if self._loop is not None:
            self._loop.close()

    def _wait(self, awaitable: "Awaitable[object]", timeout_s: float) -> object:
        return self._open_loop().wait(awaitable, timeout_s, is_worker=True)

    def _open_loop(self) -> "loop.JudgeLoop":
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    self._loop = loop.JudgeLoop()
        return self._loop

    def _enqueue(
        self, jobs: "Sequence[JudgeJob]", *, first: bool = False
    ) -> "tuple[Sequence[JudgeJob], str]":
        """Queue what the bounds allow; returns the rest, and why."""
        if self._closing or len(self._queue) + len(jobs) > _QUEUED:
            return jobs, NOT_RUN
        if not self._live:
            return jobs, _HANGS
        refused = []
        for job in jobs:
            if self._queue.is_stuck(job.judge):
                refused.append(job)
                continue
            (self._queue.put_first if first else self._queue.put)(job)
            self._work_ready.notify()
        return refused, _HANGS

    @staticmethod
    def _lose(jobs: "Sequence[JudgeJob]", why: str) -> None:
        for job in jobs:
            report("judge lost", JudgeError(why))
            job.give_up(why)

    def _ensure_threads(self) -> None:
        """Start the threads, once. Not under the lock: on a busy machine that takes a while."""
        mark = object()
        if self._starts or self._closing or self._starts.setdefault("by", mark) is not mark:
            return
        with ExitStack() as undo:
            undo.callback(self._starts.clear)  # no thread to be had now: the next call tries again
            _start(self._watch, "otel-ml-judge-watch")
            undo.pop_all()
        for _ in range(self._workers):
            if not self._start_worker():
                with self._lock:
                    self._live -= 1

    def _start_worker(self) -> bool:
        try:
            _start(self._work, "otel-ml-judge")
        except RuntimeError:  # the process ends, or has no thread to give
            return False
        return True

    def _work(self) -> None:
        while (work := self._next()) is not None:
            try:
                is_run = False
                with quiet("judge pool"):
                    work.job.run()
                    is_run = True
                if not is_run:
                    work.job.give_up(NOT_RUN)
            finally:
                goes_on = self._finish(work)
            if not goes_on:
                return

    def _next(self) -> _Work | None:
        with self._lock:
            while not self._closed:
                job = self._queue.take()
                if job is None:
                    self._work_ready.wait()
                    continue
                work = _Work(job, time.monotonic() + job.judge.timeout_s + _LATE_S)
                self._running[id(work)] = work
                self._look_by(work.deadline)
                return work
            return None

    def _finish(self, work: _Work) -> bool:
        """Take note that a thread came back; returns whether it goes on."""
        with self._lock:
            if work.hangs:
                self._queue.come_back(work.job.judge)
                self._work_ready.notify()
                if self._live >= self._workers:
                    return False
                self._live += 1
                return True
            self._running.pop(id(work), None)
            self._queue.done(work.job.judge)
            if isinstance(work.job, Part) and work.job.judged.is_released:
                self._held.pop(id(work.job.judged), None)
            self._tell_idle()
            return True

    def _tell_idle(self) -> None:
        if not self.waiting:
            self._idle.notify_all()

    def _look_by(self, when: float) -> None:
        """Have the watching thread look at that time, or earlier."""
        if when < self._looks_at:
            self._looks_at = when
            self._sooner.notify()

    def _watch(self) -> None:
        while (judged := self._next_due()) is not None:
            with quiet("judge pool"):
                if isinstance(judged, Judged):
                    self._let_go(judged)
                else:
                    self._leave(judged)

    def _next_due(self) -> Judged | _Work | None:
        with self._lock:
            while not self._closed:
                now = time.monotonic()
                held = next(iter(self._held.values()), None)
                if held is not None and held.deadline <= now:
                    self._ending += 1
                    return self._held.pop(id(held))
                work = min(self._running.values(), key=lambda work: work.deadline, default=None)
                if work is not None and work.deadline <= now:
                    return work
                found = [due.deadline for due in (held, work) if due is not None]
                self._looks_at = min(found, default=math.inf)
                self._sooner.wait(self._looks_at - now if found else None)
            return None

    def _let_go(self, judged: Judged) -> None:
        try:
            judged.let_go()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._ending -= 1
            self._tell_idle()

    def _leave(self, work: _Work) -> None:
        """Leave a thread that hangs behind; what its judge says later is thrown away."""
        judge = work.job.judge
        with self._lock:
            if self._running.pop(id(work), None) is None:  # it came back meanwhile
                return
            work.hangs = True
            self._queue.leave(judge)
            self._live -= 1
            self._ending += 1
            lost = self._replace(judge)
        try:
            problem = JudgeTimedOut(judge.timeout_s)
            report("judge hangs", problem)
            work.job.give_up(str(problem))
            self._lose(lost, _HANGS)
        finally:
            self._end()

    def _replace(self, judge: "Judge") -> list[JudgeJob]:
        """Start a thread for one that hangs, within the bounds; returns what is lost beyond."""
        if self._queue.hanging <= _HANGING and self._start_worker():
            self._live += 1
        elif not self._live:
            return self._queue.clear()
        return self._queue.remove(judge) if self._queue.is_stuck(judge) else []


def _start(target: "Callable[[], None]", name: str) -> None:
    start_apart(threading.Thread(target=target, name=name, daemon=True))


_OF_PARENTS: Final["list[loop.JudgeLoop]"] = []
_POOLS: Final = renew_each_in_child(JudgePool.start)
