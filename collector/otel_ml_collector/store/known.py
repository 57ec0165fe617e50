"""Which runs and traces are here, of those that somebody speaks of."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql

_WITHIN: Final = Sql(
    "FROM trace_index WHERE project = {project:String} AND key IN {traces:Array(String)}"
)
_RUN_ID: Final = Sql("concat(lower(hex(trace_id)), '-', lower(hex(span_id)))")
_OURS: Final = Sql("""project = {project:String}
  AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
  AND {run_id} IN {run_ids:Array(String)}""").fill(run_id=_RUN_ID)


def find_starts(reader: Reader, project: str, run_ids: Sequence[str]) -> dict[str, int]:
    """Find when those of some runs started that are here, by run id; also of open ones."""
    if not run_ids:
        return {}
    sql = Sql("""
        SELECT {run_id} AS run_id, start_ns FROM runs
        WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {within})
          AND start_ns <= (SELECT maxOrNull(end_ns) {within})
        UNION ALL
        SELECT {run_id} AS run_id, start_ns FROM open_runs WHERE {ours}
        """).fill(run_id=_RUN_ID, ours=_OURS, within=_WITHIN)
    parameters = {
        "project": project,
        "run_ids": list(run_ids),
        "traces": sorted({run_id.partition("-")[0] for run_id in run_ids}),
    }
    return {row["run_id"]: row["start_ns"] for row in reader.rows(sql, parameters)}


def find_keys(reader: Reader, project: str, keys: Sequence[str]) -> set[str]:
    """Find those of some trace ids and keys that some trace has."""
    if not keys:
        return set()
    sql = Sql("""
        SELECT DISTINCT key FROM trace_index
        WHERE project = {project:String} AND key IN {keys:Array(String)}
          AND trace_id != toFixedString('', 16)""")
    return {row["key"] for row in reader.rows(sql, {"project": project, "keys": list(keys)})}
