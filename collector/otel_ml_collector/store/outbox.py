"""The stored records that were not sent to a forwarding destination yet, in order of arrival.

Rows of the store are turned into the records from which they were made.

Each kind of record has a cursor: the destination has acknowledged all records of this kind that
arrived until then. In one collector, times of arrival never repeat or decrease, and the rows of a
table become visible in this order. So all records up to the cursor were sent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml.records import columns_of
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.records import (
    ArtifactRecord,
    LateLog,
    LateTag,
    LineRecord,
    Metric,
    ModelVersion,
    Records,
    Run,
    Tag,
    TraceKey,
)
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Row, winners
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import (
    FOLDED_NAMES,
    LAST_ARRIVAL,
    LATE_LOGS,
    LATE_TAGS,
    METRICS,
    OBJECTS,
    OPEN_RUNS,
    PAYLOAD,
    PAYLOADS,
    RUNS,
    TRACE_KEYS,
    Table,
)

_NEW: Final = Sql("""collector = {collector:String}
  AND arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}""")
# If a run was delivered twice, the payload of the delivery with the higher rank is kept.
_KEPT_PAYLOADS: Final = Sql("""
SELECT {select}
FROM payloads WHERE (project, start_ns, payloads.trace_id, payloads.span_id) IN (
  SELECT project, start_ns, runs.trace_id, runs.span_id FROM {deliveries} WHERE {new})
ORDER BY rank""").fill(
    deliveries=DELIVERIES, select=PAYLOADS.select("start_ns", "arrived_ns"), new=_NEW
)
# One row per version, merged from all of its rows: the definition may arrive after the version.
_NEWEST_VERSIONS: Final = Sql("""
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
_NO_PARENT: Final = "0" * 16
# A payload may expire before its run.
_NO_PAYLOAD: Final[Row] = dict.fromkeys(PAYLOAD, "")
# Columns with the unchanged value of the field.
_AS_IT_IS: Final = frozenset(columns_of(Run)) - {
    *("trace_id", "span_id", "parent_span_id", "outcome", "tags", "logs"),
}


def _run(row: Row) -> Run:
    parent = row["parent_span_id"]
    return Run(
        trace_id=bytes.fromhex(row["trace_id"]),
        span_id=bytes.fromhex(row["span_id"]),
        parent_span_id=b"" if parent == _NO_PARENT else bytes.fromhex(parent),
        end_ns=row["start_ns"] + row.get("latency_ns", 0),
        outcome=row.get("outcome", "running"),
        tags=_tags(row["tags"], row["tag_details"]),
        logs=[LineRecord(**line) for line in orjson.loads(row["logs"] or "[]")],
        response_id=_response_id(row["tag_kv"]),
        **{name: row[name] for name in _AS_IT_IS.intersection(row)},
    )


def _tags(tags: Mapping[str, str], details: str) -> list[Tag]:
    document = orjson.loads(details or "{}")
    return [
        Tag(name, orjson.loads(text), **document.get(name, {}))
        for name, text in sorted(tags.items())
    ]


def _response_id(tokens: Sequence[str]) -> str:
    """Read the response ID, which comes after the tags."""
    last = tokens[-1] if tokens else ""
    return last.removeprefix(RESPONSE) if last.startswith(RESPONSE) else ""


def _version(row: Row) -> ModelVersion:
    del row["collector"], row["arrived_ns"]
    return ModelVersion(**row, first_seen_ns=0)


def _tag(row: Row) -> LateTag:
    tag = Tag(row["name"], orjson.loads(row["value"]), row["type"], row["group"])
    return LateTag(row["project"], row["owner"], tag, row["time_ns"], row["record_id"])


def _log(row: Row) -> LateLog:
    line = LineRecord(row.pop("time_ns"), row.pop("severity"), row.pop("message"))
    return LateLog(**row, line=line)


def _artifact(row: Row) -> ArtifactRecord:
    return ArtifactRecord(**{**row, "sha256": bytes.fromhex(row["sha256"])})


