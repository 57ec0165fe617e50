"""Tests of real errors of the engine: senders get them, and nothing is acknowledged."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Records
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.migrations import migrate
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.disk import Disk, Kind, kinds, open_disk
from tests.support.folders import ROOT
from tests.support.otel_ml_collector.spans import DAY_NS, NOW_NS, make_call, map_all
from tests.support.sampling import at_night, sampled

WAIT_S: Final = 30
REQUESTS: Final = 8


class LimitedConnections(Connections):
    """Connections whose clients can get limits while they are in use."""

    def __init__(self, url: str) -> None:
        self._opened: list[Any] = []
        super().__init__(url)

    def open(self, confirms: bool = True) -> StoreClient:
        client = super().open(confirms)
        self._opened.append(client._client)  # type: ignore[attr-defined]
        return client

    def limit(self, name: str, value: float) -> None:
        for client in self._opened:
            client.set_client_setting(name, value)


class Engine:
    """A store with the real writer and commit."""

    def __init__(self, path: Path) -> None:
        self.connections = LimitedConnections(f"chdb://{path}")
        migrate(self.connections.open())
        self._may_begin = threading.Event()
        self._reader = Reader(self.connections)
        self._commit = Commit(Writer(self.connections).write, Telemetry(), self._wait, collect_s=0)
        self._client = self.connections.open()

    def submit(self, *requests: Records) -> list[tuple[type[BaseException], str] | None]:
        """Submit requests before the first group starts; return each sender's error or None."""
        answers: list[Future[Counter[str]]] = [
            self._commit.submit(request, time.monotonic() + WAIT_S) for request in requests
        ]
        self._may_begin.set()
        errors = [answer.exception(WAIT_S) for answer in answers]
        return [None if error is None else (type(error), str(error)) for error in errors]

    def _wait(self) -> None:
        assert self._may_begin.wait(WAIT_S)

    def names(self) -> list[str]:
        rows = self._reader.rows(Sql("SELECT name FROM runs ORDER BY name"), {})
        return [row["name"] for row in rows]

    def command(self, *statements: Sql) -> None:
        for statement in statements:
            self._client.command(statement)

    def close(self) -> None:
        self._may_begin.set()
        self._commit.close(WAIT_S)
        self.connections.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def call(name: str, start_ns: int = NOW_NS) -> Records:
    return map_all(make_call(name, start_ns=start_ns))


def setting(name: str, tight: float, usual: float) -> Callable[[Engine, bool], None]:
    """Return a function that sets a limit too tight for any insert, or resets it."""
    return lambda engine, begins: engine.connections.limit(name, tight if begins else usual)


def statements(begin: Sequence[Sql], end: Sequence[Sql]) -> Callable[[Engine, bool], None]:
    """Return a function that runs statements which damage a table, or repair it."""
    return lambda engine, begins: engine.command(*(begin if begins else end))


# Reasons why the store refuses a run named "bad": a function that starts and ends the trouble, and
# the error for the sender.
TROUBLES: Final = {
    "memory": (
        setting("max_memory_usage", 1_000, 1_000_000_000),
        (Unavailable, "The store has trouble: MEMORY_LIMIT_EXCEEDED"),
    ),
    "time": (
        setting("max_execution_time", 0.000001, 10),
        (Unavailable, "The store has trouble: TIMEOUT_EXCEEDED"),
    ),
    "table dropped": (
        statements([Sql("RENAME TABLE payloads TO gone")], [Sql("RENAME TABLE gone TO payloads")]),
        (Unavailable, "The store has trouble: UNKNOWN_TABLE"),
    ),
    "column dropped": (
        statements(
            [Sql("ALTER TABLE runs DROP COLUMN error_message")],
            [Sql("ALTER TABLE runs ADD COLUMN error_message String")],
        ),
        (Unavailable, "The store has trouble: NO_SUCH_COLUMN_IN_TABLE"),
    ),
    "too many parts": (
        statements(
            [Sql("ALTER TABLE payloads MODIFY SETTING parts_to_throw_insert = 1")],
            [Sql("ALTER TABLE payloads RESET SETTING parts_to_throw_insert")],
        ),
        (Unavailable, "The store has trouble: TOO_MANY_PARTS"),
    ),
    "wrong type": (
        statements(
            [
                Sql("ALTER TABLE runs DROP COLUMN span_kind"),
                Sql("ALTER TABLE runs ADD COLUMN span_kind Int64"),
            ],
            [
                Sql("ALTER TABLE runs DROP COLUMN span_kind"),
                Sql("ALTER TABLE runs ADD COLUMN span_kind LowCardinality(String)"),
            ],
        ),
        (Rejected, "The store refuses these rows: CANNOT_PARSE_TEXT"),
    ),
    "constraint": (
        statements(
            [Sql("ALTER TABLE runs ADD CONSTRAINT good CHECK name != 'bad'")],
            [Sql("ALTER TABLE runs DROP CONSTRAINT good")],
        ),
        (Rejected, "The store refuses these rows: VIOLATED_CONSTRAINT"),
    ),
}


