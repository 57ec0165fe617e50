"""Many threads, judges of every kind and an early close: no call and no judge is lost."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from otel_ml import Judge
from otel_ml.judges.judge import Judgement
from otel_ml.judges.judged_call import JudgedCall
from otel_ml.judges.pool import JudgePool
from tests.support.waiting import elapsed, run_other_tasks, wait_until

WAIT_S = 30
THREADS = 8
CALLS = 150


class Words:
    """Counts how often each call was released, and the judgements of each judge."""

    def __init__(self) -> None:
        self.released: Counter[int] = Counter()
        self.said: Counter[tuple[int, str]] = Counter()
        self._lock = threading.Lock()

    def call(self, number: int, judges: Sequence[Judge]) -> JudgedCall:
        def release(judgements: Sequence[Judgement]) -> None:
            with self._lock:
                self.released[number] += 1
                self.said.update((number, one.judge) for one in judgements)

        def late(judgement: Judgement) -> None:
            with self._lock:
                self.said[number, judgement.judge] += 1

        return JudgedCall(judges, {}, number, release, late)


def at_once(outputs: int) -> float:
    return outputs


def failing(outputs: int) -> float:
    raise ValueError(outputs)


def exiting(outputs: int) -> float:
    raise SystemExit(outputs)


def slow(outputs: int) -> float:
    wait_until(elapsed(0.002))
    return 1.0


def now_and_then_hanging(outputs: int) -> float:
    if outputs % 50 == 0:
        # Longer than the timeout plus half a second, so its thread is abandoned.
        wait_until(elapsed(0.7))
    return 1.0


async def awaited(outputs: int) -> float:
    await run_other_tasks()
    return 1.0


RUBRICS: Sequence[Callable[..., Any]] = (
    *(at_once, failing, exiting, slow, now_and_then_hanging, awaited),
)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Switch threads after every few steps, so that races can occur anywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("is_closed_early", [False, True], ids=["drained", "closed meanwhile"])
def test_each_judge_speaks_once_of_each_call(is_closed_early: bool) -> None:
    """In any race, each call is released once and has one judgement of each judge."""
    pool, words = JudgePool(hold_s=0.005), Words()
    judges = [Judge(rubric.__name__, "", rubric, timeout_s=0.1) for rubric in RUBRICS]
    wanted: Counter[tuple[int, str]] = Counter()
    together = threading.Barrier(THREADS + 1)

    def submit(first: int) -> None:
        together.wait(WAIT_S)
        for number in range(first, first + CALLS):
            asked = (judges * 2)[number % 6 :][: 1 + number % 3]
            wanted.update((number, judge.name) for judge in asked)
            pool.submit(words.call(number, asked))

    threads = [threading.Thread(target=submit, args=[n * CALLS]) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    together.wait(WAIT_S)
    if is_closed_early:
        pool.close(0.05)
    for thread in threads:
        thread.join(WAIT_S)
    assert is_closed_early or pool.drain(WAIT_S)
    pool.close()
    assert words.released == Counter(range(THREADS * CALLS))
    assert words.said == wanted
    assert pool.waiting == 0 or is_closed_early
