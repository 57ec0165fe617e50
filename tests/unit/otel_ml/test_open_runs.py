"""Runs that have not ended: their start records, and the heartbeats of a process."""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from otel_ml import Client
from otel_ml.recorder import HEARTBEAT_S, OpenRuns
from otel_ml.runs import Run
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    inputs,
    parent_id,
    span_id,
    stable,
)
from tests.support.waiting import async_wait_until, wait_until

LONG_S = 20.0


# Runs opened by hand.


def test_opened_run_is_told_at_once(recording: Recording) -> None:
    """A run opened by hand sends a start record at once, with the data known so far."""
    with recording.client.run("fit", params={"depth": 3}, tags={"day": "monday"}) as run:
        [start] = recording.records("start")
    assert stable(start) == {
        "otel_ml.record": "start",
        "otel_ml.project": "shop",
        "otel_ml.kind": "training",
        "otel_ml.model.name": "fit",
        "otel_ml.params": '{"depth":3}',
        "otel_ml.tag.day": "monday",
        "otel_ml.target.run": run.id,
    }


def test_start_is_a_moment_of_its_run(recording: Recording) -> None:
    """A start record is a child of its run, with no duration and the start time of the run."""
    with recording.client.run("fit"):
        [start] = recording.records("start")
    run = recording.run()
    assert parent_id(start) == span_id(run)
    assert start.start_time == start.end_time == run.start_time


def test_start_names_the_parent(recording: Recording) -> None:
    """The start record of a run inside a run names the outer run's span."""
    with recording.client.run("outer") as outer, recording.client.run("inner"):
        _, inner = recording.records("start")
    assert attributes(inner)["otel_ml.parent_span_id"] == outer.id.partition("-")[2]


