"""What the store takes on disk, by project, kind and model; and a purge of what was deleted.

Bytes are known of tables. A table's are told of projects and models by their share of its rows, so
reading them costs a count, however large payloads are.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.mutations import Mutator
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier
from otel_ml_collector.store.trouble import store_trouble

# Which kind of thing a table holds; all others are `other`.
KINDS: Final = {
    "runs": "runs",
    "open_runs": "runs",
    "payloads": "payloads",
    "late_logs": "logs",
    "metrics": "metrics",
    "scores_by_judge": "metrics",
    "objects": "artifacts",
    "artifacts": "artifacts",
    "artifact_chunks": "artifacts",
}
OTHER: Final = "other"
_MODELS: Final = 100
_PARTS: Final = Sql("""
    SELECT table, toUInt64(sumIf(rows, active)) AS rows,
      toUInt64(sumIf(bytes_on_disk, active)) AS bytes,
      toUInt64(sumIf(bytes_on_disk, active AND has_lightweight_delete)) AS waiting,
      toUInt64(sumIf(bytes_on_disk, NOT active)) AS replaced
    FROM system.parts WHERE database = currentDatabase() GROUP BY table ORDER BY table""")
_TABLES: Final = Sql("""
    SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'project'
    ORDER BY table""")


@dataclass(frozen=True, slots=True)
class Part:
    """What a table takes.

    Attributes:
        waiting: Bytes of files that still hold deleted rows.
        replaced: Bytes of files that were replaced; they go by themselves.
    """

    table: str
    rows: int
    bytes: int
    waiting: int
    replaced: int


def read_tables(reader: Reader) -> list[Part]:
    """Read what each table takes."""
    return [Part(**row) for row in reader.rows(_PARTS, {})]


def count_rows(reader: Reader) -> dict[str, dict[str, int]]:
    """Count the rows of each table by project; rows that were delivered twice count twice."""
    found: dict[str, dict[str, int]] = {}
    for table in TABLE_NAMES.intersection(row["table"] for row in reader.rows(_TABLES, {})):
        sql = Sql("""
            SELECT project, count() AS rows FROM {table} WHERE {readable} GROUP BY project
            """).fill(table=identifier(table, TABLE_NAMES), readable=READABLE)
        found[table] = {row["project"]: row["rows"] for row in reader.rows(sql, {})}
    return found


def count_models(reader: Reader, project: str) -> list[Row]:
    """Count the runs of a project by model, most first, 100."""
    sql = Sql("""
        SELECT model, count() AS rows FROM runs WHERE project = {project:String}
        GROUP BY model ORDER BY rows DESC, model LIMIT {models}""").fill(models=_MODELS)
    return reader.rows(sql, {"project": project})


def count_older(reader: Reader, tables: Sequence[str], before_ns: int) -> dict[str, dict[str, int]]:
    """Count the rows of some tables that arrived before a time, by project."""
    found: dict[str, dict[str, int]] = {}
    for table in tables:
        sql = Sql("""
            SELECT project, count() AS rows FROM {table}
            WHERE {readable} AND arrived_ns < {before:Int64} GROUP BY project
            """).fill(table=identifier(table, TABLE_NAMES), readable=READABLE)
        rows = reader.rows(sql, {"before": before_ns})
        found[table] = {row["project"]: row["rows"] for row in rows}
    return found


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge did: which tables it wrote anew, and what the store took before and after."""

    tables: list[str]
    bytes_before: int
    bytes_after: int


class Purger:
    """Writes parts anew that hold deleted rows; any thread may call it.

    Args:
        connections: The store.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._mutator = Mutator(self._client, connections.folder)
        self._lock = threading.Lock()

    def purge(self) -> Purge:
        """Take deleted rows off the disk; a second call finds nothing to do.

        The files that are replaced go 8 minutes later, when the new ones are surely on disk.

        Raises:
            Unavailable: The store has trouble; what was purged until then stays purged.
        """
        with self._lock, store_trouble():
            before = _parts(self._client)
            tables = [
                row["table"] for row in before if row["waiting"] and row["table"] in TABLE_NAMES
            ]
            for table in tables:
                sql = Sql("ALTER TABLE {table} APPLY DELETED MASK")
                self._mutator.run(table, sql.fill(table=identifier(table, TABLE_NAMES)))
            after = _parts(self._client)
        return Purge(tables, _bytes(before), _bytes(after))


def _parts(client: StoreClient) -> list[dict[str, Any]]:
    return list(client.query(_PARTS).named_results())


def _bytes(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["bytes"] for row in rows)
