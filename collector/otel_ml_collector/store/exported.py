"""Reads runs as Arrow tables, stretch of time after stretch, for exports of any size.

One question reads the runs of a stretch together with what stands in other tables under their
keys. What records told of trace keys and tags is not in it: see `query.export`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from otel_ml_collector.store.condition import Condition
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import Key
from otel_ml_collector.store.sql import Sql, identifier
from otel_ml_collector.store.tables import PAYLOAD, RUNS
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.store.versions import NUMBERED_VERSIONS

_NONE: Final = "toFixedString('', 8)"
_TRACE: Final = "lower(hex(run.trace_id))"
# What is made of the row of a run; its columns are given as they are.
_MADE: Final = {
    "run_id": f"concat({_TRACE}, '-', lower(hex(run.span_id)))",
    "trace_id": _TRACE,
    "parent_run_id": f"if(run.parent_span_id = {_NONE}, NULL, "
    f"concat({_TRACE}, '-', lower(hex(run.parent_span_id))))",
    "latency_ms": "run.latency_ns / 1e6",
    "tags": f"mapApply((k, v) -> (toString(k), {TAG_TEXT.fill(value=Sql('v'))}), run.tags)",
}
# Tags with the JSON text of each value: numbers stay numbers.
JSON_TAGS: Final = """concat('{', arrayStringConcat(arrayMap(
  (k, v) -> concat(toJSONString(toString(k)), ':', v), mapKeys(run.tags), mapValues(run.tags)),
  ','), '}')"""
SCORED: Final = ("scores", "passed", "failed_judges")
# Both in the order of the key, so a stretch is read without sorting the others.
_KEYS: Final = "start_ns, trace_id, span_id"
_SCORES: Final = """
LEFT JOIN (
  SELECT trace_id, span_id,
    mapFromArrays(groupArrayIf(toString(judge), last.1 IS NOT NULL),
      groupArrayIf(assumeNotNull(last.1), last.1 IS NOT NULL)) AS scores,
    mapFromArrays(groupArrayIf(toString(judge), last.2 IS NOT NULL),
      groupArrayIf(assumeNotNull(last.2), last.2 IS NOT NULL)) AS passed,
    groupArrayIf(toString(judge), last.3) AS failed_judges
  FROM (
    SELECT trace_id, span_id, judge,
      argMax((score, passed, failed), (time_ns, judge_version)) AS last
    FROM scores_by_judge FINAL
    WHERE project = {project:String}
      AND (start_ns >= {start:Int64} AND start_ns < {end:Int64} OR start_ns = 0)
      AND (trace_id, span_id) IN (SELECT trace_id, span_id FROM runs WHERE %(near)s)
    GROUP BY trace_id, span_id, judge)
  GROUP BY trace_id, span_id
) AS scored ON scored.trace_id = run.trace_id AND scored.span_id = run.span_id"""
_TRACE_KEYS: Final = """
LEFT JOIN (
  SELECT trace_id, min(key) AS trace_key FROM trace_keys
  WHERE project = {project:String} AND trace_id IN (SELECT trace_id FROM runs WHERE %(near)s)
  GROUP BY trace_id
) AS keyed ON keyed.trace_id = run.trace_id"""
_VERSIONS: Final = f"""
LEFT JOIN (
  SELECT name, digest, structure, toNullable(toInt64(any(number))) AS number
  FROM ({NUMBERED_VERSIONS}) WHERE kind = 'model' GROUP BY name, digest, structure
) AS numbered ON numbered.name = run.model AND numbered.digest = run.digest
  AND numbered.structure = run.structure"""  # noqa: S608 - fixed text; values are parameters
_PAYLOADS: Final = f"""
LEFT JOIN (
  SELECT %(asked)s, {_KEYS} FROM payloads FINAL
  WHERE project = {{project:String}} AND start_ns IN (SELECT start_ns FROM (%(keys)s))
    AND ({_KEYS}) IN (%(keys)s)
) AS payload ON payload.start_ns = run.start_ns AND payload.trace_id = run.trace_id
  AND payload.span_id = run.span_id"""  # noqa: S608 - fixed text; values are parameters
# Of one project, whose rows are read whole; an index that leaves out losers would show old ones.
_SETTINGS: Final = {"use_skip_indexes_if_final": 0, "join_use_nulls": 0, "max_execution_time": 60}


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is read at once: runs that started from `start_ns` to before `end_ns`.

    Attributes:
        condition: Which of them.
        after: Behind which run it goes on.
        limit: How many at most.
    """

    project: str
    condition: Condition
    start_ns: int
    end_ns: int
    after: Key | None
    limit: int


