"""Reads facts as they were recorded: evaluations, late-arriving tags, trace keys and log lines.

A fact names its owner: a run ID, a trace key, a tag, a model version or a version of a data set.
Which of several facts counts for a run is not decided here, but in `fold`.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

from otel_ml_collector.fold.contents import MOST_EVENTS
from otel_ml_collector.fold.late import write_word
from otel_ml_collector.store.reader import Reader, Row, group_rows
from otel_ml_collector.store.runs import ACROSS_PARTITIONS, BY_KEY
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import IS_POINT

_MOST_LINES: Final = 10_000
_OWNERS_AT_ONCE: Final = 1_000
_OF_ALL: Final = Sql("LIMIT {lines}").fill(lines=_MOST_LINES)
# With more lines than this, the lists of owners are read one by one.
_MOST_LINES_OF_MANY: Final = 50_000
_OF_EACH: Final = Sql("LIMIT {lines} BY owner LIMIT {most}").fill(
    lines=_MOST_LINES, most=_MOST_LINES_OF_MANY
)
SPANS_OF_TRACE: Final = 100_000
_OF_TRACE: Final = Sql("""project = {project:String} AND owner > concat({trace:String}, '-')
  AND owner < concat({trace:String}, '.')""")
# The key of `metrics`.
_METRICS_KEY: Final = ("owner", "judge", "source", "version", "record_id", "position")


def read_evaluations(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read all scores, labels and ground truth of runs, oldest first.

    Args:
        reader: The store.
        project: The project.
        owners: The names to which these records were sent: run IDs, trace keys, tags or versions.

    Returns:
        Rows of the table `metrics`, each with a column `word`. For ground truth and labels, `word`
            is the value as text. For scores, it is empty.
    """
    # Without FINAL, ORDER BY and a join of parts: planning takes 80 % of the time of a small query.
    sql = Sql("""
        SELECT owner, name AS judge, judge_version AS version, value AS score, passed, label,
          explanation, error, source, time_ns, record_id, position, actual, annotator, arrived_ns
        FROM metrics
        PREWHERE project = {project:String} AND owner IN {owners:Array(String)}
          AND NOT ({point})""").fill(point=IS_POINT)
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}, BY_KEY)
    return [row | {"word": _word_of(row)} for row in _last_sent(rows)]


def _word_of(row: Row) -> str:
    """Write the value of a ground truth or label; empty for a score."""
    if row["source"] not in {"human", "actual", "agent"}:
        return ""
    return write_word(row["actual"], row["label"], row["score"], row["passed"])


def _last_sent(rows: Iterable[Row]) -> list[Row]:
    """Keep the last of several rows for the same record, as the engine does when it merges.

    `otel_ml_collector.store.scores.LAST` defines which score of a judge is the last.
    """
    kept: dict[tuple[object, ...], Row] = {}
    for row in sorted(rows, key=itemgetter("time_ns", "arrived_ns")):
        kept[tuple(row[name] for name in _METRICS_KEY)] = row
    order = itemgetter("time_ns", "judge", "version", "record_id", "position", "source")
    return sorted(kept.values(), key=order)


def read_late_tags(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read late-arriving tags of runs, oldest first."""
    sql = Sql("""
        SELECT owner, name, value, type, `group`, time_ns, record_id FROM late_tags
        PREWHERE project = {project:String} AND owner IN {owners:Array(String)}""")
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}, BY_KEY)
    return sorted(rows, key=itemgetter("time_ns", "record_id"))


def find_holders(reader: Reader, project: str, owners: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the owners, such as run IDs, that have metrics, and those that have artifacts."""
    condition = Sql("project = {project:String} AND owner IN {owners:Array(String)}")
    sql = Sql("""
        SELECT DISTINCT owner, 1 AS is_metric FROM metrics WHERE {ours} AND {point}
        UNION ALL
        SELECT DISTINCT owner, 0 FROM objects WHERE {ours}
        """).fill(ours=condition, point=IS_POINT)
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}) if owners else []
    return (
        {row["owner"] for row in rows if row["is_metric"]},
        {row["owner"] for row in rows if not row["is_metric"]},
    )


