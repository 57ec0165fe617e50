"""Reads facts as they were recorded: evaluations, late-arriving tags and trace keys.

A fact names its owner: a run ID, a trace key, a tag, a model version or a version of a data set.
Which of several facts counts for a run is not decided here, but in `fold`.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

from otel_ml_collector.fold.late import write_word
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import BY_KEY
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import IS_POINT

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
