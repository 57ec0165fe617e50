"""Opens clients of the store and translates their errors. One process locks a data directory."""

import errno
import fcntl
import math
import os
import re
import secrets
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.exceptions import Error as DriverError
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from otel_ml_collector.errors import BadSetting, InUse, StoreUnreachable, Unavailable
from otel_ml_collector.store.lock import LOCK_FILE, read_holder
from otel_ml_collector.store.recent_calls import RecentCalls
from otel_ml_collector.store.rows import RowUpdates
from otel_ml_collector.store.sql import Sql, StoreClient

_Made = TypeVar("_Made")

# Without limits, the engine uses all memory of the machine.
_ENGINE: Final = {
    "max_server_memory_usage": "3000000000",
    "mark_cache_size": "268435456",
    "max_concurrent_queries": "64",
    # The default of 50 ms costs 0.1 % of a core for nothing.
    "memory_worker_period_ms": "500",
    # Compiling an expression takes 20 to 60 ms, which a query of 60,000 runs does not win back. A
    # collector would compile 10 to 20 of them when it opens its store and receives its first runs.
    "compile_expressions": "0",
    "compile_aggregate_expressions": "0",
    "compile_sort_description": "0",
    "compile_regular_expressions": "0",
}
# Seconds for which the engine may merge parts after a statement that writes.
_MERGES_WITHIN_S: Final = 600.0

_QUERY: Final = {
    "max_memory_usage": 1_000_000_000,
    "max_execution_time": 10,
    "async_insert": 0,
    "materialize_skip_indexes_on_insert": 0,
    "do_not_merge_across_partitions_select_final": 1,
    "prefer_column_name_to_alias": 1,  # a name means the column, not an alias of its hex text
    # With statistics, a statement opens those of every part: 10 % of the CPU time of a small one.
    "use_statistics": 0,
    # The profile of a server's user may set these differently, which would change answers.
    "join_use_nulls": 0,
    "group_by_use_nulls": 0,
    "transform_null_in": 0,
    "aggregate_functions_null_for_empty": 0,
    "final": 0,
    # Rows that are sent again are stored again. Queries decide which of them counts.
    "insert_deduplicate": 0,
    # Replicated tables refuse a deletion whose condition reads other tables, as ours do. Each
    # replica carries it out on its own. If its result differs, it copies the part of another
    # replica.
    "allow_nondeterministic_mutations": 1,
}
# For the read before a conditional write, and for the inserts that it must see. The replica must
# have everything that a quorum acknowledged. ClickHouse can tell that only for sequential inserts.
# All other inserts are parallel, and any replica answers all other reads at once. A store without
# replicas ignores these settings. Reasons: docs/design/057-quorum.md.
ORDERED_READ: Final = {"select_sequential_consistency": 1}
ORDERED_INSERT: Final = {"insert_quorum_parallel": 0}
# Share of the client's timeout for which a server waits for a quorum. Its error says that replicas
# are missing, so it must arrive before the client gives up.
_QUORUM_SHARE: Final = 0.5
# Too few live replicas (285), an earlier quorum insert is not finished (286), a replica lacks an
# insert (289). The server raises them before it stores anything, so a repetition is safe.
_PASSING_ERRORS: Final = frozenset({285, 286, 289})
_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
_PAUSE_SPREAD: Final = secrets.SystemRandom()
# Describes a backup. A data directory has no such file.
MANIFEST: Final = "backup.json"
_MAJOR_VERSION: Final = re.compile(r"(\d+)\.")
_LEAST_VERSION: Final = 26
# For inserts: one thread processes a block, so more threads would only wait for each other.
SINGLE_THREAD: Final = {"max_threads": 1, "max_insert_threads": 1, "max_parsing_threads": 1}
# Limits how long a server that does not answer blocks a thread, in seconds. Options in the URL
# override these.
_SERVER: Final = {"connect_timeout": 3, "send_receive_timeout": 30, "query_retries": 1}
# Everything from the colon after the user to the last @, because passwords may be unescaped.
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):.*@")
_ASKED: Final = re.compile(r" with url: \S+| \(for url \S+\)")
_ERROR_CHARS: Final = 200
# After these errors, a disk can work again without a change of the settings.
_FAILING_DISK: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE})
_UNWRITTEN: Final = Sql("""
    SELECT sum(value) FROM system.events
    WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'""")
