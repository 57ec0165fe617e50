"""Tests of group commit, with stores that block, refuse and break."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Metric, Records
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.spans import make_call, map_all
from tests.support.waiting import elapsed, wait_until

WAIT_S = 10
BUSY = "The store is busy"


class FakeStore:
    """A store that keeps the names of what it was given, and behaves as it is told."""

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
    def held(self, commit: Commit) -> Iterator[None]:
        """Keep the writer in a write of its own, so that what comes in meanwhile waits."""
        self._may_write.clear()
        self._is_writing.clear()
        first = submit(commit, "first")
        assert self._is_writing.wait(WAIT_S)
        yield
        self._may_write.set()
        first.exception(WAIT_S)


@contextmanager
def running(store: FakeStore) -> Iterator[Commit]:
    commit = Commit(store.write, Telemetry())
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


def submit(commit: Commit, *names: str, within_s: float = 60) -> "Future[Counter[str]]":
    return commit.submit(make_records(*names), time.monotonic() + within_s)


def error_of(answer: "Future[Counter[str]]") -> tuple[type[BaseException], str] | None:
    """Wait for an answer; returns its error's type and text, None for success."""
    error = answer.exception(WAIT_S)
    return None if error is None else (type(error), str(error))


def refuse_poison(names: set[str]) -> None:
    if "poison" in names:
        raise Rejected("poison")


def test_stored() -> None:
    """The records of a request are stored as they came."""
    store = FakeStore()
    with running(store) as commit:
        assert error_of(submit(commit, "one", "two")) is None
    assert store.groups == [["one", "two"]]


def test_answer_after_write() -> None:
    """No sender has its answer before the write of its records has returned."""
    store = FakeStore()
    with running(store) as commit:
        with store.held(commit):
            answer = submit(commit, "one")
            assert not answer.done()
        assert error_of(answer) is None
        assert "one" in store.stored


def test_one_group() -> None:
    """Requests that wait while a write is under way are written together, in their order."""
    store = FakeStore()
    with running(store) as commit:
        with store.held(commit):
            answers = [submit(commit, str(number)) for number in range(5)]
        assert [error_of(answer) for answer in answers] == [None] * 5
    assert store.groups == [["first"], ["0", "1", "2", "3", "4"]]


def test_bounded_group() -> None:
    """A group takes no further request once it has 10,000 rows."""
    store = FakeStore()
    with running(store) as commit:
        with store.held(commit):
            answers = [submit(commit, *["row"] * 6_000) for _ in range(3)]
        assert [error_of(answer) for answer in answers] == [None] * 3
    assert [len(group) for group in store.groups] == [1, 12_000, 6_000]


@pytest.mark.parametrize("place", range(8))
def test_poison(place: int) -> None:
    """Of eight requests written together only the one that the store refuses is refused."""
    store = FakeStore(refuse_poison)
    names = [str(number) for number in range(8)]
    names[place] = "poison"
    with running(store) as commit:
        with store.held(commit):
            answers = [submit(commit, name) for name in names]
        errors = [error_of(answer) for answer in answers]
    assert errors == [(Rejected, "poison") if name == "poison" else None for name in names]
    assert store.stored == sorted(["first", *names[:place], *names[place + 1 :]])


def test_only_poison() -> None:
    """When the store refuses every request of a group, each is refused."""
    store = FakeStore(refuse_poison)
    with running(store) as commit:
        with store.held(commit):
            answers = [submit(commit, "poison") for _ in range(3)]
        assert [error_of(answer) for answer in answers] == [(Rejected, "poison")] * 3


def test_unavailable() -> None:
    """When the store has trouble, every sender of the group is told to send again."""

    def break_down(names: set[str]) -> None:
        if names != {"first"}:
            raise Unavailable("no space left")

    store = FakeStore(break_down)
    with running(store) as commit:
        with store.held(commit):
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
    """After a group that could not be stored the next one is tried."""
    troubles = [error]

    def break_once(names: set[str]) -> None:
        if troubles:
            raise troubles.pop()

    store = FakeStore(break_once)
    with running(store) as commit:
        assert error_of(submit(commit, "one")) == (Unavailable, message)
        assert error_of(submit(commit, "two")) is None
    assert store.groups == [["two"]]


def test_unforeseen_among_halves() -> None:
    """An unforeseen error while a group is split is told to those without an answer only."""

    def behave(names: set[str]) -> None:
        refuse_poison(names)
        if "broken" in names:
            raise RuntimeError("unforeseen")

    store = FakeStore(behave)
    with running(store) as commit:
        with store.held(commit):
            answers = [submit(commit, name) for name in ("good", "poison", "broken", "late")]
        assert [error_of(answer) for answer in answers] == [
            None,
            (Rejected, "poison"),
            (Unavailable, "The store has trouble: RuntimeError"),
            (Unavailable, "The store has trouble: RuntimeError"),
        ]


