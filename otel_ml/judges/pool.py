"""A thread pool for judges, so that a call does not wait for its score.

A run is exported when its judges are done, or after `hold_s` at the latest. Scores that arrive in
time become attributes of the run; later scores are sent separately.

A thread that hangs in a judge is abandoned and replaced. If four threads hang in the same judge (or
as many as may run it at the same time), its further calls get no score. Once more than 16 threads
hang, none is replaced. If all threads of the pool hang, no judge scores anymore. The pool recovers
when threads return.

A single thread, the scheduler ("watch" in the code), owns the queues per judge, the counts and the
deadlines. Other threads only send it messages. The counts that they read may be slightly out of
date.
"""

import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol

from otel_ml.errors import quiet, report
from otel_ml.judges.answer import JudgeError, JudgeTimedOut
from otel_ml.judges.judged_call import NOT_RUN, JudgedCall, Part
from otel_ml.late import late
from otel_ml.loading import start_detached
from otel_ml.process import renew_each_in_child
from otel_ml.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from otel_ml.judges import loop
    from otel_ml.judges.judge import Judge
else:
    loop = late("judges.loop")

HOLD_S: Final = 0.5
_MOST_PENDING: Final = 1_000
_QUEUED: Final = 10_000
_WORKERS: Final = 4
_EXIT_S: Final = 2.0
_JOIN_S: Final = 0.5
_LATE_S: Final = 2.0  # how long a judge may exceed its time limit before its thread is abandoned
# How long a thread stays with one judge. With a busy host each thread switch takes 5 ms, because
# the host keeps the interpreter for that long.
_TURN_S: Final = 0.005
_HANGING_OF_JUDGE: Final = 4
_HANGING: Final = 16
_ENDED: Final = "lost: the process ended before the judge was done"
_HANGS: Final = "lost: too many runs of the judge hang"


class JudgeJob(Protocol):
    """Interface of a job that the pool can run: one judge scores one run."""

    @property
    def judge(self) -> "Judge":
        """The judge that the job runs."""

    def run(self) -> None:
        """Run the judge on the calling thread."""

    def give_up(self, error: str) -> None:
        """Called if the judge did not run or was not done in time. `error` is the reason."""


@dataclass(slots=True, eq=False)
class _Turn:
    """A judge's turn on a thread: it runs one waiting job, then further ones while they are quick.

    Attributes:
        line: The judge's waiting jobs. Other turns of the judge take from it too.
        work: The current job, and when its thread counts as hanging, on the monotonic clock.
        hangs: Whether the thread was abandoned. It then takes no further job.
        is_put_back: Whether the job was not started because the thread had been abandoned.
    """

    line: deque[JudgeJob]
    work: tuple[JudgeJob, float]
    hangs: bool = False
    is_put_back: bool = False

    def take_next(self, now: float) -> bool:
        """Take the next job of the line. Returns whether there is a job to run."""
        try:
            job = self.line.popleft()
        except IndexError:
            return False
        self.work = job, now + job.judge.timeout_s + _LATE_S
        self.is_put_back = self.hangs
        return not self.hangs


