"""Compares scores and late tags in rows of `runs` with the newest that the store has."""

from typing import Final

from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.scores import BY_JUDGE, all_scores, newest_scores
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import join_keyed
from tests.support.otel_ml_collector.stores import Store

_SCORES: Final = all_scores(has_keyed=True)
# Scores by run. The run that counts also gets those of the runs that repeat it.
_OF_CALLS: Final = Sql("""{scores} UNION ALL SELECT * EXCEPT (main_trace, main_span)
      REPLACE (main_trace AS trace_id, main_span AS span_id)
    FROM ({scores}) AS scored
    INNER JOIN (
      SELECT trace_id, span_id, if(record_trace = toFixedString('', 16), trace_id, record_trace)
        AS main_trace, record_of AS main_span
      FROM runs FINAL
      WHERE project = {project:String} AND record_of != toFixedString('', 8)
    ) AS repeat USING (trace_id, span_id)""").fill(scores=_SCORES)
_DIFFERS: Final = Sql("""
    SELECT lower(hex(run.trace_id)) AS trace, lower(hex(run.span_id)) AS span,
      run.start_ns AS start, final_scores, final_passed, final_failed, newest_scores,
      newest_passed, newest_failed
    FROM (SELECT * FROM runs FINAL WHERE project = {project:String}) AS run
    LEFT JOIN (
      SELECT trace_id, span_id,
        mapSort(mapFromArrays(groupArrayIf(judge, isNotNull(score)),
          groupArrayIf(assumeNotNull(score), isNotNull(score)))) AS newest_scores,
        mapSort(mapFromArrays(groupArrayIf(judge, isNotNull(passed)),
          groupArrayIf(assumeNotNull(passed), isNotNull(passed)))) AS newest_passed,
        arraySort(groupArrayIf(judge, failed)) AS newest_failed
      FROM (SELECT toString(judge) AS judge, * EXCEPT judge FROM ({newest}))
      GROUP BY trace_id, span_id
    ) AS scored ON scored.trace_id = run.trace_id AND scored.span_id = run.span_id
    WHERE mapSort(final_scores) != newest_scores OR mapSort(final_passed) != newest_passed
      OR arraySort(final_failed) != newest_failed""").fill(
    newest=newest_scores(_OF_CALLS, by=BY_JUDGE)
)
_WRONG_TAGS: Final = Sql("""
    SELECT lower(hex(run.trace_id)) AS trace, lower(hex(run.span_id)) AS span, run.late_tags,
      mapSort(mapApply((name, tag) -> (name, tag.1), mapFilter(
        (name, tag) -> NOT mapContains(run.tags, name) OR tag.2 >= run.start_ns + run.latency_ns,
        newest))) AS wanted
    FROM (SELECT * FROM runs FINAL WHERE project = {project:String}) AS run
    LEFT JOIN (
      SELECT owner, mapFromArrays(groupArray(name), groupArray(tag)) AS newest
      FROM (
        SELECT owner, toString(name) AS name, argMax((value, time_ns), (time_ns, record_id)) AS tag
        FROM (
          SELECT owner, name, value, time_ns, record_id FROM late_tags
          WHERE project = {project:String} AND owner < '{first}'
          UNION ALL
          SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS owner, name, value,
            time_ns, record_id
          FROM ({keyed})
        ) GROUP BY owner, name)
      GROUP BY owner
    ) AS tagged ON owner = concat(lower(hex(run.trace_id)), '-', lower(hex(run.span_id)))
    WHERE mapSort(run.late_tags) != wanted""").fill(
    first=Sql(FIRST),
    keyed=join_keyed(
        Sql("name, value, time_ns, record_id"),
        Sql("FROM late_tags WHERE project = {project:String}"),
    ),
)
_EVERY_PROJECT: Final = Sql("SELECT DISTINCT toString(project) AS project FROM runs")
_SCORED: Final = Sql("""
    SELECT countIf(notEmpty(final_scores) OR notEmpty(final_passed)) AS scored FROM runs FINAL""")


def find_wrong_scores(store: Store, *projects: str) -> list[Row]:
    """Return the runs, of these or all projects, whose row has other scores than the store."""
    names = projects or [row["project"] for row in store.reader.rows(_EVERY_PROJECT, {})]
    return [row for name in names for row in store.reader.rows(_DIFFERS, {"project": name})]


def find_wrong_tags(store: Store, *projects: str) -> list[Row]:
    """Return the runs, of these or all projects, whose row has other late tags than the store."""
    names = projects or [row["project"] for row in store.reader.rows(_EVERY_PROJECT, {})]
    return [row for name in names for row in store.reader.rows(_WRONG_TAGS, {"project": name})]


def count_scored(store: Store) -> int:
    """Count the runs with scores in their rows."""
    [row] = store.reader.rows(_SCORED, {})
    return int(row["scored"])
