"""Tests of group commit, with stores that block, reject and fail."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import pytest

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Metric, Records
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.spans import make_call, map_all
from tests.support.waiting import elapsed, wait_until

WAIT_S = 10
LONG_S = 60
BUSY = "The store is busy"


class FakeStore:
    """A store that keeps the names of its records, and calls `behave` for each group."""

    def __init__(self, behave: Callable[[set[str]], None] = lambda names: None) -> None:
        self.groups: list[list[str]] = []
        self._behave = behave
        self._may_write = threading.Event()
        self._may_write.set()
        self._is_writing = threading.Event()

    def write(self, records: Records) -> None:
        names = [metric.name for metric in records.metrics]
        self._is_writing.set()
        assert self._may_write.wait(WAIT_S)
        self._behave(set(names))
        self.groups.append(names)

    @property
    def stored(self) -> list[str]:
        return sorted(name for group in self.groups for name in group)

    @contextmanager
    def reservation(self, commit: Commit) -> Iterator[None]:
        """Keep the writer busy with another write, so that new requests wait."""
        self._may_write.clear()
        self._is_writing.clear()
        first = submit(commit, "first")
        assert self._is_writing.wait(WAIT_S)
        yield
        self._may_write.set()
        first.exception(WAIT_S)


@contextmanager
def running(store: FakeStore, collect_s: float = 0) -> Iterator[Commit]:
    commit = Commit(store.write, Telemetry(), collect_s=collect_s)
    try:
        yield commit
    finally:
        commit.close(WAIT_S)


def make_records(*names: str) -> Records:
    return Records(
        metrics=[
            Metric(
                project="p",
                owner="owner",
                owner_start_ns=0,
                name=name,
                value=1.0,
                step=-1,
                time_ns=0,
                mode="append",
                source="logged",
            )
            for name in names
        ]
    )


def submit(
    commit: Commit, *names: str, within_s: float = 60, received: int = 0, size: int = 0
) -> "Future[Counter[str]]":
    records = replace(make_records(*names), received=received, size=size)
    return commit.submit(records, time.monotonic() + within_s)


def error_of(answer: "Future[Counter[str]]") -> tuple[type[BaseException], str] | None:
    """Wait for an answer, and return its error's type and text, or None for success."""
    error = answer.exception(WAIT_S)
    return None if error is None else (type(error), str(error))


def refuse_poison(names: set[str]) -> None:
    if "poison" in names:
        raise Rejected("poison")


def test_stored() -> None:
    """The records of a request are stored unchanged."""
    store = FakeStore()
    with running(store) as commit:
        assert error_of(submit(commit, "one", "two")) is None
    assert store.groups == [["one", "two"]]


def test_answer_after_write() -> None:
    """A sender gets no answer before the write of its records has returned."""
    store = FakeStore()
    with running(store) as commit:
        with store.reservation(commit):
            answer = submit(commit, "one")
            assert not answer.done()
        assert error_of(answer) is None
        assert "one" in store.stored


def test_one_group() -> None:
    """Requests that wait during a write are written together, in order."""
    store = FakeStore()
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, str(number)) for number in range(5)]
        assert [error_of(answer) for answer in answers] == [None] * 5
    assert store.groups == [["first"], ["0", "1", "2", "3", "4"]]


def test_bounded_group() -> None:
    """A group accepts no more requests once it has 10,000 rows."""
    store = FakeStore()
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, *["row"] * 6_000) for _ in range(3)]
        assert [error_of(answer) for answer in answers] == [None] * 3
    assert [len(group) for group in store.groups] == [1, 12_000, 6_000]


@pytest.mark.parametrize("place", range(8))
def test_poison(place: int) -> None:
    """If the store rejects one of eight requests in a group, the other seven are stored."""
    store = FakeStore(refuse_poison)
    names = [str(number) for number in range(8)]
    names[place] = "poison"
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, name) for name in names]
        errors = [error_of(answer) for answer in answers]
    assert errors == [(Rejected, "poison") if name == "poison" else None for name in names]
    assert store.stored == sorted(["first", *names[:place], *names[place + 1 :]])


