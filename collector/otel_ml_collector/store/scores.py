"""Reads newest scores: the last score of each run by each judge version or reviewer.

No other file uses the table of scores. `LAST` is the only rule for which score is the newest: by
time, then by the digest of the judge version, then by the ID of the record. Two scores with the
same values of all three are the same score.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from otel_ml_collector.store.tables import IS_SCORE
from otel_ml_collector.store.targets import join_keyed
from otel_ml_collector.windows import Window

LAST: Final = Sql("(scored.time_ns, scored.judge_version, scored.record_id)")
SCORES: Final = Sql("scores")
# A score that was sent without the start time of its run has 0.
IN_WINDOW: Final = Sql("(start_ns = 0 OR (start_ns >= {start:Int64} AND start_ns < {end:Int64}))")
RESULT: Final = ("score", "passed", "failed")
BY_VERSION: Final = ("trace_id", "span_id", "judge", "judge_version")
BY_JUDGE: Final = ("trace_id", "span_id", "judge")
BY_RUN: Final = ("trace_id", "span_id")
ANYTHING: Final = Sql("1")
# A judge's score has no record ID, unlike a reviewer's label.
OF_JUDGE: Final = Sql("record_id = ''")
# Columns of scores by key or tag that have different names in the table of metrics.
_KEYED_AS: Final = {
    "judge": Sql("name AS judge"),
    "score": Sql("value"),
    "failed": Sql("error != '' AS failed"),
}
# Maximum number of a judge's newest scores, and of judges, that are read to find out whether lower
# scores are better.
_SCORES_READ: Final = 10_000
_JUDGES_READ: Final = 20
_ORDERED: Final = (*BY_VERSION, "time_ns")
_SCORE_COLUMNS: Final = (*_ORDERED, *RESULT, "latency_ms", "cost")


def in_traces(traces: Sql) -> Sql:
    """Return the condition for scores in a window whose traces are returned by a SELECT."""
    return Sql("{in_window} AND trace_id IN ({traces})").fill(in_window=IN_WINDOW, traces=traces)


def all_scores(
    among: Sql = ANYTHING,
    *,
    judges: Sql = ANYTHING,
    has_keyed: bool = False,
    columns: Sequence[str] = RESULT,
) -> Sql:
    """Write the SQL for every score of the runs of a project.

    Args:
        among: A condition on `start_ns`, `trace_id` and `span_id` of the runs.
        judges: A condition on the judge. ``{judge}`` is the column with its name.
        has_keyed: Whether to include scores that were sent for a trace key or for a tag. They apply
            to each run with this key or tag.
        columns: The columns of a score to select.

    Returns:
        SQL that selects the columns `columns`, the IDs of the run, the judge, its version, and the
            time and ID of the score.
    """
    wanted = [name for name in columns if name not in _ORDERED]
    scores = Sql("""
        SELECT {columns}, record_id
        FROM {scores} WHERE project = {project:String} AND {judges} AND {among}""").fill(
        columns=_name([*_ORDERED, *wanted]),
        scores=SCORES,
        judges=_test(judges, Sql("judge")),
        among=among,
    )
    if not has_keyed:
        return scores
    items = [
        _KEYED_AS.get(name, identifier(name, _SCORE_COLUMNS)) for name in [*_ORDERED[2:], *wanted]
    ]
    return (
        scores
        + Sql(" UNION ALL ")
        + join_keyed(
            join_sql(", ", [*items, Sql("record_id")]),
            Sql("""FROM metrics WHERE project = {project:String} AND owner >= '{first}'
              AND {judges} AND {is_score}""").fill(
                first=Sql(FIRST), judges=_test(judges, Sql("name")), is_score=IS_SCORE
            ),
            among,
        )
    )


def newest_scores(
    scores: Sql,
    *,
    by: Sequence[str] = BY_VERSION,
    columns: Sequence[str] = RESULT,
    where: Sql = ANYTHING,
) -> Sql:
    """Write the SQL for the newest score of each run by each judge version.

    Args:
        scores: SQL of the scores, made with `all_scores`.
        by: For which combination of columns there is one newest score: run and judge version
            (`BY_VERSION`), run and judge (`BY_JUDGE`), or only the run (`BY_RUN`).
        columns: The columns of the newest score to select, such as its value.
        where: A condition on the scores.

    Returns:
        SQL that selects the columns `by` and `columns`.
    """
    last = _newest(columns)
    members = [
        Sql("({last}).{place} AS {name}").fill(
            last=last, place=place, name=identifier(name, _SCORE_COLUMNS)
        )
        for place, name in enumerate(columns, 1)
    ]
    return Sql("""
        SELECT {by}, {members} FROM ({scores}) AS scored WHERE {where} GROUP BY {by}""").fill(
        by=_name(by), members=join_sql(", ", members), scores=scores, where=where
    )


def newest_of(column: str) -> Sql:
    """Write the SQL for a column of the newest score of a run, for a test of `pass_newest`."""
    return Sql("({last}).1").fill(last=_newest([column]))


def pass_newest(scores: Sql, test: Sql, where: Sql = ANYTHING) -> Sql:
    """Write the condition on runs whose newest score passes a test.

    Args:
        scores: SQL of the scores, made with `all_scores`.
        test: A condition on the newest score. Its columns are made with `newest_of`, for example
            ``Sql("{value} < 0.5").fill(value=newest_of("score"))``.
        where: A condition on the scores. Other scores are ignored, even if they are newer.
    """
    return Sql("""(trace_id, span_id) IN (
      SELECT trace_id, span_id FROM ({scores}) AS scored WHERE {where}
      GROUP BY trace_id, span_id HAVING {test})""").fill(scores=scores, where=where, test=test)


def _newest(columns: Sequence[str]) -> Sql:
    """Write columns of the newest score of a group. In a tuple, NULL is a value like any other."""
    named = [Sql("scored.") + identifier(name, _SCORE_COLUMNS) for name in columns]
    return Sql("argMax(tuple({named}), {last})").fill(named=join_sql(", ", named), last=LAST)


# The declaration of each judge's newest version; null if it declares nothing.
_DECLARED: Final = Sql("""
    SELECT toString(name) AS judge, true AS is_declared,
      argMax(JSONExtract(definition, 'lower_is_better', 'Nullable(Bool)'), first_ns) AS is_lower
    FROM (
      SELECT name, digest, min(first_arrived_ns) AS first_ns, max(definition) AS definition
      FROM model_versions WHERE project = {project:String} AND kind = 'judge'
        AND name IN {judges:Array(String)}
      GROUP BY name, digest HAVING max(last_seen_ns) > 0
    ) GROUP BY name""")
_BY_WHAT_PASSES: Final = Sql("""
    SELECT {judge} AS judge, false AS is_declared,
      toNullable(avgIf(score, passed = true) < avgIf(score, passed = false)) AS is_lower
    FROM (
      SELECT score, passed FROM {scores} WHERE project = {project:String} AND judge = {judge}
        AND isNotNull(passed) AND isFinite(score)
      ORDER BY start_ns DESC LIMIT {looked_at})""")


_OFTEN_FAILED: Final = Sql("""
    SELECT judge FROM {scores} WHERE project = {project:String} AND {in_window} AND failed
    GROUP BY judge HAVING count() >= {least:UInt32} LIMIT {read}""").fill(
    scores=SCORES, in_window=IN_WINDOW, read=_JUDGES_READ
)


def find_often_failed_judges(
    reader: Reader, project: str, window: Window, least: int
) -> frozenset[str]:
    """Find the judges that failed on at least `least` runs in a window. At most 20 are returned."""
    asked = {"project": project, "start": window.start_ns, "end": window.end_ns, "least": least}
    return frozenset(row["judge"] for row in reader.rows(_OFTEN_FAILED, asked))


def find_lower_judges(reader: Reader, project: str, judges: Iterable[str]) -> frozenset[str]:
    """Find the judges whose lower scores are better. At most 20 judges are checked.

    The newest version of a judge can declare it (`lower_is_better`). Otherwise its newest 10,000
    scores decide: lower is better if passing scores are lower on average than failing ones. If the
    judge has no passing or no failing scores, higher is better.
    """
    names = sorted(set(judges))[:_JUDGES_READ]
    if not names:
        return frozenset()
    by_passes = [
        _BY_WHAT_PASSES.fill(
            judge=Sql("{judge{place}:String}").fill(place=place),
            scores=SCORES,
            looked_at=_SCORES_READ,
        )
        for place in range(len(names))
    ]
    sql = join_sql(
        " UNION ALL ", [Sql("SELECT * FROM ({declared})").fill(declared=_DECLARED), *by_passes]
    )
    values = {f"judge{place}": name for place, name in enumerate(names)}
    rows = reader.rows(sql, {"project": project, "judges": names, **values})
    facts = {row["judge"]: row["is_lower"] for row in rows if row["is_declared"]}
    passes = {row["judge"]: row["is_lower"] for row in rows if not row["is_declared"]}
    return frozenset(
        name for name in names if (passes[name] if facts.get(name) is None else facts[name])
    )


def _name(columns: Sequence[str]) -> Sql:
    return join_sql(", ", [identifier(name, _SCORE_COLUMNS) for name in columns])


def _test(judges: Sql, column: Sql) -> Sql:
    return judges.fill(judge=column) if "{judge}" in judges else judges


# The newest score of each judge version for some runs of a window, by span ID. `start_ns` is the
# start of the run, or 0 if it was not sent with the score.
_NEAR_RUNS: Final = all_scores(
    Sql("""(start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns <= {last:Int64}))
      AND reinterpretAsUInt64(span_id) IN {spans:Array(UInt64)}""")
)
_IN_ORDER: Final = Sql(" ORDER BY judge, judge_version, trace_id, span_id")
SCORED_LAST: Final = newest_scores(_NEAR_RUNS) + _IN_ORDER
JUDGED_LAST: Final = newest_scores(_NEAR_RUNS, where=OF_JUDGE) + _IN_ORDER
