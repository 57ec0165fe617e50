"""Judges that never finish have an error and no score, and do not delay other judges."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_ml import Judge
from otel_ml.errors import trouble
from otel_ml.judges.judge import Judgement
from otel_ml.judges.judged_call import JudgedCall
from otel_ml.judges.pool import JudgePool
from tests.support.otel_ml.recording import Recording, attributes, judged
from tests.support.waiting import async_wait_until, elapsed, run_other_tasks, wait_until

WAIT_S = 20
SHORT_S = 0.02
TIMED_OUT = "timed out after 0.02 s"
HANGS = "lost: too many runs of the judge hang"


class Hanging:
    """A rubric that hangs until the test is over, and counts who is in it."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.entered = threading.Semaphore(0)
        self.left = threading.Semaphore(0)

    def __call__(self) -> float:
        self.entered.release()
        assert self.over.wait(60)
        self.left.release()
        return 1.0


class Said(list[Judgement]):
    """The judgements of calls, in time or late."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def call(self, *judges: Judge) -> JudgedCall:
        return JudgedCall(judges, {}, "output", self.release, self.append)

    def release(self, evaluations: Any) -> None:
        self.runs += 1
        self.extend(evaluations)

    @property
    def errors(self) -> list[str | None]:
        return [evaluation.error for evaluation in self]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self) >= count, WAIT_S)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.over.set()


@pytest.fixture
def pool() -> Iterator[JudgePool]:
    """Yield a pool that keeps runs pending until their judges finish."""
    pool = JudgePool(hold_s=60)
    yield pool
    pool.close(0)


def judge(rubric: Callable[..., Any], timeout_s: float = SHORT_S, name: str = "any") -> Judge:
    return Judge(name, "", rubric, lambda score: True, timeout_s=timeout_s)


def _loops() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "judge-loop" in thread.name}


def fast(name: str = "fast") -> Judge:
    return judge(lambda: 1, 60, name)


def test_hanging_rubric_is_an_error(recording: Recording, hanging: Hanging) -> None:
    """A rubric that hangs records an error for its run, but no score and no pass."""
    recording.client.assess(judge(hanging))(lambda: 1)()
    assert recording.client.flush(WAIT_S)
    [run], [*records] = recording.runs(), recording.records("evaluation")
    details = judged(run) if "otel_ml.judges" in attributes(run) else {}
    errors = [detail["error"] for detail in details.values()]
    assert errors + [attributes(record)["error.type"] for record in records] == [TIMED_OUT]
    for span in (run, *records):
        assert [key for key in attributes(span) if "score" in key or "passed" in key] == []


def test_late_answer_is_thrown_away(pool: JudgePool, hanging: Hanging) -> None:
    """An answer of a rubric after its timeout is discarded."""
    said = Said()
    pool.submit(said.call(judge(hanging)))
    said.wait_for(1)
    hanging.over.set()
    assert hanging.left.acquire(timeout=WAIT_S)
    pool.submit(said.call(fast()))
    assert pool.drain(WAIT_S)
    assert [(item.judge, item.score, item.error) for item in said] == [
        ("any", None, TIMED_OUT),
        ("fast", 1.0, None),
    ]


def test_slow_rubric_is_an_error(pool: JudgePool) -> None:
    """A rubric that returns after its timeout has an error, too."""
    said = Said()

    def rubric() -> float:
        wait_until(elapsed(2 * SHORT_S))
        return 1.0

    pool.submit(said.call(judge(rubric)))
    said.wait_for(1)
    assert said.errors == [TIMED_OUT]


def test_hanging_thread_is_replaced(hanging: Hanging) -> None:
    """Other judges run even if a rubric hangs on the only thread."""
    pool, said = JudgePool(hold_s=60, workers=1), Said()
    before = trouble().get("judge hangs", 0)
    pool.submit(said.call(judge(hanging)))
    pool.submit(said.call(fast()))
    said.wait_for(2)
    assert [item.error for item in said] == [TIMED_OUT, None]
    assert trouble()["judge hangs"] == before + 1
    pool.close(0)


def test_four_may_hang_in_one_judge(pool: JudgePool, hanging: Hanging) -> None:
    """If four threads hang in a judge, its calls are lost and counted; other judges run."""
    said, others = Said(), Said()
    before = trouble().get("judge lost", 0)
    slow = judge(hanging)
    for _ in range(10):
        pool.submit(said.call(slow))
    said.wait_for(10)
    assert sorted(map(str, said.errors)) == sorted([TIMED_OUT] * 4 + [HANGS] * 6)
    pool.submit(said.call(slow))
    assert said.errors[-1] == HANGS
    assert trouble()["judge lost"] == before + 7
    pool.submit(others.call(fast(), slow))
    others.wait_for(2)
    assert [(item.judge, item.score, item.error) for item in others] == [
        ("fast", 1.0, None),
        ("any", None, HANGS),
    ]


def test_judge_that_comes_back_is_asked_again(pool: JudgePool, hanging: Hanging) -> None:
    """The calls of a judge are lost only while its threads hang."""
    said = Said()
    slow = judge(hanging)
    for _ in range(4):
        pool.submit(said.call(slow))
    said.wait_for(4)
    hanging.over.set()

    def is_heard() -> bool:
        pool.submit(said.call(slow))
        pool.drain(WAIT_S)
        return said[-1].score == 1.0

    wait_until(is_heard, WAIT_S)


def test_too_many_hanging_threads_lose_all(pool: JudgePool, hanging: Hanging) -> None:
    """If 20 threads hang, the calls of all judges are lost until those threads return."""
    said, others = Said(), Said()
    for number in range(5):
        slow = judge(hanging, name=str(number))
        for _ in range(4):
            pool.submit(said.call(slow))
    said.wait_for(20)
    assert said.errors == [TIMED_OUT] * 20
    pool.submit(others.call(fast()))
    assert others.errors == [HANGS]
    hanging.over.set()

    def is_heard() -> bool:
        pool.submit(others.call(fast()))
        pool.drain(WAIT_S)
        return others[-1].score == 1.0

    wait_until(is_heard, WAIT_S)
    assert said.runs == 20


def test_threads_end_at_their_number(pool: JudgePool, hanging: Hanging) -> None:
    """After hanging threads return, the pool has as many threads as before."""
    said = Said()
    others = {*threading.enumerate()}  # some are of earlier tests and end meanwhile

    def count_own() -> int:
        return len({*threading.enumerate()} - others)

    pool.submit(said.call(fast()))
    said.wait_for(1)
    before = count_own()
    slow = judge(hanging)
    for _ in range(4):
        pool.submit(said.call(slow))
    said.wait_for(5)
    assert count_own() == before + 4 > 4
    hanging.over.set()
    wait_until(lambda: count_own() == before, WAIT_S)


def test_slow_judge_stops_no_other(pool: JudgePool, hanging: Hanging) -> None:
    """A judge with a hundred queued calls does not delay the call of another judge."""
    slow_said, said = Said(), Said()
    slow = judge(hanging, 60)
    for _ in range(100):
        pool.submit(slow_said.call(slow))
    pool.submit(said.call(fast()))
    said.wait_for(1)
    assert (said[0].score, len(slow_said)) == (1.0, 0)
    hanging.over.set()
    slow_said.wait_for(100)


def test_slow_judge_stops_none_of_its_own_call(pool: JudgePool, hanging: Hanging) -> None:
    """The fast judge of a call runs while the slow judge of the same call is running."""
    heard = threading.Event()

    def rubric() -> float:
        heard.set()
        return 1.0

    said = Said()
    pool.submit(said.call(judge(hanging, 60), judge(rubric, 60, "fast")))
    assert heard.wait(WAIT_S)
    assert said == []
    hanging.over.set()
    said.wait_for(2)
    assert [item.judge for item in said] == ["any", "fast"]


def test_async_rubric_is_cancelled(pool: JudgePool) -> None:
    """An async rubric that never ends is cancelled, and its thread runs other judges."""
    stopped, said = threading.Event(), Said()

    async def rubric() -> float:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return 1.0

    before = trouble().get("judge hangs", 0)
    for _ in range(6):
        pool.submit(said.call(judge(rubric, 0.5)))  # long enough to begin on a busy machine
    said.wait_for(6)
    assert said.errors == ["timed out after 0.5 s"] * 6
    assert stopped.wait(WAIT_S)
    assert trouble().get("judge hangs", 0) == before


@pytest.mark.parametrize("blocks", [False, True], ids=["is not cancelled", "blocks its loop"])
def test_stubborn_async_rubric_stops_no_other(pool: JudgePool, blocks: bool) -> None:
    """An async rubric that blocks its loop or resists cancellation is left with its loop."""
    over, said, others = threading.Event(), Said(), _loops()

    async def stubborn() -> float:
        while not over.is_set():
            try:
                await async_wait_until(over.is_set, WAIT_S)
            except asyncio.CancelledError:
                continue
        return 1.0

    async def blocking() -> float:
        over.wait(60)
        return 1.0

    async def good() -> float:
        await run_other_tasks()
        return 0.5

    rubric = blocking if blocks else stubborn
    slow = judge(rubric)
    for _ in range(5):
        pool.submit(said.call(slow))
    said.wait_for(5)
    pool.submit(said.call(judge(good, 60, "good")))
    said.wait_for(6)
    assert (said[-1].score, said[-1].error) == (0.5, None)
    assert TIMED_OUT in said.errors
    over.set()
    wait_until(lambda: len(_loops() - others) <= 1, WAIT_S)


def test_blocked_loop_is_not_the_others_fault(pool: JudgePool) -> None:
    """Judges on a loop that another judge blocks time out, but do not count as hanging."""
    over, said = threading.Event(), Said()
    good = judge(later_half, name="good")
    for number in (1, 2):
        entered = threading.Event()

        async def blocking(entered: threading.Event = entered) -> float:
            entered.set()
            over.wait(60)
            return 1.0

        pool.submit(said.call(judge(blocking, name="blocking")))
        assert entered.wait(WAIT_S)
        for _ in range(3):
            pool.submit(said.call(good))
        said.wait_for(4 * number)
    assert said.errors.count(TIMED_OUT) >= 6  # a judge that starts later may run on a new loop
    patient = judge(later_half, 60, "good")
    pool.submit(said.call(patient))
    pool.submit(said.call(good))
    said.wait_for(10)
    assert HANGS not in said.errors
    assert 0.5 in [item.score for item in said]
    over.set()


async def later_half() -> float:
    await run_other_tasks()
    return 0.5
