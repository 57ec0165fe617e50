"""Queries about runs that have not ended: their keys, and whether their processes are alive.

An open run has a row in `open_runs` (its start record) and none in `runs` under the same key. It is
running while its process sends signs of life; otherwise it has crashed. Neither state is stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import pyarrow as pa

from otel_ml.records import RunFields
from otel_ml_collector.fold.late import leave_older_tags
from otel_ml_collector.resolution import NOTHING, ResolvedRun
from otel_ml_collector.store.call_runs import ids_of, make_resolution, read_resolutions
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.late_values import add_late_values
from otel_ml_collector.store.reader import ID16, IDS, READABLE, Reader, Row, run_id_of, winners
from otel_ml_collector.store.record_kinds import find_owners, find_record_kinds
from otel_ml_collector.store.runs import (
    ACROSS_PARTITIONS,
    Key,
    Listing,
    Place,
)
from otel_ml_collector.store.sql import (
    ALWAYS,
    Condition,
    Sql,
    identifier,
    join_sql,
)
from otel_ml_collector.store.tables import (
    FOLDED_NAMES,
    FOLDED_TYPE,
    FROM_FOLDED,
    LATE_TAGS,
    LIGHT,
    METRICS,
    OPEN_RUNS,
    PAYLOAD,
    RUNS,
    write_folded,
)
from otel_ml_collector.times import MINUTE_NS
from otel_ml_collector.windows import Window

SILENT_AFTER_NS: Final = 5 * MINUTE_NS
CRASHED_RUNS: Final = 'outcome == "crashed"'
# Maximum number of open runs that a page of a list reads.
_MOST_LISTED: Final = 2_000
_IN_TRACE: Final = 10_000
_MOST_PROJECTS: Final = 50

_KEY: Final = Sql("start_ns, {ids}, process, arrived_ns, mapKeys(tags) AS tags").fill(ids=IDS)
_PAYLOAD: Final = OPEN_RUNS.select(*{*OPEN_RUNS.names()}.difference(PAYLOAD))
_BY_IDS: Final = Sql("""(trace_id, span_id) IN (
  SELECT toFixedString(unhex(substring(run_id, 1, 32)), 16),
    toFixedString(unhex(substring(run_id, 34)), 8)
  FROM (SELECT arrayJoin({run_ids:Array(String)}) AS run_id))""")
_NULLS: Final = {
    pa.string(): Sql("CAST(NULL AS Nullable(String))"),
    pa.int64(): Sql("CAST(NULL AS Nullable(Int64))"),
    pa.float64(): Sql("CAST(NULL AS Nullable(Float64))"),
}
_TEXTS: Final = {field.name for field in fields(RunFields) if field.type is str}
# Columns of `runs` that an open run lacks. Text that every run has is empty, all others are null.
# `outcome` is left out because it is computed, `seq` because no query uses it.
_LACKING: Final = join_sql(
    ", ",
    [
        Sql("{value} AS {name}").fill(
            value=Sql("''") if column.name in _TEXTS else _NULLS[column.arrow],
            name=identifier(column.name, RUNS.names()),
        )
        for column in RUNS.columns
        if column.name not in {*OPEN_RUNS.names(), "outcome", "seq", *FOLDED_NAMES}
    ],
)
# Open runs with the columns of `runs`, so that conditions on `runs` also work here.
_AS_RUNS: Final = Sql("""
SELECT * REPLACE (bitShiftLeft(toUInt128(rank), 64) AS rank), {lacking},
  concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id,
  if(has({crashed:Array(String)}, run_id), 'crashed', 'running') AS outcome