class JudgePool:
    """Runs judges on a few daemon threads, so that traced calls do not wait for their scores.

    The threads start with the first judged call of a process.
    """

    def __init__(self, hold_s: float = HOLD_S, workers: int = _WORKERS) -> None:
        self._hold_s = hold_s
        self._workers = workers
        self._at_once = max(workers - 1, 1)  # per judge
        self._most_hanging = max(_HANGING_OF_JUDGE, self._at_once)
        self._loops: dict[None, loop.JudgeLoop] = {}
        self._watch = Worker("otel-ml-judge-watch", self._run)
        self.start()
        _POOLS.add(self)

    def start(self) -> None:
        """Prepare empty queues.

        Also called in a forked child, which has none of its parent's threads.
        """
        self._new: deque[JudgeJob] = deque()
        self._awaited: deque[JudgeJob] = deque()  # run before all others
        self._back: deque[_Turn | None] = deque()  # finished turns; None: a thread ended
        self._drains: deque[SimpleQueue[None]] = deque()
        self._turns: SimpleQueue[_Turn | None] = SimpleQueue()
        self._pending: dict[int, JudgedCall] = {}
        self._is_closing = False
        self._is_closed = False
        # Only the pool's background thread (the watch) writes the fields below.
        self._lines: dict[Judge, deque[JudgeJob]] = {}  # in the order of the next turns
        self._at_work: Counter[Judge] = Counter()
        self._hanging: Counter[Judge] = Counter()
        self._running: dict[int, _Turn] = {}
        self._in_hand = 0  # jobs being moved between queues, and runs being released
        self._live = 0  # threads that do not hang
        self._all_hang = False
        _OF_PARENTS.extend(self._loops.values())  # closing them would disturb the parent process
        self._loops = {}

    # Called on the caller's thread.

    def submit(self, judged: JudgedCall) -> None:
        """Queue the judges of a finished call and return immediately.

        A judge is not called if too many calls are queued, or if the judge already hangs on too
        many runs. Its result is then an error with the reason.

        Args:
            judged: The finished call and its judges.
        """
        refused, why = self._refuse(judged.judges)
        jobs = [Part(judge, judged, self._wait) for judge in judged.judges]
        queued = [job for job in jobs if job.judge not in refused] if refused else jobs
        is_pending = bool(queued) and len(self._pending) < _MOST_PENDING
        if is_pending:
            judged.deadline = time.monotonic() + self._hold_s
            self._pending[id(judged)] = judged
        if queued:
            self._new.extend(queued)
            self._call_watch()
        for job in jobs if refused else ():
            if job.judge in refused:
                _lose(job, why)
        if not is_pending:
            judged.let_go()

    def run_soon(self, job: JudgeJob) -> None:
        """Queue a job ahead of all others, because a caller waits for it.

        If the queue is full, the job's `give_up` is called.
        """
        refused, why = self._refuse([job.judge])
        if refused:
            _lose(job, why)
        else:
            self._awaited.append(job)
            self._call_watch()

    def wait(self, awaitable: "Awaitable[object]", timeout_s: float) -> object:
        """Run an async rubric on the pool's event loop and wait on this thread for its result."""
        return self._open_loop().wait(awaitable, timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until all queued judges are done.

        Returns:
            False if the time limit was exceeded.
        """
        if not self.waiting:
            return True
        answer: SimpleQueue[None] = SimpleQueue()
        try:
            self._drains.append(answer)
            self._watch.wake()
            answer.get(timeout=max(timeout_s, 0.0))
        except Empty:
            return not self.waiting
        finally:
            with suppress(ValueError):  # already answered
                self._drains.remove(answer)
        return True

    @property
    def waiting(self) -> int:
        """Number of scores that are queued or in progress. Judges that hang are not counted."""
        return self._count_queued() + len(self._running) + self._in_hand

    def close(self, wait_s: float = _EXIT_S) -> None:
        """Accept no more calls, wait `wait_s` seconds for queued judges, and send every run."""
        self._is_closing = True
        self.drain(wait_s)
        self._is_closed = True
        self._watch.close(_JOIN_S)
        self._lose_queued(NOT_RUN)
        for turn in list(self._running.values()):
            _lose(turn.work[0], _ENDED)
        while (judged := self._find_first_pending()) is not None:
            del self._pending[id(judged)]
            judged.let_go()
        for _ in range(self._workers):
            self._turns.put(None)
        for made in self._loops.values():
            made.close()

    def _count_queued(self) -> int:
        lined_up = sum(map(len, list(self._lines.values()))) if self._lines else 0
        return lined_up + len(self._new) + len(self._awaited)

    def _refuse(self, judges: "Sequence[Judge]") -> "tuple[Sequence[Judge], str]":
        """Return the judges that the limits leave no room for, and the reason."""
        if self._is_closing or self._count_queued() + len(judges) > _QUEUED:
            return judges, NOT_RUN
        if self._all_hang:
            return judges, _HANGS
        return [judge for judge in judges if self._is_stuck(judge)] if self._hanging else (), _HANGS

    def _is_stuck(self, judge: "Judge") -> bool:
        return self._hanging[judge] >= self._most_hanging

    def _call_watch(self) -> None:
        """Wake the watch for queued calls. Without a watch, they are lost."""
        if (self._watch.is_asleep and not self._watch.wake()) or self._is_closed:
            self._lose_queued(NOT_RUN)

    def _lose_queued(self, why: str) -> None:
        for queue in (self._new, self._awaited, *list(self._lines.values())):
            _lose_all(queue, why)

    def _find_first_pending(self) -> JudgedCall | None:
        while True:
            with suppress(RuntimeError):  # the dict changed during iteration
                return next(iter(self._pending.values()), None)

    def _wait(self, awaitable: "Awaitable[object]", timeout_s: float) -> object:
        return self._open_loop().wait(awaitable, timeout_s, is_worker=True)

    def _open_loop(self) -> "loop.JudgeLoop":
        return self._loops.get(None) or self._loops.setdefault(None, loop.JudgeLoop())

    # Called on a judge's thread.

    def _serve(self) -> None:
        try:
            while not self._is_closed and (turn := self._turns.get()) is not None:
                try:
                    self._take(turn)
                finally:
                    self._give_back(turn)
                    del turn  # otherwise its values stay alive until the next turn
        except BaseException:  # an exception that ends the thread from outside
            self._give_back(None)
            raise

    def _take(self, turn: _Turn) -> None:
        ends_at = time.monotonic() + _TURN_S
        goes_on = True
        while goes_on:
            job, _ = turn.work
            is_run = False
            with quiet("judge pool"):
                job.run()
                is_run = True
            if not is_run:
                job.give_up(NOT_RUN)
            if isinstance(job, Part) and job.judged.is_released:
                self._pending.pop(id(job.judged), None)
            now = time.monotonic()
            goes_on = now < ends_at and not self._is_closed and turn.take_next(now)

    def _give_back(self, turn: _Turn | None) -> None:
        self._back.append(turn)
        if self._watch.is_asleep:
            self._watch.wake()

    # Called on the watch's thread.

    def _run(self) -> None:
        while not self._watch.is_stopping:
            is_due = False
            with quiet("judge pool"):
                is_due = self._run_round()
            if not is_due:
                self._watch.rest(self._has_news, self._find_time_left())

    def _has_news(self) -> bool:
        return bool(self._new or self._awaited or self._back)

    def _run_round(self) -> bool:
        """Do one round of the pool's work. Returns whether the next round is due immediately."""
        self._take_back()
        self._fill_threads()
        self._line_up()
        if self._hanging or self._all_hang:
            self._lose_stuck()
        self._give_turns()
        # One at a time, so that releasing many runs does not delay the judges' turns.
        if self._let_first_go() or self._leave_first():
            return True
        while self._drains and not self.waiting:
            self._drains.popleft().put(None)
        return False

    def _take_back(self) -> None:
        while self._back:
            turn = self._back[0]
            if turn is None:
                self._live -= 1
            else:
                self._end(turn)
            self._back.popleft()

    def _end(self, turn: _Turn) -> None:
        job, _ = turn.work
        if turn.is_put_back:
            self._awaited.append(job)
        if not turn.hangs:
            del self._running[id(turn)]
            _count_down(self._at_work, job.judge)
            return
        _count_down(self._hanging, job.judge)
        if self._live < self._workers:
            self._live += 1
        else:
            self._turns.put(None)  # its replacement already runs

    def _fill_threads(self) -> None:
        """Start threads up to the limits, including replacements for hanging ones."""
        while self._live < self._workers and self._hanging.total() <= _HANGING:
            try:
                start_detached(
                    threading.Thread(target=self._serve, name="otel-ml-judge", daemon=True)
                )
            except RuntimeError:  # the process is ending, or cannot start more threads
                break
            self._live += 1
        self._all_hang = not self._live

    def _line_up(self) -> None:
        # Add each job to its line before it leaves the queue, so that every count includes it.
        while self._new:
            job = self._new[0]
            self._lines.setdefault(job.judge, deque()).append(job)
            self._new.popleft()
        while self._awaited:
            job = self._awaited[0]
            line = self._lines.get(job.judge, deque())
            line.appendleft(job)
            self._lines = {job.judge: line, **self._lines}
            self._awaited.popleft()

    def _lose_stuck(self) -> None:
        """Give up jobs that wait for hanging threads."""
        self._in_hand += 1
        try:
            for judge, line in self._lines.items():
                if self._all_hang or self._is_stuck(judge):
                    _lose_all(line, _HANGS)
        finally:
            self._in_hand -= 1

    def _give_turns(self) -> None:
        """Assign threads to the judges in turn, so that a slow judge blocks no other."""
        while len(self._running) < self._live and (judge := self._find_next()) is not None:
            line = self._lines[judge]
            self._in_hand += 1
            with suppress(IndexError):  # a thread has taken the last job
                turn = _Turn(line, (line.popleft(), time.monotonic() + judge.timeout_s + _LATE_S))
                self._running[id(turn)] = turn
                self._at_work[judge] += 1
                self._turns.put(turn)
            self._in_hand -= 1
            others = {
                name: jobs for name, jobs in self._lines.items() if jobs and name is not judge
            }
            self._lines = {**others, judge: line} if line else others

    def _find_next(self) -> "Judge | None":
        for judge, line in self._lines.items():
            at_work = self._at_work[judge]
            is_let = at_work + self._hanging[judge] < self._most_hanging
            if line and at_work < self._at_once and is_let:
                return judge
        return None

    def _let_first_go(self) -> bool:
        """Send the run that has waited longest for its judges, if its time is over."""
        judged = self._find_first_pending()
        if judged is None or judged.deadline > time.monotonic():
            return False
        self._in_hand += 1
        try:
            self._pending.pop(id(judged), None)
            judged.let_go()
        finally:
            self._in_hand -= 1
        return True

    def _leave_first(self) -> bool:
        """Abandon a hanging thread. Its judge's later result is ignored."""
        turn = min(self._running.values(), key=lambda turn: turn.work[1], default=None)
        now = time.monotonic()
        if turn is None or turn.work[1] > now:
            return False
        turn.hangs = True
        job, deadline = turn.work
        if deadline > now:  # the thread has just moved on to another job
            turn.hangs = False
            return True
        self._in_hand += 1
        try:
            del self._running[id(turn)]
            _count_down(self._at_work, job.judge)
            self._hanging[job.judge] += 1
            self._live -= 1
            self._fill_threads()
            problem = JudgeTimedOut(job.judge.timeout_s)
            report("judge hangs", problem)
            job.give_up(str(problem))
            self._lose_stuck()
        finally:
            self._in_hand -= 1
        return True

    def _find_time_left(self) -> float | None:
        deadlines = [turn.work[1] for turn in self._running.values()]
        first = self._find_first_pending()
        if first is not None:
            deadlines.append(first.deadline)
        return max(min(deadlines) - time.monotonic(), 0.0) if deadlines else None


def _lose(job: JudgeJob, why: str) -> None:
    report("judge lost", JudgeError(why))
    job.give_up(why)


def _lose_all(queue: deque[JudgeJob], why: str) -> None:
    with suppress(IndexError):
        while True:
            _lose(queue.popleft(), why)


def _count_down(counter: "Counter[Judge]", judge: "Judge") -> None:
    counter[judge] -= 1
    if not counter[judge]:
        del counter[judge]  # keeps no reference to a judge that is no longer used


_OF_PARENTS: Final["list[loop.JudgeLoop]"] = []
_POOLS: Final = renew_each_in_child(JudgePool.start)
