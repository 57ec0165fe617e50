"""Which runs and traces are here, of those that somebody speaks of."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.store.reader import Reader

_WITHIN: Final = (
    "FROM trace_index WHERE project = {project:String} AND key IN {traces:Array(String)}"
)
_RUN_ID: Final = "concat(lower(hex(trace_id)), '-', lower(hex(span_id)))"
_OURS: Final = f"""project = {{project:String}}
  AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({{traces:Array(String)}})), 16))
  AND {_RUN_ID} IN {{run_ids:Array(String)}}"""


def find_starts(reader: Reader, project: str, run_ids: Sequence[str]) -> dict[str, int]:
    """Find when those of some runs started that are here, by run id; also of open ones."""
    if not run_ids:
        return {}
    sql = f"""
        SELECT {_RUN_ID} AS run_id, start_ns FROM runs
        WHERE {_OURS} AND start_ns >= (SELECT minOrNull(start_ns) {_WITHIN})
          AND start_ns <= (SELECT maxOrNull(end_ns) {_WITHIN})
        UNION ALL
        SELECT {_RUN_ID} AS run_id, start_ns FROM open_runs WHERE {_OURS}
        """  # noqa: S608 - fixed text; values are parameters
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
    sql = """
        SELECT DISTINCT key FROM trace_index
        WHERE project = {project:String} AND key IN {keys:Array(String)}
          AND trace_id != toFixedString('', 16)"""
    return {row["key"] for row in reader.rows(sql, {"project": project, "keys": list(keys)})}
