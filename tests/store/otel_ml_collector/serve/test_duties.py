"""Background jobs: a failing job does not stop the others."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_ml_collector.access import READ, Access
from otel_ml_collector.background import AfterWrites, BackgroundJob
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.serve.app import open_collector
from otel_ml_collector.serve.jobs import Lane, make_lanes, running
from otel_ml_collector.settings.sources import load
from otel_ml_collector.store.keys import KeyStore
from otel_ml_collector.store.sql import Sql


class Seconds:
    """A clock that is set by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(lane: Lane) -> float:
    """Run the jobs that are due; return the seconds until the next one."""
    if lane.skip_idle():
        lane.run()
    return lane.next_s()


def test_each_in_its_time() -> None:
    """Jobs run in order when they are due, and the lane knows the next time."""
    clock, done = Seconds(), list[str]()
    lane = Lane(
        BackgroundJob(lambda: done.append("often"), 60, ""),
        BackgroundJob(lambda: done.append("seldom"), 3_600, ""),
        BackgroundJob(lambda: done.append("later"), 100, "", first_s=100),
        clock=clock,
    )
    assert (run(lane), done) == (60, ["often", "seldom"])
    clock.now = 60
    assert (run(lane), done[2:]) == (40, ["often"])
    clock.now = 100
    assert (run(lane), done[3:]) == (20, ["later"])


def test_a_failure_stays_due(caplog: pytest.LogCaptureFixture) -> None:
    """A failed job is logged, tried again after a minute, and does not stop other jobs."""
    clock, done = Seconds(), list[str]()
    rooms: list[str] = []

    def fail() -> None:
        done.append(rooms[0])

    lane = Lane(
        BackgroundJob(fail, 3_600, "It was not done"),
        BackgroundJob(lambda: done.append("other"), 3_600, ""),
        clock=clock,
    )
    assert (run(lane), done) == (60, ["other"])
    assert caplog.messages == ["It was not done: list index out of range"]
    rooms.append("first")
    clock.now = 60
    assert (run(lane), done) == (3_540, ["other", "first"])


def test_no_work() -> None:
    """A job without work is skipped without a thread, and is checked again when it is due."""
    clock, done, waiting = Seconds(), list[str](), list[str]()
    lane = Lane(
        BackgroundJob(lambda: done.append("pending"), 1, "", has_work=lambda: bool(waiting)),
        BackgroundJob(lambda: done.append("always"), 60, ""),
        clock=clock,
    )
    assert (run(lane), done) == (1, ["always"])
    clock.now = 1
    assert (lane.skip_idle(), lane.next_s(), done) == (False, 1, ["always"])
    waiting.append("call")
    clock.now = 2
    assert (run(lane), done) == (1, ["always", "pending"])


def test_after_writes() -> None:
    """A job over stored data runs each time while the store changes, otherwise once an hour."""
    clock, is_changing = Seconds(), [True]
    done = list[float]()
    lane = Lane(
        BackgroundJob(
            lambda: done.append(clock.now),
            30,
            "",
            has_work=AfterWrites(lambda: is_changing[0], 3_600, clock),
        ),
        clock=clock,
    )
    for now_s in range(0, 4_000, 30):
        clock.now = now_s
        is_changing[0] = now_s < 60
        run(lane)
    assert done == [0, 30, 3_630]


def test_end(caplog: pytest.LogCaptureFixture) -> None:
    """A lane that ends starts no further job, and does not report a failure of the current job."""
    done = list[str]()

    def fail() -> None:
        lane.end()
        raise Unavailable("The collector is shutting down")

    lane = Lane(
        BackgroundJob(fail, 60, "It was not done"),
        BackgroundJob(lambda: done.append("next"), 60, ""),
        clock=Seconds(),
    )
    lane.run()
    assert (done, caplog.messages) == ([], [])


def test_closing_ends_jobs(tmp_path: Path) -> None:
    """A job that runs one statement after another ends when the collector closes."""
    collector = open_collector(load({"data_dir": str(tmp_path)}, {}, None))
    client, has_begun = collector.connections.open(), threading.Event()

    def count_for_ever() -> None:
        while True:
            client.query(Sql("SELECT 1"))
            has_begun.set()

    jobs = ThreadPoolExecutor()
    job = jobs.submit(count_for_ever)
    assert has_begun.wait(20)
    collector.close(jobs)
    with pytest.raises(Unavailable, match="shutting down"):
        job.result(0)


def test_lanes_do_not_wait_for_each_other() -> None:
    """A lane continues while another is busy, and none continues after the block."""
    again, go_on = threading.Event(), threading.Event()
    times = 0

    def count() -> None:
        nonlocal times
        times += 1
        if times == 3:
            again.set()

    async def story() -> None:
        lanes = (
            Lane(BackgroundJob(lambda: go_on.wait(20), 1, "")),
            Lane(BackgroundJob(count, 0.001, "")),
        )
        with ThreadPoolExecutor() as jobs, running(lanes, jobs):
            assert await asyncio.to_thread(again.wait, 20)
            assert not go_on.is_set()
            go_on.set()
        assert {task.cancelling() for task in asyncio.all_tasks() - {asyncio.current_task()}} == {1}

    asyncio.run(story())


def test_duties_of_a_collector(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key revoked elsewhere stops working within a minute; a healthy store logs no warning."""
    caplog.set_level(logging.WARNING)
    collector, clock = open_collector(load({"data_dir": str(tmp_path)}, {}, None)), Seconds()
    try:
        lanes = make_lanes(collector, clock)
        made = collector.keyring.add(Access("", "", frozenset({READ}), None))
        Keyring(KeyStore(collector.connections)).revoke(made.key.access.key_id)
        for now_s, is_valid in ((0.0, True), (60.0, False), (86_400.0, False)):
            clock.now = now_s
            for lane in lanes:
                run(lane)
            assert (collector.keyring.find_key(made.text) is not None) == is_valid
    finally:
        collector.close()
    # The SDK of another test may still be sending.
    logged = [record for record in caplog.records if record.name.startswith("otel_ml_collector")]
    assert logged == []
