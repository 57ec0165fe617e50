"""What waits for a judge's thread: each judge in its turn, so that a slow one stops no other."""

from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from otel_ml.judges.judge import Judge


class Job(Protocol):
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
        self._new: deque[Job] = deque()
        self._lines: dict[Judge, deque[Job]] = {}
        self._at_work: Counter[Judge] = Counter()
        self._hanging: Counter[Judge] = Counter()

    def __len__(self) -> int:
        return len(self._new) + sum(map(len, self._lines.values()))

    def put(self, job: Job) -> None:
        """Add a job at the end of its judge's line. Also from within any other method."""
        self._new.append(job)

    def put_first(self, job: Job) -> None:
        """Add a job that somebody waits for: it comes before all others."""
        self._line_up()
        line = self._lines.pop(job.judge, deque())
        line.appendleft(job)
        self._lines = {job.judge: line, **self._lines}

    def take(self) -> Job | None:
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

    def remove(self, judge: "Judge") -> list[Job]:
        """Take all that waits for one judge."""
        self._line_up()
        return list(self._lines.pop(judge, ()))

    def clear(self) -> list[Job]:
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
