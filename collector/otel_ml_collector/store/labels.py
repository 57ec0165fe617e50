"""Reads reviewers' labels: the newest label of each reviewer on each run, by judge.

A reviewer is identified by the name in `annotator`. All labels without a name belong to one
reviewer. If a reviewer labels a run again, the last label counts.
"""

from typing import Final

from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.scores import SCORES
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import RUN, join_keyed

_LABEL_COLUMNS: Final = Sql(
    "annotator, label, value AS score, passed, explanation, time_ns, record_id, arrived_ns"
)
_FROM_METRICS: Final = Sql("""FROM metrics
    WHERE project = {project:String} AND name = {judge:String} AND source = 'human'""")
# Runs with a label of a reviewer. Scores are ordered by judge and labels by subject, so the runs
# are found in the table of scores.
_RUNS_WITH_LABELS: Final = Sql("""owner IN (
    SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) FROM {scores}
    WHERE project = {project:String} AND judge = {judge:String} AND record_id != '')""").fill(
    scores=SCORES
)


def newest_labels(*, has_keyed: bool) -> Sql:
    """Write the SQL for the newest label of each reviewer on each run.

    The query needs the parameters `project` and `judge`, the name under which the labels are
    stored.

    Args:
        has_keyed: Whether to include labels that were sent for a trace key or for a tag instead of
            a run. Such a label applies to each run with this key or tag.

    Returns:
        SQL that selects `trace_id`, `span_id`, `annotator`, `label`, `score`, `passed`,
            `explanation`, `time_ns` and `record_id`.
    """
    labels = Sql("SELECT {run}, {columns} {labels} AND owner < '{first}' AND {judged}").fill(
        run=RUN,
        columns=_LABEL_COLUMNS,
        labels=_FROM_METRICS,
        first=Sql(FIRST),
        judged=_RUNS_WITH_LABELS,
    )
    if has_keyed:
        others = Sql("{labels} AND owner >= '{first}'").fill(labels=_FROM_METRICS, first=Sql(FIRST))
        labels += Sql(" UNION ALL ") + join_keyed(_LABEL_COLUMNS, others)
    return Sql("""
        SELECT trace_id, span_id, annotator, newest.1 AS label, newest.2 AS score,
          newest.3 AS passed, newest.4 AS explanation, newest.5 AS time_ns, newest.6 AS record_id
        FROM (
          SELECT trace_id, span_id, toString(annotator) AS annotator,
            argMax(
              tuple(toString(label), score, passed, explanation, time_ns, record_id),
              (time_ns, record_id, arrived_ns)) AS newest
          FROM ({labels}) GROUP BY trace_id, span_id, annotator)""").fill(labels=labels)
