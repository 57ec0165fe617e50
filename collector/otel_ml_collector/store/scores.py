"""Reads newest scores: the last score of each run by each judge version or reviewer.

No other file uses the table of scores. `LAST` is the order of `fold.late`: by time, then by the
digest of the judge version, then by the ID of the record.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_ml_collector.fold.late import SCORE_ORDER
from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.counted import DELIVERIES, RECORDED
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import EMPTY, Sql, identifier, join_sql
from otel_ml_collector.store.tables import IS_SCORE
from otel_ml_collector.store.targets import join_keyed
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window

LAST: Final = Sql("({fields})").fill(
    fields=join_sql(", ", [Sql("scored.") + identifier(name, SCORE_ORDER) for name in SCORE_ORDER])
)
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
# Maximum number of levels between a function and the request that it is part of.
_LEVELS_TO_REQUEST: Final = 32
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
    last = newest_columns(columns)
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


# Requests that contain runs of a window. A function starts at most a day after its request.
NEAR_REQUESTS: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64} - {day}
  AND start_ns < {end:Int64} + {day}""").fill(day=DAY_NS)
# The runs without a model version that have a score, by judge.
_SCORED_REQUESTS: Final = Sql("""
    SELECT DISTINCT trace_id, span_id, judge FROM ({scores})
    WHERE (trace_id, span_id) IN (
      SELECT trace_id, span_id FROM {recorded}
      WHERE {near} AND digest = '' AND kind != 'judge')""")
# The spans around each run of a model version, the nearest first.
_WAYS_TO_REQUESTS: Final = Sql("""
    SELECT trace_id, inner_run.1 AS function, inner_run.2 AS start_ns, inner_run.3 AS version,
      around, place
    FROM (
      SELECT trace_id, inner_run, arrayDistinct(arrayFold(
          (way, level) -> arrayPushBack(way, parents[way[-1]]),
          range(least({levels}, length(parents))), [inner_run.4])) AS way
      FROM (
        SELECT trace_id, mapFromArrays(groupArray(span_id), groupArray(parent_span_id)) AS parents,
          groupArrayIf(
            (span_id, start_ns, concat(toString(model), ' ', toString(digest), toString(structure)),
              parent_span_id), digest != '') AS functions
        FROM {recorded}
        WHERE {near} AND kind != 'judge' AND trace_id IN (SELECT trace_id FROM ({requests}))
        GROUP BY trace_id)
      ARRAY JOIN functions AS inner_run)
    ARRAY JOIN way AS around, arrayEnumerate(way) AS place""")
_PASSED_DOWN: Final = Sql("""
    SELECT trace_id, request, judge, argMin(function, (start_ns, function)) AS carrier
    FROM (
      SELECT way.trace_id AS trace_id, function, start_ns, version, scored.judge AS judge,
        argMin(around, place) AS request
      FROM ({ways}) AS way
      INNER JOIN ({requests}) AS scored
        ON scored.trace_id = way.trace_id AND scored.span_id = way.around
      GROUP BY trace_id, function, start_ns, version, judge)
    GROUP BY trace_id, request, judge, version
    HAVING max((trace_id, function, judge) IN (
      SELECT trace_id, span_id, judge FROM ({scores}))) = 0""")
_OF_VERSIONS: Final = Sql("""
    SELECT trace_id, span_id, judge, judge_version, {result}, false AS is_of_request
    FROM ({newest})
    UNION ALL
    SELECT passed_down.trace_id, passed_down.carrier, given.judge, given.judge_version, {result},
      true
    FROM ({newest}) AS given
    INNER JOIN ({passed_down}) AS passed_down ON passed_down.trace_id = given.trace_id
      AND passed_down.request = given.span_id AND passed_down.judge = given.judge""")
_OWN_ONLY: Final = Sql("SELECT *, false AS is_of_request FROM ({newest})")


