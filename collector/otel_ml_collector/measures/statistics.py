"""Queries about projects, models and versions: aggregates over recorded runs."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from otel_ml_collector.errors import MissingProject
from otel_ml_collector.measures.measures import HAS_FAILED
from otel_ml_collector.measures.sums import COUNTS, P50, P95, QUANTILES, SCORE_SUMS, read_quantiles
from otel_ml_collector.store.counted import (
    DELIVERIES,
    IS_CALL,
    OF_PROJECT,
    RECORDED,
    UNIT,
    Bounds,
    repeats,
)
from otel_ml_collector.store.facts import has_records
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.record_kinds import (
    find_counted,
    find_counted_of_all,
)
from otel_ml_collector.store.rollup import STATES, computed, uncomputed
from otel_ml_collector.store.runs import IS_TOP, first_calls
from otel_ml_collector.store.scores import JUDGED_LAST, all_scores, version_scores
from otel_ml_collector.store.sql import Condition, Sql, all_of
from otel_ml_collector.store.versions import NUMBER, of_versions, version_numbers
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.windows import Buckets, Window

_MOST_PROJECTS: Final = 20_000


def list_projects(reader: Reader) -> list[Row]:
    """List projects with their number of recorded runs; the one with the latest run comes first.

    A project is listed with 0 runs if none of its runs has ended yet, or if it only has metrics.
    """
    unknown = Bounds(READABLE, days=uncomputed(READABLE))
    sql = Sql("""
        SELECT project, sum(ended) AS runs, sum(others) AS other_spans, sum(failed) AS errors,
          max(last_ns) AS last_start_ns
        FROM (
          SELECT project, countIf({is_call}) AS ended, countIf(NOT {is_call}) AS others,
            countIf({is_call} AND {failed}) AS failed, max(start_ns) AS last_ns
          FROM {recorded}
          WHERE {counted} GROUP BY project
          UNION ALL
          SELECT project, sumIf(runs, {is_call}), sumIf(runs, NOT {is_call}),
            sumIf(runs, {is_call} AND {failed}), max(last_ns)
          FROM daily_runs WHERE {readable} AND {computed} GROUP BY project
          UNION ALL
          SELECT project, 0, 0, 0, max(start_ns) FROM open_runs WHERE {readable} GROUP BY project
          UNION ALL
          SELECT project, 0, 0, 0, max(time_ns) FROM call_points WHERE {readable} GROUP BY project
        )
        GROUP BY project ORDER BY last_start_ns DESC, project LIMIT {most_projects}
        """).fill(
        recorded=RECORDED,
        is_call=IS_CALL,
        failed=HAS_FAILED,
        counted=find_counted_of_all(reader, unknown, kinds=True).sql,
        computed=computed(READABLE),
        readable=READABLE,
        most_projects=_MOST_PROJECTS,
    )
    return reader.rows(sql, {})


def read_days(reader: Reader, project: str) -> dict[int, int | None]:
    """Find out for which days of a project the stored totals are up to date, oldest day first.

    Returns:
        For the start of each day, the time when its totals were computed. None if runs of the day
            have changed since, or if there are no totals. Days without runs are left out.
    """
    sql = Sql("""
        SELECT day_ns, if(computed_ns > marked_ns, computed_ns, NULL) AS known_ns FROM ({states})
        ORDER BY day_ns""").fill(states=STATES.fill(ours=OF_PROJECT))
    return {row["day_ns"]: row["known_ns"] for row in reader.rows(sql, {"project": project})}


def has_project(reader: Reader, project: str) -> bool:
    """Return whether a project has any records, such as a run, a data set or an alert rule.

    The result is also true for a deleted project. Its page still shows which records were refused
    after the deletion.
    """
    deleted = Sql("SELECT 1 FROM deletions WHERE {ours} AND kind = 'project' LIMIT 1")
    return has_records(reader, project) or bool(
        reader.rows(deleted.fill(ours=OF_PROJECT), {"project": project})
    )


def explain_missing(reader: Reader, project: str) -> MissingProject:
    """Return the error for a project that does not exist.

    Names of projects can contain slashes, so a wrong path below a project looks like a project. If
    the first parts of the name are a project, the error says that the path is wrong.
    """
    parts = project.split("/")
    for count in range(min(len(parts) - 1, _PARENTS), 0, -1):
        parent = "/".join(parts[:count])
        if reader.access.reaches(parent) and has_project(reader, parent):
            path = "/".join(["", *parts[count:]])
            text = f"There is no path {path[:80]!r} in project {parent[:80]!r}"
            return MissingProject(text, parent)
    return MissingProject(f"There is no project {project[:80]!r}")


# Maximum number of names that are tried as the project of a wrong path.
_PARENTS: Final = 3


START: Final = Sql("start_ns")


def bucket_of(buckets: Buckets, time: Sql = START) -> Sql:
    """Write the SQL of the column `bucket`: the start of the time bucket that contains a time.

    The query needs the parameters of `bucket_parameters`. For buckets of equal length, the SQL is
    an arithmetic formula, because searching the list of buckets takes five times as long.
    """
    if buckets.is_even:
        return Sql("""greatest({bucket_first:Int64},
          {time} - ({time} - {bucket_origin:Int64}) % {bucket_step:Int64}) AS bucket""").fill(
            time=time
        )
    return Sql("roundDown({time}, {bucket_starts:Array(Int64)}) AS bucket").fill(time=time)


def bucket_parameters(buckets: Buckets) -> dict[str, Any]:
    """Return the parameters of `bucket_of`."""
    if not buckets.is_even:
        return {"bucket_starts": list(buckets.starts_ns)}
    first_ns, *others_ns = buckets.starts_ns
    return {
        "bucket_first": first_ns,
        "bucket_origin": others_ns[0] - buckets.step_ns if others_ns else first_ns,
        "bucket_step": buckets.step_ns,
    }


def _values_of(project: str, condition: Condition, buckets: Buckets) -> dict[str, Any]:
    """Return the parameters of a query for the matching runs of a project, in buckets."""
    return {
        "project": project,
        "start": buckets.window.start_ns,
        "end": buckets.window.end_ns,
        **bucket_parameters(buckets),
        **condition.parameters,
    }


def count_runs(reader: Reader, project: str, condition: Condition, buckets: Buckets) -> list[Row]:
    """Count the matching runs of a window, and their errors, by bucket."""
    sql = Sql("""
        SELECT {bucket}, {counts}
        FROM {recorded}
        WHERE project = {project:String} AND start_ns >= {start:Int64}
          AND start_ns < {end:Int64} AND ({condition})
        GROUP BY bucket ORDER BY bucket
        """).fill(
        bucket=bucket_of(buckets), counts=COUNTS, recorded=RECORDED, condition=condition.sql
    )
    return reader.rows(sql, _values_of(project, condition, buckets))


# Maximum number of levels that are searched for the run around a run, and of runs below a span.
_LEVELS: Final = 16
_MOST_BELOW: Final = 1_000_000
_BELOW: Final = Sql("""
    SELECT trace_id, parent_span_id AS above, {failed} AS has_failed,
      {bucket}
    FROM {recorded}
    WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
      AND parent_span_id != toFixedString('', 8) AND ({condition})
    LIMIT {most:UInt32}""")
# The parent span of each run of `_BELOW`. The kind is empty if the parent is not stored.
_AROUND: Final = Sql("""
    FROM ({below}) AS inside LEFT ANY JOIN (
      SELECT trace_id AS of_trace, span_id AS of_span, parent_span_id AS next,
        toString(kind) AS around
      FROM ({spans}) WHERE (trace_id, span_id) IN (SELECT trace_id, above FROM ({below}))
    ) AS outside ON inside.trace_id = of_trace AND inside.above = of_span""")
_SPANS_AROUND: Final = Sql("""
    SELECT trace_id, span_id, parent_span_id, if({repeats}, 'span', toString(kind)) AS kind
    FROM {deliveries} WHERE project = {project:String}
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, toString(kind) FROM open_runs
    WHERE project = {project:String}""").fill(deliveries=DELIVERIES, repeats=repeats(OF_PROJECT))
_PASSES: Final = Sql("around IN ('span', 'judge') AND next != toFixedString('', 8)")


def count_roots(
    reader: Reader, project: str, condition: Condition, buckets: Buckets
) -> list[Row] | None:
    """Count the matching runs that are not inside another run, by time bucket.

    Returns:
        A row for each bucket with such runs: `bucket` (its start), `runs` and `errors` (number of
            failed runs). None if more than 1,000,000 matching runs have a parent span, because the
            query would take too long.
    """
    every = count_runs(reader, project, condition, buckets)
    roots = {row["bucket"]: row for row in every}
    parameters = {**_values_of(project, condition, buckets), "most": _MOST_BELOW + 1}
    below = _BELOW.fill(
        failed=HAS_FAILED,
        bucket=bucket_of(buckets),
        recorded=RECORDED,
        condition=condition.sql,
    )
    for _ in range(_LEVELS):
        around = _AROUND.fill(below=below, spans=_SPANS_AROUND)
        sql = Sql("""
            SELECT bucket, count() AS below, countIf({passes}) AS passing,
              countIf(around NOT IN ('', 'span', 'judge')) AS runs,
              countIf(around NOT IN ('', 'span', 'judge') AND has_failed) AS errors
            {around} GROUP BY bucket""").fill(passes=_PASSES, around=around)
        rows = reader.rows(sql, parameters)
        if sum(row["below"] for row in rows) > _MOST_BELOW:
            return None
        for row in rows:
            for name in ("runs", "errors"):
                roots[row["bucket"]][name] -= row[name]
        if not any(row["passing"] for row in rows):
            break
        below = Sql("""
            SELECT inside.trace_id AS trace_id, next AS above, has_failed, bucket
            {around} WHERE {passes}""").fill(around=around, passes=_PASSES)
    return [row for row in roots.values() if row["runs"]]


_OF_TOPS: Final = Sql("""
    SELECT trace_id FROM {deliveries} WHERE project = {project:String} AND {top} AND NOT {repeats}
    UNION ALL
    SELECT trace_id FROM open_runs WHERE project = {project:String} AND {top}""").fill(
    deliveries=DELIVERIES, top=IS_TOP, repeats=repeats(OF_PROJECT)
)
_IS_LOST: Final = Sql("project = {project:String} AND trace_id NOT IN ({tops})").fill(tops=_OF_TOPS)
# The rows of traces: their top spans, and the first calls of those without a top span.
_TOPS: Final = Condition(
    Sql("""({top} AND (kind != 'span' OR trace_id IN (
        SELECT trace_id FROM {deliveries} WHERE project = {project:String}
          AND kind NOT IN ('span', 'judge')))
      OR (trace_id, (start_ns, span_id)) IN ({first_calls}))""").fill(
        deliveries=DELIVERIES, top=IS_TOP, first_calls=first_calls(_IS_LOST, _IS_LOST)
    )
)


def count_traces(reader: Reader, project: str, condition: Condition, buckets: Buckets) -> list[Row]:
    """Count the traces that contain a run (not only plain spans), by time bucket.

    Each trace is counted once, in the bucket in which its top span began. If the top span has not
    arrived, its first call is counted instead.

    Returns:
        A row for each bucket with traces: `bucket` (its start), `runs` (number of traces) and
            `errors` (number of failed traces).
    """
    return count_runs(reader, project, all_of([condition, _TOPS]), buckets)


_PLAIN_TOPS: Final = Condition(Sql("kind = 'span'"))


def count_plain_traces(
    reader: Reader, project: str, condition: Condition, buckets: Buckets
) -> list[Row]:
    """Count the traces of `count_traces` whose top span is not a call."""
    return count_runs(reader, project, all_of([condition, _TOPS, _PLAIN_TOPS]), buckets)


def bound_runs(reader: Reader, project: str, *, plain: bool = False) -> Window | None:
    """Return when the first and the last recorded run of a project started; None without runs.

    If `plain` is true, spans that are not runs count, too.
    """
    runs = find_counted(reader, project, repeats=True, kinds=plain)
    sql = Sql("""
        SELECT min(start_ns) AS first_ns, max(start_ns) AS last_ns, count() AS runs
        FROM {runs} WHERE {counted}""").fill(
        runs=RECORDED if runs.items else DELIVERIES, counted=runs.sql
    )
    row = reader.rows(sql, {"project": project})[0]
    return Window(row["first_ns"], row["last_ns"] + 1) if row["runs"] else None


_MOST_MODELS: Final = 1_000
# Number of newest models that are read, with and without experiments, before both lists are joined.
_MODELS_READ: Final = 10_000


def list_models(reader: Reader, project: str) -> list[Row]:
    """List the models of a project; the one with the latest run comes first.

    A model is listed with 0 runs if none of its runs has ended yet. A client can also send a
    version of a model before the first run. Such a model is listed with 0 runs and the time of its
    version. Runs of experiments are counted separately.
    """
    counted = find_counted(reader, project, Bounds(days=uncomputed(OF_PROJECT)))
    tried = reader.ahead(_list_tried_models, project, counted.tried) if counted.items else None
    sql = Sql("""
        SELECT model, argMax(last_kind, last_ns) AS kind, sum(ended) AS runs,
          sum(failed) AS errors, max(last_ns) AS last_run_ns, max(reported_ns) AS last_reported_ns
        FROM (
          SELECT model, argMax(kind, start_ns) AS last_kind, count() AS ended,
            countIf({failed}) AS failed, max(start_ns) AS last_ns, 0 AS reported_ns
          FROM {recorded}
          WHERE {counted} AND model != ''
          GROUP BY model
          UNION ALL
          SELECT model, argMax(kind, last_ns), sum(runs), sumIf(runs, {failed}), max(last_ns), 0
          FROM daily_runs
          WHERE {ours} AND {is_call} AND model != '' AND {computed}
          GROUP BY model
          UNION ALL
          SELECT model, argMax(kind, start_ns), 0, 0, max(start_ns), 0
          FROM open_runs
          WHERE project = {project:String} AND {is_call} AND model != ''
          GROUP BY model
          UNION ALL
          SELECT name, kind, 0, 0, 0, max(last_seen_ns)
          FROM model_versions
          WHERE project = {project:String} AND kind = 'model' AND last_seen_ns > 0
          GROUP BY name, kind
        )
        GROUP BY model ORDER BY greatest(last_run_ns, last_reported_ns) DESC LIMIT {most}
        """).fill(
        recorded=RECORDED,
        most=_MODELS_READ,
        ours=OF_PROJECT,
        is_call=IS_CALL,
        failed=HAS_FAILED,
        computed=computed(OF_PROJECT),
        counted=counted.sql,
    )
    models = {row["model"]: row for row in reader.rows(sql, {"project": project})}
    for row in tried.result() if tried else ():
        model = models.setdefault(
            row["model"], {**row, "runs": 0, "errors": 0, "last_run_ns": 0, "last_reported_ns": 0}
        )
        model["experiment_runs"] = row["experiment_runs"]
        if row["last_tried_ns"] > model["last_run_ns"]:
            model |= {"kind": row["kind"], "last_run_ns": row["last_tried_ns"]}
    rows = [
        {
            **{name: model[name] for name in ("model", "kind", "runs", "errors")},
            "last_start_ns": model["last_run_ns"] or model["last_reported_ns"],
            "experiment_runs": model.get("experiment_runs", 0),
        }
        for model in models.values()
    ]
    return sorted(rows, key=itemgetter("last_start_ns"), reverse=True)[:_MOST_MODELS]


def list_llms(reader: Reader, project: str, start_ns: int, limit: int) -> list[Row]:
    """List the LLMs that a project called since a time, most calls first.

    Returns:
        ``provider``, ``provider_model``, ``calls``, and ``unpriced``: the calls without a cost.
    """
    counted = find_counted(reader, project, Bounds(start=Sql("{start:Int64}")))
    sql = Sql("""
        SELECT provider, provider_model, count() AS calls, countIf(isNull(cost)) AS unpriced
        FROM {recorded} WHERE {counted} AND provider_model != ''
        GROUP BY provider, provider_model ORDER BY calls DESC, provider, provider_model
        LIMIT {most:UInt32}""").fill(recorded=RECORDED, counted=counted.sql)
    return reader.rows(sql, {"project": project, "start": start_ns, "most": limit})


def _list_tried_models(reader: Reader, project: str, tried: Sql) -> list[Row]:
    """List the models that have runs in experiments, with the numbers of runs."""
    sql = Sql("""
        SELECT model, argMax(kind, start_ns) AS kind, max(start_ns) AS last_tried_ns,
          count() AS experiment_runs
        FROM {recorded} WHERE {tried} AND model != ''
        GROUP BY model ORDER BY last_tried_ns DESC LIMIT {most}""").fill(
        recorded=RECORDED, tried=tried, most=_MODELS_READ
    )
    return reader.rows(sql, {"project": project})


def read_version_runs(reader: Reader, project: str, model: str) -> list[Row]:
    """Read count, errors and latency of each version of a model, separately for experiments."""
    counted = find_counted(reader, project, kinds=True)
    asked = of_versions(reader, project, model)
    tried = reader.ahead(_count_tried, asked) if counted.items else None
    sql = Sql("""
        SELECT {number} AS number, {counts}, {quantiles},
          min(start_ns) AS first_start_ns, max(start_ns) AS last_start_ns, 0 AS experiment_runs
        FROM {recorded} WHERE {counted} AND model = {model:String}
        GROUP BY number HAVING number > 0 ORDER BY number
        """).fill(
        counts=COUNTS,
        quantiles=QUANTILES,
        recorded=RECORDED,
        number=NUMBER,
        counted=counted.sql,
    )
    versions = dict[int, Row]()
    for row in reader.rows(sql, asked):
        quantiles = read_quantiles(row)
        del row["quantiles"]
        versions[row["number"]] = {**row, "p50_ms": quantiles[P50], "p95_ms": quantiles[P95]}
    for row in tried.result() if tried else ():
        version = versions.setdefault(row["number"], {**_NEVER_RUN})
        version |= row
    return sorted(versions.values(), key=itemgetter("number"))


# The figures of a version that only has runs in experiments.
_NEVER_RUN: Final = {
    "runs": 0,
    "errors": 0,
    "p50_ms": None,
    "p95_ms": None,
    "first_start_ns": 0,
    "last_start_ns": 0,
}


def _count_tried(reader: Reader, asked: Mapping[str, Any]) -> list[Row]:
    """Count the runs of each version of a model in experiments."""
    sql = Sql("""
        SELECT {number} AS number, count() AS experiment_runs
        FROM {recorded} WHERE {tried} AND model = {model:String}
        GROUP BY number HAVING number > 0""").fill(
        number=NUMBER, recorded=RECORDED, tried=find_counted(reader, asked["project"]).tried
    )
    return reader.rows(sql, asked)


def read_first_starts(reader: Reader, project: str, models: Sequence[str]) -> list[Row]:
    """Read when the first run of each version of some models started.

    Returns:
        Rows with `model`, `digest`, `structure` and `first_ns`.
    """
    sql = Sql("""
        SELECT model, digest, structure, min(start_ns) AS first_ns FROM {recorded}
        WHERE {counted} AND model IN {models:Array(String)} AND digest != ''
        GROUP BY model, digest, structure
        """).fill(recorded=RECORDED, counted=find_counted(reader, project).sql)
    return reader.rows(sql, {"project": project, "models": [*models]})


def read_version_scores(reader: Reader, project: str, model: str) -> list[Row]:
    """Read score figures by judge version and model version, counting each run once.

    Scores of requests count for the versions inside; `on_request` is their number.
    """
    asked = of_versions(reader, project, model)
    newest = version_scores(reader, all_scores(), OF_PROJECT, asked)
    sql = Sql("""
        SELECT r.number AS number, evaluation.judge AS judge,
          evaluation.judge_version AS judge_version, countIf(is_of_request) AS on_request,
          {score_sums}
        FROM (
          SELECT trace_id, span_id, {number} AS number FROM {recorded}
          WHERE {counted} AND model = {model:String} AND number > 0
        ) AS r
        INNER JOIN ({newest}) AS evaluation
          ON evaluation.trace_id = r.trace_id AND evaluation.span_id = r.span_id
        GROUP BY number, judge, judge_version ORDER BY number, judge, judge_version
        """).fill(
        recorded=RECORDED,
        number=NUMBER,
        score_sums=SCORE_SUMS,
        counted=find_counted(reader, project, kinds=True).sql,
        newest=newest,
    )
    return reader.rows(sql, asked)


def is_version(reader: Reader, project: str, model: str, number: int) -> Condition:
    """Write the SQL condition that runs of a model, or their daily totals, are of one version."""
    digests = {
        (digest, structure)
        for (_, digest, structure), own in version_numbers(
            reader, project, "model", [model]
        ).items()
        if own == number
    }
    sql = Sql("""digest IN {of_digests:Array(String)}
      AND concat(toString(digest), ':', toString(structure)) IN {of_versions:Array(String)}""")
    parameters = {
        "of_digests": sorted({digest for digest, _ in digests}) or [""],
        "of_versions": sorted(f"{digest}:{structure}" for digest, structure in digests) or [""],
    }
    return Condition(sql, parameters)


def read_scored_runs(
    reader: Reader,
    project: str,
    condition: Condition,
    window: Window,
    most: int,
) -> tuple[list[Row], list[Row]]:
    """Read the newest matching runs of a window, with their scores.

    Returns:
        The runs, with `trace_id`, `span_id`, `start_ns` and `unit` (the same for all runs of a
            session), and the scores, with `trace_id`, `span_id`, `judge`, `judge_version`, `score`,
            `passed` and `failed`. Some scores may be of runs that are not in the first list.
    """
    bounds = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}")).sql
    sql = Sql("""
        SELECT trace_id, span_id, reinterpretAsUInt64(span_id) AS span, start_ns,
          {unit} AS unit
        FROM {recorded}
        WHERE {bounds} AND ({condition})
        ORDER BY start_ns DESC, trace_id, span_id LIMIT {most:UInt32}
        """).fill(
        unit=UNIT,
        recorded=RECORDED,
        bounds=bounds,
        condition=condition.sql,
    )
    parameters = {
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
        "most": most,
        **condition.parameters,
    }
    runs = reader.rows(sql, parameters)
    if not runs:
        return [], []
    values = {
        "project": project,
        "first": runs[-1]["start_ns"] - HOUR_NS,
        "last": runs[0]["start_ns"] + HOUR_NS,
        "spans": [row["span"] for row in runs],
    }
    return runs, reader.rows(JUDGED_LAST, values)
