"""The id of a process, and the numbers of its records."""

import re
from concurrent.futures import ThreadPoolExecutor

from otel_ml.process import PROCESS, Process


def test_process_has_a_short_id() -> None:
    """A process id is 8 hex digits."""
    assert re.fullmatch("[0-9a-f]{8}", PROCESS.id)


def test_processes_differ() -> None:
    """Two processes have different ids."""
    assert len({Process().id for _ in range(50)}) == 50


def test_numbers_begin_at_1_in_each_project() -> None:
    """Numbers of each project start at 1 and count on across callers."""
    process = Process()
    assert [next(process.count_of("a")) for _ in range(3)] == [1, 2, 3]
    assert next(process.count_of("b")) == 1
    assert next(process.count_of("a")) == 4


def test_threads_take_each_number_once() -> None:
    """Threads that take numbers of one project leave no gap and no duplicate."""
    process = Process()

    def take(_: int) -> list[int]:
        return [next(process.count_of("a")) for _ in range(2_000)]

    with ThreadPoolExecutor(4) as pool:
        taken = [number for numbers in pool.map(take, range(4)) for number in numbers]
    assert sorted(taken) == list(range(1, 8_001))


def test_renewed_process_is_another() -> None:
    """`renew` gives a process another id and restarts its numbers at 1."""
    process = Process()
    before = process.id
    next(process.count_of("a"))
    process.renew()
    assert process.id != before
    assert next(process.count_of("a")) == 1