@sampled(1)
@pytest.mark.parametrize("name", TROUBLES)
def test_refusal(engine: Engine, name: str) -> None:
    """The sender gets the engine's error, nothing is stored, and a later attempt succeeds."""
    trouble, told = TROUBLES[name]
    bad = call("bad")
    assert engine.submit(call("first")) == [None]
    trouble(engine, True)
    assert engine.submit(bad, bad) == [told, told]
    trouble(engine, False)
    assert engine.names() == ["first"]
    assert engine.submit(bad, call("last"), bad) == [None, None, None]
    assert engine.names() == ["bad", "first", "last"]


def test_closed(engine: Engine) -> None:
    """A closed engine acknowledges nothing."""
    assert engine.submit(call("first")) == [None]
    engine.connections.close()
    assert engine.submit(call("bad")) == [(Unavailable, "The store has trouble: ProgrammingError")]


@sampled(1)
@pytest.mark.parametrize(
    ("table", "place"), [("runs", 0), ("runs", 3), ("runs", 7), ("payloads", 4), ("trace_index", 5)]
)
def test_poison(engine: Engine, table: str, place: int) -> None:
    """If the engine refuses one request of a group, the others of the group are stored."""
    bad = make_call("bad", {"otel_ml.inputs": '"bad"'})
    trace_id = bad.trace_id.hex()
    condition = {
        "runs": Sql("name != 'bad'"),
        "payloads": Sql("inputs != '\"bad\"'"),
        "trace_index": Sql("key != '{trace}'").fill(trace=identifier(trace_id, [trace_id])),
    }[table]
    name = identifier(table, TABLE_NAMES)
    constraint = Sql("ALTER TABLE {table} ADD CONSTRAINT good CHECK {condition}")
    engine.command(constraint.fill(table=name, condition=condition))
    requests = [call(str(number)) for number in range(REQUESTS)]
    requests[place] = map_all(bad)
    refused = (Rejected, "The store refuses these rows: VIOLATED_CONSTRAINT")
    answers = engine.submit(*requests)
    assert answers == [refused if number == place else None for number in range(REQUESTS)]
    assert engine.names() == [str(number) for number in range(REQUESTS) if number != place]
    engine.command(Sql("ALTER TABLE {table} DROP CONSTRAINT good").fill(table=name))
    assert engine.submit(*requests) == [None] * REQUESTS
    assert engine.names() == sorted([*(str(n) for n in range(REQUESTS) if n != place), "bad"])


@at_night
def test_many_months(engine: Engine) -> None:
    """Runs of 150 months are stored in one insert; by default a table allows 100 partitions."""
    records = Records()
    for number in range(150):
        start_ns = NOW_NS - number * 31 * DAY_NS
        span = make_call(f"{number:03}", start_ns=start_ns)
        records.extend(map_spans([span], Filing(None, start_ns)))
    assert engine.submit(records) == [None]
    assert engine.names() == [f"{number:03}" for number in range(150)]


class Troubled:
    """A store on a small disk, in a separate process."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        program = (sys.executable, "-m", "tests.process.otel_ml_collector.store.troubled")
        self._process = subprocess.Popen(
            [*disk.launcher, *program, str(disk.data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def store(self, name: str) -> tuple[str, list[str]]:
        """Store a run; return the sender's error and the names of the stored runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        told, names = json.loads(self._process.stdout.readline())
        return told, names

    def close(self) -> int:
        self._process.communicate(timeout=WAIT_S)
        return self._process.returncode


@at_night
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_disk(tmp_path: Path, kind: Kind, trouble: str) -> None:
    """A full or read-only disk is a temporary error; later the same store accepts runs again."""
    with open_disk(tmp_path, kind=kind) as disk:
        troubled = Troubled(disk)
        try:
            assert troubled.store("first") == ("", ["first"])
            disk.fill(troubled.pid) if trouble == "full" else disk.protect()
            for _ in range(3):
                told, names = troubled.store("bad")
                assert told.startswith("Unavailable: The store has trouble: ")
                assert names == ["first"]
            disk.free(troubled.pid) if trouble == "full" else disk.unprotect()
            assert troubled.store("last") == ("", ["first", "last"])
        finally:
            status = troubled.close()
    assert status == 0
