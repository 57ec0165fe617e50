"""Newest scores: the last score of each run by each version of a judge, or a person.

No other file names the table of scores. The only rule for *last*, wherever it is asked: the
highest of `LAST` holds, so the time at which it was said, then the digest of the judge's version,
then the id of the record. Of two with the same values of all three there is only one.
"""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from otel_ml_collector.store.tables import IS_SCORE
from otel_ml_collector.store.targets import told_of_others

LAST: Final = Sql("(time_ns, judge_version, record_id)")
SCORES: Final = Sql("scores")
# A score whose run's start was not told stands at 0.
IN_WINDOW: Final = Sql("(start_ns = 0 OR (start_ns >= {start:Int64} AND start_ns < {end:Int64}))")
SAID: Final = ("score", "passed", "failed")
BY_VERSION: Final = ("trace_id", "span_id", "judge", "judge_version")
BY_JUDGE: Final = ("trace_id", "span_id", "judge")
BY_RUN: Final = ("trace_id", "span_id")
ANYTHING: Final = Sql("1")
# What a score of a key or a tag calls what one of a run says.
_TOLD_AS: Final = {
    "judge": Sql("name AS judge"),
    "score": Sql("value"),
    "failed": Sql("error != '' AS failed"),
}
_ORDERED: Final = (*BY_VERSION, "time_ns")
_SCORE_COLUMNS: Final = (*_ORDERED, *SAID, "latency_ms", "cost")


def all_scores(
    among: Sql = ANYTHING,
    *,
    judges: Sql = ANYTHING,
    is_told: bool = False,
    said: Sequence[str] = SAID,
) -> Sql:
    """Write the SQL for every score that was given to runs of a project.

    Args:
        among: A condition on `start_ns`, `trace_id` and `span_id` of the runs that are asked about;
            it does not hold for scores of keys and tags.
        judges: A condition on the judge, of which the name stands as ``{judge}``.
        is_told: Whether scores of keys and tags are in it, as those of the runs that have these.
        said: The wanted columns of a score.

    Returns:
        SQL that selects `BY_VERSION`, `said`, and the columns of `LAST`.
    """
    wanted = [name for name in said if name not in _ORDERED]
    scores = Sql("""
        SELECT {columns}, record_id
        FROM {scores} WHERE project = {project:String} AND {judges} AND {among}""").fill(
        columns=_name([*_ORDERED, *wanted]),
        scores=SCORES,
        judges=_test(judges, Sql("judge")),
        among=among,
    )
    if not is_told:
        return scores
    items = [
        _TOLD_AS.get(name, identifier(name, _SCORE_COLUMNS)) for name in [*_ORDERED[2:], *wanted]
    ]
    return (
        scores
        + Sql(" UNION ALL ")
        + told_of_others(
            join_sql(", ", [*items, Sql("record_id")]),
            Sql("""FROM metrics WHERE project = {project:String} AND owner >= '{first}'
              AND {judges} AND {is_score}""").fill(
                first=Sql(FIRST), judges=_test(judges, Sql("name")), is_score=IS_SCORE
            ),
        )
    )


def newest_scores(
    scores: Sql,
    *,
    by: Sequence[str] = BY_VERSION,
    said: Sequence[str] = SAID,
    where: Sql = ANYTHING,
) -> Sql:
    """Write the SQL for the last score of each run, by each version of a judge.

    Args:
        scores: SQL of `all_scores`.
        by: The columns of the speaker: `BY_VERSION`, `BY_JUDGE` or `BY_RUN`.
        said: The wanted columns of `scores`.
        where: A condition on the scores that are looked at.

    Returns:
        SQL that selects `by` and `said`.
    """
    members = [
        Sql("newest.{place} AS {name}").fill(place=place, name=identifier(name, _SCORE_COLUMNS))
        for place, name in enumerate(said, 1)
    ]
    return Sql("""
        SELECT {by}, {members} FROM (
          SELECT {by}, argMax(tuple({said}), {last}) AS newest
          FROM ({scores}) WHERE {where} GROUP BY {by})""").fill(
        by=_name(by),
        members=join_sql(", ", members),
        said=_name(said),
        last=LAST,
        scores=scores,
        where=where,
    )


def _name(columns: Sequence[str]) -> Sql:
    return join_sql(", ", [identifier(name, _SCORE_COLUMNS) for name in columns])


def _test(judges: Sql, column: Sql) -> Sql:
    return judges.fill(judge=column) if "{judge}" in judges else judges
