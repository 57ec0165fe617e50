"""A process that stands in for a ClickHouse server, for tests of the road over the network."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import clickhouse_connect

from tests.support.certificates import Certificate
from tests.support.clickhouse_front import PASSWORD, USER

_STOP_S: Final = 30


class ClickHouse:
    """The HTTP front before chDB, over a folder that outlives it.

    Args:
        folder: Where it keeps its data.
        certificate: With which it speaks TLS; None for plain HTTP.
        bytes_per_s: How fast it stores; 0 for as fast as it can.
    """

    def __init__(
        self, folder: Path, certificate: Certificate | None = None, bytes_per_s: int = 0
    ) -> None:
        self._folder = folder
        self._bytes_per_s = bytes_per_s
        self._certificate = certificate
        self.port = 0
        self._process = self._start()

    def url(self, database: str = "default", *, password: str = PASSWORD, options: str = "") -> str:
        """The address of one of its databases, as ``--store`` takes it."""
        scheme = "clickhouses" if self._certificate else "clickhouse"
        user = f"{USER}:{quote(password, safe='')}"
        return f"{scheme}://{user}@127.0.0.1:{self.port}/{database}{options}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def make_database(self) -> str:
        """Make an empty database; returns its name."""
        name = f"d{uuid.uuid4().hex}"
        self.command(f"CREATE DATABASE {name}")
        return name

    def command(self, statement: str) -> str:
        """Carry a statement out as its operator; returns its answer, tabs between columns."""
        with clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=USER, password=PASSWORD
        ) as client:
            answer: bytes = client.raw_query(statement)
        return answer.decode()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait(_STOP_S)
        if self._process.stdout:
            self._process.stdout.close()

    def restart(self) -> None:
        """Start again over the same data, at the same port."""
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
def clickhouse(
    folder: Path, certificate: Certificate | None = None, bytes_per_s: int = 0
) -> Iterator[ClickHouse]:
    """Give a server that listens; it is killed at the end."""
    server = ClickHouse(folder, certificate, bytes_per_s)
    try:
        yield server
    finally:
        server.kill()
