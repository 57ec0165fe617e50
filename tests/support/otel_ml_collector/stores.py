"""A real store in a folder, with its writer and reader, or with the whole application."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.measures.rollup import recompute
from otel_ml_collector.records import Records
from otel_ml_collector.serve.app import make_app, open_collector
from otel_ml_collector.settings.sources import load
from otel_ml_collector.span import Span
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.resolutions import write_rows
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.store.writer import Writer
from tests.support.new_store import lay
from tests.support.otel_ml_collector.spans import NOW_NS


@dataclass(frozen=True)
class Store:
    """An open store. The engine opens one folder per process: close it before another one."""

    connections: Connections
    writer: Writer
    reader: Reader

    @cached_property
    def watch(self) -> CallResolver:
        """The job that resolves the stored runs."""
        return CallResolver(self.connections)

    @cached_property
    def _tombstones(self) -> Tombstones:
        return Tombstones(self.connections)

    def take(self, project: str, *spans: Span, now_ns: int = NOW_NS) -> Records:
        """Map spans at a time, store their records as one group, and write all changed rows.

        A collector resolves after its response, so errors while resolving are ignored.
        """
        records = map_spans(spans, Filing(project, now_ns))
        self.writer.write(records)
        self.watch.note(records, self.writer.stamped_ns or 0)
        with suppress(Unavailable):
            self.watch.run_pass()
            # If the writer has just stored runs, a pass leaves the rows to its next insert.
            write_rows(self.connections.open(), self.connections.memory, self._tombstones)
        return records

    def compute(self, project: str, days: Sequence[int]) -> None:
        """Compute the rollup of some days, as if nothing had been written to them for a minute."""
        client = self.connections.open()
        now_ns = client.query(Sql("SELECT toUnixTimestamp64Nano(now64(9))")).result_rows[0][0]
        recompute(client, self.connections.memory, project, days, now_ns)

    def resolve(self) -> None:
        """Resolve all unresolved records, as a collector does at startup, and write all rows."""
        watch = CallResolver(self.connections)
        while watch.run_pass():
            pass
        write_rows(self.connections.open(), self.connections.memory, self._tombstones)


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open the store of a folder, and close it at the end."""
    lay(path)
    with open_connected(f"chdb://{path}") as store:
        yield store


@contextmanager
def open_connected(url: str) -> Iterator[Store]:
    """Open a store whose tables exist, in a folder or on a server; close it at the end."""
    connections = connect(url)
    reader = Reader(connections)
    try:
        yield Store(connections, Writer(connections), reader)
    finally:
        reader.close()
        connections.close()


@dataclass(frozen=True, slots=True)
class Service:
    """The HTTP application and its store."""

    app: FastAPI
    store: Store


# A connection for judges without code; nothing listens at its address.
NO_MODEL: Final = json.dumps(
    {"nobody": {"kind": "openai", "url": "http://127.0.0.1:9/v1", "projects": ["*"]}}
)


@contextmanager
def open_service(path: Path, **settings_of: str) -> Iterator[Service]:
    """Open a collector without network over a folder's store, and close it at the end."""
    if "store" not in settings_of:
        lay(path)
    # Tests send requests sequentially and wait for each.
    given = {
        "data_dir": str(path),
        "collect_ms": "0",
        "judge_connections": NO_MODEL,
        **settings_of,
    }
    settings = load(given, {}, None)
    collector = open_collector(settings)
    try:
        app = make_app(collector, settings)
        connections = collector.connections
        yield Service(app, Store(connections, Writer(connections), collector.reader))
    finally:
        collector.close()