_KNOWN_NAMES: Final = 10_000
# Maximum number of rows in all kept answers. A row takes about 2 kB.
_KEPT_ROWS: Final = 20_000


# Version numbers of a name by digest and structure. For `EVERY_NAME`, by name, digest and
# structure.
KnownNumbers = Mapping[tuple[str, ...], int]
EVERY_NAME: Final = ""
EVERY_PROJECT: Final = ""


class Memory:
    """Caches information about a store, such as which kinds of records a project has.

    All readers and writers of this process use the same cache.

    If a project has a kind of records, such as scores, this is always cached. If a project lacks a
    kind, this is cached while `is_alone` is true. Otherwise another process could store the first
    record of the kind without notice. If all records of a kind are deleted, the kind stays in the
    cache. This can cause an unnecessary query, but never a wrong answer.

    Attributes:
        is_alone: Whether no other process writes to the store.
        calls: Recent runs by trace. They show without a query which values, such as the session, a
            run inherits from other runs of its trace.
        updates: The runs whose rows must be written again.
    """

    def __init__(self, *, is_alone: bool) -> None:
        self.is_alone = is_alone
        self.calls = RecentCalls()
        self.updates = RowUpdates()
        # Contains only projects that have records, so queries about other names do not make it
        # grow.
        self._found: dict[str, frozenset[str]] = {}
        self._complete: set[str] = set()
        self._numbers: dict[tuple[str, str, str], KnownNumbers] = {}
        self._generation = 0
        self._days: dict[str, Mapping[int, int]] = {}
        self._days_generation = 0
        self._answers: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._guard = threading.Lock()

    def work_out(
        self, key: Hashable, make: Callable[[], _Made], rows: Callable[[_Made], int]
    ) -> _Made:
        """Return the cached answer under a key. If there is none, compute it with `make`.

        Args:
            key: Identifies the question, and the state of the store on which the answer depends.
            make: Computes the answer.
            rows: Returns the size of an answer, in rows. Answers that were not used for the longest
                time are dropped first. Answers that are too large are not kept.
        """
        with self._guard:
            if key in self._answers:
                self._answers.move_to_end(key)
                known: _Made = self._answers[key][0]
                return known
        made = make()
        if (size := 1 + rows(made)) <= _KEPT_ROWS:
            with self._guard:
                self._answers[key] = made, size
                while sum(size for _, size in self._answers.values()) > _KEPT_ROWS:
                    self._answers.popitem(last=False)
        return made

    def recall_answer(self, key: Hashable) -> Any:
        """Return the cached answer under a key; None if there is none."""
        with self._guard:
            return self._answers[key][0] if key in self._answers else None

    @property
    def generation(self) -> int:
        """A number that changes whenever version numbers are forgotten."""
        return self._generation

    def recall(self, project: str) -> tuple[frozenset[str], bool]:
        """Return the known record kinds of a project, and whether the list is complete."""
        return self._found.get(project, frozenset()), project in self._complete

    def note(
        self, project: str, sorts: Iterable[str], *, is_complete: bool = False
    ) -> frozenset[str]:
        """Remember that a project has some kinds of records.

        Call it before you store records of a new kind, and after you read the kinds from the store.
        `recall` returns the remembered kinds of a project. With `EVERY_PROJECT` instead of a
        project, it returns the kinds of all projects together.

        Args:
            project: The project.
            sorts: The kinds of records, in addition to those that are already remembered.
            is_complete: Whether the project has no further kinds of records.

        Returns:
            All remembered kinds of the project, including the new ones.
        """
        with self._guard:
            added = frozenset(sorts)
            for name in (project, EVERY_PROJECT):
                if known := self._found.get(name, frozenset()).union(added):
                    self._found[name] = known
            known = self._found.get(project, frozenset())
            if is_complete and self.is_alone:
                if len(self._complete) >= _KNOWN_NAMES:
                    self._complete.clear()
                self._complete.add(project)
            return known

    def numbers(self, project: str, kind: str, name: str) -> KnownNumbers | None:
        """Return the version numbers of a name; None if the store must be asked."""
        return self._numbers.get((project, kind, name))

    def keep_numbers(
        self, project: str, known_numbers: Mapping[tuple[str, str], KnownNumbers], generation: int
    ) -> None:
        """Keep version numbers by kind and name, if none were forgotten since they were read."""
        with self._guard:
            if self.is_alone and generation == self._generation:
                if len(self._numbers) > _KNOWN_NAMES:
                    self._numbers.clear()
                for (kind, name), numbers in known_numbers.items():
                    self._numbers[project, kind, name] = numbers

    def forget_numbers(self, is_old: Callable[[tuple[str, str, str], KnownNumbers], bool]) -> None:
        """Forget version numbers that have changed, once the change can be read."""
        with self._guard:
            self._generation += 1
            old = [key for key, numbers in self._numbers.items() if is_old(key, numbers)]
            for key in old:
                del self._numbers[key]

    def days(self, project: str, read: Callable[[], Mapping[int, int]]) -> Mapping[int, int]:
        """Return the days for which the stored totals of a project are up to date.

        If no other process writes to the store, the days are cached until `forget_days` is called.

        Args:
            project: The project.
            read: Reads the days from the store. It is called if they are not cached.

        Returns:
            A mapping from the start of each day to the time at which the totals of the day were
            computed, both in nanoseconds since 1970.
        """
        generation = self._days_generation
        known = self._days.get(project)
        if known is not None:
            return known
        days = read()
        with self._guard:
            if self.is_alone and generation == self._days_generation:
                if len(self._days) >= _KNOWN_NAMES:
                    self._days.clear()
                self._days[project] = days
        return days

    def forget_days(self, projects: Iterable[str]) -> None:
        """Forget the days of projects after they changed in the store."""
        with self._guard:
            self._days_generation += 1
            for project in projects:
                self._days.pop(project, None)


