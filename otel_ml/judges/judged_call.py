"""A finished call that waits for its judges, and the part that each of them has in it."""

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
    """Say of judges why there is no score of theirs."""
    return [Judgement(judge.name, _version(judge), error=why) for judge in judges]


def _version(judge: Judge) -> str:
    with quiet("judge definition"):  # the source of a rubric that cannot be read now, maybe later
        return judge.version
    return ""


@dataclass(slots=True, eq=False)
class JudgedCall:
    """A finished call that waits for its judges.

    Attributes:
        judges: Each judge once.
        run_id: Of the run that is judged; empty where it is not known.
        more: Further values that rubrics may name, see `Judge.steps`.
        release: Called once, with the evaluations that came in time, in the order of `judges`.
        late: Called for each evaluation that came after `release`.
        deadline: When it is let go at the latest, on the monotonic clock.
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
    # A finalizer may judge while this thread holds it.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._open = set(self.judges)

    def settle(self, judge: Judge, evaluation: Judgement) -> None:
        """Take a judge's first result; later results are thrown away."""
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
        """Say of each judge that has not spoken that it is lost, and let the run go."""
        if self._open:
            for judge, evaluation in zip(self.judges, lost(self.judges, why), strict=True):
                self.settle(judge, evaluation)
        self.let_go()

    def judge_here(self, wait: Wait) -> None:
        """Let all judges speak on this thread, which is the host's, and hand the run over.

        What is raised is the judge's error and the call returns as without it, but for what is
        meant for the host: a KeyboardInterrupt, and what a handler of a signal raises meanwhile.
        """
        try:
            for judge in self.judges:
                # In a context of its own: wherever a limit strikes, no mark stays in the host's.
                self.settle(judge, copy_context().run(self._judge_here, judge, wait))
        finally:
            self.lose(INTERRUPTED)

    def _judge_here(self, judge: Judge, wait: Wait) -> Judgement:
        MARKS.set({**(MARKS.get() or {}), **self._marks(judge)})  # the context ends with the judge
        steps = judge.steps(self.inputs, self.outputs, self.more)
        return drive(steps, wait, judge.timeout_s, _is_of_host)

    def marking(self, judge: Judge) -> AbstractContextManager[None]:
        """Mark the calls that are traced meanwhile, in this context, as those of a judge."""
        return marking(self._marks(judge))

    def _marks(self, judge: Judge) -> dict[str, str]:
        marks = {names.JUDGING: judge.name}
        if version := _version(judge):
            marks[names.JUDGING_VERSION] = version
        if self.run_id:
            marks[names.JUDGING_RUN] = self.run_id
        return marks

    def let_go(self) -> None:
        """Hand the run over with the results until now. A second call does nothing."""
        is_ours = is_done = False
        try:
            with self._lock:
                if self.is_released:
                    return
                is_ours = self.is_released = True
            self.release(self._evaluations())
            is_done = True
        finally:
            if is_ours and not is_done:  # a handler of a signal raised: what it broke off is done
                self.release(self._evaluations())

    def _evaluations(self) -> tuple[Judgement, ...]:
        return tuple(self._done[judge] for judge in self.judges if judge in self._done)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A judge's work at a call, as a job of the pool."""

    judge: Judge
    judged: JudgedCall
    wait: Wait

    def run(self) -> None:
        """Judge on this thread."""
        steps = self.judge.steps(self.judged.inputs, self.judged.outputs, self.judged.more)
        with self.judged.marking(self.judge):
            judgement = drive(steps, self.wait, self.judge.timeout_s)
        self.judged.settle(self.judge, judgement)

    def give_up(self, error: str) -> None:
        """Settle the judge without a score, with the reason; its later results are thrown away."""
        self.judged.settle(self.judge, *lost([self.judge], error))


def _is_of_host(problem: BaseException) -> bool:
    """Tell whether a rubric on the host's thread was interrupted by the host."""
    return isinstance(problem, KeyboardInterrupt) or is_of_signal(problem)