def find_stretch_end(
    reader: Reader, project: str, start_ns: int, end_ns: int, deliveries: int
) -> int:
    """Find a time, after `start_ns` and not after `end_ns`, before which so many runs started.

    More of them when they started in the same nanosecond.
    """
    sql = """
        SELECT start_ns FROM runs
        WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
        ORDER BY start_ns LIMIT 1 OFFSET {deliveries:UInt32}"""
    parameters = {"project": project, "start": start_ns, "end": end_ns, "deliveries": deliveries}
    rows = reader.rows(sql, parameters)
    return max(int(rows[0]["start_ns"]), start_ns + 1) if rows else end_ns


def read_stretch(
    reader: Reader, stretch: Stretch, columns: Sequence[str], *, json_tags: bool
) -> pa.Table:
    """Read runs in the order of (start, trace id, span id), each once, as its winning delivery.

    Args:
        reader: The store.
        stretch: Which runs.
        columns: Those of a run and of its payload, those made of them, `SCORED`, ``version`` and
            ``trace_key``.
        json_tags: Give tags as a JSON object, not as a map of texts.
    """
    keys = _select(stretch, _KEYS)
    near = "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
    payload = [name for name in columns if name in PAYLOAD]
    joins = [
        _SCORES % {"near": near} if set(SCORED).intersection(columns) else "",
        _TRACE_KEYS % {"near": near} if "trace_key" in columns else "",
        _VERSIONS if "version" in columns else "",
        _PAYLOADS % {"asked": ", ".join(payload), "keys": keys} if payload else "",
    ]
    asked = ", ".join(f"{_sql_of(name, json_tags)} AS `{name}`" for name in columns)
    sql = f"""
        SELECT {asked}
        FROM ({_select(stretch, "*")}) AS run {"".join(joins)}
        ORDER BY run.start_ns, run.trace_id, run.span_id
        """  # noqa: S608 - fixed text; values are parameters
    return reader.arrow(sql, _parameters(stretch), _SETTINGS)


def _select(stretch: Stretch, what: str) -> str:
    after = (
        "1"
        if stretch.after is None
        else f"({_KEYS}) > ({{start:Int64}}, toFixedString(unhex({{trace:String}}), 16), "
        "toFixedString(unhex({span:String}), 8))"
    )
    return f"""
        SELECT {what} FROM runs FINAL
        WHERE project = {{project:String}}
          AND start_ns >= {{start:Int64}} AND start_ns < {{end:Int64}}
          AND {after} AND ({stretch.condition.sql})
        ORDER BY {_KEYS} LIMIT {{limit:UInt32}}"""  # noqa: S608 - fixed text; values are parameters


def _parameters(stretch: Stretch) -> dict[str, Any]:
    after = stretch.after
    place = {} if after is None else {"trace": after.trace_id, "span": after.span_id}
    return {
        "project": stretch.project,
        "start": stretch.start_ns if after is None else after.start_ns,
        "end": stretch.end_ns,
        "limit": stretch.limit,
        **place,
        **stretch.condition.parameters,
    }


def _sql_of(name: str, json_tags: bool) -> str:
    if name == "tags" and json_tags:
        return JSON_TAGS
    if name == "version":
        return "numbered.number"
    if name == "trace_key":
        return "keyed.trace_key"
    if name in SCORED:
        return f"scored.{name}"
    if name in PAYLOAD:
        return f"nullIf(payload.{name}, '')"
    return _MADE.get(name) or Sql("run.{name}").fill(name=identifier(name, RUNS.names()))