def version_scores(reader: Reader, scores: Sql, near: Sql, values: Mapping[str, Any]) -> Sql:
    """Write the SQL for the newest scores that count for model versions.

    These are the scores of runs, and those of the requests around them. A score of a run without a
    version, such as a thumb on a turn, counts once for the version of each traced function inside
    it. It is assigned to the function's first run there. If the same judge scored a run of this
    version in the request, or a run in between, that score counts instead.

    Do not use it for sums over all runs: there, the score counts once, for the request.

    Args:
        reader: The store.
        scores: SQL of the scores, made with `all_scores`.
        near: A condition on project and start time. It must be true for all runs of the query and
            for the requests around them.
        values: Parameters of `scores` and `near`.

    Returns:
        SQL with the columns of `newest_scores`, and `is_of_request`.
    """
    if not has_scored_requests(reader, scores, near, values):
        return _OWN_ONLY.fill(newest=newest_scores(scores))
    return pass_down(scores, near)


def pass_down(scores: Sql, near: Sql) -> Sql:
    """Write the SQL of `version_scores` for a project whose requests have scores."""
    requests = _SCORED_REQUESTS.fill(scores=scores, recorded=RECORDED, near=near)
    ways = _WAYS_TO_REQUESTS.fill(
        recorded=RECORDED, near=near, requests=requests, levels=_LEVELS_TO_REQUEST
    )
    return _OF_VERSIONS.fill(
        newest=newest_scores(scores),
        result=_name(RESULT),
        passed_down=_PASSED_DOWN.fill(ways=ways, requests=requests, scores=scores),
    )


def has_scored_requests(reader: Reader, scores: Sql, near: Sql, values: Mapping[str, Any]) -> bool:
    """Whether a run without a version has a score. The arguments are those of `version_scores`."""
    requests = _SCORED_REQUESTS.fill(scores=scores, recorded=RECORDED, near=near)
    sql = Sql("SELECT 1 FROM ({requests}) LIMIT 1").fill(requests=requests)
    return bool(reader.rows(sql, values))


def newest_of(column: str) -> Sql:
    """Write the SQL for a column of the newest score of a run, for a test of `pass_newest`."""
    return Sql("({last}).1").fill(last=newest_columns([column]))


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


def newest_columns(columns: Sequence[str]) -> Sql:
    """Write columns of the newest score of a group. In a tuple, NULL is a value like any other."""
    named = [Sql("scored.") + identifier(name, _SCORE_COLUMNS) for name in columns]
    return Sql("argMax(tuple({named}), {last})").fill(named=join_sql(", ", named), last=LAST)


def with_score(among: Sql, test: Sql) -> Sql:
    """Write the condition on runs of several projects that have a score that passes a test.

    Args:
        among: A condition on `project`, `start_ns`, `trace_id` and `span_id` of the runs.
        test: A condition on the columns of a score, which may be older than the newest one.
    """
    return Sql("""({key}) IN (SELECT {key} FROM {scores} FINAL WHERE {among} AND ({test}))""").fill(
        key=Sql("project, start_ns, trace_id, span_id"), scores=SCORES, among=among, test=test
    )


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


_ARRIVALS: Final = Sql("""
    SELECT count() AS runs, max(arrived_ns) AS arrived_ns, (
      SELECT (count(), max(time_ns)) FROM {scores}
      WHERE project = {project:String} AND {in_window}) AS scored {more}
    FROM {deliveries} WHERE project = {project:String}
      AND start_ns >= {start:Int64} AND start_ns < {end:Int64}""")


def read_arrivals(reader: Reader, project: str, window: Window, more: Sql = EMPTY) -> Row:
    """Read what arrived for the runs of a window. If two answers are equal, nothing arrived.

    Args:
        reader: The store.
        project: The project.
        window: The time range in which the runs started.
        more: More columns of the answer, each after a comma.

    Returns:
        The number of stored copies of runs as `runs`, the time of the last one as `arrived_ns`, and
            the number and last time of their scores as `scored`.
    """
    sql = _ARRIVALS.fill(scores=SCORES, in_window=IN_WINDOW, deliveries=DELIVERIES, more=more)
    asked = {"project": project, "start": window.start_ns, "end": window.end_ns}
    [row] = reader.rows(sql, asked)
    return row


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
