"""Runs queries with a few clients, each used by one thread at a time, and translates errors."""

import copy
import math
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.access import NEEDS_ALL_PROJECTS, OPEN, Access
from otel_ml_collector.errors import BadInput, Missing, NotPermitted, StoreTimeout, Unavailable
from otel_ml_collector.margins import Margins
from otel_ml_collector.store.connection import Connections, Memory, name_of
from otel_ml_collector.store.sql import (
    Sql,
    StoreClient,
    split_long_values,
    substitute,
)
from otel_ml_collector.windows import UTC_ZONE

Row = dict[str, Any]
_Answer = TypeVar("_Answer")
_Asked = ParamSpec("_Asked")

# True for rows that the caller may read. Queries about several projects have it in WHERE.
READABLE: Final = Sql("project IN {readable:Array(String)}")
# Replaces `READABLE` for callers who may read all projects: a condition costs 0.5 ms.
_EVERY_PROJECT: Final = Sql("1")
# The API uses IDs as hex text, the store keeps them as bytes.
ID16: Final = Sql("toFixedString(unhex({trace:String}), 16)")
ID8: Final = Sql("toFixedString(unhex({span:String}), 8)")
IDS: Final = Sql("lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id")
_CLIENTS: Final = 4
_WAIT_S: Final = 10.0
# Time limit of a query in the engine, and its name there.
_QUERY_S: Final = 10.0
_TIME_LIMIT: Final = "max_execution_time"
# The engine has no limit if it is 0.
_LEAST_S: Final = 0.001
_TIMEOUT_EXCEEDED: Final = 159
_CANNOT_COMPILE_REGEXP: Final = 427
JsonValue = Any  # a payload: the input or output of traced code