def test_only_poison() -> None:
    """If the store rejects every request of a group, each sender gets an error."""
    store = FakeStore(refuse_poison)
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, "poison") for _ in range(3)]
        assert [error_of(answer) for answer in answers] == [(Rejected, "poison")] * 3


def test_unavailable() -> None:
    """If the store fails, every sender of the group is asked to send again."""

    def break_down(names: set[str]) -> None:
        if names != {"first"}:
            raise Unavailable("no space left")

    store = FakeStore(break_down)
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, name) for name in "ab"]
        assert [error_of(answer) for answer in answers] == [(Unavailable, "no space left")] * 2


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unavailable("no space left"), "no space left"),
        (RuntimeError("unforeseen"), "The store has trouble: RuntimeError"),
    ],
    ids=["unavailable", "unforeseen"],
)
def test_after_trouble(error: Exception, message: str) -> None:
    """After a group that failed, the next one is written."""
    troubles = [error]

    def break_once(names: set[str]) -> None:
        if troubles:
            raise troubles.pop()

    store = FakeStore(break_once)
    with running(store) as commit:
        assert error_of(submit(commit, "one")) == (Unavailable, message)
        assert error_of(submit(commit, "two")) is None
    assert store.groups == [["two"]]


def test_log_of_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is logged as one line without a traceback, and the recovery as another."""
    troubles = [Unavailable("No space left on device")] * 3

    def break_thrice(names: set[str]) -> None:
        if troubles:
            raise troubles.pop()

    with running(FakeStore(break_thrice)) as commit:
        for name in ("one", "two", "three", "four", "five"):
            error_of(submit(commit, name))
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        (
            "A batch could not be stored: No space left on device. Senders are asked to send it "
            "again, and everything that was acknowledged is kept",
            None,
        ),
        ("The store works again: batches are stored", None),
    ]


def test_unforeseen_among_halves() -> None:
    """An unexpected error while a group is split is sent only to senders without an answer."""

    def behave(names: set[str]) -> None:
        refuse_poison(names)
        if "broken" in names:
            raise RuntimeError("unforeseen")

    store = FakeStore(behave)
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, name) for name in ("good", "poison", "broken", "late")]
        assert [error_of(answer) for answer in answers] == [
            None,
            (Rejected, "poison"),
            (Unavailable, "The store has trouble: RuntimeError"),
            (Unavailable, "The store has trouble: RuntimeError"),
        ]


def test_expired() -> None:
    """A request whose deadline has passed is not stored."""
    store = FakeStore()
    with running(store) as commit:
        with store.reservation(commit):
            answers = [submit(commit, "late", within_s=0), submit(commit, "good")]
        assert [error_of(answer) for answer in answers] == [(Unavailable, BUSY), None]
    assert store.stored == ["first", "good"]


def test_cancelled() -> None:
    """A request whose sender has cancelled is not stored."""
    store = FakeStore()
    with running(store) as commit:
        with store.reservation(commit):
            assert submit(commit, "gone").cancel()
            answer = submit(commit, "good")
        assert error_of(answer) is None
    assert store.stored == ["first", "good"]


def test_close() -> None:
    """Closing stores the queued requests."""
    store = FakeStore()
    with running(store) as commit, store.reservation(commit):
        answers = [submit(commit, name) for name in "ab"]
    assert [error_of(answer) for answer in answers] == [None, None]
    assert store.stored == ["a", "b", "first"]


def test_close_of_idle() -> None:
    """Closing with an empty queue returns at once."""
    commit = Commit(FakeStore().write, Telemetry())
    started = time.monotonic()
    commit.close(WAIT_S)
    assert time.monotonic() - started < WAIT_S / 2


def test_submit_after_close() -> None:
    """After closing, requests are rejected as unavailable, so senders try another collector."""
    commit = Commit(FakeStore().write, Telemetry())
    commit.close(WAIT_S)
    with pytest.raises(Unavailable, match=r"^The collector is shutting down$"):
        submit(commit, "one")


def test_preparation() -> None:
    """The preparation before the first group runs once, on the writer's thread."""
    threads: list[str] = []
    commit = Commit(
        FakeStore().write, Telemetry(), lambda: threads.append(threading.current_thread().name)
    )
    assert [error_of(submit(commit, name)) for name in "ab"] == [None, None]
    commit.close(WAIT_S)
    assert threads == ["otel-ml-commit"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_failed_preparation() -> None:
    """Requests are answered even if the preparation failed."""

    def break_down() -> None:
        raise RuntimeError("unforeseen")

    commit = Commit(FakeStore().write, Telemetry(), break_down)
    answer = submit(commit, "one")
    commit.close(WAIT_S)
    assert answer.done()


def test_many_senders() -> None:
    """Requests from many threads are each stored exactly once."""
    store = FakeStore(refuse_poison)
    answers: list[Future[Counter[str]]] = []

    def send(sender: int) -> None:
        answers.extend(submit(commit, f"{sender}-{number}") for number in range(50))

    with running(store) as commit:
        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert [error_of(answer) for answer in answers] == [None] * 400
    assert store.stored == sorted(f"{a}-{b}" for a in range(8) for b in range(50))


# Collecting requests under continuous traffic.


def test_first_request_after_a_pause_is_stored_at_once() -> None:
    """A request after a pause is stored at once, without waiting for others."""
    store = FakeStore()
    with running(store, collect_s=1.0) as commit:
        for name in "ab":
            began = time.monotonic()
            assert error_of(submit(commit, name)) is None
            assert time.monotonic() - began < 0.9
            wait_until(elapsed(1.1))
    assert store.groups == [["a"], ["b"]]


def test_requests_are_collected() -> None:
    """Requests in quick succession are stored together, some time after the last group."""
    store = FakeStore()
    with running(store, collect_s=0.5) as commit:
        began = time.monotonic()
        assert error_of(submit(commit, "first")) is None
        answers = [submit(commit, name) for name in "abc"]
        assert [error_of(answer) for answer in answers] == [None] * 3
        assert 0.5 <= time.monotonic() - began < 5.0
    assert store.groups == [["first"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("names", "records_of"),
    [
        (["row"] * 1_024, {}),
        (["span"], {"received": 512}),
        (["large"], {"size": 1024 * 1024}),
    ],
    ids=["rows", "spans", "bytes"],
)
def test_full_group_is_stored_at_once(names: list[str], records_of: dict[str, int]) -> None:
    """A large group is stored at once, so full load is no slower."""
    store = FakeStore()
    with running(store, collect_s=LONG_S) as commit:
        assert error_of(submit(commit, "first")) is None
        waiting = submit(commit, "small")
        full = submit(commit, *names, **records_of)
        assert [error_of(answer) for answer in (waiting, full)] == [None, None]
    assert store.groups == [["first"], ["small", *names]]


def test_requests_of_a_full_group_do_not_make_the_next_one_full() -> None:
    """A stored group does not count for the next one, so small requests are collected again."""
    store = FakeStore()
    with running(store, collect_s=0.5) as commit:
        began = time.monotonic()
        assert error_of(submit(commit, "full", received=512)) is None
        assert error_of(submit(commit, "small", received=1)) is None
        assert time.monotonic() - began >= 0.5


def test_urgent_request_is_stored_at_once() -> None:
    """An urgent request, for which a person waits, is stored at once with the waiting requests."""
    store = FakeStore()
    with running(store, collect_s=LONG_S) as commit:
        assert error_of(submit(commit, "first")) is None
        waiting = submit(commit, "waiting")
        urgent = commit.submit(make_records("urgent"), time.monotonic() + 60, is_urgent=True)
        assert [error_of(answer) for answer in (waiting, urgent)] == [None, None]
    assert store.groups == [["first"], ["waiting", "urgent"]]


def test_request_is_stored_before_its_deadline() -> None:
    """A request is stored before its deadline, however long others are collected."""
    store = FakeStore()
    with running(store, collect_s=LONG_S) as commit:
        assert error_of(submit(commit, "first")) is None
        assert error_of(submit(commit, "soon", within_s=1.2)) is None
    assert store.groups == [["first"], ["soon"]]


def test_close_stores_what_is_collected() -> None:
    """Closing does not wait for more requests."""
    store = FakeStore()
    with running(store, collect_s=LONG_S) as commit:
        assert error_of(submit(commit, "first")) is None
        waiting = submit(commit, "waiting")
        wait_until(lambda: commit.is_collecting)
        commit.close(WAIT_S)
        assert error_of(waiting) is None


class Told:
    """A commit whose writer and listener record the groups they get."""

    def __init__(self, *troubles: Exception) -> None:
        self.written: list[Records] = []
        self.told: list[Records] = []
        self.telemetry = Telemetry()
        self._troubles = list(troubles)
        self._commit = Commit(self._write, self.telemetry, on_stored=self._listen, collect_s=0)

    def send(self, records: Records) -> tuple[type[BaseException], str] | None:
        """Store the records of one request, and return the sender's error or None."""
        return error_of(self._commit.submit(records, time.monotonic() + WAIT_S))

    def close(self) -> None:
        self._commit.close(WAIT_S)

    @property
    def duplicates(self) -> float:
        for line in self.telemetry.render().decode().splitlines():
            if line.startswith("otel_ml_spans_duplicate_total"):
                return float(line.split()[-1])
        raise LookupError("otel_ml_spans_duplicate_total")

    def _write(self, records: Records) -> None:
        if self._troubles:
            raise self._troubles.pop()
        self.written.append(records)

    def _listen(self, records: Records) -> None:
        self.told.append(records)
        raise RuntimeError("unforeseen")


def test_redelivery() -> None:
    """A run that is sent again is acknowledged and counted, but not written again."""
    way, records = Told(), map_all(make_call())
    assert [way.send(records) for _ in range(3)] == [None] * 3
    way.close()
    assert [group.runs for group in way.written] == [records.runs]
    assert way.duplicates == 2


def test_redelivery_of_what_failed() -> None:
    """A run that could not be stored is written when it is sent again."""
    way, records = Told(Unavailable("no space left")), map_all(make_call())
    assert [way.send(records) for _ in range(2)] == [(Unavailable, "no space left"), None]
    way.close()
    assert [group.runs for group in way.written] == [records.runs]
    assert way.duplicates == 0


def test_told() -> None:
    """The listener gets only the new runs of each group, even after it raised an error."""
    way = Told()
    first, second = map_all(make_call()), map_all(make_call())
    both = Records(runs=first.runs + second.runs)
    assert [way.send(records) for records in (first, first, both)] == [None] * 3
    way.close()
    assert [group.runs for group in way.told if group.runs] == [first.runs, second.runs]


def test_groups_of_a_slow_store() -> None:
    """A slow store gets smaller groups, so that no sender waits too long."""

    def behave(names: set[str]) -> None:
        if "slow" in names:
            wait_until(elapsed(1))

    store = FakeStore(behave)
    with running(store) as commit:
        assert error_of(submit(commit, *["slow"] * 2_000)) is None
        with store.reservation(commit):
            answers = [submit(commit, *["row"] * 1_500) for _ in range(4)]
        assert [error_of(answer) for answer in answers] == [None] * 4
    assert max(len(group) for group in store.groups[2:]) <= 3_000
