"""A process that simulates a ClickHouse server, for tests of the network store."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import clickhouse_connect

from tests.support.certificates import Certificate
from tests.support.clickhouse_front import PASSWORD, USER
from tests.support.deploy import cluster

_STOP_S: Final = 30


class Server:
    """A server with ClickHouse's HTTP interface: a stand-in or a real one.

    Args:
        host: Its host.
        user: The name of its user.
        password: Its password.
        secure: Whether it uses TLS.
        port: Its port; can be set later.
    """

    def __init__(self, host: str, user: str, password: str, *, secure: bool, port: int = 0) -> None:
        self._host = host
        self._user = user
        self._password = password
        self._secure = secure
        self.port = port
        self.databases: list[str] = []

    def url(
        self, database: str = "default", *, password: str | None = None, options: str = ""
    ) -> str:
        """Return the address of one of its databases, as ``--store`` takes it."""
        scheme = "clickhouses" if self._secure else "clickhouse"
        secret = self._password if password is None else password
        user = f"{quote(self._user, safe='')}:{quote(secret, safe='')}"
        return f"{scheme}://{user}@{self._host}:{self.port}/{database}{options}"

    def make_database(self) -> str:
        """Create an empty database; return its name."""
        name = f"otel_ml_test_{uuid.uuid4().hex}"
        self.command(f"CREATE DATABASE {name}")
        self.databases.append(name)
        return name

    def command(self, statement: str) -> str:
        """Execute a statement as administrator; return the result, tabs between columns."""
        with clickhouse_connect.get_client(
            host=self._host,
            port=self.port,
            username=self._user,
            password=self._password,
            secure=self._secure,
        ) as client:
            answer: bytes = client.raw_query(statement)
        return answer.decode()


class RealServer(Server):
    """An existing server or cluster; the databases are dropped at the end.

    Args:
        address: Its address, as ``--store`` takes it.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        secure = parts.scheme == "clickhouses"
        super().__init__(
            parts.hostname or "",
            unquote(parts.username or "default"),
            unquote(parts.password or ""),
            secure=secure,
            port=parts.port or (8443 if secure else 8123),
        )
        clusters = self.command("SELECT DISTINCT cluster FROM system.clusters").split()
        macros = self.command("SELECT macro FROM system.macros").split()
        self.is_cluster = cluster.CLUSTER in clusters and {"shard", "replica"} <= set(macros)

    def make_database(self) -> str:
        """Create an empty database, on a cluster with replicated tables."""
        if not self.is_cluster:
            return super().make_database()
        name = f"otel_ml_test_{uuid.uuid4().hex}"
        self.databases.append(name)
        for statement in cluster.statements():
            # The name occurs as database and in the Keeper path of each table.
            renamed = re.sub(rf"\b{cluster.DATABASE}(?=[./]|\s+ON\b)", name, statement)
            self.command(renamed)
        return name

    def drop_databases(self) -> None:
        """Drop the databases that were created."""
        everywhere = f" ON CLUSTER {cluster.CLUSTER}" if self.is_cluster else ""
        for name in self.databases:
            self.command(f"DROP DATABASE IF EXISTS {name}{everywhere} SYNC")


class ClickHouse(Server):
    """The HTTP front of chDB, over a folder that outlives it.

    Args:
        folder: The folder of its data.
        certificate: Its TLS certificate; None for plain HTTP.
        bytes_per_s: Limit of its write speed; 0 for none.
    """

    def __init__(
        self, folder: Path, certificate: Certificate | None = None, bytes_per_s: int = 0
    ) -> None:
        self._folder = folder
        self._bytes_per_s = bytes_per_s
        self._certificate = certificate
        super().__init__("127.0.0.1", USER, PASSWORD, secure=certificate is not None)
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def simulate(self, **fields: object) -> dict[str, Any]:
        """Set the simulated behaviour of a replica: see `Simulation` in `clickhouse_front`.

        Returns:
            ``cut_inserts``, and the numbers of ``ordered`` inserts by table.
        """
        state: dict[str, Any] = json.loads(self.command(f"SIMULATE {json.dumps(fields)}"))
        return state

    def kill(self) -> None:
        """Kill the server, as in a crash."""
        self._process.kill()
        self._process.wait(_STOP_S)
        if self._process.stdout:
            self._process.stdout.close()

    def restart(self) -> None:
        """Restart the server over the same data, at the same port."""
        self.kill()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        files = self._certificate
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.clickhouse_front"),
                *(str(self._folder), str(self.port)),
                *((str(files.cert), str(files.key)) if files else ()),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "INSERT_BYTES_PER_S": str(self._bytes_per_s)},
        )
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, "the front before chDB did not start"
        self.port = int(told)
        return process


@contextmanager
def replicas(folder: Path) -> Iterator[tuple[ClickHouse, ClickHouse]]:
    """Yield two replicas; the second fetches everything the first executes."""
    with clickhouse(folder / "first") as first, clickhouse(folder / "second") as second:
        first.simulate(replicas=[second.port])
        second.simulate(leader=first.port)
        yield first, second


@contextmanager
def clickhouse(
    folder: Path, certificate: Certificate | None = None, bytes_per_s: int = 0
) -> Iterator[ClickHouse]:
    """Start a server, yield it once it listens, and kill it at the end."""
    server = ClickHouse(folder, certificate, bytes_per_s)
    try:
        yield server
    finally:
        server.kill()
