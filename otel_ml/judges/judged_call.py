"""A finished call that waits for the scores of its judges."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

from otel_ml import attributes as names
from otel_ml.errors import is_of_signal, quiet
from otel_ml.judges.judge import Judge, Judgement
from otel_ml.judges.steps import Wait, drive
from otel_ml.process import MARKS, marking

NOT_RUN: Final = "lost: the judge was not run"
INTERRUPTED: Final = "lost: the call was interrupted"

Release = Callable[[Sequence[Judgement]], None]
Late = Callable[[Judgement], None]


def lost(judges: Sequence[Judge], why: str) -> list[Judgement]:
    """Return an error result for each judge that was not called. The error gives the reason."""
    return [Judgement(judge.name, _version(judge), error=why) for judge in judges]


def _version(judge: Judge) -> str:
    with quiet("judge definition"):  # the source may be unreadable now and readable later
        return judge.version
    return ""


@dataclass(slots=True, eq=False)
class JudgedCall:
    """A finished call that waits for its judges. Its run is sent together with their scores.

    Attributes:
        judges: The judges, each one once.
        run_id: Id of the run. Empty if unknown.
        more: Further values that a judge's scoring function can take as parameters: ``expected``,
            ``item``, ``baseline``.
        release: Function that sends the run. It is called once, with the scores that are available
            then, in the order of `judges`.
        late: Function that sends a score which became available after the run was sent.
        deadline: When to send the run at the latest, as a value of `time.monotonic`.
    """

    judges: Sequence[Judge]
    inputs: Mapping[str, object]
    outputs: object
    release: Release
    late: Late
    run_id: str = ""
    more: Mapping[str, object] = field(default_factory=dict)
    deadline: float = 0.0
    is_released: bool = False
    _done: dict[Judge, Judgement] = field(default_factory=dict)
    _open: set[Judge] = field(init=False)
    # Reentrant: a finalizer may run a judge while this thread holds the lock.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._open = set(self.judges)

    def set_result(self, judge: Judge, evaluation: Judgement) -> None:
        """Set the result of a judge. If this was the last judge, send the run.

        A second result of the same judge is ignored.
        """
        with self._lock:
            if judge not in self._open:
                return
            is_late = self.is_released
            if not is_late:
                self._done[judge] = evaluation
            self._open.remove(judge)
            is_last = not self._open
        if is_late:
            self.late(evaluation)
        elif is_last:
            self.let_go()

    def lose(self, why: str = NOT_RUN) -> None:
        """Set an error result for each judge without a score, and send the run."""
        if self._open:
            for judge, evaluation in zip(self.judges, lost(self.judges, why), strict=True):
                self.set_result(judge, evaluation)
        self.let_go()

    def judge_here(self, wait: Wait) -> None:
        """Call all judges on this thread, then send the run.

        If a judge raises an error, its result is that error, and the other judges are still called.
        Only KeyboardInterrupt and exceptions of signal handlers are raised.

        Args:
            wait: Function that waits for the result of an async judge.
        """
        try:
            for judge in self.judges:
                # In its own context, so that no mark is left in the host's if a signal interrupts.
                self.set_result(judge, copy_context().run(self._judge_here, judge, wait))
        finally:
            self.lose(INTERRUPTED)

    def _judge_here(self, judge: Judge, wait: Wait) -> Judgement:
        MARKS.set({**(MARKS.get() or {}), **self._marks(judge)})  # the context ends with the judge
        steps = judge.steps(self.inputs, self.outputs, self.more)
        return drive(steps, wait, judge.timeout_s, _is_of_host)

    def marking(self, judge: Judge) -> AbstractContextManager[None]:
        """Mark calls that are traced in this block as made by the judge, not by the app."""
        return marking(self._marks(judge))

    def _marks(self, judge: Judge) -> dict[str, str]:
        marks = {names.JUDGING: judge.name}
        if version := _version(judge):
            marks[names.JUDGING_VERSION] = version
        if self.run_id:
            marks[names.JUDGING_RUN] = self.run_id
        return marks

    def let_go(self) -> None:
        """Send the run with the scores that are available now. A second call does nothing."""
        is_ours = is_done = False
        try:
            with self._lock:
                if self.is_released:
                    return
                is_ours = self.is_released = True
            self.release(self._evaluations())
            is_done = True
        finally:
            if is_ours and not is_done:  # a signal handler interrupted the release: finish it
                self.release(self._evaluations())

    def _evaluations(self) -> tuple[Judgement, ...]:
        return tuple(self._done[judge] for judge in self.judges if judge in self._done)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One judge's work for one call: the job that a thread of the pool runs."""

    judge: Judge
    judged: JudgedCall
    wait: Wait

    def run(self) -> None:
        """Run the judge on this thread and store its result."""
        steps = self.judge.steps(self.judged.inputs, self.judged.outputs, self.judged.more)
        with self.judged.marking(self.judge):
            judgement = drive(steps, self.wait, self.judge.timeout_s)
        self.judged.set_result(self.judge, judgement)

    def give_up(self, error: str) -> None:
        """Store the reason why the judge gave no result. A later result is ignored."""
        self.judged.set_result(self.judge, *lost([self.judge], error))


def _is_of_host(problem: BaseException) -> bool:
    """Return whether an exception on the host's thread is meant for the host."""
    return isinstance(problem, KeyboardInterrupt) or is_of_signal(problem)