def test_start_has_its_own_number(recording: Recording) -> None:
    """A start record and its run have different numbers, so that a lost one is noticed."""
    with recording.client.run("fit"):
        pass
    numbers = [attributes(span)["otel_ml.seq"] for span in recording.spans()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 2


# Long calls.


class Hanging:
    """Calls of all kinds that last until `over` is set, and their start records."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.over = threading.Event()
        self.starts: dict[str, ReadableSpan] = {}
        self._threads: list[threading.Thread] = []

    def run_all(self) -> None:
        client, over = self.recording.client, self.over

        @client.trace(name="call", tags={"day": "monday"})
        def call(question: str) -> str:
            assert over.wait(LONG_S)
            return question

        @client.trace(name="generator")
        def stream() -> Iterator[int]:
            yield 1
            assert over.wait(LONG_S)
            yield 2

        @client.trace(name="paused")
        def paused() -> Iterator[int]:
            yield 1
            yield 2

        @client.trace(name="task")
        async def task(number: int) -> int:
            await async_wait_until(over.is_set, LONG_S)
            return number

        async def tasks() -> None:
            await asyncio.gather(task(1), task(2))

        @client.trace(name="short")
        def short() -> None:
            """Ends at once."""

        for act in (lambda: call("why?"), lambda: list(stream()), lambda: asyncio.run(tasks())):
            thread = threading.Thread(target=act)
            self._threads.append(thread)
            thread.start()
        self.paused = paused()
        next(self.paused)
        short()

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(LONG_S)


@pytest.fixture(scope="module")
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    hanging.run_all()
    wait_until(lambda: len(hanging.recording.records("start")) >= 5)
    hanging.starts = {
        str(attributes(span)["otel_ml.model.name"]): span
        for span in hanging.recording.records("start")
    }
    yield hanging
    hanging.end()
    hanging.recording.client.close()


def test_calls_that_last_are_told(hanging: Hanging) -> None:
    """Long calls, working or paused generators, and tasks send a start record; short calls none."""
    found = [attributes(span)["otel_ml.model.name"] for span in hanging.recording.records("start")]
    assert sorted(found) == ["call", "generator", "paused", "task", "task"]


def test_start_of_a_call_shows_its_input(hanging: Hanging) -> None:
    """The start record of a call has a preview of its inputs, its tags, and no output."""
    found = stable(hanging.starts["call"])
    assert found.pop("otel_ml.target.run")
    assert found == {
        "otel_ml.record": "start",
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "call",
        "otel_ml.inputs.preview": '{"question":"why?"}',
        "otel_ml.tag.day": "monday",
    }


def test_start_is_told_two_seconds_late(hanging: Hanging) -> None:
    """The start record of a call is sent 2 s after the call's start and has its start time."""
    start = hanging.starts["call"]
    assert start.start_time is not None
    assert time.time_ns() - start.start_time >= 2_000_000_000


def test_end_of_a_call_that_was_told(hanging: Hanging) -> None:
    """A call that sent a start record ends like any other call."""
    hanging.end()
    [run] = [span for span in hanging.recording.runs() if span.name == "call"]
    assert (inputs(run), attributes(run)["otel_ml.outcome"]) == ({"question": "why?"}, "ok")


# The registry of open runs.


def test_open_runs_are_counted(client: Client) -> None:
    """`open_runs` of the statistics counts runs that have not ended."""

    @client.trace
    def count() -> int:
        return client.stats().open_runs

    with client.run("fit"):
        assert count() == 2
        assert client.stats().open_runs == 1
    assert client.stats().open_runs == 0


def test_ended_runs_are_forgotten(recording: Recording) -> None:
    """No handle of an ended call, failed call, stream, abandoned stream or run stays in memory."""
    client, before = recording.client, count_runs()

    @client.trace
    def model(fails: bool) -> None:
        if fails:
            raise ValueError("wrong")

    @client.trace
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    for number in range(10_000):
        if number % 10:
            model(False)
        else:
            with pytest.raises(ValueError, match="wrong"):
                model(True)
            list(stream())
            with closing(stream()) as left:  # type: ignore[type-var]  # a generator, to callers
                next(left)
            with client.run("fit"):
                pass
    recording.spans()
    recording.exporter.clear()
    assert client.stats().open_runs == 0
    wait_until(lambda: count_runs() <= before)


def count_runs() -> int:
    """Count the run handles in memory."""
    gc.collect()
    return sum(issubclass(type(item), Run) for item in gc.get_objects())


class FakeRun:
    """A run that began `age_s` seconds ago."""

    def __init__(self, age_s: float, announced: "list[FakeRun]") -> None:
        self.start_ns = time.time_ns() - int(age_s * 1e9)
        self._announced = announced

    def announce(self) -> None:
        self._announced.append(self)

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Do nothing: this run has no waiting records."""

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing."""


class Watched:
    """A registry, with the runs that it announced and the heartbeats that it sent."""

    def __init__(self, heartbeat_s: float) -> None:
        self.beats: list[str] = []
        self.announced: list[FakeRun] = []
        self.runs = OpenRuns(self.beats.append, heartbeat_s=heartbeat_s)

    def make(self, age_s: float) -> FakeRun:
        return FakeRun(age_s, self.announced)


@contextmanager
def watching(heartbeat_s: float = HEARTBEAT_S) -> Iterator[Watched]:
    watched = Watched(heartbeat_s)
    try:
        yield watched
    finally:
        watched.runs.close()


def test_old_runs_are_announced() -> None:
    """Open runs older than 2 s are announced, in the order of their start."""
    with watching() as watched:
        old = [watched.make(age_s) for age_s in (60.0, 2.5)]
        for run in [*old, watched.make(-60.0)]:
            watched.runs.add(run)
        wait_until(lambda: len(watched.announced) >= 2)
    assert watched.announced == old


def test_run_is_announced_once() -> None:
    """A run that stays open is announced once, even if other runs are announced after it."""
    with watching() as watched:
        old = [watched.make(60.0) for _ in range(3)]
        for number, run in enumerate(old, start=1):
            watched.runs.add(run)
            wait_until(lambda number=number: len(watched.announced) >= number)  # type: ignore[misc]
    assert watched.announced == old


def test_run_that_raises_hides_no_other() -> None:
    """A run whose methods raise does not keep other runs from being announced."""

    class Raising(FakeRun):
        def announce(self) -> None:
            raise ValueError("no")

        def send_waiting(self, *, at_once: bool = False) -> None:
            raise ValueError("no")

    with watching() as watched:
        old = watched.make(60.0)
        watched.runs.add(Raising(60.0, watched.announced))
        watched.runs.add(old)
        wait_until(lambda: watched.announced == [old])


def test_goodbye_follows_a_start() -> None:
    """A registry that announced a run sends one goodbye."""
    with watching() as watched:
        watched.runs.announce(watched.make(0.0))
        assert watched.beats == []
        watched.runs.close()
        assert watched.beats == ["goodbye"]
    assert watched.beats == ["goodbye"]


def test_no_goodbye_without_a_start() -> None:
    """A registry that announced no run sends no goodbye."""
    with watching() as watched:
        run = watched.make(0.0)
        watched.runs.add(run)
        watched.runs.remove(run)
    assert watched.beats == []


def test_unknown_run_is_no_error() -> None:
    """Removing a run that was never added raises no error."""
    with watching() as watched:
        watched.runs.remove(watched.make(0.0))
        assert watched.runs.count == 0


def test_child_s_registry_is_empty() -> None:
    """In a child process the registry starts empty and sends no goodbye for the parent's runs."""
    with watching() as watched:
        watched.runs.announce(watched.make(0.0))
        watched.runs.restart_in_child()
        assert watched.runs.count == 0
    assert watched.beats == []


# Heartbeats.


def test_heart_beats_while_a_told_run_is_open() -> None:
    """A registry with an announced open run sends heartbeats."""
    with watching(heartbeat_s=0.01) as watched:
        run = watched.make(0.0)
        watched.runs.announce(run)
        wait_until(lambda: watched.beats[:2] == ["heartbeat", "heartbeat"])


def test_heart_rests_when_told_runs_have_ended() -> None:
    """A registry stops sending heartbeats when all announced runs have ended."""
    with watching(heartbeat_s=0.01) as watched:
        told, old = watched.make(0.0), watched.make(60.0)
        watched.runs.announce(told)
        wait_until(lambda: bool(watched.beats))
        watched.runs.remove(told)
        beats = len(watched.beats)
        watched.runs.add(old)
        wait_until(lambda: watched.announced == [told, old])
        assert len(watched.beats) <= beats + 1