def test_expired() -> None:
    """A request that nobody waits for any more is not stored."""
    store = FakeStore()
    with running(store) as commit:
        with store.held(commit):
            answers = [submit(commit, "late", within_s=0), submit(commit, "good")]
        assert [error_of(answer) for answer in answers] == [(Unavailable, BUSY), None]
    assert store.stored == ["first", "good"]


def test_cancelled() -> None:
    """A request whose sender has gone is not stored."""
    store = FakeStore()
    with running(store) as commit:
        with store.held(commit):
            assert submit(commit, "gone").cancel()
            answer = submit(commit, "good")
        assert error_of(answer) is None
    assert store.stored == ["first", "good"]


def test_close() -> None:
    """Closing stores what is queued."""
    store = FakeStore()
    with running(store) as commit, store.held(commit):
        answers = [submit(commit, name) for name in "ab"]
    assert [error_of(answer) for answer in answers] == [None, None]
    assert store.stored == ["a", "b", "first"]


def test_close_of_idle() -> None:
    """Closing where nothing is queued returns at once."""
    commit = Commit(FakeStore().write, Telemetry())
    started = time.monotonic()
    commit.close(WAIT_S)
    assert time.monotonic() - started < WAIT_S / 2


def test_submit_after_close() -> None:
    """After closing no request is taken: its sender sends it again, to the next collector."""
    commit = Commit(FakeStore().write, Telemetry())
    commit.close(WAIT_S)
    with pytest.raises(Unavailable, match=r"^The collector is shutting down$"):
        submit(commit, "one")


def test_preparation() -> None:
    """What is to be done before the first group is done once, on the writer's thread."""
    threads: list[str] = []
    commit = Commit(
        FakeStore().write, Telemetry(), lambda: threads.append(threading.current_thread().name)
    )
    assert [error_of(submit(commit, name)) for name in "ab"] == [None, None]
    commit.close(WAIT_S)
    assert threads == ["otel-ml-commit"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_failed_preparation() -> None:
    """Requests are stored also when the preparation failed."""

    def break_down() -> None:
        raise RuntimeError("unforeseen")

    commit = Commit(FakeStore().write, Telemetry(), break_down)
    answer = submit(commit, "one")
    commit.close(WAIT_S)
    assert answer.done()


def test_many_senders() -> None:
    """Requests of many threads are each stored once."""
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


class Told:
    """Runs of a store and of who is told of them, and what is asked of both."""

    def __init__(self, *troubles: Exception) -> None:
        self.written: list[Records] = []
        self.told: list[Records] = []
        self.telemetry = Telemetry()
        self._troubles = list(troubles)
        self._commit = Commit(self._write, self.telemetry, on_stored=self._listen)

    def send(self, records: Records) -> tuple[type[BaseException], str] | None:
        """Store the records of one request; returns what its sender is answered."""
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
    """A run that comes again is answered with success, counted, and not written again."""
    way, records = Told(), map_all(make_call())
    assert [way.send(records) for _ in range(3)] == [None] * 3
    way.close()
    assert [group.runs for group in way.written] == [records.runs]
    assert way.duplicates == 2


def test_redelivery_of_what_failed() -> None:
    """A run that could not be stored is written when it comes again."""
    way, records = Told(Unavailable("no space left")), map_all(make_call())
    assert [way.send(records) for _ in range(2)] == [(Unavailable, "no space left"), None]
    way.close()
    assert [group.runs for group in way.written] == [records.runs]
    assert way.duplicates == 0


def test_told() -> None:
    """Whoever wants to know is told what is new of each group, also after he raised."""
    way = Told()
    first, second = map_all(make_call()), map_all(make_call())
    both = Records(runs=first.runs + second.runs)
    assert [way.send(records) for records in (first, first, both)] == [None] * 3
    way.close()
    assert [group.runs for group in way.told if group.runs] == [first.runs, second.runs]


def test_groups_of_a_slow_store() -> None:
    """A store that needs long for a group gets smaller ones, so that no sender waits too long."""

    def behave(names: set[str]) -> None:
        if "slow" in names:
            wait_until(elapsed(1))

    store = FakeStore(behave)
    with running(store) as commit:
        assert error_of(submit(commit, *["slow"] * 2_000)) is None
        with store.held(commit):
            answers = [submit(commit, *["row"] * 1_500) for _ in range(4)]
        assert [error_of(answer) for answer in answers] == [None] * 4
    assert max(len(group) for group in store.groups[2:]) <= 3_000
