"""Reads which runs were recorded since a time, in the order in which they were stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.store.condition import Condition
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Key
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import LIGHT

_IDS: Final = Sql("lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run, and when it was stored; no two runs of a collector have the same time."""

    arrived_ns: int
    key: Key


def read_last_arrival(reader: Reader, project: str) -> int:
    """Read when the last run of a project was stored; 0 when there is none."""
    sql = Sql("SELECT max(arrived_ns) AS last FROM runs WHERE project = {project:String}")
    return int(reader.rows(sql, {"project": project})[0]["last"])


def list_recorded(reader: Reader, project: str, after_ns: int, limit: int) -> list[Recorded]:
    """List the runs of a project that were stored after a time, the first one first."""
    sql = Sql("""
        SELECT arrived_ns, start_ns, {ids}, rank FROM runs
        WHERE project = {project:String} AND arrived_ns > {after:Int64}
        ORDER BY arrived_ns LIMIT {limit:UInt32}
        """).fill(ids=_IDS)
    parameters = {"project": project, "after": after_ns, "limit": limit}
    return [Recorded(row.pop("arrived_ns"), Key(**row)) for row in reader.rows(sql, parameters)]


def read_recorded(
    reader: Reader, project: str, keys: Sequence[Key], condition: Condition
) -> list[Row]:
    """Read the light rows of some runs: of each every delivery that is still there.

    Returns:
        Rows with `arrived_ns`, and with `matches`: whether the condition holds.
    """
    sql = Sql("""
        SELECT {light}, arrived_ns, ({condition}) AS matches FROM runs
        WHERE project = {project:String} AND start_ns IN {starts:Array(Int64)}
          AND span_id IN (SELECT toFixedString(unhex(arrayJoin({spans:Array(String)})), 8))
        """).fill(light=LIGHT, condition=condition.sql)
    parameters = {
        "project": project,
        "starts": sorted({key.start_ns for key in keys}),
        "spans": sorted({key.span_id for key in keys}),
        "start": min((key.start_ns for key in keys), default=0),
        "end": max((key.start_ns for key in keys), default=0) + 1,
        **condition.parameters,
    }
    return reader.rows(sql, parameters)
