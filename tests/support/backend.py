"""The example backend, in this process or in one that a test stops, kills and restarts."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc

from examples.backend import Backend
from otel_ml_collector._proto.records_pb2_grpc import add_RecordServiceServicer_to_server
from tests.support.certificates import Certificate
from tests.support.folders import ROOT


class BackendProcess:
    """``examples/backend.py`` over a database that outlives it, always at the same port.

    Attributes:
        target: Its address as used in settings.
    """

    def __init__(self, database: Path, key: str = "") -> None:
        self._database = database
        self._key = key
        self._port = 0
        self.start()

    @property
    def target(self) -> str:
        return f"grpc://127.0.0.1:{self._port}"

    def start(self) -> None:
        program = [sys.executable, str(ROOT / "examples/backend.py")]
        self._process = subprocess.Popen(
            [*program, str(self._database), f"127.0.0.1:{self._port}", self._key],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline().removeprefix("ready: "))

    def kill(self) -> None:
        """Kill the backend, as in a crash."""
        self._process.kill()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def records(self, kind: str, project: str) -> list[dict[str, Any]]:
        """Return the project's stored records of a kind, ordered by identity."""
        sql = """SELECT body FROM records WHERE kind = ? AND json_extract(body, '$.project') = ?
            ORDER BY identity"""
        with closing(sqlite3.connect(self._database)) as database:
            return [json.loads(body) for (body,) in database.execute(sql, (kind, project))]

    def ids(self) -> set[str]:
        """Return the ids of all runs, ``<32 hex>-<16 hex>``."""
        return run_ids_in(self._database)

    def identities(self) -> set[tuple[str, str]]:
        """Return kind and identity of all stored records."""
        with closing(sqlite3.connect(self._database)) as database:
            return set(database.execute("SELECT kind, identity FROM records"))


def run_ids_in(database: Path) -> set[str]:
    """Return the ids of all runs in a database of the example backend."""
    sql = "SELECT identity FROM records WHERE kind = 'runs'"
    with closing(sqlite3.connect(database)) as opened:
        found = [identity.split("\x1f") for (identity,) in opened.execute(sql)]
    return {f"{trace_id}-{span_id}" for _, trace_id, span_id in found}


@contextmanager
def running_backend(database: Path, key: str = "") -> Iterator[BackendProcess]:
    """Start a backend, yield it once it is ready, and kill it at the end."""
    process = BackendProcess(database, key)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def serving(backend: Backend, certificate: Certificate | None = None) -> Iterator[int]:
    """Serve a backend in this process and yield its port; with a certificate, use TLS."""
    server = grpc.server(ThreadPoolExecutor(4))
    add_RecordServiceServicer_to_server(backend, server)  # type: ignore[no-untyped-call] # generated
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = certificate.key.read_bytes(), certificate.cert.read_bytes()
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(10)
