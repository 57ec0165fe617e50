"""The line before the judges' threads: each judge in its turn."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from otel_ml import Judge
from otel_ml.judges.pool import JudgeQueue

JUDGES = [Judge(name, "", lambda: 1) for name in "abc"]


@dataclass(frozen=True, eq=False)
class Job:
    judge: Judge
    number: int

    def run(self) -> None: ...

    def give_up(self, error: str) -> None: ...


def jobs(names: str) -> list[Job]:
    return [Job(JUDGES["abc".index(name)], number) for number, name in enumerate(names)]


def taken(queue: JudgeQueue) -> str:
    found = ""
    while (job := queue.take()) is not None:
        found += f"{job.judge.name}{job.number if isinstance(job, Job) else ''} "
        queue.done(job.judge)
    return found.strip()


def test_judges_take_turns() -> None:
    """A judge with many calls is taken in turn with one that has few."""
    queue = JudgeQueue(1, 4)
    for job in jobs("aaaab"):
        queue.put(job)
    assert taken(queue) == "a0 b4 a1 a2 a3"


def test_judge_has_a_bound_at_work() -> None:
    """Beyond its bound a judge's jobs wait, and those of another one do not."""
    queue = JudgeQueue(2, 4)
    first, second, third, other = jobs("aaab")
    for job in (first, second, third, other):
        queue.put(job)
    assert [queue.take(), queue.take(), queue.take(), queue.take()] == [first, other, second, None]
    queue.done(first.judge)
    assert queue.take() is third


def test_job_that_is_waited_for_comes_first() -> None:
    """A job that somebody waits for comes before all others."""
    queue = JudgeQueue(9, 9)
    for job in jobs("aba"):
        queue.put(job)
    queue.put_first(Job(JUDGES[2], 7))
    queue.put_first(Job(JUDGES[1], 8))
    assert taken(queue) == "b8 c7 a0 b1 a2"


@given(st.text("abc", max_size=30), st.integers(1, 4))
def test_nothing_is_left_out(names: str, at_once: int) -> None:
    """Every job is taken once, those of one judge in their order."""
    queue = JudgeQueue(at_once, 4)
    given_jobs = jobs(names)
    for job in given_jobs:
        queue.put(job)
    assert len(queue) == len(names)
    found = taken(queue).split()
    assert len(queue) == 0
    for name in "abc":
        own = [f"{name}{job.number}" for job in given_jobs if job.judge.name == name]
        assert [item for item in found if item.startswith(name)] == own


@given(st.text("abc", max_size=30))
def test_a_judge_s_line_can_be_taken_away(names: str) -> None:
    """What waits for one judge can be taken away; the rest stays, and can be taken, too."""
    queue = JudgeQueue(1, 4)
    given_jobs = jobs(names)
    for job in given_jobs:
        queue.put(job)
    assert queue.remove(JUDGES[0]) == [job for job in given_jobs if job.judge is JUDGES[0]]
    assert len(queue) == len([job for job in given_jobs if job.judge is not JUDGES[0]])
    rest = queue.clear()
    assert {job for job in given_jobs if job.judge is not JUDGES[0]} == set(rest)
    assert (len(queue), queue.take()) == (0, None)


def test_hanging_jobs_are_bounded() -> None:
    """Of one judge no more jobs hang than may, those at work counted in."""
    queue = JudgeQueue(2, 2)
    first, second, third, other = jobs("aaab")
    for job in (first, second, third):
        queue.put(job)
    assert queue.take() is first
    queue.leave(first.judge)
    assert (queue.hanging, queue.is_stuck(first.judge)) == (1, False)
    assert [queue.take(), queue.take()] == [second, None]
    queue.leave(first.judge)
    assert (queue.take(), queue.is_stuck(first.judge)) == (None, True)
    queue.put(other)
    assert queue.take() is other
    queue.come_back(first.judge)
    assert queue.take() is third
