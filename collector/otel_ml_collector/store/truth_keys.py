"""Reads which keys of ground truth a run has, and which tags have the values of these keys.

A key is the owner of a record: a run ID, a trace key or a tag.
"""

from collections.abc import Collection, Sequence
from typing import Final

from otel_ml_collector.owners import FIRST, KEY, RESPONSE, TAG
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import NAMED_RUNS

_MOST_NAMES: Final = 1_000
# Number of the newest rows whose tags are searched for a value. A run can have several rows.
_ROWS_SEARCHED: Final = 100_000

_TRUTH_KEYS: Final = Sql("""
  SELECT owner, newest_ns, {matched} AS is_matched FROM (
    SELECT owner, max(time_ns) AS newest_ns FROM metrics WHERE {of_truth} GROUP BY owner)""")
_COUNT_OF_KEYS: Final = Sql(
    "SELECT count() AS received, countIf(is_matched) AS matched FROM ({keys})"
)
_WITHOUT_RUN: Final = Sql("""
  SELECT owner, newest_ns FROM ({keys}) WHERE NOT is_matched
  ORDER BY newest_ns DESC, owner LIMIT {most}""")
_OF_TRUTH: Final = Sql("""project = {project:String} AND name = {name:String}
  AND source = 'actual' AND (owner < '{first}' OR startsWith(owner, '{key}')
    OR startsWith(owner, '{tag}'))""").fill(first=Sql(FIRST), key=Sql(KEY), tag=Sql(TAG))
# A key or a tag names the runs that `settled` lists. A run ID names a run, even an open one.
_IS_MATCHED: Final = Sql("""if(owner >= '{first}',
    owner IN (SELECT owner FROM ({named})),
    owner IN (
      SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) FROM (
        SELECT trace_id, span_id FROM {deliveries} WHERE {of_trace}
        UNION ALL SELECT trace_id, span_id FROM open_runs WHERE {of_trace})))""").fill(
    first=Sql(FIRST),
    named=NAMED_RUNS,
    deliveries=DELIVERIES,
    of_trace=Sql("""project = {project:String} AND trace_id IN (
        SELECT toFixedString(unhex(substring(owner, 1, 32)), 16) FROM metrics
        WHERE {of_truth} AND owner < '{first}')""").fill(of_truth=_OF_TRUTH, first=Sql(FIRST)),
)
_SOUGHT_KEYS: Final = _TRUTH_KEYS.fill(of_truth=_OF_TRUTH, matched=_IS_MATCHED)
_KNOWN_TAGS: Final = Sql("""
  SELECT DISTINCT name FROM (
    SELECT arrayJoin(arrayIntersect(mapKeys(tags), {names:Array(String)})) AS name
    FROM {deliveries} WHERE project = {project:String}
    UNION ALL
    SELECT name FROM late_tags WHERE project = {project:String} AND name IN {names:Array(String)})
  LIMIT {most}""").fill(deliveries=DELIVERIES, most=_MOST_NAMES)
_HAS_TRACE_KEYS: Final = Sql("SELECT 1 FROM trace_keys WHERE project = {project:String} LIMIT 1")
_TAGS_WITH_VALUES: Final = Sql("""
  SELECT splitByChar('=', token)[1] AS name,
    uniqExact(substring(token, position(token, '=') + 1) AS tag_value) AS values
  FROM (
    SELECT arrayJoin(tag_kv) AS token FROM (
      SELECT tag_kv FROM {deliveries} WHERE project = {project:String}
      ORDER BY start_ns DESC LIMIT {searched}))
  WHERE tag_value IN {values:Array(String)} AND NOT startsWith(token, '{response}')
  GROUP BY name ORDER BY values DESC, name LIMIT {most}""").fill(
    deliveries=DELIVERIES, searched=_ROWS_SEARCHED, response=Sql(RESPONSE), most=3
)


def count_keys(reader: Reader, project: str, name: str) -> Row:
    """Count the keys of ground truth with a name: `received`, and `matched` by a run."""
    sql = _COUNT_OF_KEYS.fill(keys=_SOUGHT_KEYS)
    [row] = reader.rows(sql, {"project": project, "name": name})
    return row


def read_unmatched_keys(reader: Reader, project: str, name: str, most: int) -> list[Row]:
    """Read the newest keys that no run has, with `owner`, and `newest_ns` of their values."""
    sql = _WITHOUT_RUN.fill(keys=_SOUGHT_KEYS, most=most)
    return reader.rows(sql, {"project": project, "name": name})


def find_known_tags(reader: Reader, project: str, names: Collection[str]) -> set[str]:
    """Return those of these tags that some run has. At most 1,000 names are checked."""
    asked = sorted(names)[:_MOST_NAMES]
    rows = reader.rows(_KNOWN_TAGS, {"project": project, "names": asked}) if asked else []
    return {row["name"] for row in rows}


def has_trace_keys(reader: Reader, project: str) -> bool:
    """Return whether a trace of the project has a trace key."""
    return bool(reader.rows(_HAS_TRACE_KEYS, {"project": project}))


def find_tags_with_values(reader: Reader, project: str, values: Sequence[str]) -> list[str]:
    """Return up to three tags that have these values, the one with the most of them first.

    Only the newest 100,000 stored rows of runs are searched.
    """
    rows = reader.rows(_TAGS_WITH_VALUES, {"project": project, "values": [*values]})
    return [row["name"] for row in rows]