def _trace_key(row: Row) -> TraceKey:
    return TraceKey(row["key"], row["project"], bytes.fromhex(row["trace_id"]), 0, 0)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of record.

    Attributes:
        source: The table or subquery with its rows.
        sql: Query that reads the rows.
        restore: Makes a record from a row.
        name: The list in `Records` that contains these records.
    """

    source: Sql
    sql: Sql
    restore: Callable[[Row], object]
    name: str


def _kind(table: Table[Any], restore: Callable[[Row], object], name: str, *left_out: str) -> _Kind:
    """Make a kind that reads all columns of a table, except the given ones."""
    sql = Sql("SELECT {select} FROM {table} WHERE {new} ORDER BY arrived_ns").fill(
        select=table.select("collector", *left_out), table=table.sql, new=_NEW
    )
    return _Kind(table.sql, sql, restore, name)


_STAMP: Final = "arrived_ns"
# In the order of sending: the records of a run come before the run.
_KINDS: Final[Mapping[str, _Kind]] = {
    "model_versions": _Kind(
        Sql("({rows})").fill(rows=_NEWEST_VERSIONS), _NEWEST_VERSIONS, _version, "versions"
    ),
    "artifacts": _kind(OBJECTS, _artifact, "artifacts", _STAMP, "is_inline"),
    "logs": _kind(LATE_LOGS, _log, "logs", _STAMP),
    "tags": _kind(LATE_TAGS, _tag, "tags", _STAMP),
    "metrics": _kind(METRICS, lambda row: Metric(**row), "metrics", _STAMP, "rank"),
    "trace_keys": _kind(TRACE_KEYS, _trace_key, "trace_keys", _STAMP),
    "open_runs": _kind(OPEN_RUNS, _run, "open_runs"),
    "runs": _kind(RUNS, _run, "runs", *FOLDED_NAMES),
}
KINDS: Final = tuple(_KINDS)


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Records of one kind that arrived after a cursor.

    Attributes:
        first_ns: Time of arrival of the first record.
        last_ns: Time of arrival of the last record. Once the destination has acknowledged the
            batch, this is the new cursor.
        rows: Number of records.
    """

    records: Records
    first_ns: int
    last_ns: int
    rows: int


class Outbox:
    """Reads the stored records that still have to be forwarded to one destination.

    Only one thread may use it.

    Args:
        connections: The store.
        target: Name of the destination.
        collector: Name of this collector. Only the records that it stored itself are forwarded, not
            those of other collectors with the same store.
    """

    def __init__(self, connections: Connections, target: str, collector: str) -> None:
        self._client = connections.open()
        self._target = target
        self._collector = collector

    def last_arrival(self) -> int:
        """Return the time of the newest arrival.

        Raises:
            Unavailable: The store does not answer.
        """
        with store_trouble():
            return int(self._client.query(LAST_ARRIVAL).result_rows[0][0])

    def cursors(self) -> dict[str, int]:
        """Read the cursor of each kind of record; -1 if nothing was acknowledged.

        Raises:
            Unavailable: The store does not answer.
        """
        sql = Sql("""
            SELECT kind, max(arrived_ns) AS cursor FROM forward_cursors
            WHERE target = {target:String} AND collector = {collector:String} GROUP BY kind""")
        rows = self._rows(sql, {"target": self._target})
        return dict.fromkeys(KINDS, -1) | {row["kind"]: row["cursor"] for row in rows}

    def read(self, kind: str, after_ns: int, until_ns: int, limit: int) -> OutboxBatch | None:
        """Read the next records of a kind to send: the oldest ones that arrived after the cursor.

        Args:
            kind: One of `KINDS`.
            after_ns: The cursor: time of arrival of the last record that the destination
                acknowledged.
            until_ns: Records that arrived later are not read.
            limit: Maximum number of records.

        Returns:
            The records; None if there are none.

        Raises:
            Unavailable: The store does not answer, or the records need too much memory.
        """
        what = _KINDS[kind]
        values: dict[str, Any] = {"after": after_ns, "until": until_ns}
        bound = Sql("""
            SELECT min(arrived_ns) AS first_ns, max(arrived_ns) AS last_ns, count() AS number FROM (
              SELECT arrived_ns FROM {source} WHERE {new}
              ORDER BY arrived_ns LIMIT {limit:UInt32})""").fill(source=what.source, new=_NEW)
        [found] = self._rows(bound, {**values, "limit": limit})
        if not found["number"]:
            return None
        values["until"] = found["last_ns"]
        rows = self._rows(what.sql, values)
        if kind == "runs":
            # A run that was stored several times is sent once, with the rank of its record.
            rows = [{**row, "rank": row["rank"] >> 64} for row in winners(rows, _key_of)]
            payloads = {_run_of(row): row for row in self._rows(_KEPT_PAYLOADS, values)}
            rows = [{**payloads.get(_run_of(run), _NO_PAYLOAD), **run} for run in rows]
        records = Records()
        setattr(records, what.name, list(map(what.restore, rows)))
        return OutboxBatch(records, found["first_ns"], found["last_ns"], found["number"])

    def acknowledge(self, kind: str, arrived_ns: int) -> None:
        """Store the arrival time of the last record that the other collector has acknowledged.

        The next forwarding pass sends only records that arrived later. When this method returns,
        the time is on disk.

        Args:
            kind: Kind of the records, such as ``runs`` or ``metrics``.
            arrived_ns: When the last acknowledged record arrived here, in nanoseconds since 1970.

        Raises:
            Unavailable: The store does not answer. The time may or may not be stored.
        """
        row = [self._target, kind, self._collector, arrived_ns]
        names = ["target", "kind", "collector", "arrived_ns"]
        with store_trouble():
            self._client.insert("forward_cursors", [row], column_names=names)

    def _rows(self, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
        with store_trouble():
            result = self._client.query(sql, {**values, "collector": self._collector})
            return list(result.named_results())


def _key_of(row: Row) -> tuple[str, str, str, int]:
    return *_run_of(row), row["start_ns"]


def _run_of(row: Row) -> tuple[str, str, str]:
    return row["project"], row["trace_id"], row["span_id"]