class Connections:
    """Opens clients of a store. `store.migrations.connect` creates it.

    Args:
        url: ``chdb:///absolute/path`` for the embedded engine, or
            ``clickhouse://user:password@host:port/database`` (``clickhouses`` for TLS).

    Attributes:
        name: The URL without password and options.
        memory: A cache of facts about the store.

    Raises:
        StoreUnreachable: The disk of the data directory fails or is full.
        BadSetting: The URL is invalid, or another process uses the data directory.
    """

    def __init__(self, url: str) -> None:
        self._lock_file: int | None = None
        self._folder: Path | None = None
        self._clients: list[ConfirmingClient] = []
        self._is_closed = False
        self._guard = threading.RLock()
        self._unwritten: int | None = None
        self.name = _shown(url)
        self._arguments = self._address(url)
        self.memory = Memory(is_alone=self._folder is not None)

    @property
    def folder(self) -> Path | None:
        """The data directory, None for a server."""
        return self._folder

    def may_be_merging(self) -> bool:
        """Return whether the engine may merge parts, because of a write in the last 10 minutes."""
        written_s = max((client.written_s for client in self._clients), default=-math.inf)
        return time.monotonic() - written_s < _MERGES_WITHIN_S

    def note_address(self, address: str) -> None:
        """Write this collector's address into the lock file, for processes that find it locked."""
        if self._lock_file is not None:
            os.write(self._lock_file, f"{address}\n".encode())

    def open(self, confirms: bool = True) -> StoreClient:
        """Open a client, with which one thread at a time can read from and write to the store.

        If two threads use the same client at once, their rows get mixed up.

        The first client connects at once. All others connect at their first query, because
        connecting reads 1,400 settings of the engine.

        Args:
            confirms: Whether the client checks after each write that the engine could write its
                files. This takes 2 ms. If false, call `confirm` of the client before you report
                records as stored.
        """
        with self._guard:
            opened = ConfirmingClient(
                self._connect, self._folder is not None, confirms, self._unwritten
            )
            if self._unwritten is None:
                self._unwritten = opened.unwritten
            self._clients.append(opened)
        return opened

    def _connect(self) -> Any:
        with self._guard:
            if self._is_closed:
                raise Unavailable("The store is closed")
            if self._folder is not None:
                return clickhouse_connect.get_client(**self._arguments)
            timeout_s = float(self._arguments["send_receive_timeout"])
            quorum = {"insert_quorum_timeout": int(timeout_s * _QUORUM_SHARE * 1_000)}
            try:
                return clickhouse_connect.get_client(settings=_QUERY | quorum, **self._arguments)
            except ClickHouseError:  # an old server does not know the settings
                refuse_version(_ask_version(self._arguments))
                raise

    def refuse(self) -> None:
        """Refuse all further statements with `Unavailable`, so that running work ends soon."""
        with self._guard:
            for client in self._clients:
                client.refuse()

    def close(self) -> None:
        """Close every client, then unlock the data directory."""
        with self._guard:
            self._is_closed = True
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _address(self, url: str) -> dict[str, Any]:
        try:
            parts = urlsplit(url)
            port = parts.port or 0
        except ValueError as error:
            raise _invalid(url) from error
        if parts.scheme == "chdb" and parts.path not in {"", "/"} and not parts.netloc:
            path = Path(unquote(parts.path))
            if "?" in str(path):  # the engine would read options there, and store data elsewhere
                raise _invalid(url)
            self._hold(path)
            # As options of the engine, the settings need no statements for each client.
            options = _ENGINE | _QUERY
            return {"interface": "chdb", "path": str(path / "store"), "chdb_options": options}
        if parts.scheme in {"clickhouse", "clickhouses"} and parts.hostname:
            return {
                "host": parts.hostname,
                "port": port,
                **_SERVER,
                # Each client has its own pool. A full shared pool would throw connections away.
                "dedicated_pool": True,
                "username": unquote(parts.username or "default"),
                "password": unquote(parts.password or ""),
                "database": parts.path.strip("/") or "default",
                "secure": parts.scheme == "clickhouses",
                "autogenerate_session_id": False,
                **dict(parse_qsl(parts.query)),
            }
        raise _invalid(url)

    def _hold(self, path: Path) -> None:
        """Lock the data directory, so that a second collector gets a clear error."""
        _refuse_backup(path)
        _refuse_copy(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Records may be read only with an API key, or with the rights to this folder.
            (path / "store").mkdir(mode=0o700, exist_ok=True)
            lock = path / LOCK_FILE
            self._lock_file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            kind = StoreUnreachable if error.errno in _FAILING_DISK else BadSetting
            raise kind(f"The data directory {path} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder, address = read_holder(path)
            self.close()
            raise InUse(
                f"The data directory {path} is in use by another collector (process "
                f"{holder or 'unknown'}); stop it, or choose another --data-dir",
                address,
            ) from error
        self._folder = path
        os.ftruncate(self._lock_file, 0)
        os.write(self._lock_file, f"{os.getpid()}\n".encode())


def _refuse_backup(data_dir: Path) -> None:
    """Refuse a backup: a new store without records would be created in it."""
    if (data_dir / MANIFEST).is_file() and not (data_dir / "store").exists():
        raise BadSetting(
            f"The data directory {data_dir} cannot be used: it is a backup. Restore it with "
            f"otel-ml restore {data_dir} --data-dir NEW, and use NEW as the data directory"
        )


def _refuse_copy(data_dir: Path) -> None:
    """Refuse a copy in which folders replaced symbolic links: the engine would find no tables."""
    database = data_dir / "store/metadata/default"
    if database.is_dir() and not database.is_symlink():
        raise BadSetting(
            f"The data directory {data_dir} cannot be used: it is a copy with a folder in place of "
            "the symbolic link store/metadata/default, as cp -rL or scp -r makes it. Stop the "
            "collector and copy with cp -a, or use otel-ml backup and otel-ml restore"
        )


def refuse_version(version: str) -> None:
    """Refuse a server that is too old for the tables. An unknown version is accepted.

    Raises:
        BadSetting: The server is too old.
    """
    match = _MAJOR_VERSION.match(version)
    if match and int(match[1]) < _LEAST_VERSION:
        raise BadSetting(f"The ClickHouse server has version {version}: needs {_LEAST_VERSION}.x")


def _ask_version(arguments: Mapping[str, Any]) -> str:
    """Ask a server for its version, without a client; empty if it does not answer with one."""
    scheme, usual_port = ("https", 8443) if arguments["secure"] else ("http", 8123)
    host = f"[{arguments['host']}]" if ":" in arguments["host"] else arguments["host"]
    user = f"{arguments['username']}:{arguments['password']}".encode()
    tls = {"ca_certs": arguments["ca_cert"]} if "ca_cert" in arguments else {}
    try:
        with PoolManager(retries=False, **tls) as pool:
            reply = pool.request(
                "GET",
                f"{scheme}://{host}:{arguments['port'] or usual_port}/",
                fields={"query": "SELECT version()"},
                headers={"authorization": f"Basic {b64encode(user).decode()}"},
                timeout=float(arguments["connect_timeout"]),
            )
    except (HTTPError, OSError):
        return ""
    return reply.data.decode("ascii", "replace").strip() if reply.status == HTTPStatus.OK else ""


class ConfirmingClient:
    """A client of the store that raises an error if the engine could not write its files.

    The embedded engine reports no error if a write fails, for example because the disk is full. It
    only increases a counter, and the stored files are empty or too short. This client reads the
    counter. A ClickHouse server reports such errors, so there is nothing to check.

    Args:
        connect: Creates a client of the library `clickhouse_connect`.
        is_embedded: Whether the engine runs in this process.
        confirms: Whether to check the counter after each write. If false, the caller must call
            `confirm`.
        unwritten: Value of the counter so far. If None, the client reads it from the engine.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        is_embedded: bool = True,
        confirms: bool = True,
        unwritten: int | None = None,
    ) -> None:
        self._connect = connect
        self._is_embedded = is_embedded
        self._confirms = confirms
        self._is_refusing = False
        self.unwritten = self._count() if unwritten is None else unwritten
        # Opening a store writes, so the engine may be merging parts.
        self.written_s = time.monotonic()

    @cached_property
    def _client(self) -> Any:
        return self._connect()

    @cached_property
    def query(self) -> Any:
        """Run a query, and return its rows."""
        if self._is_embedded:
            return self._renewing("query")
        query = self._client.query
        return lambda *args, **kwargs: self._repeat(lambda: query(*args, **kwargs))

    @cached_property
    def query_arrow(self) -> Any:
        """Run a query, and return an Arrow table."""
        return self._renewing("query_arrow") if self._is_embedded else self._client.query_arrow

    @cached_property
    def raw_query(self) -> Any:
        """Run a query, and return bytes."""
        return self._renewing("raw_query") if self._is_embedded else self._client.raw_query

    def _renewing(self, name: str) -> Callable[..., Any]:
        """Return a method of the library's client that connects anew after an error.

        If the embedded engine ends a query while it sends rows, for example after
        `max_execution_time`, the rows that are left come before those of the next query on the
        same connection.
        """

        def ask(*args: Any, **kwargs: Any) -> Any:
            try:
                return getattr(self._client, name)(*args, **kwargs)
            except BaseException:
                self.close()
                vars(self).pop("_client", None)
                raise

        return ask

    def refuse(self) -> None:
        """Refuse all further statements. Any thread may call it."""
        self._is_refusing = True
        self.query = self.query_arrow = self.raw_query = _refuse

    def close(self) -> None:
        """Close the client of the library, if it was created."""
        if "_client" in vars(self):
            self._client.close()

    def command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a statement."""
        return self._written(self._repeat(lambda: self._client.command(*args, **kwargs)))

    def insert(self, *args: Any, **kwargs: Any) -> Any:
        """Store rows."""
        return self._written(self._repeat(lambda: self._client.insert(*args, **kwargs)))

    def insert_arrow(self, *args: Any, **kwargs: Any) -> Any:
        """Store an Arrow table."""
        return self._written(self._repeat(lambda: self._client.insert_arrow(*args, **kwargs)))

    def insert_portions(
        self, table: str, portions: Iterator[pa.Table], *, settings: dict[str, Any] | None = None
    ) -> Any:
        """Store several tables as one insert. The embedded engine holds one in memory at a time."""
        if not self._is_embedded:  # one request, so another connection can repeat it
            return self.insert_arrow(table, pa.concat_tables(portions), settings=settings)
        if self._is_refusing:
            _refuse()
        first = next(portions)
        stream = _write_stream(chain([first], portions), first.schema)
        return self._written(
            self._client.raw_insert(table, first.schema.names, stream, settings, "ArrowStream")
        )

    def confirm(self) -> None:
        """Raise `Unavailable` if writing a file failed since the last call."""
        before, self.unwritten = self.unwritten, self._count()
        if self.unwritten != before:
            raise Unavailable("The store has trouble: the engine could not write its files")

    def _repeat(self, ask: Callable[[], _Made]) -> _Made:
        """Repeat a query for about 3 s while a cluster lacks replicas, or a replica lacks inserts.

        Raises:
            ClickHouseError: The cause remains, or it is another error.
        """
        if self._is_refusing:
            _refuse()
        for pause_s in () if self._is_embedded else _PAUSES_S:
            try:
                return ask()
            except DriverError as error:
                if error.code not in _PASSING_ERRORS:
                    raise
                time.sleep(pause_s * _PAUSE_SPREAD.uniform(0.5, 1.5))
        return ask()

    def _written(self, result: Any) -> Any:
        self.written_s = time.monotonic()
        if self._confirms:
            self.confirm()
        return result

    def _count(self) -> int:
        return int(self._client.query(_UNWRITTEN).result_rows[0][0]) if self._is_embedded else 0


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise Unavailable("The collector is shutting down")


def _write_stream(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[bytes]:
    """Write tables in the Arrow IPC streaming format.

    Spec: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
    """
    yield schema.serialize().to_pybytes()
    for table in tables:
        for batch in table.to_batches():
            yield batch.serialize().to_pybytes()
    yield b"\xff\xff\xff\xff\0\0\0\0"


def _invalid(url: str) -> BadSetting:
    return BadSetting(
        f"Invalid store {_shown(url)!r}: expected chdb:///absolute/path or "
        "clickhouse://user:password@host:port/database"
    )


def _shown(url: str) -> str:
    """Return a URL without password and options, even if the URL is invalid."""
    return _PASSWORD.sub(r"\1:***@", url).partition("?")[0]


def describe_error(error: Exception) -> str:
    """Describe an error in one line, without the URL of the server."""
    return _ASKED.sub("", str(error)).partition("\n")[0]


@contextmanager
def store_trouble() -> Iterator[None]:
    """Raise `Unavailable` for any error of the connection or the store in this block.

    Raises:
        Unavailable: The store does not answer.
    """
    try:
        yield
    except (ClickHouseError, OSError) as error:  # inserts use a temporary file
        raise Unavailable(f"The store has trouble: {name_of(error)}") from error


def name_of(error: ClickHouseError | OSError) -> str:
    """Return the engine's or system's name for an error, without data that it may quote."""
    if isinstance(error, OSError):
        # Some libraries raise errors without a number. Then the type is the only information.
        return (
            error.strerror or str(error).partition("\n")[0][:_ERROR_CHARS] or type(error).__name__
        )
    return getattr(error, "name", None) or type(error).__name__