class Reader:
    """Runs queries on the store, limited to the projects that the caller may read.

    The SQL is in `runs`, `statistics` and other modules. A query reads either one project, given by
    the query parameter ``project``, or all projects that the caller may read. In the second case,
    its SQL must contain the condition `READABLE`, which allows only these projects.

    Attributes:
        memory: Remembered facts about the store that save queries, such as the kinds of records
            that each project has.
        zone: Time zone that defines the days in a query and the dates in its filter.
        margins: The smallest differences of latency and cost that count. A smaller difference is
            never called "slower" or "more expensive".
    """

    def __init__(self, connections: Connections, margins: Margins = Margins()) -> None:  # noqa: B008
        self._access = OPEN
        self._deadline_s = math.inf
        self.memory: Memory = connections.memory
        self._clean: Callable[[Row], Row] | None = None
        self.zone = UTC_ZONE
        self.margins: Final = margins
        self._idle: queue.LifoQueue[StoreClient] = queue.LifoQueue()
        for _ in range(_CLIENTS):
            self._idle.put(connections.open())
        self._thread = threading.local()
        # A thread waits only for threads of the next pool, so the threads of the last pool can
        # always finish.
        self._pools = [
            ThreadPoolExecutor(_CLIENTS, name, self._note_pool, (level,))
            for level, name in enumerate(("question", "inner-question"), 1)
        ]

    def _note_pool(self, level: int) -> None:
        self._thread.level = level

    def close(self) -> None:
        """Wait for queries in the background. Call it before you close the store."""
        for pool in self._pools:
            pool.shutdown()

    @property
    def access(self) -> Access:
        """What the caller may read."""
        return self._access

    def narrow(self, access: Access) -> "Reader":
        """Return a reader that is limited to the projects that an access key may read."""
        narrowed = copy.copy(self)
        narrowed._access = access
        return narrowed

    def until(self, deadline_s: float) -> "Reader":
        """Return a reader that raises `StoreTimeout` from a time on, and then ends its queries.

        Args:
            deadline_s: The time, by the clock of `time.monotonic`.
        """
        limited = copy.copy(self)
        limited._deadline_s = min(deadline_s, self._deadline_s)
        return limited

    def in_zone(self, zone: ZoneInfo) -> "Reader":
        """Return a reader that uses a time zone for days and dates."""
        moved = copy.copy(self)
        moved.zone = zone
        return moved

    def cleaned(self, clean: Callable[[Row], Row]) -> "Reader":
        """Return a reader that passes each row through a function, such as one that redacts.

        It shares no memory with other readers, so it returns nothing that they have read.
        """
        copied = copy.copy(self)
        copied._clean = clean
        copied.memory = Memory(is_alone=False)
        return copied

    def rows(
        self, sql: Sql, parameters: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> list[Row]:
        """Run a query, and return its rows.

        Args:
            sql: The query, with placeholders such as ``{project:String}``.
            parameters: A value for each placeholder.
            settings: Settings of the engine for this query.

        Returns:
            The rows, as dicts by column name. IDs are hex text, times are integers.

        Raises:
            Missing: The caller may not read the project.
            NotPermitted: The query is about all projects, and the caller may not read all.
            StoreTimeout: The query took too long.
            Unavailable: The store does not answer, or too many queries are running.
        """
        sql, values = split_long_values(*self._within(sql, parameters))
        with self._client() as client:
            result = client.query(sql, values, settings=self._limit_time(settings))
            rows = list(result.named_results())
        return rows if self._clean is None else [*map(self._clean, rows)]

    def compute(self, project: str, ask: Callable[[StoreClient], _Answer]) -> _Answer:
        """Call a function with a client of the store, and return its result.

        Args:
            project: The project whose records the function reads. It must not read others.
            ask: The function.

        Raises:
            Missing: The caller may not read the project.
        """
        self._check(project)
        with self._client() as client:
            return ask(client)

    def ahead(
        self,
        ask: Callable[Concatenate["Reader", _Asked], _Answer],
        *args: _Asked.args,
        **kwargs: _Asked.kwargs,
    ) -> Future[_Answer]:
        """Run a query function on another thread, and return its future.

        Planning takes most of the time of a small query and uses one thread, so queries should run
        in parallel. A query function that runs here may call `ahead` too: those calls use a second
        pool of threads. Calls that are nested more deeply run immediately on the calling thread,
        because threads that wait for each other would block the pools.

        Args:
            ask: The query function. Its first argument is the reader.
            args: Further positional arguments of `ask`.
            kwargs: Keyword arguments of `ask`.
        """
        level: int = getattr(self._thread, "level", 0)
        if level < len(self._pools):
            return self._pools[level].submit(ask, self, *args, **kwargs)
        asked: Future[_Answer] = Future()
        try:
            asked.set_result(ask(self, *args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            asked.set_exception(error)
        return asked

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Within this context, run queries sequentially on this thread."""
        level: int = getattr(self._thread, "level", 0)
        self._thread.level = len(self._pools)
        try:
            yield
        finally:
            self._thread.level = level

    def blob(self, sql: Sql, parameters: Mapping[str, Any]) -> bytes:
        """Run a query for a column of bytes, and return the bytes of all rows, joined."""
        sql, values = split_long_values(*self._within(sql, parameters))
        with self._client() as client:
            return client.raw_query(sql, values, settings=self._limit_time(None), fmt="RawBLOB")

    def arrow(
        self, sql: Sql, parameters: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """Run a query like `rows`, and return columns. Use it for many rows."""
        sql, values = split_long_values(*self._within(sql, parameters))
        with self._client() as client:
            limited = self._limit_time(settings)
            table = client.query_arrow(sql, values, settings=limited, use_strings=True)
        if self._clean is None:
            return table
        return pa.Table.from_pylist([*map(self._clean, table.to_pylist())], schema=table.schema)

    def _check(self, project: str) -> None:
        """Refuse a project that the caller may not read."""
        own = self._access.projects
        if own is not None and project not in own:
            raise Missing(f"There is no project {project[:80]!r}")

    def _within(self, sql: Sql, parameters: Mapping[str, Any]) -> tuple[Sql, dict[str, Any]]:
        """Limit a query to projects that the caller may read. Refuse it if it names no project."""
        own, values = self._access.projects, dict(parameters)
        if "project" in values:
            self._check(str(values["project"]))
        if READABLE in sql:
            if own is None:
                return substitute(sql, READABLE, _EVERY_PROJECT), values
            values["readable"] = [*own]
        elif own is not None and not ("project" in values and "{project:String}" in sql):
            raise NotPermitted(NEEDS_ALL_PROJECTS)
        return sql, values

    @property
    def _left_s(self) -> float:
        """Seconds until the deadline; infinite without one.

        Raises:
            StoreTimeout: The deadline is over.
        """
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise StoreTimeout("The store did not respond in time")
        return left_s

    def _limit_time(self, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the settings of a query that may not run longer than until the deadline."""
        limited = dict(settings or {})
        left_s = self._left_s
        if left_s < limited.get(_TIME_LIMIT, _QUERY_S):
            limited[_TIME_LIMIT] = round(max(left_s, _LEAST_S), 3)
        return limited

    @contextmanager
    def _client(self) -> Iterator[StoreClient]:
        wait_s = min(_WAIT_S, self._left_s)
        try:
            client = self._idle.get(timeout=wait_s)
        except queue.Empty as error:
            if wait_s < _WAIT_S:
                raise StoreTimeout("The store did not respond in time") from error
            raise Unavailable(
                "Too many queries are waiting for the store. Try again later"
            ) from error
        try:
            yield client
        except ClickHouseError as error:
            if getattr(error, "code", None) == _TIMEOUT_EXCEEDED:
                within = "in time" if math.isfinite(self._deadline_s) else "within 10 s"
                raise StoreTimeout(f"The store did not respond {within}") from error
            if getattr(error, "code", None) == _CANNOT_COMPILE_REGEXP:
                raise BadInput(
                    "This is not a regular expression that RE2 supports", "where"
                ) from error
            raise Unavailable(f"The store has trouble: {name_of(error)}") from error
        finally:
            self._idle.put(client)


def run_id_of(row: Row) -> str:
    """Return the run ID of a row of `LIGHT` columns."""
    return f"{row['trace_id']}-{row['span_id']}"


def is_open(row: Row) -> bool:
    """Return whether the row is of an open run."""
    return row["latency_ns"] is None


def tagged_ns(row: Row) -> int:
    """Return the time of a run's own tags: its end, or its start while it is open."""
    return int(row["start_ns"] + (row["latency_ns"] or 0))


def span_of(row: Row) -> tuple[str, int]:
    """Return the identity of a span in a trace: its ID and its start, because IDs may repeat."""
    return run_id_of(row), row["start_ns"]


def winners(rows: Iterable[Row], key: Callable[[Row], object] = run_id_of) -> list[Row]:
    """Keep one row for each run, in the order of the rows.

    A run can have several rows: senders repeat requests, and a run has a row when it starts and
    another one when it ends. The row with the highest number in `rank` is valid, and is kept.

    Args:
        rows: Rows without payloads.
        key: Returns the values that identify the run of a row.
    """
    best: dict[object, Row] = {}
    for row in rows:
        identity = key(row)
        known = best.get(identity)
        if known is None or row["rank"] > known["rank"]:
            best[identity] = row
    return list(best.values())


def group_rows(rows: Iterable[Row], column: str) -> defaultdict[str, list[Row]]:
    """Group rows by the text in a column. A text without rows has an empty list."""
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[column]].append(row)
    return grouped


def load_json(text: str, default: object = None) -> Any:
    """Parse a column with JSON text. Return the default if it is empty."""
    return orjson.loads(text) if text else default
