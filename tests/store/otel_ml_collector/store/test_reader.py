"""Tests of queries from many threads, and of store errors."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.access import READ, Access
from otel_ml_collector.errors import Missing, NotPermitted, StoreTimeout, Unavailable
from otel_ml_collector.records import Records
from otel_ml_collector.runs import find as runs
from otel_ml_collector.store.reader import READABLE, Reader
from otel_ml_collector.store.sql import Sql
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    make_call,
    map_all,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled

GROUPS = 20
GROUP_RUNS = 500
THREADS = 8
COUNT = Sql("""
    SELECT uniqExact(trace_id, span_id) AS ids, count() AS rows,
      countIf(name != concat('call ', toString(latency_ns))) AS mixed
    FROM runs WHERE project = {project:String}""")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store for one test, so that the test can close it."""
    with open_store(tmp_path) as opened:
        yield opened


def make_group(group: int) -> Records:
    """Make runs that contain their number twice, to detect mixed-up rows."""
    numbers = range(1 + group * GROUP_RUNS, 1 + (group + 1) * GROUP_RUNS)
    spans = [
        make_call(
            f"call {number}",
            trace_id=trace_id(number),
            span_id=span_id(number),
            start_ns=NOW_NS - number * MS_NS,
            end_ns=NOW_NS - number * MS_NS + number,
        )
        for number in numbers
    ]
    return map_all(*spans, project="p")


@at_night
def test_read_while_written(store: Store) -> None:
    """Eight threads that read during writes see complete batches and no mixed-up rows."""
    groups = [make_group(group) for group in range(GROUPS)]
    done = threading.Event()
    seen: list[tuple[int, int, int]] = []
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                (row,) = store.reader.rows(COUNT, {"project": "p"})
                seen.append((row["ids"], row["rows"], row["mixed"]))
                runs.find_runs(store.reader, runs.RunsQuery("p", limit=20), NOW_NS)
        except BaseException as error:  # noqa: BLE001 - whatever a thread raised is to be seen
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for records in groups:
        store.writer.write(records)
    done.set()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert {(ids - rows, ids % GROUP_RUNS, mixed) for ids, rows, mixed in seen} == {(0, 0, 0)}
    total = GROUPS * GROUP_RUNS
    assert store.reader.rows(COUNT, {"project": "p"}) == [{"ids": total, "rows": total, "mixed": 0}]


def test_more_threads_than_clients(store: Store) -> None:
    """Queries from more threads than the reader has clients all succeed."""
    answers: list[int] = []

    def ask(number: int) -> None:
        (row,) = store.reader.rows(Sql("SELECT {number:Int64} AS number"), {"number": number})
        answers.append(row["number"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == list(range(32))


def test_ping(store: Store) -> None:
    """A query to a working store succeeds."""
    store.reader.rows(Sql("SELECT 1 AS one"), {})


def test_trouble(store: Store) -> None:
    """A query that the engine rejects raises Unavailable with the name of the error."""
    with pytest.raises(Unavailable, match=r"^The store has trouble: UNKNOWN_TABLE$"):
        store.reader.rows(Sql("SELECT 1 FROM nowhere"), {})


def test_after_trouble(store: Store) -> None:
    """After errors, each client of the reader works again."""
    for _ in range(8):
        with pytest.raises(Unavailable):
            store.reader.rows(Sql("SELECT 1 FROM nowhere"), {})
    for _ in range(8):
        store.reader.rows(Sql("SELECT 1 AS one"), {})


def test_timeout(store: Store) -> None:
    """A query that exceeds its time limit raises StoreTimeout."""
    with pytest.raises(StoreTimeout, match=r"^The store did not respond within 10 s$"):
        store.reader.rows(
            Sql("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"),
            {},
            {"max_execution_time": 0.2},
        )


def test_ended_store(store: Store) -> None:
    """A query to a closed store raises Unavailable."""
    store.connections.close()
    with pytest.raises(Unavailable):
        store.reader.rows(Sql("SELECT 1 AS one"), {})


SOME = Access("id", "", frozenset({READ}), ("ours", "mine"))


def test_own_project(store: Store) -> None:
    """A restricted reader can query its permitted projects and no other project."""
    store.take("ours", make_call("known"))
    store.take("theirs", make_call("secret"))
    narrow = store.reader.narrow(SOME)
    sql = Sql("SELECT name FROM runs WHERE project = {project:String}")
    assert narrow.rows(sql, {"project": "ours"}) == [{"name": "known"}]
    assert narrow.rows(sql, {"project": "mine"}) == []
    for ask in (narrow.rows, narrow.blob):
        with pytest.raises(Missing, match=r"^There is no project 'theirs'$"):
            ask(sql, {"project": "theirs"})
    assert store.reader.rows(sql, {"project": "theirs"}) == [{"name": "secret"}]


def test_readable_projects(store: Store) -> None:
    """A query over several projects returns only those that may be read."""
    for project in ("ours", "theirs", "mine"):
        store.take(project, make_call(project))
    sql = Sql("SELECT name FROM runs WHERE {readable} ORDER BY name").fill(readable=READABLE)
    names = [{"name": name} for name in ("mine", "ours", "theirs")]
    assert store.reader.rows(sql, {}) == names
    assert store.reader.narrow(SOME).rows(sql, {}) == names[:2]


@sampled(1)
@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        (Sql("SELECT name FROM runs"), {}),
        (Sql("SELECT name FROM runs"), {"project": "ours"}),
        (Sql("SELECT name FROM runs WHERE project = {name:String}"), {"name": "ours"}),
    ],
)
def test_forgotten_project(store: Store, sql: Sql, parameters: dict[str, str]) -> None:
    """A restricted reader rejects a query without a project condition."""
    with pytest.raises(NotPermitted):
        store.reader.narrow(SOME).rows(sql, parameters)
    store.reader.rows(sql, parameters)