def read_trace_keys(reader: Reader, project: str, trace_ids: Sequence[str]) -> list[Row]:
    """Read the trace keys of traces, in alphabetical order."""
    sql = Sql("""
        SELECT lower(hex(trace_id)) AS trace_id, key FROM trace_keys
        PREWHERE project = {project:String}
          AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))""")
    rows = reader.rows(sql, {"project": project, "traces": list(trace_ids)}, BY_KEY)
    keys = {(row["key"], row["trace_id"]) for row in rows}
    return [{"trace_id": trace_id, "key": key} for key, trace_id in sorted(keys)]


def read_lines(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read the lines of text of some owners, oldest first, at most 10,000."""
    rows: list[Row] = []
    for place in range(0, len(owners), _OWNERS_AT_ONCE):
        rows += _read_lines(reader, project, owners[place : place + _OWNERS_AT_ONCE], _OF_ALL)
    return _first_lines(rows)


def _read_lines(reader: Reader, project: str, owners: Sequence[str], most: Sql) -> list[Row]:
    sql = Sql("""
        SELECT owner, time_ns, severity, message, event, attributes, record_id, position
        FROM late_logs FINAL
        WHERE project = {project:String} AND owner IN {owners:Array(String)}
        ORDER BY time_ns, record_id, position {most}
        """).fill(most=most)
    return reader.rows(sql, {"project": project, "owners": list(owners)}, ACROSS_PARTITIONS)


def _first_lines(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=itemgetter("time_ns", "record_id", "position"))[:_MOST_LINES]


def read_all_lines(
    reader: Reader, project: str, owners: Mapping[str, Sequence[str]]
) -> dict[str, list[Row]]:
    """Read log lines as `read_lines` does, for several lists of owners, by the key of the list."""
    asked = sorted({owner for of_key in owners.values() for owner in of_key})
    if len(owners) > 1 and len(asked) <= _OWNERS_AT_ONCE:
        lines = _read_lines(reader, project, asked, _OF_EACH)
        if len(lines) < _MOST_LINES_OF_MANY:
            by_owner = group_rows(lines, "owner")
            return {
                key: _first_lines(line for owner in of_key for line in by_owner.get(owner, ()))
                for key, of_key in owners.items()
            }
    return {key: read_lines(reader, project, of_key) for key, of_key in owners.items()}


def read_events_of(
    reader: Reader, project: str, owners: Sequence[str], events: Sequence[str]
) -> dict[str, list[Row]]:
    """Read the events with these names: the oldest `MOST_EVENTS` of each owner."""
    sql = Sql("""
        SELECT owner, time_ns, message, event, attributes FROM late_logs FINAL
        WHERE project = {project:String} AND owner IN {owners:Array(String)}
          AND event IN {events:Array(String)}
        ORDER BY time_ns, record_id, position LIMIT {most} BY owner
        """).fill(most=MOST_EVENTS)
    parameters = {"project": project, "owners": list(owners), "events": list(events)}
    rows = reader.rows(sql, parameters, ACROSS_PARTITIONS) if owners else []
    return group_rows(rows, "owner")


def list_spans_with_lines(reader: Reader, project: str, trace_id: str) -> list[str]:
    """List the run IDs of spans of a trace with separately sent log lines; at most 100,000."""
    sql = Sql("""
        SELECT DISTINCT owner FROM late_logs WHERE {of_trace} ORDER BY owner LIMIT {spans}
        """).fill(of_trace=_OF_TRACE, spans=SPANS_OF_TRACE)
    rows = reader.rows(sql, {"project": project, "trace": trace_id})
    return [row["owner"] for row in rows]