FROM (SELECT * FROM open_runs FINAL WHERE project = {project:String} AND {by_ids}) AS own
LEFT JOIN (
  SELECT folded.start_ns AS of_start, toFixedString(unhex(folded.trace_id), 16) AS of_trace,
    toFixedString(unhex(folded.span_id), 8) AS of_span, {from_folded}
  FROM (SELECT JSONExtract(arrayJoin({folded:Array(String)}), '{type}') AS folded)
) AS others ON of_start = start_ns AND of_trace = trace_id AND of_span = span_id
""").fill(lacking=_LACKING, by_ids=_BY_IDS, from_folded=FROM_FOLDED, type=FOLDED_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenKey(Key):
    """The key of a start record: when and where its run began, and when the record arrived.

    Attributes:
        tags: The names of the tags that the span started with.
    """

    process: str
    arrived_ns: int
    tags: Sequence[str]

    @property
    def place(self) -> tuple[int, str, str]:
        """Sort key of the run in lists."""
        return self.start_ns, self.trace_id, self.span_id


def list_open_keys(reader: Reader, listing: Listing, window: Window) -> list[OpenKey]:
    """List the keys of the first 2,000 open runs of a list page.

    An open run has begun, but its end has not arrived.

    Args:
        reader: The store.
        listing: The list: its project, its order, and the last run of the previous page. Its filter
            is not applied.
        window: Period in which the runs started.
    """
    if not find_record_kinds(reader, listing.project).open_runs:
        return []
    began = Sql(
        "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
    )
    sql = Sql("""
        SELECT {key} FROM open_runs FINAL
        WHERE {began} AND {seek} AND (trace_id, span_id) NOT IN (
          SELECT trace_id, span_id FROM {deliveries}
          WHERE project = {project:String} AND start_ns IN (
            SELECT start_ns FROM open_runs WHERE {began}))
        ORDER BY start_ns {direction}, open_runs.trace_id {direction},
          open_runs.span_id {direction}
        LIMIT {looked_at}""").fill(
        deliveries=DELIVERIES,
        key=_KEY,
        began=began,
        seek=listing.seek,
        direction=listing.direction,
        looked_at=_MOST_LISTED,
    )
    rows = reader.rows(sql, listing.parameters(window), ACROSS_PARTITIONS)
    return [OpenKey(**row) for row in rows]


def find_open_runs(reader: Reader, project: str, window: Window, now_ns: int) -> list[Row]:
    """Read the newest 2,000 open runs of a window, in the form of `read_open_runs`."""
    listing = Listing(project, ALWAYS, is_filtered=False, after=None, newest_first=True)
    return read_open_runs(reader, project, list_open_keys(reader, listing, window), now_ns)


def list_open_projects(reader: Reader) -> list[str]:
    """List the projects with start records; the one with the latest start comes first."""
    sql = Sql("""
        SELECT project FROM open_runs WHERE {readable}
        GROUP BY project ORDER BY max(start_ns) DESC, project
        LIMIT {projects}""").fill(readable=READABLE, projects=_MOST_PROJECTS)
    return [row["project"] for row in reader.rows(sql, {})]


def find_open_keys(reader: Reader, place: Place) -> list[OpenKey]:
    """Find the runs of a trace that have a start record, at most 10,000. They may have ended."""
    sql = Sql("trace_id = {id16}").fill(id16=ID16)
    return _find_keys_where(reader, place.project, sql, {"trace": place.trace_id})


def find_all_open_keys(reader: Reader, project: str, trace_ids: Sequence[str]) -> list[OpenKey]:
    """Find the runs of several traces as `find_open_keys` does, at most 10,000 in all."""
    sql = Sql("""trace_id IN (
      SELECT toFixedString(unhex(trace), 16)
      FROM (SELECT arrayJoin({traces:Array(String)}) AS trace))""")
    return _find_keys_where(reader, project, sql, {"traces": [*trace_ids]})


def _find_keys_where(
    reader: Reader, project: str, condition: Sql, parameters: Mapping[str, object]
) -> list[OpenKey]:
    if not find_record_kinds(reader, project).open_runs:
        return []
    sql = Sql("""
        SELECT {key} FROM open_runs FINAL
        WHERE project = {project:String} AND {ours}
        ORDER BY start_ns, open_runs.span_id LIMIT {in_trace}
        """).fill(key=_KEY, ours=condition, in_trace=_IN_TRACE)
    asked = {"project": project, **parameters}
    return [OpenKey(**row) for row in reader.rows(sql, asked, ACROSS_PARTITIONS)]


def read_open_runs(
    reader: Reader,
    project: str,
    keys: Sequence[OpenKey],
    now_ns: int,
    condition: Condition = ALWAYS,
) -> list[Row]:
    """Read runs that have begun but not ended, without their inputs, outputs and parameters.

    Such a run has crashed if its process has ended, or if nothing arrived from the process for five
    minutes. The column `outcome` is ``crashed`` for these runs and ``running`` for all others.

    Args:
        reader: The store.
        project: The project.
        keys: Keys of the runs to read.
        now_ns: Current time, in nanoseconds since 1970.
        condition: A filter. Runs that do not match are left out.

    Returns:
        Rows in any order. They have the same columns as ended runs, and `heard_ns`: the last time
        at which the start record of the run or a sign of life of its process arrived.
    """
    if not keys:
        return []
    signs = _read_signs(reader, project, {key.process for key in keys})
    heard = {key.run_id: max(key.arrived_ns, signs[key.process]["arrived_ns"]) for key in keys}
    crashed = [
        key.run_id
        for key in keys
        if heard[key.run_id] < now_ns - SILENT_AFTER_NS or _is_gone(key, signs[key.process])
    ]
    final = _find_final(reader, project, keys)
    sql = Sql("SELECT {light} FROM ({as_runs}) AS runs WHERE {condition}")
    sql = sql.fill(light=LIGHT, as_runs=_AS_RUNS, condition=condition.sql)
    parameters = {
        "project": project,
        "run_ids": list(heard),
        "crashed": crashed,
        "folded": [write_folded(run) for run in final],
        "start": min(key.start_ns for key in keys),
        "end": max(key.start_ns for key in keys) + 1,
        **condition.parameters,
    }
    rows = reader.rows(sql, parameters, ACROSS_PARTITIONS)
    return [{**row, "heard_ns": heard[run_id_of(row)]} for row in rows]


def _find_final(reader: Reader, project: str, keys: Sequence[OpenKey]) -> list[ResolvedRun]:
    """Find the values that other records give to open runs, for the columns of `FOLDED`.

    Runs without such values are left out.
    """
    values = {
        **ids_of({(project, key.trace_id) for key in keys}),
        "start": min(key.start_ns for key in keys),
        "end": max(key.start_ns for key in keys),
    }
    resolutions = {
        (row["trace_id"], row["span_id"], row["start_ns"]): make_resolution(row)
        for rows in reader.compute(
            project, lambda client: read_resolutions(client, values)
        ).values()
        for row in rows
    }
    named = find_owners(reader, project, [key.run_id for key in keys], (METRICS, LATE_TAGS))
    tags: list[Sequence[str]] = []
    runs: list[ResolvedRun] = []
    for key in keys:
        resolution = resolutions.get((key.trace_id, key.span_id, key.start_ns), NOTHING)
        if resolution is not NOTHING or key.run_id in named:
            ids = bytes.fromhex(key.trace_id), bytes.fromhex(key.span_id)
            runs.append(ResolvedRun(project, *ids, key.start_ns, resolution))
            tags.append(key.tags)
    final = reader.compute(project, lambda client: add_late_values(client, reader.memory, runs))
    return [
        replace(run, late=leave_older_tags(run.late, own, run.start_ns))
        for run, own in zip(final, tags, strict=True)
    ]


def read_open_payloads(reader: Reader, project: str, run_ids: Sequence[str]) -> dict[str, Row]:
    """Read the fields for the page of a run, by run ID. Deleted payloads are left out."""
    sql = Sql("""
        SELECT {ids}, rank, {payload} FROM open_runs WHERE project = {project:String} AND {by_ids}
        """).fill(ids=IDS, payload=_PAYLOAD, by_ids=_BY_IDS)
    asked = {"project": project, "run_ids": list(run_ids)}
    return {run_id_of(row): row for row in winners(reader.rows(sql, asked) if run_ids else ())}


def name_open_runs(reader: Reader, project: str, run_ids: Sequence[str]) -> list[Row]:
    """Read the models of runs that have a start record."""
    if not run_ids:
        return []
    sql = Sql("""
        SELECT {ids}, model FROM open_runs FINAL
        WHERE project = {project:String} AND {by_ids}
        """).fill(ids=IDS, by_ids=_BY_IDS)
    parameters = {"project": project, "run_ids": list(run_ids)}
    return reader.rows(sql, parameters, ACROSS_PARTITIONS)


def _read_signs(reader: Reader, project: str, processes: Iterable[str]) -> Mapping[str, Row]:
    """Read the last sign of life of each process. A process without any counts as silent."""
    sql = Sql("""
        SELECT process, max(heartbeat_ns) AS heartbeat_ns, max(goodbye_ns) AS goodbye_ns,
          max(arrived_ns) AS arrived_ns
        FROM processes
        WHERE project = {project:String} AND process IN {processes:Array(String)}
        GROUP BY process""")
    wanted = sorted(processes)
    silent = {"heartbeat_ns": 0, "goodbye_ns": 0, "arrived_ns": 0}
    rows = reader.rows(sql, {"project": project, "processes": wanted})
    return dict.fromkeys(wanted, silent) | {row["process"]: row for row in rows}


def _is_gone(key: OpenKey, sign: Row) -> bool:
    """Return whether the process of a run has ended after the run began.

    All three times are from the clock of that process.
    """
    return bool(sign["goodbye_ns"] >= max(key.start_ns, sign["heartbeat_ns"]))