def test_asked_ahead_within(store: Store) -> None:
    """Nested prefetched queries finish, even if there are more of them than threads."""

    def count(reader: Reader) -> int:
        [row] = reader.rows(COUNT, {"project": "a"})
        return int(row["rows"])

    def ask(reader: Reader) -> int:
        return reader.ahead(count).result(timeout=20)

    def ask_further(reader: Reader) -> int:
        return reader.ahead(ask).result(timeout=20)

    asked = [store.reader.ahead(ask_further) for _ in range(THREADS)]
    assert [answer.result() for answer in asked] == [0] * THREADS


def test_trouble_asked_ahead_within(store: Store) -> None:
    """The error of a nested prefetched query is raised when its result is requested."""

    def fail(_: Reader) -> None:
        raise Missing("It is not there")

    def ask(reader: Reader) -> str:
        answer = reader.ahead(fail)
        with pytest.raises(Missing) as raised:
            answer.result()
        return str(raised.value)

    assert store.reader.ahead(ask).result() == "It is not there"


@sampled(1)
@pytest.mark.parametrize("how", ["rows", "arrow", "blob"])
@pytest.mark.parametrize("cause", ["time", "error"])
def test_answer_after_a_query_that_ended_early(store: Store, cause: str, how: str) -> None:
    """Rows of a query that ends while it sends rows are not in the next answer."""
    failing = {
        "time": Sql("""SELECT toString(number) AS x FROM numbers(100000)
            WHERE NOT ignore(sleepEachRow(0.001)) SETTINGS max_block_size = 20"""),
        "error": Sql("""SELECT toString(number + throwIf(number = 900)) AS x FROM numbers(100000)
            SETTINGS max_block_size = 20"""),
    }
    settings = {"max_execution_time": 0.2}
    with pytest.raises(StoreTimeout if cause == "time" else Unavailable):
        store.reader.rows(failing[cause], {}, settings)
    answer = Sql("SELECT 'mine' AS x")
    for _ in range(3):
        match how:
            case "rows":
                assert store.reader.rows(answer, {}) == [{"x": "mine"}]
            case "arrow":
                assert store.reader.arrow(answer, {}).to_pylist() == [{"x": "mine"}]
            case _:
                assert store.reader.blob(answer, {}) == b"mine"


def test_query_ends_at_the_deadline(store: Store) -> None:
    """A query that runs at the deadline is ended, and the next reader can ask at once."""
    slow = Sql("""SELECT sum(sleepEachRow(0.01)) AS x FROM numbers(3000)
        SETTINGS max_block_size = 10""")
    began_s = time.monotonic()
    with pytest.raises(StoreTimeout, match="did not respond in time"):
        store.reader.until(began_s + 0.3).rows(slow, {})
    # The query itself would take 30 s, and the limit of all queries is 10 s.
    assert time.monotonic() - began_s < 8
    assert store.reader.rows(Sql("SELECT 1 AS x"), {}) == [{"x": 1}]
