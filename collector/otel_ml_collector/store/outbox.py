"""What one collector stored and has not sent on to a target yet, kind by kind, as it arrived.

A cursor says up to which time of arrival a target has acknowledged the records of a kind. Times of
arrival never repeat or fall within one collector, and its rows of one table become visible in
their order: what lies behind a cursor was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.records import Records
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.restored import RESTORE, join_payloads
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import (
    LATE_LOGS,
    LATE_TAGS,
    METRICS,
    OBJECTS,
    OPEN_RUNS,
    PAYLOADS,
    RUNS,
    TRACE_KEYS,
    Table,
)
from otel_ml_collector.store.writer import LAST_ARRIVAL

# Before a run comes what belongs to it.
KINDS: Final = (
    *("model_versions", "artifacts", "logs", "tags", "metrics", "trace_keys"),
    *("open_runs", "runs"),
)
_NEW: Final = Sql("""collector = {collector:String}
  AND arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}""")
_ARRIVED: Final = ("arrived_ns", "collector")
# Of a run that came twice the record of the higher rank is kept, and so is its payload.
_PAYLOADS: Final = Sql("""
SELECT {select}
FROM payloads WHERE (project, start_ns, payloads.trace_id, payloads.span_id) IN (
  SELECT project, start_ns, runs.trace_id, runs.span_id FROM runs WHERE {new})
ORDER BY rank""").fill(select=PAYLOADS.select("start_ns", "arrived_ns"), new=_NEW)
# One row a version, whatever came of it when: the definition may come later than the version.
_VERSIONS: Final = Sql("""
SELECT * FROM (
  SELECT project, kind, name, digest, structure, max(definition) AS definition,
    max(last_seen_ns) AS last_seen_ns, min(first_arrived_ns) AS first_arrived_ns,
    {collector:String} AS collector, maxMap(stored)[{collector:String}] AS arrived_ns
  FROM model_versions
  WHERE (project, kind, name, digest, structure) IN (
    SELECT project, kind, name, digest, structure FROM model_versions
    WHERE stored[{collector:String}] > {after:Int64})
  GROUP BY project, kind, name, digest, structure)
WHERE {new} ORDER BY arrived_ns""").fill(new=_NEW)


def _read(table: Table[Any], *left_out: str) -> tuple[Sql, Sql]:
    """Return the table of a kind, and the statement that reads all columns but some."""
    sql = Sql("SELECT {select} FROM {table} WHERE {new} ORDER BY arrived_ns")
    return table.sql, sql.fill(select=table.select(*left_out), table=table.sql, new=_NEW)


_READS: Final[Mapping[str, tuple[Sql, Sql]]] = {
    "model_versions": (Sql("({rows})").fill(rows=_VERSIONS), _VERSIONS),
    "artifacts": _read(OBJECTS, *_ARRIVED, "is_inline"),
    "logs": _read(LATE_LOGS, *_ARRIVED),
    "tags": _read(LATE_TAGS, *_ARRIVED),
    "metrics": _read(METRICS, *_ARRIVED, "rank"),
    "trace_keys": _read(TRACE_KEYS, *_ARRIVED),
    "open_runs": _read(OPEN_RUNS, "collector"),
    "runs": _read(RUNS, "collector"),
}


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Records of one kind that follow a cursor.

    Attributes:
        first_ns: When the first of them arrived.
        last_ns: When the last one did: where the cursor stands once they are acknowledged.
        rows: How many there are.
    """

    records: Records
    first_ns: int
    last_ns: int
    rows: int


class Outbox:
    """Owned by one thread.

    Args:
        connections: The store.
        target: To whom the records go.
        collector: Whose records: the name under which the writer stores them.
    """

    def __init__(self, connections: Connections, target: str, collector: str) -> None:
        self._client = connections.open()
        self._target = target
        self._collector = collector

    def last_arrival(self) -> int:
        """Read when something arrived last.

        Raises:
            Unavailable: The store has trouble.
        """
        with store_trouble():
            return int(self._client.query(LAST_ARRIVAL).result_rows[0][0])

    def cursors(self) -> dict[str, int]:
        """Read up to where each kind was acknowledged; -1 when nothing was.

        Raises:
            Unavailable: The store has trouble.
        """
        sql = Sql("""
            SELECT kind, max(arrived_ns) AS cursor FROM forward_cursors
            WHERE target = {target:String} AND collector = {collector:String} GROUP BY kind""")
        rows = self._rows(sql, {"target": self._target})
        return dict.fromkeys(KINDS, -1) | {row["kind"]: row["cursor"] for row in rows}

    def read(self, kind: str, after_ns: int, until_ns: int, limit: int) -> OutboxBatch | None:
        """Read the records of a kind that arrived first after a time.

        Args:
            kind: One of `KINDS`.
            after_ns: Where the cursor stands.
            until_ns: Nothing that arrived later is read.
            limit: How many at most.

        Returns:
            None when there are none.

        Raises:
            Unavailable: The store has trouble, or what was asked for takes too much memory.
        """
        source, sql = _READS[kind]
        values: dict[str, Any] = {"after": after_ns, "until": until_ns}
        bound = Sql("""
            SELECT min(arrived_ns) AS first_ns, max(arrived_ns) AS last_ns, count() AS number FROM (
              SELECT arrived_ns FROM {source} WHERE {new}
              ORDER BY arrived_ns LIMIT {limit:UInt32})""").fill(source=source, new=_NEW)
        [found] = self._rows(bound, {**values, "limit": limit})
        if not found["number"]:
            return None
        values["until"] = found["last_ns"]
        rows = self._rows(sql, values)
        if kind == "runs":
            rows = join_payloads(rows, self._rows(_PAYLOADS, values))
        records = Records()
        RESTORE[kind](records, rows)
        return OutboxBatch(records, found["first_ns"], found["last_ns"], found["number"])

    def acknowledge(self, kind: str, arrived_ns: int) -> None:
        """Move a cursor: what arrived until then is the target's; durable when this returns.

        Raises:
            Unavailable: The store has trouble; the cursor may stand where it stood.
        """
        row = [self._target, kind, self._collector, arrived_ns]
        names = ["target", "kind", "collector", "arrived_ns"]
        with store_trouble():
            self._client.insert("forward_cursors", [row], column_names=names)

    def _rows(self, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
        with store_trouble():
            result = self._client.query(sql, {**values, "collector": self._collector})
            return list(result.named_results())
